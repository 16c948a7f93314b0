//! Messages from chat networks to an agent and back, through whole gateways.

use serde_json::{Value, json};
use verso_tests::bot_api::BotApi;
use verso_tests::irc_server::IrcServer;
use verso_tests::provider::reply;
use verso_tests::{Gateway, Provider, eventually};

/// Messages of each person while services are killed.
const MESSAGES_EACH: usize = 8;

fn over(mut config: Value, more: Value) -> Value {
    if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
        config.extend(more);
    }
    config
}

async fn gateway(provider: &Provider, api: &BotApi, bot: Value) -> Gateway {
    Gateway::start_with(over(provider.config(), api.channels(&bot))).await
}

fn texts(sent: &[Value]) -> Vec<String> {
    sent.iter().map(|message| message["text"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn sent(api: &BotApi, chat: i64, count: usize) -> Vec<Value> {
    eventually("an answer", async || Some(api.sent_to(chat)).filter(|sent| sent.len() >= count)).await
}

#[tokio::test]
async fn a_telegram_message_is_answered_by_the_agent() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let gateway = gateway(&provider, &api, json!({"allowFrom": ["42"]})).await;
    api.write(42, "hello [[tokens=3]]");
    let answers = sent(&api, 42, 1).await;
    assert_eq!((texts(&answers), &answers[0]["parse_mode"]), (vec![reply(3)], &json!("HTML")));
    let asked = provider.calls()[0].body["messages"].to_string();
    assert!(asked.contains("Ann id:42") && asked.contains("hello [[tokens=3]]"), "{asked}");
    let status = gateway.client().await.call("channels.status", json!({"probe": true})).await.expect("a status");
    let account = &status["channelAccounts"]["telegram"][0];
    assert_eq!(
        (&account["running"], &account["connected"], &account["probe"]["ok"]),
        (&json!(true), &json!(true), &json!(true)),
        "{account}"
    );
    assert_eq!(account["probe"]["name"], "verso_bot");
}

#[tokio::test]
async fn a_stranger_is_given_a_code_once_and_heard_after_it_is_approved() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let gateway = gateway(&provider, &api, json!({})).await;
    api.write(7, "let me in");
    api.write(7, "hello?");
    let offered = texts(&sent(&api, 7, 1).await).concat();
    let client = gateway.client().await;
    let asking = client.call("channels.pairing.list", json!({})).await.expect("a list");
    let code = asking["requests"][0]["code"].as_str().expect("a code").to_owned();
    assert!(offered.contains(&code) && offered.contains('7'), "{offered}");
    let unknown = client.call("channels.pairing.approve", json!({"channel": "telegram", "code": "NOSUCHCODE"})).await;
    assert!(unknown.is_err());
    client.call("channels.pairing.approve", json!({"channel": "telegram", "code": code.to_lowercase()})).await.expect("approved");
    api.write(7, "thanks [[tokens=2]]");
    let all = texts(&sent(&api, 7, 2).await);
    assert_eq!(all, [offered, reply(2)], "the second message before the approval got no second code");
    assert_eq!(provider.calls().len(), 1, "an agent hears nothing of strangers");
}

#[tokio::test]
async fn a_group_is_answered_when_the_bot_is_mentioned_and_hears_what_was_said_before() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let _gateway = gateway(&provider, &api, json!({"groupPolicy": "open", "groups": {"-100": {}}})).await;
    let say = |text: &str, entities: Value| {
        let chat = json!({"id": -100, "type": "supergroup", "title": "Den"});
        api.update(&json!({"chat": chat, "from": {"id": 5, "first_name": "Bob"}, "text": text, "entities": entities}));
    };
    say("the soup is cold", json!([]));
    say("@verso_bot help [[tokens=2]]", json!([{"type": "mention", "offset": 0, "length": 10}]));
    let answers = sent(&api, -100, 1).await;
    assert_eq!(texts(&answers), [reply(2)]);
    assert_eq!(answers[0]["reply_parameters"]["message_id"], 2);
    let asked = provider.calls()[0].body["messages"].to_string();
    assert!(asked.contains("the soup is cold") && asked.contains("Bob (5)"), "{asked}");
}

