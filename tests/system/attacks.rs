//! Attacks on the ways in that must fail, or that find nothing here to attack.

use std::path::{Path, PathBuf};

use reqwest::StatusCode;
use serde_json::{Value, json};
use verso_client::{Client, Identity};
use verso_tests::bot_api::BotApi;
use verso_tests::gateway::TOKEN;
use verso_tests::provider::reply;
use verso_tests::{Gateway, Provider, eventually};

use crate::raw::{Raw, connect_params, request};

/// Where a page, a configuration or a setup code would be found, if any were served to whoever asks.
const PAGES: [&str; 16] = [
    "/",
    "/index.html",
    "/chat",
    "/overview",
    "/healthz",
    "/v1/models",
    "/config",
    "/api/config",
    "/control-ui-config.json",
    "/__openclaw/control-ui-config.json",
    "/__openclaw__/control-ui-config.json",
    "/__openclaw__/canvas/",
    "/__openclaw__/a2ui/",
    "/.well-known/openclaw/browser-bootstrap",
    "/avatar/main",
    "/avatar/main?meta=1",
];

/// Follows no redirect, so that it is seen where one leads.
fn browser() -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().tls_certs_only([]).redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}

async fn refusal(client: &Client, method: &str, params: Value) -> String {
    client.call(method, params).await.expect_err("a refusal").message
}

/// Sends a message and waits for the end of what it begins.
async fn say(client: &Client, method: &str, mut params: Value) -> Value {
    let run = format!("run-{params}");
    params["idempotencyKey"] = json!(run);
    client.call(method, params).await.unwrap_or_else(|error| panic!("{method}: {error}"));
    client.call("agent.wait", json!({"runId": run})).await.expect("an end")
}

#[tokio::test]
async fn sec_01_no_page_takes_a_gateway_or_a_token_from_its_address() {
    let gateway = Gateway::start().await;
    for path in PAGES {
        let mark = if path.contains('?') { '&' } else { '?' };
        let address = gateway.http(&format!("{path}{mark}gatewayUrl=ws://evil.example&token={TOKEN}&password={TOKEN}"));
        let answer = browser().get(address).header("referer", "https://evil.example/").send().await.expect("an answer");
        let headers = format!("{:?}", answer.headers());
        assert!(!headers.contains("evil.example") && !headers.contains(TOKEN), "{path}: {headers}");
        assert_eq!(answer.headers().get("referrer-policy").and_then(|policy| policy.to_str().ok()), Some("no-referrer"), "{path}");
        let body = answer.text().await.expect("a body");
        assert!(!body.contains("evil.example") && !body.contains(TOKEN) && !body.contains("gatewayUrl"), "{path}: {body}");
    }
    let models = browser().get(gateway.http(&format!("/v1/models?token={TOKEN}"))).send().await.expect("an answer");
    assert_eq!(models.status(), StatusCode::UNAUTHORIZED, "a token in an address opens nothing");
    let address = format!("{}/?token={TOKEN}", gateway.url());
    let (mut socket, _) = tokio_tungstenite::connect_async(address).await.expect("an upgrade");
    let mut params = connect_params(4);
    params["auth"] = json!({});
    let answer = answer_to(&mut socket, request("1", "connect", params)).await;
    assert_eq!(answer["ok"], false, "nor does it in the address of a socket: {answer}");
}

/// The first response of a socket to a frame.
async fn answer_to<S>(socket: &mut tokio_tungstenite::WebSocketStream<S>, frame: String) -> Value
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;
    socket.send(Message::text(frame)).await.expect("an open socket");
    loop {
        let message = socket.next().await.expect("an answer").expect("an open socket");
        if let Message::Text(text) = message {
            let frame: Value = serde_json::from_str(&text).expect("JSON");
            if frame["type"] == "res" {
                return frame;
            }
        }
    }
}

