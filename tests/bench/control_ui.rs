//! What the browser client costs who opens it.

use serde_json::json;
use verso_tests::{ControlUi, Gateway};

use crate::report::Report;
use crate::usage::quantile;

/// First visits whose median counts.
const VISITS: usize = 5;

/// Measures the first visit on loopback: what is transferred for the way in and for everything, and when something is seen.
pub(crate) async fn visits(report: &mut Report) {
    let gateway = Gateway::start_with(json!({})).await;
    let (mut painted, mut bytes) = (Vec::new(), 0.0);
    for _ in 0..VISITS {
        let Some(browser) = verso_tests::Browser::start().await else { return };
        browser.open(&gateway.http("/")).await;
        let paint = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null";
        painted.push(browser.until("something to see", paint).await.as_f64().unwrap_or_default());
        let page = ControlUi { browser };
        page.log_in().await;
        for name in verso_tests::control_ui::PAGES {
            page.go(name).await;
        }
        let sum = "return performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation')).reduce((all, { transferSize }) => all + transferSize, 0)";
        bytes = page.browser.run(sum).await.as_f64().unwrap_or_default();
    }
    report.at_most("Control UI, first paint of a first visit, p50", "ms", quantile(&mut painted, 0.5), 1_000.0);
    report.at_most("Control UI, transferred for all its pages", "kB", bytes / 1_000.0, 200.0);
}