#[tokio::test]
async fn a_refused_message_is_sent_again_when_the_network_allows_it() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let gateway = gateway(&provider, &api, json!({})).await;
    let client = gateway.client().await;
    running(&client, "telegram").await;
    api.refuse(json!({"error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 1}}));
    api.refuse(json!({"error_code": 400, "description": "Bad Request: can't parse entities: unsupported start tag"}));
    let request = json!({"channel": "telegram", "to": "42", "message": "some **bold** words", "idempotencyKey": "s1"});
    let first = client.call("send", request.clone()).await.expect("sent");
    let again = client.call("send", request).await.expect("the same answer");
    assert_eq!(first["messageId"], again["messageId"]);
    let sent = api.sent_to(42);
    assert_eq!((texts(&sent), &sent[0]["parse_mode"]), (vec!["some bold words".to_owned()], &Value::Null));
    api.refuse(json!({"error_code": 400, "description": "Bad Request: chat not found"}));
    let refused = client.call("send", json!({"channel": "telegram", "to": "43", "message": "x", "idempotencyKey": "s2"})).await;
    let refused = refused.expect_err("nobody is there").to_string();
    assert!(refused.contains("chat not found") && refused.contains("can only write to people"), "{refused}");
}

/// The smallest picture in the PNG format.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\xfc\xcf\xf0\x1f\0\x05\x05\x02\0_\xc8\xf1\xd2\0\0\0\0IEND\xaeB`\x82";

#[tokio::test]
async fn pictures_reach_the_agent_and_an_album_is_one_message() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let _gateway = gateway(&provider, &api, json!({"allowFrom": ["42"]})).await;
    api.hold("one", PNG);
    api.hold("two", PNG);
    let person = json!({"id": 42, "first_name": "Ann"});
    for (file, caption) in [("one", "see these [[tokens=3]]"), ("two", "")] {
        api.update(&json!({
            "chat": {"id": 42, "type": "private"}, "from": person, "media_group_id": "g", "caption": caption,
            "photo": [{"file_id": "small", "file_size": 1}, {"file_id": file, "file_size": PNG.len()}],
        }));
    }
    assert_eq!(texts(&sent(&api, 42, 1).await), [reply(3)]);
    let calls = provider.calls();
    let asked = calls[0].body["messages"].to_string();
    assert_eq!((calls.len(), asked.matches("image_url\"").count() / 2), (1, 2), "{asked}");
    // A file that is too large, and one that is not there, are said to be missing; the words are answered.
    api.update(&json!({
        "chat": {"id": 42, "type": "private"}, "from": person, "caption": "and this [[tokens=4]]",
        "document": {"file_id": "huge", "file_name": "huge.bin", "file_size": 6_000_000},
    }));
    assert_eq!(texts(&sent(&api, 42, 2).await), [reply(3), reply(4)]);
    let asked = provider.calls()[1].body["messages"].to_string();
    assert!(asked.contains("larger than the 5 MB that are taken in"), "{asked}");
}

#[tokio::test]
async fn what_happens_in_a_chat_is_told_with_its_next_message_and_strangers_are_not_heard() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let gateway = gateway(&provider, &api, json!({"allowFrom": ["42"], "reactionNotifications": "all"})).await;
    running(&gateway.client().await, "telegram").await;
    let (chat, ann, eve) =
        (json!({"id": 42, "type": "private"}), json!({"id": 42, "first_name": "Ann"}), json!({"id": 7, "first_name": "Eve"}));
    for (user, emoji) in [(&ann, "👍"), (&eve, "💣")] {
        let marks = json!([{"type": "emoji", "emoji": emoji}]);
        api.happen(&json!({"message_reaction": {"chat": chat, "user": user, "message_id": 5, "date": 1, "old_reaction": [], "new_reaction": marks}}));
    }
    api.happen(&json!({"edited_message": {"chat": chat, "from": ann, "message_id": 5, "date": 1, "text": "better words"}}));
    let press = |user: &Value, data: &str| json!({"callback_query": {"id": "q", "from": user, "data": data, "message": {"message_id": 5, "chat": {"id": -100, "type": "supergroup"}}}});
    // Neither lets in by a button who is not let in by words.
    api.happen(&press(&eve, "/approve 12345678 allow-once"));
    api.write(42, "hello [[tokens=3]]");
    assert_eq!(texts(&sent(&api, 42, 1).await), [reply(3)]);
    let calls = provider.calls();
    let asked = calls[0].body["messages"].to_string();
    assert!(asked.contains("reacted to message 5 with 👍") && asked.contains("better words"), "{asked}");
    assert!(!asked.contains("💣") && !asked.contains("/approve"), "{asked}");
    assert_eq!((calls.len(), api.asked("answerCallbackQuery").len()), (1, 1));
}

#[tokio::test]
async fn a_poll_is_asked_and_its_votes_are_told_to_its_chat() {
    votes_are_told(json!({"allowFrom": ["42"]})).await;
}

#[tokio::test]
async fn votes_in_a_poll_of_an_account_that_is_set_apart_are_told_too() {
    votes_are_told(json!({"allowFrom": ["42"], "isolate": true})).await;
}

