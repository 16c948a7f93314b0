//! Chat networks that nobody here wrote: two Bot API emulators, with a proxy in front that does harm, and two IRC networks at once.

use serde_json::{Value, json};
use verso_tests::emulators::{LoEmulator, Ngircd, TestApi};
use verso_tests::provider::reply;
use verso_tests::proxy::{BotProxy, Harm};
use verso_tests::{Gateway, Provider, eventually};

const TOKEN: &str = "12345:made-up-token";

/// What deliveries show.
const SECRET: &str = "made-up-secret-0123456789";

fn telegram(root: &str, more: Value) -> Value {
    let mut bot = json!({"botToken": TOKEN, "apiRoot": root, "allowFrom": ["42"], "streaming": {"mode": "off"}});
    if let (Some(bot), Value::Object(more)) = (bot.as_object_mut(), more) {
        bot.extend(more);
    }
    json!({"channels": {"telegram": bot}})
}

async fn gateway(provider: &Provider, channels: Value) -> Gateway {
    let mut config = provider.config();
    if let (Some(config), Value::Object(channels)) = (config.as_object_mut(), channels) {
        config.extend(channels);
    }
    Gateway::start_with(config).await
}

async fn texts(proxy: &BotProxy, chat: i64, count: usize) -> Vec<String> {
    eventually("an answer", async || Some(proxy.texts_to(chat)).filter(|texts| texts.len() >= count)).await
}

/// Waits until the account receives.
async fn connected(gateway: &Gateway) {
    let client = gateway.client().await;
    eventually("the account to be connected", async || {
        let status = client.call("channels.status", json!({})).await.ok()?;
        (status["channelAccounts"]["telegram"][0]["connected"] == true).then_some(())
    })
    .await;
}

fn refusal(code: u16, description: &str) -> Harm {
    Harm::Refuse(json!({"error_code": code, "description": description}))
}

