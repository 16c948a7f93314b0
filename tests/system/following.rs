//! Who hears of what, by which name, and after a broken connection.

use serde_json::{Value, json};
use verso_tests::Gateway;
use verso_tests::gateway::TOKEN;

use crate::raw::Raw;

/// What older clients' schemas do not know, on any level of what they are sent about sessions and runs.
const NEWER: [&str; 22] = [
    "agentId",
    "deltaText",
    "isHeartbeat",
    "__openclaw",
    "sessionInfo",
    "hasMore",
    "totalMessages",
    "nextOffset",
    "pendingInputs",
    "totalCount",
    "limitApplied",
    "owners",
    "thinkingLevels",
    "thinkingOptions",
    "thinkingDefault",
    "classification",
    "hasActiveRun",
    "archived",
    "pinned",
    "snapshotAt",
    "errorKind",
    "modelSelectionTarget",
];

/// A connection of one protocol version.
struct Client {
    raw: Raw,
    hello: Value,
    requests: u32,
    heard: Vec<Value>,
}

impl Client {
    async fn connect(gateway: &Gateway, protocol: u32, more: Value) -> Self {
        let mut raw = Raw::open(gateway).await;
        let mut params = json!({
            "minProtocol": protocol, "maxProtocol": protocol, "role": "operator", "scopes": ["operator.admin"], "auth": {"token": TOKEN},
            "client": {"id": "gateway-client", "version": "1", "platform": "linux", "mode": "backend", "instanceId": "one"},
        });
        for (name, value) in more.as_object().expect("an object") {
            params[name] = value.clone();
        }
        raw.send(json!({"type": "req", "id": "c", "method": "connect", "params": params}).to_string()).await;
        let hello = raw.response().await.expect("an answer");
        assert_eq!(hello["ok"], true, "{hello}");
        Self { raw, hello: hello["payload"].clone(), requests: 0, heard: Vec::new() }
    }

    async fn next(&mut self) -> Value {
        let frame = self.raw.next().await.expect("an open connection");
        self.heard.push(frame.clone());
        frame
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.requests += 1;
        let id = self.requests.to_string();
        self.raw.send(json!({"type": "req", "id": id, "method": method, "params": params}).to_string()).await;
        loop {
            let frame = self.next().await;
            if frame["id"] == id.as_str() {
                return frame;
            }
        }
    }

    async fn event(&mut self, matches: impl Fn(&str, &Value) -> bool) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == "event" && matches(frame["event"].as_str().expect("a name"), &frame["payload"]) {
                return frame;
            }
        }
    }

    /// Says something and waits for the reply.
    async fn say(&mut self, session: &str, key: &str) -> Value {
        let sent = self.call("chat.send", json!({"sessionKey": session, "message": "hello", "idempotencyKey": key})).await;
        assert_eq!(sent["payload"]["status"], "started", "{sent}");
        self.event(|name, payload| name == "chat" && payload["runId"] == key && payload["state"] == "final").await
    }

    fn heard(&self, event: &str) -> usize {
        self.heard.iter().filter(|frame| frame["event"] == event).count()
    }
}