async fn votes_are_told(bot: Value) {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let gateway = gateway(&provider, &api, bot).await;
    let client = gateway.client().await;
    running(&client, "telegram").await;
    let poll = json!({"channel": "telegram", "to": "42", "question": "Soup?", "options": ["yes", "no"], "isAnonymous": false, "idempotencyKey": "p1"});
    let asked = eventually("it is asked", async || client.call("poll", poll.clone()).await.ok()).await;
    assert_eq!((&asked["pollId"], &asked["messageId"]), (&json!("poll-1"), &json!("900")));
    client.call("poll", poll).await.expect("the same answer");
    assert_eq!(api.asked("sendPoll").len(), 1, "a repeat asks nobody");
    api.happen(&json!({"poll_answer": {"poll_id": "poll-1", "user": {"id": 42, "first_name": "Ann"}, "option_ids": [1]}}));
    api.write(42, "and? [[tokens=2]]");
    assert_eq!(texts(&sent(&api, 42, 1).await), [reply(2)]);
    let told = provider.calls()[0].body["messages"].to_string();
    assert!(told.contains("voted for: no"), "{told}");
}

#[tokio::test]
async fn a_group_s_activation_decides_whether_it_must_mention_and_answers_bear_their_prefix() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let bot = json!({"groupPolicy": "open", "groups": {"*": {}}, "streaming": {"mode": "off"}, "responsePrefix": "[bot]"});
    let gateway = gateway(&provider, &api, bot).await;
    let client = gateway.client().await;
    running(&client, "telegram").await;
    let activate = async |mode: Value| {
        let patch = json!({"key": "agent:main:telegram:group:-100", "groupActivation": mode});
        client.call("sessions.patch", patch).await.expect("patched");
    };
    let write = |text: &str| {
        let named = text.starts_with("@verso_bot").then(|| json!({"type": "mention", "offset": 0, "length": 10}));
        let entities: Vec<Value> = named.into_iter().collect();
        let (chat, from) = (json!({"id": -100, "type": "group", "title": "Soup"}), json!({"id": 7, "first_name": "Eve"}));
        api.update(&json!({"chat": chat, "from": from, "text": text, "entities": entities}));
    };
    write("nobody is meant [[tokens=1]]");
    write("@verso_bot you are [[tokens=2]]");
    assert_eq!(texts(&sent(&api, -100, 1).await), [format!("[bot] {}", reply(2))]);
    activate(json!("always")).await;
    write("everybody is meant [[tokens=3]]");
    assert_eq!(texts(&sent(&api, -100, 2).await)[1], format!("[bot] {}", reply(3)));
    activate(json!("mention")).await;
    write("nobody again [[tokens=4]]");
    write("@verso_bot and you [[tokens=5]]");
    assert_eq!(texts(&sent(&api, -100, 3).await)[2], format!("[bot] {}", reply(5)));
}

#[tokio::test]
async fn lines_that_are_written_one_after_the_other_are_one_message_and_a_reaction_says_seen() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let messages = json!({"inbound": {"debounceMs": 700}, "ackReaction": "👀", "ackReactionScope": "all", "removeAckAfterReply": true});
    let config = over(over(provider.config(), api.channels(&json!({"allowFrom": ["42"]}))), json!({"messages": messages}));
    let _gateway = Gateway::start_with(config).await;
    api.write(42, "first line");
    api.write(42, "second line [[tokens=3]]");
    assert_eq!(texts(&sent(&api, 42, 1).await), [reply(3)]);
    let calls = provider.calls();
    let asked = calls[0].body["messages"].to_string();
    assert!(calls.len() == 1 && asked.contains("first line\\nsecond line"), "{asked}");
    let marks =
        eventually("the mark to be taken back", async || Some(api.asked("setMessageReaction")).filter(|marks| marks.len() > 1)).await;
    assert_eq!((&marks[0]["reaction"][0]["emoji"], &marks[0]["message_id"], &marks[1]["reaction"]), (&json!("👀"), &json!(2), &json!([])));
}

#[tokio::test]
async fn every_message_is_answered_once_while_agent_and_edge_are_killed() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    // One answer to each: what waits is not answered together.
    let queue = json!({"messages": {"queue": {"mode": "followup"}}});
    let config = over(api.channels(&json!({"dmPolicy": "open", "allowFrom": ["*"]})), queue);
    let gateway = Gateway::start_with(over(provider.config(), config)).await;
    let people = [42, 43, 44];
    for number in 0..MESSAGES_EACH {
        for person in people {
            api.write(person, &format!("number {number} [[tokens=4 gap=5]]"));
        }
        if number % 3 == 1 {
            gateway.kill("agent").await;
        }
        if number == 4 {
            gateway.kill("edge").await;
        }
        sent(&api, 44, number + 1).await;
    }
    for person in people {
        assert_eq!(texts(&sent(&api, person, MESSAGES_EACH).await).len(), MESSAGES_EACH, "person {person}");
    }
}

