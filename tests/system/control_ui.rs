//! The browser client in a browser.

use serde_json::json;
use verso_tests::gateway::TOKEN;
use verso_tests::provider::reply;
use verso_tests::{Browser, Gateway, Provider};

use crate::http::http;

/// Fills the form and sends it.
async fn log_in(browser: &Browser) {
    let token = browser.find("#token").await;
    token.send_keys(TOKEN).await.expect("a field");
    browser.run("document.querySelector('#login button').click()").await;
    browser.until("the page to connect", "return !document.querySelector('#tabs').hidden").await;
}

#[tokio::test]
async fn somebody_connects_and_talks_to_an_agent_in_a_browser() {
    let Some(browser) = Browser::start().await else { return };
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    browser.open(&gateway.http("/chat")).await;
    log_in(&browser).await;
    browser.find("#message").await.send_keys("hi [[tokens=3]]").await.expect("a field");
    browser.run("document.querySelector('#compose button').click()").await;
    let said =
        "const items = [...document.querySelectorAll('#messages li[data-role=assistant]')]; return items.at(-1)?.textContent || null";
    let expected = reply(3);
    let script = format!("const said = (() => {{ {said} }})(); return said === {expected:?} ? said : null");
    assert_eq!(browser.until("the agent's answer", &script).await, json!(expected));
    for (tab, found) in [("overview", "#services td"), ("channels", "#accounts td"), ("sessions", "#rows td")] {
        browser.run(&format!("document.querySelector('[data-tab={tab}]').click()")).await;
        browser.find(found).await;
    }
    browser.screenshot("control-ui").await;
    let violations = browser.run("return window.__violations ?? 0").await;
    assert_eq!(violations, json!(0));
}

#[tokio::test]
async fn sec_01_a_link_cannot_send_the_page_to_another_gateway() {
    let Some(browser) = Browser::start().await else { return };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let elsewhere = listener.local_addr().expect("an address");
    let gateway = Gateway::start().await;
    for link in [format!("/?gatewayUrl=ws://{elsewhere}"), format!("/#gatewayUrl=ws://{elsewhere}&token={TOKEN}")] {
        browser.open("about:blank").await;
        browser.open(&gateway.http(&link)).await;
        if link.contains("token=") {
            browser.until("the page to connect", "return !document.querySelector('#tabs').hidden").await;
        } else {
            log_in(&browser).await;
        }
        let left = browser.run("return location.href").await;
        assert!(left.as_str().is_some_and(|href| !href.contains("token") && !href.contains("gatewayUrl")), "{left}");
    }
    let blocked =
        format!("try {{ new WebSocket('ws://{elsewhere}/') }} catch {{}} fetch('http://{elsewhere}/').catch(() => 0); return true");
    browser.run(&blocked).await;
    let visited = tokio::time::timeout(std::time::Duration::from_millis(500), listener.accept()).await;
    assert!(visited.is_err(), "the page reached another host");
}

#[tokio::test]
async fn sec_37_what_names_bring_is_shown_as_text() {
    let Some(browser) = Browser::start().await else { return };
    let evil = "<img src=x onerror=\"window.__ran=1\"><script>window.__ran=1</script>";
    let provider = Provider::start().await;
    let mut config = provider.config();
    config["ui"] = json!({"assistant": {"name": evil}});
    let gateway = Gateway::start_with(config).await;
    let client = gateway.client().await;
    let patch = json!({"key": "agent:main:evil", "label": "<img src=x onerror=\"window.__ran=1\">"});
    client.call("sessions.patch", patch).await.expect("a label");
    client.call("chat.inject", json!({"sessionKey": "agent:main:evil", "message": evil})).await.expect("a message");
    browser.open(&gateway.http("/")).await;
    log_in(&browser).await;
    browser.run("document.querySelector('[data-tab=sessions]').click()").await;
    browser
        .until("the list of sessions", "return [...document.querySelectorAll('#rows td')].some((td) => td.textContent.includes('<img'))")
        .await;
    browser
        .run("[...document.querySelectorAll('#rows tr')].find((row) => row.textContent.includes('<img')).querySelector('button').click()")
        .await;
    browser
        .until("the message", "return [...document.querySelectorAll('#messages li')].some((item) => item.textContent.includes('<script>'))")
        .await;
    let state = browser.run("return [window.__ran ?? null, document.querySelectorAll('main img, main script').length]").await;
    assert_eq!(state, json!([null, 0]));
}

#[tokio::test]
async fn sec_36_pages_are_fenced_in_and_apis_are_never_pages() {
    let gateway = Gateway::start().await;
    let page = http().get(gateway.http("/anything/deep")).header("accept", "text/html").send().await.expect("an answer");
    let header = |name: &str| page.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    assert_eq!((page.status().as_u16(), header("x-frame-options").as_str()), (200, "DENY"));
    assert!(header("content-security-policy").contains("frame-ancestors 'none'"), "{}", header("content-security-policy"));
    assert_eq!((header("x-content-type-options").as_str(), header("cache-control").as_str()), ("nosniff", "no-cache"));
    for path in ["/v1/nothing", "/api/nothing", "/healthz/x", "/tools/x", "/sessions/x", "/assets/missing.js", "/missing.css", "/hooks/x"] {
        let answer = http().get(gateway.http(path)).bearer_auth(TOKEN).header("accept", "text/html").send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 404, "{path}");
    }
    let config = http().get(gateway.http("/control-ui-config.json"));
    assert_eq!(config.try_clone().expect("a copy").send().await.expect("an answer").status().as_u16(), 401);
    let told: serde_json::Value = config.bearer_auth(TOKEN).send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!((&told["assistantAgentId"], &told["basePath"]), (&json!("main"), &json!("")));
}

#[tokio::test]
async fn sec_35_no_address_leads_out_of_the_folder_of_pages() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("ui")).expect("a folder");
    std::fs::write(folder.path().join("ui/index.html"), "<html><head></head><body>own page</body></html>").expect("a page");
    std::fs::write(folder.path().join("secret.txt"), "made-up-secret").expect("a file");
    std::os::unix::fs::symlink(folder.path().join("secret.txt"), folder.path().join("ui/link.txt")).expect("a link");
    let gateway = Gateway::start_with(json!({"gateway": {"controlUi": {"root": folder.path().join("ui"), "basePath": "/ui"}}})).await;
    let get = async |path: &str| {
        // No client of ours would send such a path as it is.
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", gateway.port())).await.expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.expect("a request");
        let mut answer = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await.expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert!(get("/ui/").await.contains("own page"));
    for path in [
        "/ui/../secret.txt",
        "/ui/%2e%2e/secret.txt",
        "/ui/..%2fsecret.txt",
        "/ui/%252e%252e%252fsecret.txt",
        "/ui/..%5csecret.txt",
        "/ui/link.txt",
        "/ui//etc/passwd",
        "/ui/%2fetc%2fpasswd",
        "/ui/assets/../../secret.txt",
        "/ui/index.html%00.txt",
        "/ui/avatar/..%2f..%2fsecret.txt",
    ] {
        let answer = get(path).await;
        assert!(answer.starts_with("HTTP/1.1 404") && !answer.contains("made-up-secret") && !answer.contains("root:"), "{path}: {answer}");
    }
}
