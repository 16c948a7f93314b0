//! A day's work in a few minutes: what it leaves behind in memory, in descriptors and in tables does not grow with the hours.
//!
//! Short by itself; `VERSO_DAY_HOURS=24` is the whole day. Nothing here makes clocks run faster: an hour is so many clients, turns, messages
//! and commands, one after the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use verso_client::Client;
use verso_tests::bot_api::BotApi;
use verso_tests::{Gateway, Provider, count, eventually, process};

/// Hours whose work is done before anything is measured: what is done for the first time costs once.
const WARM_UP_HOURS: usize = 2;

/// Hours that are measured, unless set.
const HOURS_DEFAULT: usize = 2;

/// What an hour is made of.
const CLIENTS: usize = 30;
const TURNS: usize = 12;
const MESSAGES: i64 = 6;

/// Conversations of clients; each begins afresh in every hour.
const SESSIONS: usize = 4;

/// How much more each process may have at the end than after the warm-up, in KiB: what its allocator keeps varies by as much.
const GROWTH_KIB_MAX: u64 = 8 << 10;

/// How many more descriptors.
const GROWTH_DESCRIPTORS_MAX: usize = 8;

/// What a gateway has at one moment.
#[derive(Debug, Default)]
struct Moment {
    kib: BTreeMap<String, u64>,
    descriptors: BTreeMap<String, usize>,
}

async fn measure(gateway: &Gateway) -> Moment {
    let mut moment = Moment::default();
    for service in gateway.services().await.expect("the supervisor's answer") {
        let pid = service.pid.expect("a running service");
        moment.kib.insert(service.name.clone(), process::rss_kib(pid));
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        moment.descriptors.insert(service.name, descriptors);
    }
    moment
}

/// The number of rows of every table; none where there is no Python to ask.
fn rows(database: &Path) -> BTreeMap<String, u64> {
    let script = "import json, sqlite3, sys\n\
        base = sqlite3.connect('file:' + sys.argv[1] + '?mode=ro', uri=True)\n\
        names = [row[0] for row in base.execute(\"SELECT name FROM sqlite_master WHERE type = 'table'\")]\n\
        print(json.dumps({name: base.execute(f'SELECT count(*) FROM \"{name}\"').fetchone()[0] for name in names}))";
    let output = Command::new("python3").args(["-c", script]).arg(database).output();
    output.ok().and_then(|output| serde_json::from_slice(&output.stdout).ok()).unwrap_or_default()
}

/// Somebody comes, looks at everything and goes.
async fn visit(gateway: &Gateway, number: usize) {
    let protocol = if number.is_multiple_of(2) { 3..=3 } else { 4..=4 };
    let client = gateway.connect(gateway.options().with_protocol(protocol)).await;
    for method in ["health", "status", "sessions.list", "system-presence", "channels.status", "node.list", "cron.list", "models.list"] {
        client.call(method, json!({})).await.unwrap_or_else(|error| panic!("{method}: {error:?}"));
    }
}

async fn hour(gateway: &Gateway, client: &Client, api: &BotApi, hour: usize) {
    for number in 0..CLIENTS {
        visit(gateway, number).await;
    }
    for number in 0..TURNS {
        let session = format!("agent:main:day-{}", number % SESSIONS);
        if number < SESSIONS {
            client.call("sessions.reset", json!({"key": session})).await.ok();
        }
        let key = format!("day-{hour}-{number}");
        let turn = json!({"message": "work [[tokens=20 gap=1]]", "sessionKey": session, "idempotencyKey": key});
        client.call("agent", turn).await.expect("a run");
        client.call("agent.wait", json!({"runId": key})).await.expect("a finished run");
        client.call("chat.history", json!({"sessionKey": session})).await.expect("the history");
    }
    let answered = api.chats().len();
    for person in 0..MESSAGES {
        api.write(100 + person, "hello [[tokens=2 gap=1]]");
    }
    let wanted = answered + usize::try_from(MESSAGES).unwrap_or_default();
    eventually("the answers", async || (api.chats().len() >= wanted).then_some(())).await;
    let job = json!({"name": format!("job-{hour}"), "schedule": {"kind": "every", "everyMs": 86_400_000}, "sessionTarget": "main",
        "wakeMode": "next-heartbeat", "payload": {"kind": "systemEvent", "text": "later"}});
    let job = client.call("cron.add", job).await.expect("a job");
    client.call("cron.remove", json!({"id": job["id"]})).await.expect("no job any more");
}

#[tokio::test]
async fn a_day_of_mixed_work_leaves_memory_descriptors_and_tables_flat() {
    let hours = count("VERSO_DAY_HOURS", HOURS_DEFAULT);
    let (provider, api) = (Provider::start().await, BotApi::start().await);
    let mut config = provider.config();
    config["channels"] = api.channels(&json!({"dmPolicy": "open", "allowFrom": ["*"], "streaming": {"mode": "off"}}))["channels"].clone();
    let gateway = Gateway::start_with(config).await;
    let client = gateway.client().await;
    for number in 0..WARM_UP_HOURS {
        hour(&gateway, &client, &api, number).await;
    }
    let (before, tables) = (measure(&gateway).await, rows(&gateway.state_dir().join("agent/agent.sqlite")));
    for number in WARM_UP_HOURS..WARM_UP_HOURS + hours {
        hour(&gateway, &client, &api, number).await;
        let now = measure(&gateway).await;
        #[allow(clippy::print_stdout, reason = "the figures of a long run are wanted")]
        {
            println!("hour {number}: {:?} KiB, {:?} descriptors", now.kib, now.descriptors);
        }
    }
    let (after, tables_after) = (measure(&gateway).await, rows(&gateway.state_dir().join("agent/agent.sqlite")));
    let grown = |name: &String| after.kib[name].saturating_sub(before.kib[name]);
    let more = |name: &String| after.descriptors[name].saturating_sub(before.descriptors[name]);
    for name in before.kib.keys() {
        assert!(grown(name) <= GROWTH_KIB_MAX, "{name} has grown by {} KiB in {hours} hours", grown(name));
        assert!(more(name) <= GROWTH_DESCRIPTORS_MAX, "{name} has {} more descriptors after {hours} hours", more(name));
    }
    #[allow(clippy::print_stdout, reason = "the figures of a long run are wanted")]
    {
        println!("tables before: {tables:?}\ntables after: {tables_after:?}");
    }
    assert!(gateway.services().await.expect("an answer").iter().all(|service| service.starts == 1), "nothing was restarted for it");
}
