//! Pages of a whole gateway in a browser.

use verso_tests::{Browser, Gateway};

#[tokio::test]
async fn a_browser_opens_what_the_gateway_serves() {
    let Some(browser) = Browser::start().await else { return };
    let gateway = Gateway::start().await;
    browser.open(&gateway.http("/healthz")).await;
    let body = browser.run("return document.body.innerText").await;
    assert!(body.as_str().is_some_and(|body| body.contains("live")), "{body}");
    let picture = browser.screenshot("healthz").await;
    assert!(picture.metadata().is_ok_and(|picture| picture.len() > 1_000), "{}", picture.display());
}
