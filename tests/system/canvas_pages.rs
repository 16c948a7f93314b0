//! Pages and interfaces of the canvas, through a whole gateway: in a browser, and asked for by strangers.

use std::path::PathBuf;

use futures_util::StreamExt as _;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use verso_client::Client;
use verso_tests::gateway::TOKEN;
use verso_tests::{Browser, Gateway, Provider, eventually, peers};

use crate::http::http;

/// A surface with a name that can be changed and a button that tells it.
const FORM: &str = r##"{"surfaceUpdate":{"surfaceId":"main","components":[
{"id":"root","component":{"Column":{"children":{"explicitList":["title","name","go"]}}}},
{"id":"title","component":{"Text":{"text":{"path":"/title"},"usageHint":"h1"}}},
{"id":"name","component":{"TextField":{"label":{"literalString":"Name"},"text":{"path":"/name"}}}},
{"id":"go-text","component":{"Text":{"text":{"literalString":"Go"}}}},
{"id":"go","component":{"Button":{"child":"go-text","primary":true,"action":{"name":"greet","context":[{"key":"who","value":{"path":"/name"}}]}}}}]}}
{"dataModelUpdate":{"surfaceId":"main","contents":[{"key":"title","valueString":"Hello <b>there</b>"},{"key":"name","valueString":"Kit"}]}}
{"beginRendering":{"surfaceId":"main","root":"root","styles":{"primaryColor":"#1a73e8"}}}"##;

fn form() -> String {
    FORM.replace(",\n{\"id\"", ",{\"id\"").replace("[\n{\"id\"", "[{\"id\"")
}

