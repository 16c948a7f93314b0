//! The Control UI in a browser, as somebody uses it.

use serde_json::{Value, json};

use crate::gateway::TOKEN;
use crate::{Browser, Gateway, peers};

/// The pages that the menu leads to.
pub const PAGES: [&str; 9] = ["chat", "overview", "approvals", "devices", "channels", "cron", "usage", "logs", "config"];

/// Findings of the accessibility check that may not be: they keep somebody out.
const GRAVE: [&str; 2] = ["serious", "critical"];

/// What is narrower than this, in pixels, is taken for a phone.
const PHONE_WIDTH_MAX: u32 = 600;

/// Whether the page is connected.
const INSIDE: &str = "return !document.querySelector('#tabs').hidden && document.querySelector('#state').classList.contains('open')";

/// The page of a gateway.
#[derive(Debug)]
pub struct ControlUi {
    /// The browser that shows it.
    pub browser: Browser,
}

impl ControlUi {
    /// Opens the page of a gateway and connects with the token; none when this test is to be skipped because there is no browser.
    pub async fn enter(gateway: &Gateway) -> Option<Self> {
        let page = Self { browser: Browser::start().await? };
        page.browser.open(&gateway.http("/")).await;
        page.log_in().await;
        Some(page)
    }

    /// Fills the form and sends it.
    pub async fn log_in(&self) {
        self.browser.find("#token").await.send_keys(TOKEN).await.expect("a field");
        self.click("#login button").await;
        self.inside().await;
    }

    /// Waits until the page is connected.
    pub async fn inside(&self) {
        self.browser.until("the page to connect", INSIDE).await;
    }

    /// Goes to a page of the menu and waits until it is there.
    pub async fn go(&self, page: &str) {
        self.browser.run(&format!("location.hash = '#/{page}'")).await;
        let name = page.split('/').next().unwrap_or(page);
        let there = format!("return document.querySelector('main > verso-{name}:not([aria-busy]) h1') !== null");
        self.browser.until(page, &there).await;
    }

    /// Presses what a selector finds, once it is there.
    pub async fn click(&self, css: &str) {
        let press = format!(
            "const found = document.querySelector({css:?}); if (!found || found.disabled) return false; found.click(); return true"
        );
        self.browser.until(css, &press).await;
    }

    /// Sends a message in the conversation that is shown.
    pub async fn send(&self, text: &str) {
        self.browser.find("#message").await;
        let write = format!(
            "const field = document.querySelector('#message'); field.value = {}; field.dispatchEvent(new Event('input')); \
             document.querySelector('#compose').requestSubmit()",
            Value::from(text)
        );
        self.browser.run(&write).await;
    }

    /// The words of every entry of one role that is in the document.
    pub async fn said(&self, role: &str) -> Vec<String> {
        let script = format!(
            "return [...document.querySelectorAll('#messages li[data-role={role}]')]\
             .map((item) => [...item.querySelectorAll('.words')].map((words) => words.textContent).join('\\n'))"
        );
        let said = self.browser.run(&script).await;
        said.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    }

    /// Waits until the agent has answered with these words, and nothing is being written any more.
    pub async fn answered(&self, text: &str) {
        let script = format!(
            "return !document.querySelector('#messages .live') && [...document.querySelectorAll('#messages li[data-role=assistant] .words')]\
             .some((words) => words.textContent.trim() === {})",
            Value::from(text)
        );
        self.browser.until(&format!("the answer {text:?}"), &script).await;
    }

    /// Waits until a text stands somewhere in what a selector finds.
    pub async fn shows(&self, css: &str, text: &str) {
        let script =
            format!("return [...document.querySelectorAll({css:?})].some((one) => one.textContent.includes({}))", Value::from(text));
        self.browser.until(&format!("{text:?} in {css}"), &script).await;
    }

    /// Sets the size of the window and the colours that somebody likes.
    pub async fn as_seen(&self, width: u32, height: u32, colours: &str) {
        let screen = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < PHONE_WIDTH_MAX});
        self.browser.devtools("Emulation.setDeviceMetricsOverride", screen).await;
        self.browser.run(&format!("document.documentElement.dataset.theme = {colours:?}")).await;
    }

    /// Looks for what keeps people out who see, hear or point differently; `what` says where. Skipped where axe is missing.
    pub async fn is_accessible(&self, what: &str) {
        let Some(axe) = peers::npm_file("axe-core/axe.min.js") else { return };
        let axe = std::fs::read_to_string(axe).expect("axe");
        self.browser.run(&format!("if (!window.axe) {{ {axe}; }}")).await;
        let look = "const { violations } = await axe.run(document, { resultTypes: ['violations'] }); return violations.map(({ id, impact, nodes }) => \
                    ({ id, impact, where: nodes.map((node) => `${node.target}: ${node.failureSummary}`).slice(0, 3) }))";
        let found = self.browser.run(&format!("return (async () => {{ {look} }})()")).await;
        let grave: Vec<&Value> =
            found.as_array().into_iter().flatten().filter(|finding| GRAVE.iter().any(|impact| finding["impact"] == *impact)).collect();
        assert!(grave.is_empty(), "{what}: {}", serde_json::to_string_pretty(&grave).unwrap_or_default());
    }
}
