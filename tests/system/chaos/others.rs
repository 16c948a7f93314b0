//! Those who are no clients: a device that carries out commands, and people who write to a bot.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use verso_client::Client;
use verso_tests::Gateway;
use verso_tests::bot_api::BotApi;

use super::{ANSWER, Answered, Shared, count};
use crate::nodes::{self, Node};

/// Between two commands, and between two messages.
const PAUSE: Duration = Duration::from_millis(400);

/// How long nothing may happen before the rest of the messages counts as lost.
const STALL: Duration = Duration::from_secs(90);

/// The first person; each message is somebody else's, so that it is known by its chat.
const FIRST_PERSON: i64 = 5_000;

/// The section `channels`, and what goes with it, of a gateway whose bot talks to `api`.
pub(super) fn with_bot(config: &mut Value, api: &BotApi) {
    config["channels"] = api.channels(&json!({"dmPolicy": "open", "allowFrom": ["*"], "streaming": {"mode": "off"}}))["channels"].clone();
    config["session"] = json!({"dmScope": "per-account-channel-peer"});
    config["agents"]["defaults"]["maxConcurrent"] = json!(16);
}

/// Has a device carry out commands until the end. Each that was answered was carried out once.
pub(super) async fn command_it(gateway: &Gateway, client: &Client, folder: &Path, seen: &Shared, until: Instant) {
    let journal = folder.join("journal");
    let _node = Node::script_on(gateway, &journal, "linux");
    let node = nodes::connected(gateway, "python").await["nodeId"].clone();
    let mut shown = Vec::new();
    for number in 0.. {
        if Instant::now() >= until {
            break;
        }
        let title = format!("command {number}");
        let call =
            json!({"nodeId": node, "command": "system.notify", "params": {"title": title}, "idempotencyKey": title, "timeoutMs": 10_000});
        let begun = Instant::now();
        match timeout(ANSWER, client.call("node.invoke", call)).await {
            Ok(answer) => {
                if answer.is_ok() {
                    shown.push(title);
                }
                count(seen, "node.invoke", begun, Answered::of_call(&answer));
            }
            Err(_) => seen.borrow_mut().fail(format!("{title}: no answer")),
        }
        seen.borrow_mut().invokes += 1;
        sleep(PAUSE).await;
    }
    let lines = nodes::lines(&journal);
    for title in shown {
        let times = lines.iter().filter(|line| **line == title).count();
        if times != 1 {
            seen.borrow_mut().fail(format!("{title} was carried out {times} times"));
        }
    }
}

/// Writes to the bot until the end, and waits for the answers: each message has one, or is reported.
pub(super) async fn write_to_it(client: &Client, api: &BotApi, seen: &Shared, until: Instant) {
    let mut count = 0;
    while Instant::now() < until {
        api.write(FIRST_PERSON + count, "hello [[tokens=2 gap=1]]");
        count += 1;
        sleep(PAUSE).await;
    }
    let mut last = (0, Instant::now());
    loop {
        let answered = api.chats().into_iter().filter(|chat| *chat >= FIRST_PERSON).count();
        if answered >= usize::try_from(count).unwrap_or_default() || last.1.elapsed() > STALL {
            break;
        }
        if answered != last.0 {
            last = (answered, Instant::now());
        }
        sleep(Duration::from_millis(20)).await;
    }
    let status = client.call("channels.status", json!({})).await.unwrap_or_default();
    let accounts = status["channelAccounts"]["telegram"].as_array().cloned().unwrap_or_default();
    let reported: u64 = accounts.iter().filter_map(|account| account["uncertainMessages"].as_u64()).sum();
    let times = |person: i64| api.chats().into_iter().filter(|chat| *chat == person).count();
    let answers: Vec<usize> = (FIRST_PERSON..FIRST_PERSON + count).map(times).collect();
    let (never, twice) = (answers.iter().filter(|times| **times == 0).count(), answers.iter().filter(|times| **times > 1).count());
    let mut seen = seen.borrow_mut();
    seen.messages += answers.len();
    if twice > 0 {
        seen.fail(format!("{twice} messages were answered more than once"));
    }
    if never as u64 > reported {
        seen.fail(format!("{never} messages have no answer, and {reported} are reported as uncertain"));
    }
}
