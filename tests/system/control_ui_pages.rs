//! Every page of the browser client: opened, used, and looked at for what keeps people out.

use serde_json::json;
use verso_tests::control_ui::PAGES;
use verso_tests::file_drop::FileDrop;
use verso_tests::provider::reply;
use verso_tests::{ControlUi, Gateway, Provider, eventually};

/// Windows by name, in pixels.
const WINDOWS: [(&str, u32, u32); 2] = [("desktop", 1200, 850), ("phone", 390, 844)];

#[tokio::test]
async fn every_page_opens_and_keeps_nobody_out_in_light_and_dark_on_a_desk_and_on_a_phone() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let client = gateway.client().await;
    let job = json!({"name": "Morning report", "schedule": {"kind": "cron", "expr": "0 7 * * *"}, "sessionTarget": "isolated", "wakeMode": "now",
                     "payload": {"kind": "agentTurn", "message": "Summarise what is new"}});
    let job = client.call("cron.add", job).await.expect("a job");
    let Some(page) = ControlUi::enter(&gateway).await else { return };
    page.send("Tell me [[tokens=12]]").await;
    page.answered(&reply(12)).await;
    #[allow(clippy::disallowed_methods, reason = "the asker waits beside the test")]
    let asking = tokio::spawn({
        let asker = gateway.client().await;
        async move {
            asker
                .call_within("exec.approval.request", json!({"command": "ls -la /srv", "agentId": "main", "timeoutMs": 120_000}), 130_000)
                .await
        }
    });
    for name in PAGES {
        page.go(name).await;
        match name {
            "overview" => page.shows("[data-service=supervisor]", "serving").await,
            "approvals" => page.shows(".approval pre", "ls -la /srv").await,
            "devices" => page.shows("td", "Control UI").await,
            "cron" => page.click(&format!("[data-job='{}'] button[aria-expanded]", job["id"].as_str().expect("an id"))).await,
            "usage" => page.shows("svg[role=img] text", "-").await,
            "logs" => page.shows("#log .line", "serving").await,
            "config" => page.shows(".keys dt", "adapters").await,
            _ => {}
        }
        for (window, width, height) in WINDOWS {
            for colours in ["light", "dark"] {
                page.as_seen(width, height, colours).await;
                page.is_accessible(&format!("{name}, {window}, {colours}")).await;
                page.browser.screenshot(&format!("control-ui-{name}-{window}-{colours}")).await;
            }
            let sideways = page.browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
            assert_eq!(sideways, json!(0), "{name} is wider than a {window}");
        }
    }
    page.go("approvals").await;
    page.click(".approval [data-decision=allow-once]").await;
    let decided = asking.await.expect("no panic").expect("a decision");
    assert_eq!(decided["decision"], "allow-once");
    page.shows("#no-approvals", "Nothing").await;
}

#[tokio::test]
async fn the_processes_are_shown_as_they_are() {
    let gateway = Gateway::start().await;
    let Some(page) = ControlUi::enter(&gateway).await else { return };
    page.go("overview").await;
    for name in ["supervisor", "edge", "presence", "node", "channel", "agent", "canvas"] {
        page.shows(&format!("[data-service={name}][data-state=serving]"), "MiB").await;
    }
    page.shows("[data-service=canvas]", "ms").await;
    let pid = gateway.kill("canvas").await;
    gateway.recovered("canvas", pid).await;
    page.shows("[data-service=canvas]", "signal 9").await;
    page.click("[data-service=presence] button").await;
    page.browser
        .until(
            "another process",
            "return [...document.querySelectorAll('[data-service=presence] dd')].some((one) => one.textContent === '1')",
        )
        .await;
}

#[tokio::test]
async fn two_who_change_the_configuration_at_once_are_brought_together() {
    let gateway = Gateway::start().await;
    let client = gateway.client().await;
    let raw = "// kept\n{\n  session: { reset: { mode: 'idle', idleMinutes: 60 } },\n  gateway: GATEWAY,\n  ui: { assistant: { name: 'First' } },\n}\n";
    let file = client.call("config.get", json!({})).await.expect("the file");
    let section = file["parsed"]["gateway"].to_string();
    let raw = raw.replace("GATEWAY", &section);
    client.call("config.set", json!({"raw": raw, "baseHash": file["hash"]})).await.expect("written");
    let Some(page) = ControlUi::enter(&gateway).await else { return };
    page.go("config").await;
    let change = |from: &str, to: &str| {
        format!(
            "const field = document.querySelector('#config-text'); field.value = field.value.replace({from:?}, {to:?}); field.dispatchEvent(new Event('input'))"
        )
    };
    page.browser.run(&change("name: 'First'", "name: 'Mine'")).await;
    page.click("#config-review").await;
    page.shows("#preview .diff .new", "Mine").await;
    page.shows("#preview .diff .gone", "First").await;
    page.shows("#effects", "").await;
    page.browser.screenshot("control-ui-config-diff").await;
    // Somebody else is quicker, in the same line and in another.
    let now = client.call("config.get", json!({})).await.expect("the file");
    let theirs =
        now["raw"].as_str().expect("a text").replace("name: 'First'", "name: 'Theirs'").replace("idleMinutes: 60", "idleMinutes: 90");
    client.call("config.set", json!({"raw": theirs, "baseHash": now["hash"]})).await.expect("written");
    page.click("#config-apply").await;
    page.shows("#conflict", "Somebody else").await;
    page.shows("#conflict .side", "Mine").await;
    page.shows("#conflict .side", "Theirs").await;
    page.is_accessible("a conflict").await;
    page.browser.screenshot("control-ui-config-conflict").await;
    page.click("#conflict input[value=mine]").await;
    page.click("#conflict-merge").await;
    page.shows("#preview .diff .new", "Mine").await;
    page.click("#config-apply").await;
    page.shows("#written", "Written").await;
    let written = std::fs::read_to_string(gateway.state_dir().join("verso.json")).expect("the file");
    assert!(written.contains("// kept") && written.contains("name: 'Mine'") && written.contains("idleMinutes: 90"), "{written}");
    assert!(written.contains(verso_tests::gateway::TOKEN), "a secret that was hidden stays as it was");
    // What cannot be used is told before it is written.
    page.browser.run(&change("idleMinutes: 90", "idleMinutes: 'soon'")).await;
    page.click("#config-review").await;
    page.shows("#preview .note.bad", "idleMinutes").await;
    assert_eq!(page.browser.run("return document.querySelector('#config-apply').disabled").await, json!(true));
}

