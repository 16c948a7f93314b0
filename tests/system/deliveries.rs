//! What agents say to chat networks by themselves, and answers while they grow.

use serde_json::{Value, json};
use verso_tests::bot_api::BotApi;
use verso_tests::irc_server::IrcServer;
use verso_tests::provider::reply;
use verso_tests::{Gateway, Provider, eventually};

use crate::http::http;

/// The webhooks' own secret.
const SECRET: &str = "made-up-hook-secret";

/// What begins a picture in the PNG format.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\xfc\xcf\xf0\x1f\0\x05\x05\x02\0_\xc8\xf1\xd2\0\0\0\0IEND\xaeB`\x82";

fn config(provider: &Provider, api: &BotApi) -> Value {
    let mut config = provider.config();
    config["channels"] = api.channels(&json!({"allowFrom": ["42"]}))["channels"].clone();
    config["agents"]["defaults"]["heartbeat"] = json!({"every": "12h", "target": "last", "prompt": "beat [[tokens=7]]"});
    config["hooks"] = json!({"enabled": true, "token": SECRET});
    config
}

async fn sent(api: &BotApi, words: &str) {
    let found = async || api.sent_to(42).iter().any(|message| message["text"] == words).then_some(());
    eventually(&format!("{words:?} in the chat"), found).await;
}

#[tokio::test]
async fn jobs_heartbeats_webhooks_and_clients_reach_whom_the_agent_has_talked_to_last() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let gateway = Gateway::start_with(config(&provider, &api)).await;
    let client = gateway.client().await;
    let nobody = json!({"message": "x", "sessionKey": "main", "deliver": true, "idempotencyKey": "d0"});
    let refused = client.call("agent", nobody).await.expect_err("nobody has written yet");
    assert!(refused.message.contains("nobody has written"), "{refused:?}");
    api.write(42, "hello [[tokens=2]]");
    sent(&api, &reply(2)).await;

    let asked = json!({"message": "x [[tokens=3]]", "sessionKey": "main", "deliver": true, "idempotencyKey": "d1"});
    client.call("agent", asked.clone()).await.expect("accepted");
    sent(&api, &reply(3)).await;
    client.call("agent.wait", json!({"runId": "d1"})).await.expect("an end");
    client.call("agent", asked).await.expect("the stored answer");
    let named = json!({"message": "x [[tokens=4]]", "sessionKey": "agent:main:elsewhere", "deliver": true, "idempotencyKey": "d2"});
    client.call("chat.send", named).await.expect("started");
    sent(&api, &reply(4)).await;

    let payload = json!({"kind": "agentTurn", "message": "x [[tokens=5]]", "deliver": true, "channel": "last"});
    let job = json!({"name": "news", "schedule": {"kind": "every", "everyMs": 3_600_000}, "sessionTarget": "isolated", "wakeMode": "next-heartbeat", "payload": payload, "enabled": true});
    let job = client.call("cron.add", job).await.expect("a job");
    client.call("cron.run", json!({"id": job["id"], "mode": "force"})).await.expect("a run");
    sent(&api, &reply(5)).await;

    let body = json!({"message": "x [[tokens=6]]", "deliver": true, "channel": "last", "wakeMode": "next-heartbeat"});
    let posted = http().post(gateway.http("/hooks/agent")).bearer_auth(SECRET).json(&body).send().await.expect("an answer");
    assert_eq!(posted.status().as_u16(), 202);
    sent(&api, &reply(6)).await;

    client.call("wake", json!({"text": "look", "mode": "now"})).await.expect("woken");
    sent(&api, &reply(7)).await;
    for tokens in 2..=7 {
        let times = api.sent_to(42).iter().filter(|message| message["text"] == reply(tokens)).count();
        assert_eq!(times, 1, "{tokens} pieces: said once");
    }
}

#[tokio::test]
async fn a_job_can_name_another_network() {
    let (provider, server) = (Provider::start().await, IrcServer::start().await);
    let irc = json!({"host": "127.0.0.1", "port": server.port(), "tls": false, "nick": "verso", "channels": ["#den"]});
    let mut config = provider.config();
    config["channels"] = json!({"irc": irc});
    let gateway = Gateway::start_with(config).await;
    eventually("the channel is joined", async || server.heard().contains(&"JOIN #den".to_owned()).then_some(())).await;
    let client = gateway.client().await;
    let job = |to: Value| {
        let mut payload = json!({"kind": "agentTurn", "message": "x [[tokens=3]]", "deliver": true, "channel": "irc"});
        if !to.is_null() {
            payload["to"] = to;
        }
        json!({"name": "news", "schedule": {"kind": "every", "everyMs": 3_600_000}, "sessionTarget": "isolated", "wakeMode": "next-heartbeat", "payload": payload, "enabled": true})
    };
    let told = client.call("cron.add", job(json!("#den"))).await.expect("a job");
    client.call("cron.run", json!({"id": told["id"], "mode": "force"})).await.expect("a run");
    let line = format!("PRIVMSG #den :{}", reply(3));
    eventually("the line", async || server.heard().contains(&line).then_some(())).await;
    // Without a place to say it, the run says so, and the words are kept.
    let lost = client.call("cron.add", job(Value::Null)).await.expect("a job");
    client.call("cron.run", json!({"id": lost["id"], "mode": "force"})).await.expect("a run");
    let entry = eventually("the log", async || {
        let log = client.call("cron.runs", json!({"id": lost["id"]})).await.ok()?;
        log["entries"].as_array()?.first().cloned()
    });
    let entry = entry.await;
    assert_eq!((&entry["status"], &entry["summary"]), (&json!("error"), &json!(reply(3))), "{entry}");
    assert!(entry["error"].as_str().is_some_and(|error| error.contains("nobody has written")), "{entry}");
}