fn keys<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            found.push(name);
            keys(value, found);
        }),
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn followers_hear_of_changes_and_messages_and_nobody_else_does() {
    let gateway = Gateway::start().await;
    let mut follower = Client::connect(&gateway, 4, json!({})).await;
    let mut speaker = Client::connect(&gateway, 4, json!({})).await;
    assert_eq!(follower.call("sessions.subscribe", json!({})).await["payload"], json!({"subscribed": true}));
    let listed = follower.call("sessions.subscribe", json!({"limit": 5})).await;
    assert_eq!((&listed["payload"]["list"]["count"], &listed["payload"]["list"]["limitApplied"]), (&json!(0), &json!(5)));
    let refused = follower.call("sessions.subscribe", json!({"nonsense": 1})).await;
    assert_eq!(refused["error"]["message"], "invalid sessions.subscribe params: at root: unexpected property 'nonsense'");
    let subscribed = follower.call("sessions.messages.subscribe", json!({"key": "main", "includeApprovals": true})).await;
    assert_eq!(subscribed["payload"]["key"], "agent:main:main");
    assert_eq!(subscribed["payload"]["approvalReplay"]["approvals"], json!([]));
    speaker.say("main", "f1").await;
    let user = follower.event(|name, _| name == "session.message").await;
    assert_eq!((&user["payload"]["message"]["role"], &user["payload"]["messageSeq"]), (&json!("user"), &json!(1)));
    let begun = follower.event(|name, payload| name == "sessions.changed" && payload["phase"] == "start").await;
    assert_eq!((&begun["payload"]["session"]["status"], &begun["payload"]["hasActiveRun"]), (&json!("running"), &json!(true)));
    let said = follower.event(|name, payload| name == "session.message" && payload["message"]["role"] == "assistant").await;
    let ended = follower.event(|name, payload| name == "sessions.changed" && payload["phase"] == "end").await;
    assert_eq!((&ended["payload"]["session"]["status"], &ended["payload"]["runId"]), (&json!("done"), &json!("f1")));
    let whole = follower.call("chat.message.get", json!({"sessionKey": "main", "messageId": said["payload"]["messageId"]})).await;
    assert_eq!(whole["payload"]["message"]["content"], said["payload"]["message"]["content"]);
    assert_eq!((speaker.heard("sessions.changed"), speaker.heard("session.message")), (0, 0));
    follower.call("sessions.unsubscribe", json!({})).await;
    follower.call("sessions.messages.unsubscribe", json!({"key": "main"})).await;
    let before = follower.heard("session.message");
    speaker.say("main", "f2").await;
    follower.event(|name, payload| name == "chat" && payload["runId"] == "f2" && payload["state"] == "final").await;
    assert_eq!(follower.heard("session.message"), before);
}

#[tokio::test]
async fn what_newer_clients_ask_at_their_start_is_answered() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(&gateway, 4, json!({})).await;
    let session = json!({"sessionKey": "agent:main:main", "agentId": "main"});
    for (method, params, expected) in [
        ("sessions.observer.visibility", json!({"visible": true}), json!({"ok": true})),
        ("sessions.branches.list", session.clone(), json!({"branches": []})),
        ("sessions.companion.state", session.clone(), json!({"exchanges": []})),
        ("progressCard.get", session.clone(), json!({"card": null})),
        ("tasks.list", json!({"sessionKey": "agent:main:main", "status": ["queued"], "limit": 200}), json!({"tasks": []})),
        ("taskSuggestions.list", json!({"agentId": "main"}), json!({"suggestions": []})),
    ] {
        assert_eq!(client.call(method, params).await["payload"], expected, "{method}");
        let listed = client.hello["features"]["methods"].as_array().expect("a list").contains(&json!(method));
        assert!(listed, "{method} is not advertised");
    }
    let metadata = client.call("chat.metadata", session.clone()).await;
    assert!(!metadata["payload"]["models"].as_array().expect("models").is_empty(), "{metadata}");
    let commands = client.call("commands.list", json!({"agentId": "main", "scope": "text", "includeArgs": false})).await;
    let names: Vec<&Value> = commands["payload"]["commands"].as_array().expect("commands").iter().map(|command| &command["name"]).collect();
    assert!(names.contains(&&json!("status")), "{names:?}");
    let startup = client.call("chat.startup", json!({"sessionKey": "agent:main:main", "limit": 80, "maxBytes": 262_144})).await;
    assert_eq!((&startup["payload"]["messages"], &startup["payload"]["hasMore"]), (&json!([]), &json!(false)));
    let create = json!({"idempotencyKey": "made", "label": "Plans", "message": "hello"});
    let made = client.call("sessions.create", create.clone()).await;
    assert_eq!(
        (&made["payload"]["ok"], &made["payload"]["runStarted"], &made["payload"]["runId"]),
        (&json!(true), &json!(true), &json!("made"))
    );
    let again = client.call("sessions.create", create).await;
    assert_eq!(again["payload"]["key"], made["payload"]["key"], "a repeat makes no second session");
    let pin = client.call("sessions.patch", json!({"key": made["payload"]["key"], "pinned": true, "archived": true})).await;
    assert_eq!(pin["ok"], true, "{pin}");
    let count = async |client: &mut Client, params: Value| client.call("sessions.list", params).await["payload"]["totalCount"].clone();
    assert_eq!(count(&mut client, json!({"search": "plans"})).await, 0, "what is archived is out of sight");
    assert_eq!(count(&mut client, json!({"search": "plans", "archived": true, "pinned": true})).await, 1);
    let idle = client.call("sessions.abort", json!({"key": "main"})).await;
    assert_eq!(idle["payload"], json!({"ok": true, "abortedRunId": null, "status": "no-active-run"}));
}