#[tokio::test]
async fn an_emulator_that_polls_long_is_answered_through_every_kind_of_harm() {
    let (provider, Some(emulator)) = (Provider::start().await, LoEmulator::start().await) else { return };
    let proxy = BotProxy::start(emulator.root()).await;
    // Before anything else, another poller seems to be there, and the network asks for patience.
    proxy.harm("getUpdates", refusal(409, "Conflict: terminated by other getUpdates request"));
    proxy
        .harm("getUpdates", Harm::Refuse(json!({"error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 1}})));
    proxy.harm("getUpdates", Harm::CutBefore);
    let gateway = gateway(&provider, telegram(&proxy.root(), json!({}))).await;
    emulator.write(TOKEN, 42, 1, "hello [[tokens=3]]").await;
    assert_eq!(texts(&proxy, 42, 1).await, [reply(3)]);
    // An answer is refused for its format, then for its haste.
    proxy.harm(
        "sendMessage",
        Harm::Refuse(json!({"error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 1}})),
    );
    proxy.harm("sendMessage", refusal(400, "Bad Request: can't parse entities: unsupported start tag"));
    emulator.write(TOKEN, 42, 2, "again [[tokens=4]]").await;
    assert_eq!(texts(&proxy, 42, 2).await, [reply(3), reply(4)]);
    let last = proxy.passed("sendMessage").pop().expect("an answer");
    assert_eq!(last.body["parse_mode"], Value::Null, "the last resort is plain text");
    // A question that is cut after it was answered is asked again: nothing is lost and nothing is answered twice.
    proxy.harm("getUpdates", Harm::CutAfter);
    emulator.write(TOKEN, 42, 3, "third [[tokens=5]]").await;
    assert_eq!(texts(&proxy, 42, 3).await, [reply(3), reply(4), reply(5)]);
    assert_eq!(proxy.harmed(), 6, "every harm was done");
    // An answer of which nobody can tell whether it arrived is reported, and not sent again.
    proxy.harm("sendMessage", Harm::CutAfter);
    emulator.write(TOKEN, 42, 4, "fourth [[tokens=6]]").await;
    let client = gateway.client().await;
    eventually("the doubt is reported", async || {
        let status = client.call("channels.status", json!({})).await.ok()?;
        (status["channelAccounts"]["telegram"][0]["uncertainMessages"] == 1).then_some(())
    })
    .await;
    emulator.write(TOKEN, 42, 5, "fifth [[tokens=7]]").await;
    assert_eq!(texts(&proxy, 42, 5).await[3..], [reply(6), reply(7)]);
    for passed in proxy.passed("setMyCommands") {
        assert_eq!(passed.answer["ok"], true, "{}", passed.answer);
    }
}

#[tokio::test]
async fn an_emulator_that_delivers_is_answered_and_who_shows_no_secret_is_not_heard() {
    let (provider, Some(emulator)) = (Provider::start().await, LoEmulator::start().await) else { return };
    let proxy = BotProxy::start(emulator.root()).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let url = format!("http://127.0.0.1:{port}/telegram-webhook");
    let hook = json!({"webhookUrl": url, "webhookSecret": SECRET, "webhookPort": port});
    let gateway = gateway(&provider, telegram(&proxy.root(), hook)).await;
    connected(&gateway).await;
    emulator.write(TOKEN, 42, 1, "hello [[tokens=3]]").await;
    assert_eq!(texts(&proxy, 42, 1).await, [reply(3)]);
    let forged = json!({"update_id": 900, "message": {
        "message_id": 9, "date": 1, "text": "forged [[tokens=9]]", "chat": {"id": 42, "type": "private"}, "from": {"id": 42, "first_name": "Eve"},
    }});
    let client = reqwest::Client::new();
    for secret in [None, Some("wrong-secret")] {
        let mut request = client.post(&url).json(&forged);
        if let Some(secret) = secret {
            request = request.header("X-Telegram-Bot-Api-Secret-Token", secret);
        }
        assert_eq!(request.send().await.expect("an answer").status(), 401);
    }
    // What was delivered before is not heard again, also by who knows the secret.
    let again = json!({"update_id": 1, "message": forged["message"]});
    let replay = client.post(&url).header("X-Telegram-Bot-Api-Secret-Token", SECRET).json(&again).send().await.expect("an answer");
    assert_eq!(replay.status(), 200);
    // What comes while the channel service is away is delivered to the next one.
    let pid = gateway.kill("channel").await;
    emulator.write(TOKEN, 42, 2, "second [[tokens=4]]").await;
    gateway.recovered("channel", pid).await;
    connected(&gateway).await;
    eventually("the delivery", async || {
        let delivered = emulator.deliver(TOKEN).await;
        (delivered["result"]["delivered"].as_i64() == Some(1) || proxy.texts_to(42).len() > 1).then_some(())
    })
    .await;
    assert_eq!(texts(&proxy, 42, 2).await, [reply(3), reply(4)]);
    let status = gateway.client().await.call("channels.status", json!({"probe": true})).await.expect("a status");
    let account = &status["channelAccounts"]["telegram"][0];
    assert_eq!(
        (&account["mode"], &account["probe"]["ok"], &account["probe"]["webhook"]["url"]),
        (&json!("webhook"), &json!(true), &json!(url))
    );
}

#[tokio::test]
async fn pictures_and_files_go_to_an_emulator_that_checks_them() {
    let (provider, Some(emulator)) = (Provider::start().await, LoEmulator::start().await) else { return };
    let proxy = BotProxy::start(emulator.root()).await;
    let gateway = gateway(&provider, telegram(&proxy.root(), json!({}))).await;
    connected(&gateway).await;
    let client = gateway.client().await;
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let picture =
        json!({"channel": "telegram", "to": "42", "message": "**look**", "buffer": png, "filename": "dot.png", "idempotencyKey": "m1"});
    let sent = client.call("send", picture.clone()).await.expect("sent");
    assert_eq!(client.call("send", picture).await.expect("the same")["messageId"], sent["messageId"]);
    let photos = proxy.passed("sendPhoto");
    assert_eq!(photos.len(), 1, "a repeat sends nothing");
    let form = photos[0].body.as_str().expect("a form");
    assert!(form.contains("<b>look</b>") && form.contains("dot.png"), "{form}");
    assert_eq!(photos[0].answer["ok"], true, "{}", photos[0].answer);
    let note = json!({"channel": "telegram", "to": "42", "message": "a note", "buffer": "aGVsbG8=", "filename": "n.txt", "contentType": "text/plain", "idempotencyKey": "m2"});
    client.call("send", note).await.expect("sent");
    assert_eq!(proxy.passed("sendDocument").len(), 1);
    for (media, words) in [
        ("/etc/passwd", "not from paths of this host"),
        ("file:///etc/passwd", "not from paths of this host"),
        ("http://127.0.0.1:1/a.png", "Blocked"),
        ("http://169.254.169.254/latest/meta-data", "Blocked"),
        ("http://localhost./a.png", "Blocked"),
    ] {
        let request = json!({"channel": "telegram", "to": "42", "message": "x", "mediaUrl": media, "idempotencyKey": media});
        let refused = client.call("send", request).await.expect_err(media).to_string();
        assert!(refused.contains(words), "{media}: {refused}");
    }
}

#[tokio::test]
async fn an_emulator_without_long_polls_and_error_codes_is_answered() {
    let (provider, Some(emulator)) = (Provider::start().await, TestApi::start().await) else { return };
    let _gateway = gateway(&provider, telegram(&emulator.root(), json!({}))).await;
    emulator.write(TOKEN, 42, "hello [[tokens=3]]").await;
    let mut answers = Vec::new();
    eventually("an answer", async || {
        answers.extend(emulator.read(TOKEN, 42).await);
        (!answers.is_empty()).then_some(())
    })
    .await;
    assert_eq!(answers[0]["message"]["text"], reply(3));
    emulator.write(TOKEN, 42, "again [[tokens=4]]").await;
    eventually("another answer", async || {
        answers.extend(emulator.read(TOKEN, 42).await);
        (answers.len() > 1).then_some(())
    })
    .await;
    assert_eq!((answers.len(), &answers[1]["message"]["text"]), (2, &json!(reply(4))));
}

#[tokio::test]
async fn two_irc_networks_are_spoken_at_once() {
    let provider = Provider::start().await;
    let (Some(one), Some(two)) = (Ngircd::start("one").await, Ngircd::start("two").await) else { return };
    // On one network, somebody else bears the nick until he goes.
    let mut squatter = two.visit("verso").await;
    let account = |port: u16| json!({"host": "127.0.0.1", "port": port, "tls": false, "nick": "verso", "channels": ["#den"]});
    let irc = json!({
        "dmPolicy": "open", "allowFrom": ["*"], "groupPolicy": "open",
        "accounts": {"one": account(one.port()), "two": account(two.port())},
    });
    let gateway = gateway(&provider, json!({"channels": {"irc": irc}, "session": {"dmScope": "per-account-channel-peer"}})).await;
    let (mut ann, mut bob) = (one.visit("ann").await, two.visit("bob").await);
    for visitor in [&mut ann, &mut bob] {
        visitor.say("JOIN #den").await;
        visitor.hear(" 366 ").await;
    }
    let nicks = async |visitor: &mut verso_tests::emulators::Visitor, nick: &str| loop {
        visitor.say("NAMES #den").await;
        if visitor.hear(" 353 ").await.split([':', ' ', '@']).any(|name| name == nick) {
            break;
        }
    };
    tokio::join!(nicks(&mut ann, "verso"), nicks(&mut bob, "verso_"));
    ann.say("PRIVMSG verso :hello [[tokens=2]]").await;
    bob.say("PRIVMSG #den :verso_: and me? [[tokens=3]]").await;
    bob.say("PRIVMSG #den :not for you [[tokens=9]]").await;
    let direct = ann.hear("PRIVMSG ann").await;
    assert!(direct.ends_with(&format!("PRIVMSG ann :{}", reply(2))), "{direct}");
    let group = bob.hear("PRIVMSG #den").await;
    assert!(group.ends_with(&format!("PRIVMSG #den :{}", reply(3))), "{group}");
    // The nick is taken back as soon as it is free.
    squatter.say("JOIN #den").await;
    squatter.hear(" 366 ").await;
    squatter.say("QUIT :done").await;
    bob.hear("NICK :verso").await;
    bob.say("PRIVMSG verso :and now? [[tokens=4]]").await;
    let direct = bob.hear("PRIVMSG bob").await;
    assert!(direct.ends_with(&format!("PRIVMSG bob :{}", reply(4))), "{direct}");
    let client = gateway.client().await;
    client
        .call("send", json!({"channel": "irc", "accountId": "one", "to": "#den", "message": "for one", "idempotencyKey": "i1"}))
        .await
        .expect("sent");
    ann.hear("PRIVMSG #den :for one").await;
    assert_eq!(provider.calls().len(), 3, "what was not for the agent was not told");
}