#[tokio::test]
async fn an_account_is_linked_by_a_code_that_is_shown() {
    let Some(files) = FileDrop::new() else { return };
    let adapter = json!({"command": files.faulty(), "env": {"FAULTS": "links"}, "label": "File drop"});
    let gateway = Gateway::start_with(files.config(&adapter, &["home"])).await;
    let Some(page) = ControlUi::enter(&gateway).await else { return };
    page.go("channels").await;
    page.shows("[data-channel=drop]", "not linked").await;
    page.click("[data-link=drop]").await;
    let picture = "const code = document.querySelector('#qr'); return code?.naturalWidth > 20 && code.src";
    let first = page.browser.until("a code", picture).await;
    page.is_accessible("a code").await;
    page.browser.screenshot("control-ui-qr").await;
    let next = format!("const code = document.querySelector('#qr'); return code?.src ? code.src !== {first} : false");
    page.browser.until("the next code", &next).await;
    std::fs::write(files.inbox("home").join("scanned"), "").expect("a phone");
    page.shows("#login-card", "Linked as My phone").await;
    page.browser.until("it runs", "return document.querySelector('[data-channel=drop] .badge.good') !== null").await;
}

#[tokio::test]
async fn a_device_is_let_in_by_somebody_who_is_in() {
    let gateway = Gateway::start().await;
    let port = crate::control_ui::from_afar(&gateway).await;
    let (Some(page), Some(other)) = (ControlUi::enter(&gateway).await, verso_tests::Browser::start().await) else { return };
    page.go("devices").await;
    let other = ControlUi { browser: other };
    other.browser.open(&format!("http://127.0.0.1:{port}/#token={}", verso_tests::gateway::TOKEN)).await;
    page.click("#asking [data-request] button.primary").await;
    other.inside().await;
    other.go("devices").await;
    page.shows("#asking", "Nobody").await;
}

#[tokio::test]
async fn jobs_are_added_run_and_read_about() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let Some(page) = ControlUi::enter(&gateway).await else { return };
    page.go("cron").await;
    for (field, text) in [("#cron-name", "Often"), ("#cron-when", "2h"), ("#cron-message", "say [[tokens=3]]")] {
        page.browser.find(field).await.send_keys(text).await.expect("a field");
    }
    page.click("verso-cron form button").await;
    page.shows(".job h2", "Often").await;
    page.click(".job button[aria-expanded]").await;
    page.click(".job button").await;
    page.shows(".job tbody", &reply(3)).await;
    let jobs = eventually("its run", async || gateway.client().await.call("cron.list", json!({})).await.ok()).await;
    assert_eq!(jobs["jobs"][0]["schedule"]["everyMs"], 7_200_000);
}

#[tokio::test]
async fn the_keyboard_is_enough() {
    let gateway = Gateway::start().await;
    let Some(page) = ControlUi::enter(&gateway).await else { return };
    let press = async |keys: &str| {
        let body = page.browser.find("body").await;
        body.send_keys(keys).await.expect("a key");
    };
    page.browser.find("#message").await;
    page.browser.run("document.activeElement.blur()").await;
    press("/").await;
    page.browser.until("the search", "return document.activeElement.id === 'session-search'").await;
    page.browser.run("document.activeElement.blur()").await;
    press("gl").await;
    page.browser.until("the log", "return location.hash === '#/logs' && document.querySelector('#log-filter') !== null").await;
    press("/").await;
    page.browser.until("its filter", "return document.activeElement.id === 'log-filter'").await;
    page.go("chat").await;
    // Ctrl+Enter sends.
    page.browser.find("#message").await.send_keys("hello\u{e009}\u{e007}").await.expect("keys");
    page.shows("#messages li[data-role=user]", "hello").await;
    page.browser.run("document.querySelector('#skip').focus()").await;
    page.browser.find("#skip").await.send_keys("\u{e007}").await.expect("a key");
    page.browser.until("the content", "return document.activeElement.id === 'main'").await;
}