#[tokio::test]
async fn sec_07_who_only_looks_local_gets_no_device_token() {
    let gateway = Gateway::start_with(json!({"gateway": {"trustedProxies": ["127.0.0.1"]}})).await;
    let local = format!("localhost:{}", gateway.port());
    let page = format!("http://{local}");
    let looks: [&[(&str, &str)]; 8] = [
        &[("host", &local), ("x-forwarded-for", "203.0.113.9")],
        &[("host", &local), ("x-forwarded-for", "127.0.0.1")],
        &[("host", &local), ("x-real-ip", "127.0.0.1")],
        &[("host", &local), ("forwarded", "for=127.0.0.1;host=localhost")],
        &[("host", &local), ("x-forwarded-host", "localhost")],
        &[("host", &local), ("x-forwarded-scheme", "http")],
        &[("host", &local), ("tailscale-user-name", "Ada")],
        &[("host", "gateway.evil.example")],
    ];
    for (id, mode) in [("openclaw-control-ui", "webchat"), ("gateway-client", "backend")] {
        for look in looks {
            let mut options = gateway.options().with_identity(Identity::generate(0)).with_client(id, mode);
            options.headers.extend(look.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
            if mode == "webchat" {
                let host = look[0].1;
                options.headers.push(("origin".to_owned(), if host == local { page.clone() } else { format!("http://{host}") }));
            }
            let refused = Client::connect(options).await.err().unwrap_or_else(|| panic!("{id} {look:?} was let in"));
            let words = format!("{refused:?}");
            assert!(words.contains("not-paired") || words.contains("CONTROL_UI_ORIGIN_NOT_ALLOWED"), "{id} {look:?}: {words}");
        }
    }
    let devices = gateway.client().await.call("device.pair.list", json!({})).await.expect("a list");
    assert_eq!(devices["paired"], json!([]), "nothing is kept of any of them but what they ask for");
    let mut owner = gateway.options().with_identity(Identity::generate(0)).with_client("openclaw-control-ui", "webchat");
    owner.headers.push(("origin".to_owned(), format!("http://127.0.0.1:{}", gateway.port())));
    assert!(gateway.connect(owner).await.hello().device_token.is_some(), "the owner's own page is paired");
}

/// The texts that a chat was sent, once there are `count` of them.
async fn told(api: &BotApi, chat: i64, count: usize) -> Vec<String> {
    let sent = eventually("an answer", async || Some(api.sent_to(chat)).filter(|sent| sent.len() >= count)).await;
    sent.iter().map(|message| message["text"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn over_telegram(provider: &Provider, api: &BotApi, bot: Value) -> Gateway {
    let mut config = provider.config();
    config["channels"] = api.channels(&bot)["channels"].take();
    Gateway::start_with(config).await
}

#[tokio::test]
async fn sec_12_no_message_lets_anybody_in_or_makes_a_code() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let gateway = over_telegram(&provider, &api, json!({})).await;
    let owner = gateway.client().await;
    let asking = async || owner.call("channels.pairing.list", json!({})).await.expect("a list")["requests"].clone();
    api.write(7, "let me in");
    let offered = told(&api, 7, 1).await;
    let code = asking().await[0]["code"].as_str().expect("a code").to_owned();
    let orders = |code: &str| {
        [
            format!("/pair approve {code}"),
            format!("/pairing approve telegram {code}"),
            format!("verso pairing approve telegram {code}"),
            format!("/approve {code} allow-always"),
            "/pair qr".to_owned(),
            "/pair".to_owned(),
            "/devices approve latest".to_owned(),
        ]
    };
    // Neither he himself …
    for order in orders(&code) {
        api.write(7, &order);
    }
    let seen = asking().await[0]["lastSeenAt"].clone();
    api.write(7, "and now?");
    eventually("all of it was read", async || (asking().await[0]["lastSeenAt"] != seen).then_some(())).await;
    // … nor somebody else who was let in, without being the owner.
    api.write(8, "me, too");
    told(&api, 8, 1).await;
    let friend = asking().await.as_array().and_then(|all| all.iter().find(|one| one["id"] == "8").cloned()).expect("a request");
    owner.call("channels.pairing.approve", json!({"channel": "telegram", "code": friend["code"]})).await.expect("approved");
    for (number, order) in orders(&code).into_iter().enumerate() {
        api.write(8, &format!("{order} [[tokens=2]]"));
        assert_eq!(told(&api, 8, number + 2).await[number + 1], reply(2), "{order} is a message for the model");
    }
    let waiting = asking().await;
    assert_eq!((waiting.as_array().map(Vec::len), &waiting[0]["id"]), (Some(1), &json!("7")), "{waiting}");
    assert_eq!((told(&api, 7, 1).await, provider.calls().len()), (offered, orders(&code).len()), "nothing of the stranger's was answered");
    let devices = owner.call("device.pair.list", json!({})).await.expect("a list");
    assert_eq!((&devices["pending"], &devices["paired"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn sec_20_a_guest_of_a_group_and_a_wildcard_give_no_commands() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let bot = json!({"dmPolicy": "open", "allowFrom": ["*", "42"], "groupPolicy": "open", "groups": {"-100": {"requireMention": false}}});
    let gateway = over_telegram(&provider, &api, bot).await;
    let group = json!({"id": -100, "type": "supergroup", "title": "Den"});
    let say_in_group = |from: i64, text: &str| api.update(&json!({"chat": group, "from": {"id": from, "first_name": "Bob"}, "text": text}));
    for (chat, from) in [(5, 5), (-100, 6)] {
        let asked = provider.calls().len();
        let write = |text: &str| if chat == from { api.write(from, text) } else { say_in_group(from, text) };
        write("remember the soup [[tokens=2]]");
        told(&api, chat, 1).await;
        for (number, order) in ["/new", "/reset", "/status", "/stop", "/config set a b"].into_iter().enumerate() {
            write(order);
            assert_eq!(told(&api, chat, number + 2).await.len(), number + 2);
            assert_eq!(provider.calls().len(), asked + number + 2, "{order} is a message for the model");
        }
        let newest = provider.calls().last().expect("a call").body["messages"].to_string();
        assert!(newest.contains("remember the soup"), "nobody began the session afresh: {newest}");
    }
    let asked = provider.calls().len();
    api.write(42, "/status");
    assert!(told(&api, 42, 1).await[0].contains("model"), "whom the list names by his id gives commands");
    assert_eq!(provider.calls().len(), asked);
    drop(gateway);
}

#[tokio::test]
async fn sec_20_a_message_carries_out_nothing_that_its_sender_may_not() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let config = gateway.state_dir().join("verso.json");
    let before = std::fs::read(&config).expect("the configuration");
    let admin = gateway.client().await;
    say(&admin, "chat.send", json!({"sessionKey": "main", "message": "hello [[tokens=1]]"})).await;
    let writer = gateway.connect(gateway.options().with_scopes(["operator.read", "operator.write"])).await;
    let orders = [
        "/config set gateway.auth.mode none",
        "/debug set gateway.auth.mode none",
        "/allowlist add dm telegram 666",
        "/approve 1 allow-always",
        "/elevated full",
        "/exec security=full ask=off",
        "/bash touch owned",
        "! touch owned",
        "/send on",
        "/focus agent:main:main",
        "/pair",
        "/restart",
    ];
    for (number, order) in orders.into_iter().enumerate() {
        let message = format!("{order} [[tokens=1]]");
        say(&writer, "chat.send", json!({"sessionKey": "agent:main:main", "message": message})).await;
        assert_eq!(provider.calls().len(), number + 2, "{order} is nothing but a message for the model");
    }
    for (method, params) in [
        ("agent", json!({"message": "/reset", "sessionKey": "main", "idempotencyKey": "r"})),
        ("agent", json!({"message": " /NEW page", "sessionKey": "main", "idempotencyKey": "n"})),
        ("sessions.reset", json!({"key": "main"})),
        ("sessions.patch", json!({"key": "main", "execSecurity": "full"})),
        ("config.patch", json!({"raw": "{}", "baseHash": ""})),
        ("exec.approvals.set", json!({"file": {}})),
        ("chat.inject", json!({"sessionKey": "main", "message": "x"})),
    ] {
        assert_eq!(refusal(&writer, method, params).await, "missing scope: operator.admin", "{method}");
    }
    // What a chat network's service hands over is no method: nobody can say so for whom he speaks.
    for method in ["submit", "inbound.submit", "agent.submit", "channels.submit"] {
        assert_eq!(refusal(&admin, method, json!({})).await, format!("unknown method: {method}"));
    }
    assert_eq!(std::fs::read(&config).expect("the configuration"), before);
    assert!(find(gateway.state_dir().parent().expect("a folder"), "owned").is_empty());
    let history = admin.call("chat.history", json!({"sessionKey": "main"})).await.expect("a history").to_string();
    assert!(history.contains("hello [[tokens=1]]"), "the session was never begun afresh: {history}");
}

/// The files below a folder whose names contain `part`.
fn find(folder: &Path, part: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let deeper = entries.flat_map(|entry| {
        let named = entry.file_name().to_string_lossy().contains(part).then(|| entry.path());
        let inside = if entry.file_type().is_ok_and(|kind| kind.is_dir()) { find(&entry.path(), part) } else { Vec::new() };
        named.into_iter().chain(inside)
    });
    deeper.collect()
}

#[tokio::test]
async fn sec_21_no_member_of_a_request_leads_out_of_its_agent_or_its_folder() {
    let provider = Provider::start().await;
    let mut config = provider.config();
    config["agents"]["list"] = json!([{"id": "main", "default": true}, {"id": "second"}]);
    let gateway = Gateway::start_with(config).await;
    let admin = gateway.client().await;
    let writer = gateway.connect(gateway.options().with_scopes(["operator.read", "operator.write"])).await;
    let mismatch = json!({"message": "x", "agentId": "second", "sessionKey": "agent:main:main", "idempotencyKey": "m"});
    assert!(refusal(&writer, "agent", mismatch).await.contains("does not match session key agent"));
    for member in ["workspaceDir", "workspace", "sessionFile", "agentDir", "senderIsOwner", "authorized"] {
        let request = json!({"message": "x", "idempotencyKey": member, (member): "/etc"});
        let words = refusal(&writer, "agent", request).await;
        assert!(words.contains(&format!("unexpected property '{member}'")), "{words}");
    }
    // The names of sessions are nothing but names.
    let ids = ["../../../escaped-a", "/escaped-b", "..\\escaped-c"];
    for id in ids {
        say(&writer, "agent", json!({"message": "hi [[tokens=1]]", "sessionId": id, "cwd": "/escaped-cwd"})).await;
    }
    say(&writer, "agent", json!({"message": "hi [[tokens=1]]", "sessionKey": "agent:main:../../escaped-d"})).await;
    let list = admin.call("sessions.list", json!({})).await.expect("a list");
    let keys: Vec<&str> = list["sessions"].as_array().into_iter().flatten().filter_map(|session| session["key"].as_str()).collect();
    assert_eq!(keys.len(), ids.len() + 1, "{list}");
    for key in keys {
        admin.call("sessions.delete", json!({"key": key})).await.unwrap_or_else(|error| panic!("{key}: {error}"));
    }
    let folder = gateway.state_dir().parent().expect("a folder").to_owned();
    let kept = find(&folder, "escaped");
    assert!(!kept.is_empty() && kept.iter().all(|path| path.starts_with(gateway.state_dir())), "{kept:?}");
    let asked: String = provider.calls().iter().map(|call| call.body.to_string()).collect();
    assert!(!asked.contains("escaped-cwd") && asked.contains("workspace"), "the model is told of the agent's own folder only");
}

#[tokio::test]
async fn sec_22_no_header_makes_anybody_the_owner() {
    let gateway = Gateway::start().await;
    let claims = [
        ("x-openclaw-sender-is-owner", "true"),
        ("x-verso-sender-is-owner", "true"),
        ("x-openclaw-scopes", "operator.admin"),
        ("x-openclaw-account-id", "owner"),
        ("x-forwarded-user", "owner"),
        ("x-forwarded-for", "203.0.113.9"),
    ];
    let mut raw = Raw::open_with(&gateway, &claims).await.expect("an upgrade");
    assert_eq!(raw.connect(4).await["payload"]["auth"]["scopes"], json!([]), "the secret alone gives a remote client no scopes");
    raw.send(request("1", "config.get", json!({}))).await;
    assert_eq!(raw.response().await.expect("an answer")["error"]["code"], "FORBIDDEN");
    let mut reader = Raw::open_with(&gateway, &claims[..4]).await.expect("an upgrade");
    let mut params = connect_params(4);
    params["scopes"] = json!(["operator.read"]);
    reader.send(request("c", "connect", params)).await;
    reader.response().await.expect("an answer");
    reader.send(request("1", "sessions.reset", json!({"key": "main"}))).await;
    assert_eq!(reader.response().await.expect("an answer")["error"]["message"], "missing scope: operator.admin");
    for path in ["/v1/models", "/metrics"] {
        let mut asked = browser().get(gateway.http(path));
        for (name, value) in &claims[..4] {
            asked = asked.header(*name, *value);
        }
        assert_eq!(asked.send().await.expect("an answer").status(), StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn sec_23_no_tool_that_runs_or_governs_is_reached_over_http() {
    let proxy = json!({"mode": "trusted-proxy", "token": null, "trustedProxy": {"userHeader": "x-user", "allowLoopback": true}});
    for auth in [json!({}), proxy] {
        let gateway = Gateway::start_with(json!({"gateway": {"trustedProxies": ["127.0.0.1"], "auth": auth}})).await;
        let post = |path: &str| {
            let asked = browser().post(gateway.http(path)).bearer_auth(TOKEN);
            if auth == json!({}) { asked } else { asked.header("x-forwarded-for", "203.0.113.9").header("x-user", "ada") }
        };
        for tool in ["exec", "bash", "process", "write", "sessions_spawn", "sessions_send", "gateway", "cron", "nodes", "whatsapp_login"] {
            let body = json!({"tool": tool, "args": {"command": "touch owned", "path": "owned", "content": "x", "action": "restart"}});
            let answer = post("/tools/invoke").json(&body).send().await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{tool}");
        }
        assert!(find(gateway.state_dir().parent().expect("a folder"), "owned").is_empty());
    }
}

#[tokio::test]
async fn sec_24_nothing_is_told_to_who_has_not_said_who_he_is() {
    let gateway = Gateway::start().await;
    let own = [TOKEN.to_owned(), gateway.state_dir().display().to_string(), "bootstrapToken".to_owned(), "\"workspace".to_owned()];
    for path in PAGES {
        let answer = browser().get(gateway.http(path)).header("x-forwarded-for", "203.0.113.9").send().await.expect("an answer");
        let status = answer.status();
        assert!(path == "/healthz" || !status.is_success() || is_page(&answer), "{path}: {status}");
        let body = answer.text().await.expect("a body");
        assert!(own.iter().all(|secret| !body.contains(secret)), "{path}: {body}");
    }
    let mut raw = Raw::open(&gateway).await;
    let mut params = connect_params(4);
    params["auth"] = json!({"bootstrapToken": "made-up-setup-code"});
    raw.send(request("1", "connect", params)).await;
    assert_eq!(raw.response().await.expect("an answer")["ok"], false);
    let mut options = gateway.options().with_identity(Identity::generate(0));
    options.token = None;
    assert!(Client::connect(options).await.is_err(), "a device of this machine needs the secret, too");
}

/// A page without anything of this gateway may be given to everybody: it asks for the secret itself.
fn is_page(answer: &reqwest::Response) -> bool {
    answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).is_some_and(|kind| kind.starts_with("text/html"))
}

/// Where a page of another site might call.
const CALLS: [(&str, &str); 12] = [
    ("GET", "/healthz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/v1/models"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/embeddings"),
    ("POST", "/tools/invoke"),
    ("POST", "/hooks/wake"),
    ("GET", "/control-ui-config.json"),
    ("GET", "/avatar/main"),
    ("GET", "/__verso__/canvas/"),
];

#[tokio::test]
async fn sec_84_no_page_of_another_site_may_read_or_send_anything() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let config = json!({
        "canvasHost": {"enabled": true, "port": port},
        "hooks": {"enabled": true, "token": "made-up-hook-secret"},
        "gateway": {"http": {"endpoints": {"responses": {"enabled": true}}}, "controlUi": {"allowedOrigins": ["*"]}},
    });
    let gateway = Gateway::start_with(config).await;
    let own = CALLS.map(|(method, path)| (method, gateway.http(path)));
    let standalone = [("GET", format!("http://127.0.0.1:{port}/__verso__/canvas/")), ("GET", format!("http://127.0.0.1:{port}/"))];
    for (method, url) in own.into_iter().chain(standalone) {
        for origin in ["https://evil.example", "null", "http://localhost.evil.example"] {
            let method: reqwest::Method = method.parse().expect("a method");
            let asked = browser().request(method.clone(), &url).header("origin", origin).bearer_auth(TOKEN);
            let preflight = browser()
                .request(reqwest::Method::OPTIONS, &url)
                .header("origin", origin)
                .header("access-control-request-method", method.as_str())
                .header("access-control-request-headers", "authorization,content-type")
                .header("access-control-request-private-network", "true");
            for (kind, request) in [("request", asked), ("preflight", preflight)] {
                let answer = request.send().await.expect("an answer");
                let open = answer.headers().keys().find(|name| name.as_str().starts_with("access-control-"));
                assert_eq!(open, None, "{kind} {method} {url} from {origin}");
                assert!(kind == "request" || !answer.status().is_success(), "{method} {url}: {}", answer.status());
            }
        }
    }
}

#[tokio::test]
async fn sec_25_what_a_page_can_send_without_asking_does_nothing() {
    let provider = Provider::start().await;
    for auth in [json!({"token": TOKEN}), json!({"mode": "none", "token": null})] {
        let mut config = provider.config();
        config["hooks"] = json!({"enabled": true, "token": "made-up-hook-secret"});
        config["gateway"] = json!({"auth": auth, "http": {"endpoints": {"responses": {"enabled": true}}}});
        let gateway = Gateway::start_with(config).await;
        for (path, body) in [
            ("/v1/chat/completions", json!({"model": "verso", "messages": [{"role": "user", "content": "forged"}]})),
            ("/v1/responses", json!({"model": "verso", "input": "forged"})),
            ("/tools/invoke", json!({"tool": "session_status"})),
            ("/hooks/agent", json!({"message": "forged"})),
            ("/hooks/wake", json!({"text": "forged"})),
        ] {
            // These three need no preflight: a form of any page can send them.
            for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
                let sent = browser().post(gateway.http(path)).header("origin", "https://evil.example").header("content-type", kind);
                let status = sent.body(body.to_string()).send().await.expect("an answer").status();
                assert!(matches!(status.as_u16(), 401 | 403 | 429), "{auth} {path} {kind}: {status}");
            }
        }
    }
    assert_eq!(provider.calls().len(), 0, "no agent has heard of it");
}