#[tokio::test]
async fn older_clients_hear_their_own_name_of_a_session_and_nothing_newer() {
    let gateway = Gateway::start().await;
    let mut older = Client::connect(&gateway, 3, json!({})).await;
    let mut newer = Client::connect(&gateway, 4, json!({})).await;
    let end = older.say("Main", "n1").await;
    assert_eq!(end["payload"]["sessionKey"], "Main");
    let end = newer.event(|name, payload| name == "chat" && payload["state"] == "final").await;
    assert_eq!((&end["payload"]["sessionKey"], &end["payload"]["agentId"]), (&json!("agent:main:main"), &json!("main")));
    newer.say("main", "n2").await;
    let end = older.event(|name, payload| name == "chat" && payload["runId"] == "n2" && payload["state"] == "final").await;
    assert_eq!(end["payload"]["sessionKey"], "agent:main:main", "somebody else's run has the canonical name");
    for (method, params) in [
        ("agent", json!({"message": "hello", "sessionKey": "main", "idempotencyKey": "n3"})),
        ("sessions.list", json!({"includeDerivedTitles": true, "includeLastMessage": true})),
        ("sessions.patch", json!({"key": "main", "label": "mine"})),
        ("sessions.preview", json!({"keys": ["main"]})),
        ("sessions.resolve", json!({"label": "mine"})),
        ("chat.history", json!({"sessionKey": "main"})),
        ("chat.abort", json!({"sessionKey": "main"})),
        ("sessions.compact", json!({"key": "main"})),
        ("sessions.reset", json!({"key": "main"})),
    ] {
        let answer = older.call(method, params).await;
        assert_eq!(answer["ok"], true, "{method}: {answer}");
    }
    for frame in &older.heard {
        let mut found: Vec<&str> = frame.as_object().expect("an object").keys().map(String::as_str).collect();
        let known = match frame["type"].as_str() {
            Some("res") => vec!["type", "id", "ok", "payload", "error"],
            _ => vec!["type", "event", "payload", "seq", "stateVersion"],
        };
        assert!(found.iter().all(|name| known.contains(name)), "{frame}");
        if frame["event"] == "health" || frame["event"] == "presence" {
            continue;
        }
        found.clear();
        keys(&frame["payload"], &mut found);
        let newer: Vec<_> = found.into_iter().filter(|name| NEWER.contains(name)).collect();
        assert!(newer.is_empty(), "{newer:?} in {frame}");
    }
}

#[tokio::test]
async fn a_client_that_comes_back_hears_what_it_missed_or_that_it_must_ask() {
    let gateway = Gateway::start().await;
    let client =
        |instance: &str| json!({"id": "gateway-client", "version": "1", "platform": "linux", "mode": "backend", "instanceId": instance});
    let mut first = Client::connect(&gateway, 4, json!({"client": client("two")})).await;
    let mut other = Client::connect(&gateway, 4, json!({})).await;
    first.call("sessions.subscribe", json!({})).await;
    other.say("main", "j1").await;
    let heard = first.event(|name, payload| name == "chat" && payload["state"] == "final").await["seq"].as_u64().expect("a number");
    let conn_id = first.hello["server"]["connId"].clone();
    drop(first);
    other.say("main", "j2").await;
    let resume = json!({"client": client("two"), "resume": {"seq": heard, "connId": conn_id}});
    let mut second = Client::connect(&gateway, 4, resume).await;
    let told = second.next().await;
    assert_eq!((&told["event"], &told["payload"]["seq"], told.get("seq")), (&json!("events.resumed"), &json!(heard), None));
    let replayed = told["payload"]["replayed"].as_u64().expect("a count");
    second.event(|name, payload| name == "chat" && payload["runId"] == "j2" && payload["state"] == "final").await;
    let mut seqs: Vec<u64> = second.heard.iter().filter_map(|frame| frame["seq"].as_u64()).collect();
    assert!(replayed >= seqs.len() as u64, "{replayed} events were announced");
    assert!(
        second.heard.iter().all(|frame| frame["payload"]["runId"] != "j1" || frame["payload"]["state"] != "final"),
        "nothing comes twice"
    );
    seqs.dedup();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "numbered like everything on this connection");
    other.say("main", "j3").await;
    second.event(|name, payload| name == "sessions.changed" && payload["runId"] == "j3").await;
    let again = second.call("events.resume", json!({"seq": heard, "connId": conn_id})).await;
    assert_eq!(again["payload"]["resumed"], true, "{again}");

    let mut stranger = Client::connect(&gateway, 4, json!({"client": client("three"), "resume": {"seq": heard, "connId": conn_id}})).await;
    assert_eq!(stranger.next().await["payload"], json!({"reason": "unknown"}), "another client's events are not for sale");
    let beyond = stranger.call("events.resume", json!({"seq": 1})).await;
    assert_eq!(beyond["payload"], json!({"resumed": false, "replayed": 0, "reason": "unknown"}));
}