#[tokio::test]
async fn an_answer_is_shown_while_it_grows_and_one_message_in_the_end() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let _gateway = Gateway::start_with(config(&provider, &api)).await;
    api.write(42, "tell me a story [[tokens=60 gap=70]]");
    let whole = || api.asked("editMessageText").last().is_some_and(|edit| edit["text"] == reply(60));
    eventually("the whole answer", async || whole().then_some(())).await;
    let first = api.sent_to(42);
    let shown = first[0]["text"].as_str().and_then(|text| text.strip_suffix(" …")).expect("an unfinished message").to_owned();
    assert!(first.len() == 1 && reply(60).starts_with(&shown) && shown.len() < reply(60).len(), "{first:?}");
    let texts: Vec<String> = api.asked("editMessageText").iter().map(|edit| edit["text"].as_str().unwrap_or_default().to_owned()).collect();
    assert!(texts.len() > 1 && texts.windows(2).all(|pair| pair[1].starts_with(pair[0].trim_end_matches(" …"))), "{texts:?}");
    // What is silence in the end was never shown.
    api.write(42, "hush [[say=NO_REPLY]]");
    api.write(42, "done [[tokens=1]]");
    sent(&api, &reply(1)).await;
    assert!(!format!("{:?}", api.sent_to(42)).contains("NO_REPLY"));
}

#[tokio::test]
async fn sec_53_files_of_the_workspace_go_along_with_an_answer_and_no_others_do() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let gateway = Gateway::start_with(config(&provider, &api)).await;
    let workspace = gateway.state_dir().parent().expect("a folder").join("workspace");
    std::fs::create_dir_all(&workspace).expect("a folder");
    let secret = gateway.state_dir().join("secret.txt");
    std::fs::write(&secret, "the-secret-words").expect("a file");
    std::fs::write(workspace.join("pic.png"), PNG).expect("a file");
    std::fs::write(workspace.join("note.txt"), "leeks and potatoes").expect("a file");
    std::os::unix::fs::symlink(&secret, workspace.join("link.txt")).expect("a link");

    api.write(42, "show [[say=here%20it%20is%0AMEDIA:./pic.png%0AMEDIA:./note.txt]]");
    let photo = eventually("the picture", async || api.asked("sendPhoto").first().cloned()).await;
    let document = eventually("the note", async || api.asked("sendDocument").first().cloned()).await;
    assert!(photo.to_string().contains("here it is") && document.to_string().contains("leeks and potatoes"), "{photo} {document}");
    assert!(document.to_string().contains("note.txt"), "{document}");

    let client = gateway.client().await;
    for (number, reference) in ["./link.txt", "./../state/secret.txt", "/etc/passwd", "file:///etc/passwd"].into_iter().enumerate() {
        api.write(42, &format!("MEDIA:{reference} [[say=number{number}%0AMEDIA:{reference}]]"));
        let answered =
            async || api.sent_to(42).iter().any(|sent| sent["text"].to_string().contains(&format!("number{number}"))).then_some(());
        eventually("an answer", answered).await;
        let key = format!("m{number}");
        let asked = json!({"message": format!("x [[say=told{number}%0AMEDIA:{reference}]]"), "sessionKey": "main", "deliver": true, "idempotencyKey": key});
        client.call("agent", asked).await.expect("accepted");
        let told = async || api.sent_to(42).iter().any(|sent| sent["text"].to_string().contains(&format!("told{number}"))).then_some(());
        eventually("a delivery", told).await;
    }
    let direct =
        client.call("send", json!({"channel": "telegram", "to": "42", "message": "x", "mediaUrl": secret, "idempotencyKey": "f1"})).await;
    assert!(direct.expect_err("a path is no address").message.contains("not from paths"));
    let all = format!("{:?} {:?} {:?}", api.sent_to(42), api.asked("sendPhoto"), api.asked("sendDocument"));
    assert!(!all.contains("the-secret-words") && !all.contains("root:"), "{all}");
    assert_eq!((api.asked("sendPhoto").len(), api.asked("sendDocument").len()), (1, 1));
}
