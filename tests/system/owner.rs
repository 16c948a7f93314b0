//! What an owner says to his gateway in a chat, and what sessions say about programs and groups.

use serde_json::{Value, json};
use tokio::time::timeout;
use verso_client::Client;
use verso_tests::bot_api::BotApi;
use verso_tests::provider::{calling, reply};
use verso_tests::{Gateway, PATIENCE, Provider, eventually};

use crate::nodes::{Node, connected};

/// Says something, and returns what is answered.
async fn say(client: &Client, words: &str, key: &str) -> String {
    let mut events = client.events();
    let params = json!({"message": words, "sessionKey": "agent:main:owner", "idempotencyKey": key});
    client.call("chat.send", params).await.expect("started");
    loop {
        let event = timeout(PATIENCE, events.next_named("chat")).await.expect("in time").expect("an event");
        if event.payload["runId"] == key && event.payload["state"] != "delta" {
            return event.payload["message"]["content"][0]["text"].as_str().unwrap_or_default().to_owned();
        }
    }
}

/// Has the model call a tool in a session, and returns the tool's answer.
async fn tool(client: &Client, provider: &Provider, (session, key): (&str, &str), (name, arguments): (&str, Value)) -> String {
    let params = json!({"message": format!("x {}", calling(name, &arguments)), "sessionKey": session, "idempotencyKey": key});
    let mut answers = client.call_streaming("agent", params).await.expect("an accepted run");
    while let Some(answer) = timeout(PATIENCE, answers.next()).await.expect("an answer in time") {
        answer.expect("no error");
    }
    provider.tool_answer().as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn sec_20_the_owner_changes_the_configuration_from_a_chat_where_the_file_lets_him_and_nobody_else_does() {
    let provider = Provider::start().await;
    let mut config = provider.config();
    config["commands"] = json!({"config": true, "bash": true});
    config["tools"] = json!({"exec": {"security": "full", "ask": "off"}});
    let gateway = Gateway::start_with(config).await;
    let client = gateway.client().await;
    let kept = async |path: &str| {
        let found = client.call("config.get", json!({})).await.expect("the configuration");
        found["config"].pointer(path).cloned().unwrap_or_default()
    };
    assert_eq!(say(&client, "/config set messages.ackReaction 👀", "c1").await, "messages.ackReaction is set.");
    assert_eq!(kept("/messages/ackReaction").await, "👀");
    assert_eq!(say(&client, "/config set messages.ackReaction 👀", "c2").await, "That is so already.");
    assert_eq!(say(&client, "/config unset messages.ackReaction", "c3").await, "messages.ackReaction is not set any more.");
    assert_eq!(kept("/messages/ackReaction").await, Value::Null);
    assert!(say(&client, "/config set messages.queue.mode sideways", "c4").await.starts_with("⚠️"));
    let closed = say(&client, "/config set commands.ownerAllowFrom [\"telegram:7\"]", "c5").await;
    assert!(closed.starts_with("⚠️") && closed.contains("not changed from a chat"), "{closed}");
    assert_eq!(kept("/commands/ownerAllowFrom").await, Value::Null);
    for (key, words, printed) in [("c6", "/bash echo out-of-it", "out-of-it"), ("c7", "! echo typed", "typed")] {
        let answer = say(&client, words, key).await;
        assert!(answer.contains(printed), "{words}: {answer}");
    }

    let writer = gateway.connect(gateway.options().with_scopes(["operator.read", "operator.write"])).await;
    for (number, words) in ["/config set messages.ackReaction x [[tokens=2]]", "/bash echo mine [[tokens=2]]"].into_iter().enumerate() {
        assert_eq!(say(&writer, words, &format!("w{number}")).await, reply(2), "words for the model");
    }
    assert_eq!(kept("/messages/ackReaction").await, Value::Null);
    let tool = tool(
        &client,
        &provider,
        ("agent:main:t", "t1"),
        ("gateway", json!({"action": "config.patch", "patch": {"messages": {"ackReaction": "x"}}, "byOwner": true})),
    )
    .await;
    assert!(tool.contains("cannot change messages.ackReaction"), "{tool}");
}

#[tokio::test]
async fn what_the_owner_tries_out_holds_until_a_restart_and_is_written_nowhere() {
    let provider = Provider::start().await;
    let mut config = provider.config();
    config["commands"] = json!({"debug": true});
    let gateway = Gateway::start_with(config).await;
    let client = gateway.client().await;
    let file = || std::fs::read_to_string(gateway.state_dir().join("verso.json")).expect("the configuration");
    let before = file();
    for (key, words, answer) in [
        ("d0", "/debug show", "Nothing is laid over the file."),
        ("d1", "/debug set agents.defaults.thinkingDefault=high", "agents.defaults.thinkingDefault is set until a restart."),
        ("d2", "/think", "Thinking: high"),
        ("d3", "/debug set agents.defaults.thinkingDefault high", "⚠️ That is so already."),
        ("d4", "/debug set messages.queue.cap = 7", "messages.queue.cap is set until a restart. That is for the agents; channel goes on"),
        ("d5", "/debug set agents.defaults.maxConcurrent=many", "⚠️ agents.defaults.maxConcurrent"),
        ("d6", "/debug set channels.telegram.enabled=true", "⚠️ no agent follows channels.telegram.enabled"),
        ("d7", "/debug show", "Until a restart:\n```json\n{\n  \"agents\""),
        ("d8", "/queue", "Queue: "),
        ("d9", "/debug unset agents.defaults.thinkingDefault", "agents.defaults.thinkingDefault is as in the file again."),
        ("da", "/think", "Thinking: off"),
    ] {
        let answered = say(&client, words, key).await;
        assert!(answered.starts_with(answer), "{words}: {answered}");
    }
    for (key, words) in [("s0", "/debug set commands.bash=true"), ("s1", "/debug set gateway.auth.mode=none")] {
        let answered = say(&client, words, key).await;
        assert!(answered.contains("not changed from a chat"), "{words}: {answered}");
    }
    let writer = gateway.connect(gateway.options().with_scopes(["operator.read", "operator.write"])).await;
    assert_eq!(say(&writer, "/debug set agents.defaults.thinkingDefault=low [[tokens=2]]", "w0").await, reply(2), "words for the model");
    let pid = gateway.kill("agent").await;
    gateway.recovered("agent", pid).await;
    let session = "agent:main:after";
    client.call("chat.send", json!({"message": "/debug show", "sessionKey": session, "idempotencyKey": "e0"})).await.expect("started");
    eventually("the answer of the next process", async || {
        let said = client.call("chat.history", json!({"sessionKey": session})).await.ok()?;
        said.to_string().contains("Nothing is laid over the file.").then_some(())
    })
    .await;
    assert_eq!(file(), before);
}

#[tokio::test]
async fn what_goes_on_in_the_background_is_looked_at_and_ended_from_the_chat() {
    let provider = Provider::start().await;
    let mut config = provider.config();
    config["commands"] = json!({"bash": true, "bashForegroundMs": 50});
    config["tools"] = json!({"exec": {"security": "full", "ask": "off"}});
    let gateway = Gateway::start_with(config).await;
    let client = gateway.client().await;
    assert!(say(&client, "!poll", "b0").await.starts_with("No program of this conversation"));
    let begun = say(&client, "/bash echo begun; read line", "b1").await;
    assert!(begun.contains("goes on in the background"), "{begun}");
    let polls = std::cell::Cell::new(0);
    let polled = async |words: &str, sign: &str| {
        polls.set(polls.get() + 1);
        Some(say(&client, words, &format!("p{}", polls.get())).await).filter(|answer| answer.contains(sign))
    };
    let shown = eventually("the output", async || polled("!poll", "begun").await).await;
    assert!(shown.contains("Process still running."), "{shown}");
    let id = begun.lines().last().and_then(|line| line.split_whitespace().next()).expect("an id").to_owned();
    assert!(polled(&format!("/bash poll {id}"), "begun").await.is_some(), "what was shown is shown again");
    assert!(polled("!poll deadbeef", "there is no session deadbeef").await.is_some());
    assert!(say(&client, "!stop", "b2").await.contains(&format!("Killed session {id}")));
    eventually("its end", async || polled("!poll", "Process was killed.").await).await;
    assert!(say(&client, "! stop", "b3").await.contains("Process was killed."), "what has ended is not ended again");
}

#[tokio::test]
async fn a_chat_list_grows_only_where_owners_are_named_elsewhere() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let mut config = provider.config();
    config["channels"] = api.channels(&json!({"allowFrom": ["42"]}))["channels"].clone();
    config["commands"] = json!({"config": true, "ownerAllowFrom": ["telegram:42"]});
    let gateway = Gateway::start_with(config).await;
    api.write(42, "/allowlist add 43");
    let texts = || api.sent_to(42).iter().map(|sent| sent["text"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    eventually("the answer", async || texts().iter().any(|text| text.contains("43 is on")).then_some(())).await;
    let client = gateway.client().await;
    let found = client.call("config.get", json!({})).await.expect("the configuration");
    assert_eq!(found["config"]["channels"]["telegram"]["allowFrom"], json!(["42", "43"]));
    // The account goes on under the new list, and who is on it owns nothing.
    eventually("the new list to count", async || (gateway.output().matches("account started").count() == 2).then_some(())).await;
    api.write(43, "/whoami");
    let sent = eventually("an answer", async || api.sent_to(43).last().cloned()).await;
    assert!(sent["text"].as_str().is_some_and(|text| text.contains("Owner: no")), "{sent}");
    api.write(43, "/allowlist add 44 [[tokens=2]]");
    eventually("words for the model", async || api.sent_to(43).iter().any(|sent| sent["text"] == reply(2)).then_some(())).await;
    let found = client.call("config.get", json!({})).await.expect("the configuration");
    assert_eq!(found["config"]["channels"]["telegram"]["allowFrom"], json!(["42", "43"]));
}

#[tokio::test]
async fn a_group_says_when_it_is_answered() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let mut config = provider.config();
    config["channels"] = api.channels(&json!({"groupPolicy": "open", "allowFrom": ["42"], "groups": {"-100": {}}}))["channels"].clone();
    let gateway = Gateway::start_with(config).await;
    let say = |from: i64, text: &str| {
        let chat = json!({"id": -100, "type": "supergroup", "title": "Den"});
        api.update(&json!({"chat": chat, "from": {"id": from, "first_name": "Ann"}, "text": text}));
    };
    let said = async |words: &str| {
        let found =
            async || api.sent_to(-100).iter().any(|sent| sent["text"].as_str().is_some_and(|text| text.contains(words))).then_some(());
        eventually("an answer in the group", found).await;
    };
    say(7, "nobody is asked [[tokens=2]]");
    say(42, "/activation always");
    said("Every message of this group is answered").await;
    assert_eq!(provider.calls().len(), 0);
    say(7, "and now? [[tokens=3]]");
    said(&reply(3)).await;
    // The same by the session's key, for one who may change sessions.
    let client = gateway.client().await;
    let patch = json!({"key": "agent:main:telegram:group:-100", "groupActivation": "mention"});
    client.call("sessions.patch", patch).await.expect("patched");
    say(7, "not any more [[tokens=4]]");
    say(42, "/status");
    said("Thinking").await;
    assert_eq!(provider.calls().len(), 1);
}

#[tokio::test]
async fn a_message_is_marked_changed_and_taken_back() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let mut config = provider.config();
    config["channels"] = api.channels(&json!({"allowFrom": ["42"]}))["channels"].clone();
    let gateway = Gateway::start_with(config).await;
    api.write(42, "hello [[tokens=2]]");
    eventually("an answer", async || api.sent_to(42).first().cloned()).await;
    let client = gateway.client().await;
    let place = ("agent:main:telegram:dm:42", "m");
    let calls = [
        json!({"action": "react", "messageId": 1, "emoji": "👍"}),
        json!({"action": "edit", "messageId": "1001", "message": "better **words**"}),
        json!({"action": "delete", "messageId": "1001"}),
    ];
    for (number, call) in calls.into_iter().enumerate() {
        let key = format!("{}{number}", place.1);
        let answer = tool(&client, &provider, (place.0, &key), ("message", call)).await;
        assert!(answer.contains("\"ok\": true"), "{answer}");
    }
    let marked = &api.asked("setMessageReaction")[0];
    assert_eq!((&marked["chat_id"], &marked["reaction"][0]["emoji"]), (&json!("42"), &json!("👍")), "{marked}");
    let edited = &api.asked("editMessageText")[0];
    assert_eq!((&edited["text"], edited["message_id"].to_string().contains("1001")), (&json!("better <b>words</b>"), true), "{edited}");
    assert_eq!(api.asked("deleteMessage").len(), 1);
    let nothing = tool(&client, &provider, (place.0, "m9"), ("message", json!({"action": "react", "emoji": "👍"}))).await;
    assert!(nothing.contains("messageId is required"), "{nothing}");
}

