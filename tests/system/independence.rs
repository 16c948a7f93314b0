//! The control plane does not wait for work: who connects, asks for health or waits for a tick does not notice turns that never pause, nor
//! a tool that never does anything else than use the processor.
//!
//! Short by itself; `VERSO_LOAD_SECONDS=95` sees ticks too. `VERSO_LOAD_STRICT=1` holds it to the promised figures, which a quiet machine and
//! a release build keep.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};
use verso_chaos::percentile;
use verso_client::Client;
use verso_tests::provider::calling;
use verso_tests::{Gateway, Provider, count};

/// Sessions that have a run all the time.
const RUNS: usize = 32;

/// The promised figures, and what a busy machine is held to.
const CONNECT_P99: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(10)];
const HEALTH_P99: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(10)];
const TICK_JITTER: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];

/// Between two ticks, by the protocol.
const TICK: Duration = Duration::from_secs(30);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(25);

async fn saturate(client: &Client, number: usize, until: Instant) -> usize {
    let mut done = 0;
    while Instant::now() < until {
        let key = format!("load-{number}-{done}");
        let turn = json!({"message": "go [[tokens=400 gap=0]]", "sessionKey": format!("agent:main:load-{number}"), "idempotencyKey": key});
        client.call("agent", turn).await.expect("a run");
        client.call("agent.wait", json!({"runId": key, "timeoutMs": 120_000})).await.expect("a finished run");
        done += 1;
    }
    done
}

/// Times from the arrival of one tick to that of the next, less what it should be.
async fn ticks(client: &Client, until: Instant) -> Vec<Duration> {
    let (mut events, mut last, mut off) = (client.events(), None::<Instant>, Vec::new());
    while let Ok(Ok(_)) = timeout_at(until, events.next_named("tick")).await {
        let now = Instant::now();
        off.extend(last.map(|last| now.duration_since(last).abs_diff(TICK)));
        last = Some(now);
    }
    off
}

// The provider and the clients are not to wait for each other: what is measured is the gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_connects_or_asks_for_health_waits_for_turns_or_tools() {
    let length = Duration::from_secs(count("VERSO_LOAD_SECONDS", 4) as u64);
    let strict = count("VERSO_LOAD_STRICT", 0) > 0;
    let provider = Provider::start().await;
    let mut config = provider.config();
    config["tools"] = json!({"exec": {"security": "full", "ask": "off", "host": "gateway"}});
    let gateway = Gateway::start_with(config).await;
    let (client, other) = (gateway.client().await, gateway.client().await);
    let until = Instant::now() + length;
    let spin = calling("exec", &json!({"command": format!("timeout {} sh -c 'while :; do :; done'", length.as_secs())}));
    let spinning = json!({"message": format!("x {spin}"), "sessionKey": "agent:main:spin", "idempotencyKey": "spin"});
    client.call("agent", spinning).await.expect("a run with a tool");
    let looking = async {
        let (mut connects, mut healths) = (Vec::new(), Vec::new());
        while Instant::now() < until {
            let since = Instant::now();
            let visitor = Client::connect(gateway.options()).await.expect("a connection");
            connects.push(since.elapsed());
            let since = Instant::now();
            visitor.call("health", json!({})).await.expect("health");
            healths.push(since.elapsed());
            sleep(PAUSE).await;
        }
        (connects, healths)
    };
    let turns = join_all((0..RUNS).map(|number| saturate(&client, number, until)));
    let ((connects, healths), turns, off) = tokio::join!(looking, turns, ticks(&other, until));
    let (connect, health) = (percentile(&connects, 99), percentile(&healths, 99));
    let jitter = off.iter().max().copied().unwrap_or_default();
    let report = json!({"seconds": length.as_secs(), "turns": turns.iter().sum::<usize>(), "connections": connects.len(),
        "connectP99Ms": connect.as_secs_f64() * 1e3, "healthP99Ms": health.as_secs_f64() * 1e3, "ticks": off.len(),
        "tickJitterMs": jitter.as_secs_f64() * 1e3});
    #[allow(clippy::print_stdout, reason = "the figures of a long run are wanted")]
    {
        println!("{report}");
    }
    let held_to = usize::from(!strict);
    assert!(turns.iter().all(|turns| *turns > 0), "every session had a turn: {report}");
    assert!(connect < CONNECT_P99[held_to] && health < HEALTH_P99[held_to] && jitter < TICK_JITTER[held_to], "{report}");
}
