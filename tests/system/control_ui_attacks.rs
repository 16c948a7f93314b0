//! What may not succeed against the browser client, tried from within a browser.

use serde_json::json;
use verso_tests::gateway::TOKEN;
use verso_tests::{Browser, ControlUi, Gateway, Provider};

use crate::control_ui::from_afar;
use crate::http::http;

/// How long a browser has to do what it must not, in milliseconds.
const TEMPTATION_MS: u64 = 500;

/// A page of another origin with this script's body; ends with the test's runtime.
#[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
async fn another_origin() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let router = axum::Router::new().fallback(|| async { axum::response::Html("<!doctype html><title>elsewhere</title><body></body>") });
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

#[tokio::test]
async fn sec_01_a_link_cannot_send_the_page_to_another_gateway() {
    let Some(browser) = Browser::start().await else { return };
    let page = ControlUi { browser };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let elsewhere = listener.local_addr().expect("an address");
    let gateway = Gateway::start().await;
    for link in [format!("/?gatewayUrl=ws://{elsewhere}"), format!("/#gatewayUrl=ws://{elsewhere}&token={TOKEN}")] {
        page.browser.open("about:blank").await;
        page.browser.open(&gateway.http(&link)).await;
        if link.contains("token=") {
            page.inside().await;
        } else {
            page.shows("#elsewhere", &elsewhere.to_string()).await;
            page.click("#elsewhere-no").await;
            page.log_in().await;
        }
        let left = page.browser.run("return location.href").await;
        assert!(left.as_str().is_some_and(|href| !href.contains("token") && !href.contains("gatewayUrl")), "{left}");
    }
    let blocked =
        format!("try {{ new WebSocket('ws://{elsewhere}/') }} catch {{}} fetch('http://{elsewhere}/').catch(() => 0); return true");
    page.browser.run(&blocked).await;
    let visited = tokio::time::timeout(std::time::Duration::from_millis(TEMPTATION_MS), listener.accept()).await;
    assert!(visited.is_err(), "the page reached another host");
}

#[tokio::test]
async fn sec_02_a_page_of_another_origin_opens_no_connection() {
    let gateway = Gateway::start().await;
    let (Some(browser), port) = (Browser::start().await, another_origin().await) else { return };
    for host in ["127.0.0.1", "localhost"] {
        browser.open(&format!("http://{host}:{port}/")).await;
        let attempt = format!(
            "return await new Promise((resolve) => {{ const socket = new WebSocket({:?}); socket.onerror = () => resolve('refused'); \
             socket.onclose = ({{ code, reason }}) => resolve(`closed ${{code}} ${{reason}}`); \
             socket.onmessage = ({{ data }}) => {{ const frame = JSON.parse(data); \
               if (frame.type === 'res') return resolve(frame.ok ? 'connected' : frame.error.message); \
               socket.send(JSON.stringify({{ type: 'req', id: '1', method: 'connect', params: {{ minProtocol: 4, maxProtocol: 4, role: 'operator', \
                 scopes: ['operator.admin'], client: {{ id: 'openclaw-control-ui', version: '1', platform: 'web', mode: 'webchat' }}, auth: {{ token: {TOKEN:?} }} }} }})) }} }})",
            gateway.url()
        );
        let outcome = browser.run(&format!("return (async () => {{ {attempt} }})()")).await;
        assert!(outcome.as_str().is_some_and(|words| words != "connected"), "{host}: {outcome}");
    }
}

#[tokio::test]
async fn sec_07_a_page_that_comes_through_a_proxy_is_given_nothing_that_lasts() {
    let gateway = Gateway::start().await;
    let port = from_afar(&gateway).await;
    let Some(browser) = Browser::start().await else { return };
    browser.open(&format!("http://127.0.0.1:{port}/#token={TOKEN}")).await;
    browser.find("#pairing").await;
    let kept = "const { deviceToken } = await import('/assets/gateway/device.js'); return (await deviceToken()) ?? null";
    assert_eq!(browser.run(&format!("return (async () => {{ {kept} }})()")).await, json!(null));
    let owner = gateway.client().await;
    let devices = owner.call("device.pair.list", json!({})).await.expect("a list");
    let named =
        |list: &str| devices[list].as_array().is_some_and(|list| list.iter().any(|device| device["clientId"] == "openclaw-control-ui"));
    assert_eq!((named("pending"), named("paired")), (true, false), "{devices}");
}

#[tokio::test]
async fn sec_16_no_token_is_taken_from_a_query_or_left_anywhere() {
    let gateway = Gateway::start().await;
    let Some(browser) = Browser::start().await else { return };
    let page = ControlUi { browser };
    for name in ["token", "password"] {
        page.browser.open(&gateway.http(&format!("/?{name}={TOKEN}"))).await;
        page.shows("[role=alert]", "It was not used").await;
        let state = page.browser.run("return [location.href, document.referrer, document.querySelector('#tabs').hidden]").await;
        assert!(!state.to_string().contains(TOKEN) && state[2] == json!(true), "{state}");
    }
    // The browser itself remembers where it was told to go.
    page.browser.open(&gateway.http("/")).await;
    page.log_in().await;
    for name in verso_tests::control_ui::PAGES {
        page.go(name).await;
    }
    let kept = "const all = [JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie, location.href, document.documentElement.outerHTML, \
                JSON.stringify(performance.getEntries().map(({ name }) => name))]; \
                for (const store of ['device', 'outbox']) all.push(JSON.stringify(await (await import('/assets/gateway/storage.js')).loadAll(store))); \
                return all.join(' ')";
    let kept = page.browser.run(&format!("return (async () => {{ {kept} }})()")).await;
    assert!(kept.as_str().is_some_and(|kept| kept.len() > 1000 && !kept.contains(TOKEN)), "the token is kept somewhere");
    assert!(!gateway.output().contains(TOKEN));
}