#[tokio::test]
async fn programs_run_where_the_session_says() {
    let provider = Provider::start().await;
    let mut config = provider.config();
    config["tools"] = json!({"exec": {"security": "full", "ask": "off"}});
    config["agents"]["defaults"]["sandbox"] = json!({"mode": "all", "docker": {"network": "host"}});
    let gateway = Gateway::start_with(config).await;
    let client = gateway.client().await;
    let exec = async |session: &str, key: &str, command: &str| {
        tool(&client, &provider, (session, key), ("exec", json!({"command": command}))).await
    };
    // This sandbox cannot be used as configured: what runs, runs outside it.
    assert!(exec("agent:main:a", "a1", "echo inside").await.contains("exec denied"));
    for (number, patch) in
        [json!({"execHost": "gateway"}), json!({"elevatedLevel": "on"}), json!({"elevatedLevel": "full"})].into_iter().enumerate()
    {
        let session = format!("agent:main:out{number}");
        let mut patch = patch;
        patch["key"] = json!(session);
        client.call("sessions.patch", patch).await.expect("patched");
        let answer = exec(&session, &format!("o{number}"), "echo outside").await;
        assert!(answer.contains("outside") && !answer.contains("denied"), "{answer}");
    }
    // Whoever may only write speaks in the same session without the owner's authority.
    let writer = gateway.connect(gateway.options().with_scopes(["operator.read", "operator.write"])).await;
    for session in ["agent:main:out0", "agent:main:out2"] {
        let answer = tool(&writer, &provider, (session, &format!("w{session}")), ("exec", json!({"command": "echo outside"}))).await;
        assert!(answer.contains("exec denied"), "{session}: {answer}");
    }
}