/// A gateway with a canvas whose only page says `first`.
async fn drawn(provider: Option<&Provider>) -> Gateway {
    let mut config = provider.map_or_else(|| json!({}), Provider::config);
    config["canvasHost"] = json!({"enabled": true, "root": "pages", "port": free_port()});
    let gateway = Gateway::start_with(config).await;
    std::fs::write(root(&gateway).join("index.html"), page("first")).expect("a page");
    gateway
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn page(word: &str) -> String {
    format!("<!doctype html><title>{word}</title><body><p id=word>{word}</p></body>")
}

fn root(gateway: &Gateway) -> PathBuf {
    gateway.state_dir().join("pages")
}

async fn pages_open(client: &Client, count: u64) {
    eventually("pages to be open", async || {
        let status = client.call("canvas.status", json!({})).await.ok()?;
        (status["pages"] == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_browser_shows_a_page_and_loads_it_again_when_its_file_changes() {
    let Some(browser) = Browser::start().await else { return };
    let gateway = drawn(None).await;
    let client = gateway.client().await;
    let root = root(&gateway);
    let standalone = client.call("canvas.status", json!({})).await.expect("a status")["port"].clone();
    for (count, base) in [gateway.http(""), format!("http://127.0.0.1:{standalone}")].into_iter().enumerate() {
        std::fs::write(root.join("index.html"), page("first")).expect("a page");
        browser.open(&format!("{base}/__verso__/canvas/")).await;
        browser.until("the page", "return document.getElementById('word')?.textContent === 'first'").await;
        pages_open(&client, 1).await;
        browser.screenshot(&format!("canvas-before-{count}")).await;
        std::fs::write(root.join("index.html"), page("second")).expect("another page");
        browser.until("the other page", "return document.getElementById('word')?.textContent === 'second'").await;
        browser.screenshot(&format!("canvas-after-{count}")).await;
    }
}

#[tokio::test]
async fn a_browser_shows_a_pushed_surface_and_its_button_reaches_the_agent() {
    let Some(browser) = Browser::start().await else { return };
    let provider = Provider::start().await;
    let gateway = drawn(Some(&provider)).await;
    let client = gateway.client().await;
    let opened = client.call("canvas.open", json!({"sessionKey": "agent:main:main"})).await.expect("an address");
    browser.open(opened["url"].as_str().expect("a url")).await;
    pages_open(&client, 1).await;
    let pushed = client.call("canvas.a2ui.pushJSONL", json!({"sessionKey": "agent:main:main", "jsonl": form()})).await;
    assert_eq!(pushed.expect("accepted")["surfaces"], json!(["main"]));
    browser.until("the surface", "return document.querySelector('h1')?.textContent === 'Hello <b>there</b>'").await;
    browser.screenshot("a2ui-shown").await;
    browser.run("const field = document.querySelector('input'); field.value = 'Robin'; field.dispatchEvent(new Event('input'))").await;
    browser.find("button.primary").await.click().await.expect("a click");
    browser.until("the action to be taken", "return globalThis.__openclawLastA2UIAction && document.getElementById('status').hidden").await;
    let heard = eventually("the agent to hear of it", async || {
        let history = client.call("chat.history", json!({"sessionKey": "main"})).await.ok()?;
        let text = history.to_string();
        (text.contains("userAction") && text.contains("Robin")).then_some(text)
    })
    .await;
    assert!(heard.contains("greet") && heard.contains("sourceComponentId"), "{heard}");
    browser.screenshot("a2ui-acted").await;
    client.call("canvas.a2ui.reset", json!({"sessionKey": "agent:main:main"})).await.expect("a reset");
    browser.until("an empty page", "return document.querySelector('h1') === null").await;
}

#[tokio::test]
async fn open_surfaces_outlive_the_canvas_service() {
    let gateway = drawn(None).await;
    let client = gateway.client().await;
    client.call("canvas.a2ui.pushJSONL", json!({"jsonl": form()})).await.expect("accepted");
    let mut page = socket(&gateway, "/__verso__/ws?session=main", &[]).await.expect("a socket");
    let before = surfaces(&mut page).await;
    let pid = gateway.kill("canvas").await;
    gateway.recovered("canvas", pid).await;
    assert_eq!(surfaces(&mut page).await, before, "the page keeps its socket and is told everything again");
    let session = client.call("canvas.a2ui.surfaces", json!({"sessionKey": "main"})).await.expect("an answer");
    assert_eq!((&session["surfaces"], &session["sessionKey"]), (&json!(["main"]), &json!("agent:main:main")));
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn socket(gateway: &Gateway, path: &str, headers: &[(&'static str, &str)]) -> Result<Socket, StatusCode> {
    let mut request = format!("{}{path}", gateway.url()).into_client_request().expect("a request");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status()),
        Err(error) => panic!("{error}"),
    }
}

async fn surfaces(page: &mut Socket) -> Value {
    let frame = tokio::time::timeout(verso_tests::PATIENCE, page.next()).await.expect("in time").expect("a frame").expect("no error");
    let told: Value = serde_json::from_str(frame.to_text().expect("text")).expect("JSON");
    assert_eq!(told["a2ui"]["reset"], true, "{told}");
    told["a2ui"]["messages"].clone()
}

#[tokio::test]
async fn sec_35_no_path_through_the_gateway_leaves_the_folder() {
    let gateway = drawn(None).await;
    let root = root(&gateway);
    let outside = root.with_file_name("secret.txt");
    std::fs::write(&outside, "nobody may read this").expect("a secret");
    std::os::unix::fs::symlink(&outside, root.join("link.txt")).expect("a link");
    let name = "secret.txt";
    for step in [
        format!("../{name}"),
        format!("..%2f{name}"),
        format!("%2e%2e/{name}"),
        format!("%2e%2e%2f{name}"),
        format!("%252e%252e%252f{name}"),
        format!("..%5c{name}"),
        format!("..\\{name}"),
        format!("a/../../{name}"),
        format!("..%00/{name}"),
        format!("%c0%ae%c0%ae/{name}"),
        "link.txt".to_owned(),
        "/etc/passwd".to_owned(),
        "%2fetc%2fpasswd".to_owned(),
        "C:%5cwindows".to_owned(),
        ".a2ui/x.json".to_owned(),
    ] {
        for prefix in ["/__verso__/canvas/", "/__openclaw__/canvas/", "/__verso__/a2ui/"] {
            let (status, text) = get_as_written(gateway.port(), &format!("{prefix}{step}")).await;
            assert!(matches!(status, 400 | 404), "{prefix}{step}: {status}");
            assert!(!text.contains("nobody may read this") && !text.contains("root:"), "{prefix}{step}");
        }
    }
}

#[tokio::test]
async fn sec_36_what_an_agent_draws_has_no_origin_of_the_gateways() {
    let gateway = drawn(None).await;
    let client = gateway.client().await;
    let root = root(&gateway);
    std::fs::write(root.join("a.svg"), "<svg xmlns='http://www.w3.org/2000/svg'/>").expect("a picture");
    for path in ["/__verso__/canvas/", "/__verso__/canvas/a.svg", "/__openclaw__/canvas/missing"] {
        let answer = http().get(gateway.http(path)).send().await.expect("an answer");
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default();
        let policy = header("content-security-policy");
        assert!(
            policy.contains("frame-ancestors 'self'") && policy.contains("sandbox ") && !policy.contains("allow-same-origin"),
            "{policy}"
        );
        assert_eq!((header("x-content-type-options"), header("cache-control")), ("nosniff".to_owned(), "no-store".to_owned()));
        assert_eq!(header("access-control-allow-origin"), "");
    }
    let renderer = http().get(gateway.http("/__verso__/a2ui/")).send().await.expect("an answer");
    let policy = renderer.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    // A stranger needs a secret; a wrong one is none.
    let strange = |path: &str| http().get(gateway.http(path)).header("host", "den.example");
    assert_eq!(strange("/__verso__/canvas/").send().await.expect("an answer").status(), StatusCode::UNAUTHORIZED);
    assert_eq!(strange("/__verso__/canvas/").bearer_auth(TOKEN).send().await.expect("an answer").status(), StatusCode::OK);
    let url = client.call("canvas.open", json!({"page": "canvas"})).await.expect("an address")["url"].as_str().expect("text").to_owned();
    let secret = url.split_once("/cap/").expect("a secret").1.split('/').next().expect("a token").to_owned();
    assert_eq!(strange(&format!("/__verso__/cap/{secret}/__verso__/canvas/")).send().await.expect("an answer").status(), StatusCode::OK);
    assert_eq!(strange(&format!("/__verso__/canvas/?oc_cap={secret}")).send().await.expect("an answer").status(), StatusCode::OK);
    for wrong in ["/__verso__/cap/AAAAAAAAAAAAAAAAAAAAAAAA/__verso__/canvas/", "/__verso__/cap/x", "/__verso__/canvas/?oc_cap=x"] {
        assert_eq!(strange(wrong).send().await.expect("an answer").status(), StatusCode::UNAUTHORIZED, "{wrong}");
    }
    // Another site's page hears nothing of a conversation, and a page without a secret does nothing in one.
    let foreign = [("origin", "https://evil.example")];
    assert_eq!(socket(&gateway, "/__verso__/ws?session=main", &foreign).await.err(), Some(StatusCode::FORBIDDEN));
    client.call("canvas.a2ui.pushJSONL", json!({"jsonl": form()})).await.expect("accepted");
    let mut own = socket(&gateway, "/__verso__/ws?session=main", &[]).await.expect("a socket");
    surfaces(&mut own).await;
    let action = json!({"userAction": {"id": "1", "name": "greet", "surfaceId": "main", "sourceComponentId": "go", "context": {}}});
    futures_util::SinkExt::send(&mut own, action.to_string().into()).await.expect("sent");
    let told = own.next().await.expect("a frame").expect("no error");
    let told: Value = serde_json::from_str(told.to_text().expect("text")).expect("JSON");
    assert_eq!((&told["actionStatus"]["id"], &told["actionStatus"]["ok"]), (&json!("1"), &json!(false)), "{told}");
}

#[tokio::test]
async fn messages_are_judged_as_by_the_published_schema() {
    let Some((_, packages)) = peers::node() else { return };
    let path = packages.join("node_modules/@a2ui/web_core/src/v0_8/schemas/server_to_client_with_standard_catalog.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("the schema")).expect("JSON");
    let published = jsonschema::validator_for(&schema).expect("a schema");
    let gateway = drawn(None).await;
    let client = gateway.client().await;
    let mut judged = (0, 0);
    for message in samples() {
        assert!(published.is_valid(&message), "{message}");
        for changed in changes(&message).into_iter().chain([message.clone()]) {
            let pushed = client.call("canvas.a2ui.push", json!({"messages": [changed]})).await;
            // The words of the specification say "exactly one" where its schema allows none or several.
            let expected = published.is_valid(&changed) && names_exactly_one(&changed);
            assert_eq!(pushed.is_ok(), expected, "{changed}: {pushed:?}");
            if expected { judged.0 += 1 } else { judged.1 += 1 }
        }
        client.call("canvas.a2ui.reset", json!({})).await.expect("a reset");
    }
    assert!(judged.0 > 50 && judged.1 > 300, "{judged:?}");
}

fn names_exactly_one(message: &Value) -> bool {
    let one = |value: &Value| value.as_object().is_some_and(|object| object.len() == 1);
    let components = message["surfaceUpdate"]["components"].as_array().map(Vec::as_slice).unwrap_or_default();
    one(message) && components.iter().all(|item| one(&item["component"]))
}

/// Messages with every component and member that there is.
fn samples() -> Vec<Value> {
    let (text, path) = (json!({"literalString": "x"}), json!({"path": "/x"}));
    let children = json!({"explicitList": ["a"], "template": {"componentId": "a", "dataBinding": "/x"}});
    let components = [
        json!({"Text": {"text": text, "usageHint": "h1"}}),
        json!({"Image": {"url": text, "altText": path, "fit": "cover", "usageHint": "icon"}}),
        json!({"Icon": {"name": {"literalString": "add"}}}),
        json!({"Video": {"url": path}}),
        json!({"AudioPlayer": {"url": path, "description": text}}),
        json!({"Row": {"children": children, "distribution": "spaceEvenly", "alignment": "stretch"}}),
        json!({"Column": {"children": children, "distribution": "center", "alignment": "end"}}),
        json!({"List": {"children": children, "direction": "vertical", "alignment": "start"}}),
        json!({"Card": {"child": "a"}}),
        json!({"Tabs": {"tabItems": [{"title": text, "child": "a"}]}}),
        json!({"Divider": {"axis": "vertical"}}),
        json!({"Modal": {"entryPointChild": "a", "contentChild": "b"}}),
        json!({"Button": {"child": "a", "primary": true, "action": {"name": "n", "context": [{"key": "k", "value": {"literalNumber": 1.5}}]}}}),
        json!({"CheckBox": {"label": text, "value": {"literalBoolean": true}}}),
        json!({"TextField": {"label": text, "text": path, "textFieldType": "longText", "validationRegexp": ".*"}}),
        json!({"DateTimeInput": {"value": path, "enableDate": true, "enableTime": false}}),
        json!({"MultipleChoice": {"selections": {"literalArray": ["a"]}, "options": [{"label": text, "value": "a"}], "maxAllowedSelections": 2}}),
        json!({"Slider": {"value": {"literalNumber": 1}, "label": text, "minValue": 0, "maxValue": 2.5}}),
    ];
    let update = |component| json!({"surfaceUpdate": {"surfaceId": "s", "components": [{"id": "a", "weight": 1, "component": component}]}});
    let mut messages: Vec<Value> = components.into_iter().map(update).collect();
    messages.push(
        json!({"beginRendering": {"surfaceId": "s", "root": "a", "catalogId": "c", "styles": {"font": "f", "primaryColor": "#00fF00"}}}),
    );
    messages.push(json!({"dataModelUpdate": {"surfaceId": "s", "path": "/p", "contents": [
        {"key": "a", "valueString": "x"}, {"key": "b", "valueNumber": 2}, {"key": "c", "valueBoolean": true},
        {"key": "d", "valueMap": [{"key": "e", "valueString": "y"}]}]}}));
    messages.push(json!({"deleteSurface": {"surfaceId": "s"}}));
    messages
}

/// The message with one thing changed, for every thing in it: gone, of every other kind, or beside a stranger.
fn changes(message: &Value) -> Vec<Value> {
    let mut changed = Vec::new();
    for pointer in pointers(message, "") {
        let others = [json!(null), json!("x"), json!(1.5), json!(2), json!(true), json!([]), json!({}), json!({"x": 1})];
        for other in others {
            let mut copy = message.clone();
            *copy.pointer_mut(&pointer).expect("it is there") = other;
            changed.push(copy);
        }
        let (above, last) = pointer.rsplit_once('/').unwrap_or_default();
        let mut copy = message.clone();
        if let Some(Value::Object(object)) = copy.pointer_mut(above) {
            object.remove(last);
            changed.push(copy.clone());
        }
        if let Some(Value::Object(object)) = copy.pointer_mut(above) {
            object.insert("stranger".to_owned(), json!(1));
            changed.push(copy);
        }
    }
    changed
}

fn pointers(value: &Value, at: &str) -> Vec<String> {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(object) => object.iter().map(|(name, value)| (format!("{at}/{name}"), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, value)| (format!("{at}/{index}"), value)).collect(),
        _ => Vec::new(),
    };
    below.into_iter().flat_map(|(pointer, value)| pointers(value, &pointer).into_iter().chain([pointer])).collect()
}

/// Asks for a path exactly as it is written: no client of ours would.
async fn get_as_written(port: u16, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("an answer");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    (status, text)
}