#[tokio::test]
async fn sec_24_what_the_page_is_told_at_its_start_needs_the_secret() {
    let gateway = Gateway::start().await;
    let Some(page) = ControlUi::enter(&gateway).await else { return };
    let asked = "return await Promise.all(['/control-ui-config.json', '/__openclaw/control-ui-config.json', '/__openclaw__/control-ui-config.json'] \
                 .map(async (path) => (await fetch(path)).status))";
    assert_eq!(page.browser.run(&format!("return (async () => {{ {asked} }})()")).await, json!([401, 401, 401]));
}

#[tokio::test]
async fn sec_36_what_somebody_puts_into_the_page_does_not_run_and_no_frame_holds_it() {
    let gateway = Gateway::start().await;
    let Some(page) = ControlUi::enter(&gateway).await else { return };
    let tempt = "document.addEventListener('securitypolicyviolation', ({ effectiveDirective }) => (window.__stopped ??= []).push(effectiveDirective)); \
                 const script = document.createElement('script'); script.textContent = 'window.__ran = 1'; document.body.append(script); \
                 const image = document.createElement('div'); image.innerHTML = '<img src=x onerror=\"window.__ran = 2\"><b style=\"position:fixed\">x</b>'; \
                 document.body.append(image); const elsewhere = document.createElement('script'); elsewhere.src = 'data:text/javascript,window.__ran=3'; \
                 document.body.append(elsewhere); const form = document.createElement('form'); form.action = 'http://127.0.0.1:1/'; document.body.append(form); form.submit()";
    page.browser.run(tempt).await;
    let stopped = page.browser.until("the policy to stop it", "return (window.__stopped ?? []).length >= 4 && window.__stopped").await;
    for directive in ["script-src-elem", "script-src-attr", "style-src-attr", "form-action"] {
        assert!(stopped.as_array().is_some_and(|all| all.contains(&json!(directive))), "{directive}: {stopped}");
    }
    assert_eq!(page.browser.run("return window.__ran ?? null").await, json!(null));
    let port = another_origin().await;
    page.browser.open(&format!("http://127.0.0.1:{port}/")).await;
    let frame = format!(
        "const frame = document.createElement('iframe'); frame.src = {:?}; frame.onload = () => {{ window.__loaded = true }}; document.body.append(frame)",
        gateway.http("/")
    );
    page.browser.run(&frame).await;
    page.browser.until("the frame to be refused", "return window.__loaded ?? false").await;
    let seen = page.browser.run("try { return frames[0].document.title } catch { return 'nothing' }").await;
    let inside = page.browser.client().clone().enter_frame(0).await;
    if inside.is_ok() {
        assert_eq!(page.browser.run("return document.querySelector('#tabs, #login')").await, json!(null), "{seen}");
    }
}

#[tokio::test]
async fn sec_37_what_names_bring_is_shown_as_text() {
    let evil = "<img src=x onerror=\"window.__ran=1\"><script>window.__ran=1</script>";
    let markdown = "[a](javascript:window.__ran=2) [b](data:text/html,x) ![c](https://127.0.0.1:1/pixel.png) <a href=\"javascript:1\">d</a> [e](https://example.com/)";
    let provider = Provider::start().await;
    let mut config = provider.config();
    config["ui"] = json!({"assistant": {"name": evil}});
    let gateway = Gateway::start_with(config).await;
    let client = gateway.client().await;
    let patch = json!({"key": "agent:main:evil", "label": "<img src=x onerror=\"window.__ran=1\">"});
    client.call("sessions.patch", patch).await.expect("a label");
    for message in [evil, markdown] {
        client.call("chat.inject", json!({"sessionKey": "agent:main:evil", "message": message})).await.expect("a message");
    }
    let job = json!({"name": evil, "schedule": {"kind": "every", "everyMs": 3_600_000}, "sessionTarget": "main", "wakeMode": "now",
                     "payload": {"kind": "systemEvent", "text": evil}});
    client.call("cron.add", job).await.expect("a job");
    client.call("system-event", json!({"text": evil, "host": evil, "deviceId": "evil"})).await.expect("a presence");
    let Some(page) = ControlUi::enter(&gateway).await else { return };
    page.shows(".sessions .name", "<img").await;
    page.click("[data-session='agent:main:evil']").await;
    page.shows("#messages li", "<script>").await;
    page.shows("#messages li", "d</a>").await;
    let links = "return [...document.querySelectorAll('#messages a')].map((link) => link.href).filter((href) => !/^https:/.test(href))";
    assert_eq!(page.browser.run(links).await, json!([]));
    for (name, css) in [("cron", ".job h2"), ("overview", "td"), ("logs", "h1")] {
        page.go(name).await;
        if name != "logs" {
            page.shows(css, "<img").await;
        }
        let state =
            page.browser.run("return [window.__ran ?? null, document.querySelectorAll('main img, main script, main iframe').length]").await;
        assert_eq!(state, json!([null, 0]), "{name}");
    }
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