#[tokio::test]
async fn programs_run_on_a_device_as_far_as_its_owner_lets_them() {
    let provider = Provider::start().await;
    let gateway = Gateway::start_with(provider.config()).await;
    let client = gateway.client().await;
    client.call("sessions.patch", json!({"key": "agent:main:far", "execHost": "node", "execNode": "host"})).await.expect("patched");
    let exec = async |key: &str| {
        tool(&client, &provider, ("agent:main:far", key), ("exec", json!({"command": "echo from $VERSO_TEST_PLACE afar"}))).await
    };
    let nobody = exec("f1").await;
    assert!(nobody.contains("none is connected"), "{nobody}");
    let state = tempfile::tempdir().expect("a folder");
    let _node = Node::host(&gateway, state.path());
    connected(&gateway, "host").await;
    let refused = exec("f2").await;
    assert!(refused.contains("SYSTEM_RUN"), "its own rules let nothing run yet: {refused}");
    let rules = json!({"version": 1, "defaults": {"security": "full", "ask": "off"}});
    std::fs::create_dir_all(state.path().join("node-host")).expect("the device's folder");
    std::fs::write(state.path().join("node-host/exec-approvals.json"), rules.to_string()).expect("the device's rules");
    let answer = eventually("the device to follow its rules", async || {
        let key = format!("f{}", provider.calls().len());
        Some(exec(&key).await).filter(|answer| !answer.contains("SYSTEM_RUN"))
    });
    assert!(answer.await.contains("from afar"));
}