#[tokio::test]
async fn a_repeat_has_no_effect_over_the_death_of_the_service_and_of_the_edge() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(&gateway, 4, json!({})).await;
    client.say("main", "i1").await;
    let send = json!({"sessionKey": "main", "message": "hello", "idempotencyKey": "i1"});
    let count =
        async |client: &mut Client| client.call("chat.history", json!({"sessionKey": "main"})).await["payload"]["totalMessages"].clone();
    let before = count(&mut client).await;
    for service in ["agent", "edge"] {
        let pid = gateway.kill(service).await;
        gateway.recovered(service, pid).await;
        let mut client = Client::connect(&gateway, 4, json!({})).await;
        assert_eq!(client.call("chat.send", send.clone()).await["payload"]["status"], "ok", "after the death of {service}");
        assert_eq!(count(&mut client).await, before);
    }
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_a_timeout() {
    let provider = verso_tests::Provider::start().await;
    let gateway = Gateway::start_with_model(&provider).await;
    let mut client = Client::connect(&gateway, 4, json!({})).await;
    let params = json!({"message": "slow [[tokens=100 gap=200]]", "sessionKey": "main", "timeout": 1, "idempotencyKey": "late"});
    client.call("agent", params.clone()).await;
    let end = loop {
        let frame = client.next().await;
        if frame["type"] == "res" && frame["payload"]["status"] != "accepted" {
            break frame;
        }
    };
    assert_eq!(
        (&end["ok"], &end["error"]["code"], &end["payload"]["errorKind"]),
        (&json!(false), &json!("AGENT_TIMEOUT"), &json!("timeout"))
    );
    let again = client.call("agent", params).await;
    assert_eq!(again["error"], end["error"], "the stored error is the same");
}

#[tokio::test]
async fn a_node_gets_copies_of_the_chat_that_it_asked_for() {
    let gateway = Gateway::start().await;
    let identity = verso_client::Identity::generate(0);
    let mut options = gateway.options();
    options.role = "node".to_owned();
    options.scopes = None;
    options = options.with_client("node-host", "node").with_identity(identity).with_protocol(3..=3);
    let node = gateway.connect(options).await;
    let mut events = node.events();
    let told = node.call("node.event", json!({"event": "chat.subscribe", "payloadJSON": "{\"sessionKey\":\"main\"}"})).await;
    assert_eq!(told.expect("an answer")["ok"], true);
    let mut speaker = Client::connect(&gateway, 3, json!({})).await;
    // The edge hears of it behind the answer: what is said meanwhile may pass the node by.
    let mut said = 0;
    let event = verso_tests::eventually("a copy", async || {
        said += 1;
        speaker.say("agent:main:main", &format!("c{said}")).await;
        tokio::time::timeout(std::time::Duration::from_millis(500), events.next_named("chat")).await.ok().and_then(Result::ok)
    })
    .await;
    assert_eq!((&event.payload["sessionKey"], event.seq), (&json!("main"), None), "in the node's own words, and not counted");
}