#[tokio::test]
async fn messages_that_were_taken_are_answered_after_the_channel_service_was_killed() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let gateway = gateway(&provider, &api, json!({"dmPolicy": "open", "allowFrom": ["*"]})).await;
    api.write(42, "slow [[tokens=2 first=1500]]");
    eventually("the model is asked", async || (!provider.calls().is_empty()).then_some(())).await;
    gateway.kill("channel").await;
    assert_eq!(texts(&sent(&api, 42, 1).await), [reply(2)]);
    api.write(42, "and again [[tokens=1]]");
    assert_eq!(texts(&sent(&api, 42, 2).await), [reply(2), reply(1)]);
    assert_eq!(provider.calls().len(), 2, "the run was joined, not begun again");
}

#[tokio::test]
async fn an_account_that_its_network_refuses_leaves_the_others_alone() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let mut config = over(provider.config(), api.channels(&json!({"allowFrom": ["42"]})));
    let good = config["channels"]["telegram"]["botToken"].clone();
    config["channels"]["telegram"]["accounts"] = json!({"good": {"botToken": good}, "bad": {"botToken": "1:wrong"}});
    let gateway = Gateway::start_with(config).await;
    api.write(42, "hello [[tokens=1]]");
    assert_eq!(texts(&sent(&api, 42, 1).await), [reply(1)]);
    let client = gateway.client().await;
    let error = eventually("the refusal is shown", async || {
        let status = client.call("channels.status", json!({})).await.ok()?;
        let accounts = status["channelAccounts"]["telegram"].as_array()?.clone();
        let bad = accounts.into_iter().find(|account| account["accountId"] == "bad")?;
        bad["lastError"].as_str().map(str::to_owned)
    });
    assert_eq!(error.await, "Telegram does not accept the bot token: Unauthorized (401)");
}

#[tokio::test]
async fn irc_is_spoken_in_channels_and_to_people() {
    let (provider, server) = (Provider::start().await, IrcServer::start().await);
    let irc = json!({
        "host": "127.0.0.1", "port": server.port(), "tls": false, "nick": "verso", "channels": ["#den"],
        "allowFrom": ["ann!a@home.test"], "groupPolicy": "open",
    });
    let gateway = Gateway::start_with(over(provider.config(), json!({"channels": {"irc": irc}}))).await;
    eventually("the channel is joined", async || server.heard().contains(&"JOIN #den".to_owned()).then_some(())).await;
    server.say(":Ann!a@home.test PRIVMSG verso :hello [[tokens=2]]");
    server.say(":Eve!e@home.test PRIVMSG #den :verso: and me? [[tokens=3]]");
    server.say(":Ann!impostor@home.test PRIVMSG verso :hello [[tokens=9]]");
    let heard = |line: String| {
        let server = server.clone();
        async move { eventually("a line", async || server.heard().contains(&line).then_some(())).await }
    };
    heard(format!("PRIVMSG Ann :{}", reply(2))).await;
    heard(format!("PRIVMSG #den :{}", reply(3))).await;
    let client = gateway.client().await;
    client.call("send", json!({"channel": "irc", "to": "#den", "message": "two\n\nlines", "idempotencyKey": "i1"})).await.expect("sent");
    heard("PRIVMSG #den :two".to_owned()).await;
    heard("PRIVMSG #den :lines".to_owned()).await;
    assert!(!server.heard().concat().contains(&reply(9)), "a nick alone lets nobody in");
}

async fn running(client: &verso_client::Client, channel: &str) {
    eventually("the account runs", async || {
        let status = client.call("channels.status", json!({})).await.ok()?;
        (status["channels"][channel]["running"] == true).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_prefix_says_which_model_has_answered_and_of_our_own_answers_it_does_not() {
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let prefix = "[{Model} {modelFull} {provider} {thinkingLevel} {nobody}]";
    let bot = json!({"allowFrom": ["42"], "blockStreaming": true, "streaming": {"mode": "off"}, "responsePrefix": prefix});
    let gateway = gateway(&provider, &api, bot).await;
    running(&gateway.client().await, "telegram").await;
    api.write(42, "in pieces [[tokens=300]]");
    let last = || texts(&api.sent_to(42)).last().cloned();
    eventually("the last piece", async || last().filter(|text| text.contains("word299"))).await;
    let pieces = texts(&api.sent_to(42));
    let filled = "[model-1 scripted/model-1 scripted off {nobody}] ";
    assert!(pieces.len() > 1 && pieces.iter().all(|text| text.starts_with(filled)), "{pieces:?}");
    api.write(42, "/whoami");
    let told = eventually("the command's answer", async || last().filter(|text| text.contains("Owner:"))).await;
    assert!(told.starts_with(prefix), "{told}");
}
