//! Accounts of a made-up network, which does what a test tells it, and an agent service that answers what it is asked.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};
use tonic::{Request, Response, Status};
use verso_kit::peer::Peer;
use verso_proto::agent::v1::inbound_server::{Inbound, InboundServer};
use verso_proto::agent::v1::{ActivationRequest, ActivationResponse, CalledBy, Payload, SubmitRequest, SubmitResponse};

use super::*;
use crate::adapter::{Fault, Refusal, Wellbeing};
use crate::message::{Address, ChatKind, EventKind, Incoming, Part, Receipt};
use crate::text::Rich;

/// Accounts beside the one that fails.
const OTHERS: usize = 19;

/// Rounds, each with and without the account that panics.
const ROUNDS: usize = 3;

/// Messages of each account in half a round, unless `VERSO_PANIC_MESSAGES` says otherwise.
const MESSAGES_DEFAULT: usize = 10;

/// A group whose agent has patterns of its own.
const VERAS: &str = "#vera";

/// How long anything may take before a test gives up. Generous: test machines are busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a made-up account is told to do, and what it did.
#[derive(Debug, Default)]
struct Told {
    /// Messages that its network has for it.
    arrived: Mutex<Vec<Incoming>>,
    news: Notify,
    /// What it sent, and when.
    sent: Mutex<Vec<(String, tokio::time::Instant)>>,
    /// Panics so long after each start.
    panics_after: Mutex<Option<Duration>>,
    /// Ends what runs, so that it is started again.
    again: Notify,
    /// Refuses to start.
    refused: Mutex<Option<String>>,
    /// The settings of each start.
    starts: Mutex<Vec<Arc<Profile>>>,
    started: AtomicUsize,
}

#[derive(Debug, Clone, Default)]
struct Toy(Arc<Told>);

impl Toy {
    fn write(&self, number: usize) {
        let event = format!("e{number}");
        let base = Incoming::new(event, EventKind::Message, (ChatKind::Direct, format!("p{number}")), format!("p{number}"), "hi".into());
        self.0.arrived.lock().unwrap().push(Incoming { mentioned: true, ..base });
        self.0.news.notify_one();
    }

    /// Somebody says something in a group, and calls nobody in the network's own way.
    fn write_in(&self, group: &str, event: &str, text: &str) {
        let incoming = Incoming::new(event.into(), EventKind::Message, (ChatKind::Group, group.into()), "ann".into(), text.into());
        self.0.arrived.lock().unwrap().push(incoming);
        self.0.news.notify_one();
    }

    fn sent(&self) -> Vec<(String, tokio::time::Instant)> {
        self.0.sent.lock().unwrap().clone()
    }

    async fn talk(&self, link: &Link, stop: &CancellationToken) -> Result<(), Fault> {
        loop {
            link.pulse.beat(link.clock.now_ms());
            let arrived = self.0.arrived.lock().unwrap().pop();
            if let Some(incoming) = arrived {
                link.take(Some(&incoming), None).await?;
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.0.again.notified() => return Err(Fault::Network("again".into())),
                () = self.0.news.notified() => {}
            }
        }
    }
}

impl Make for Toy {
    fn make(&self, profile: Arc<Profile>) -> BoxFuture<'_, Result<Arc<dyn Adapter>, Fault>> {
        self.0.started.fetch_add(1, Ordering::Relaxed);
        self.0.starts.lock().unwrap().push(profile);
        let refused = self.0.refused.lock().unwrap().clone();
        let made = refused.map_or_else(|| Ok(Arc::new(self.clone()) as Arc<dyn Adapter>), |reason| Err(Fault::Account(reason)));
        Box::pin(std::future::ready(made))
    }
}

impl Adapter for Toy {
    fn receive<'a>(&'a self, link: &'a Link, stop: &'a CancellationToken) -> BoxFuture<'a, Result<(), Fault>> {
        let panics_after = *self.0.panics_after.lock().unwrap();
        Box::pin(async move {
            let failing = async {
                match panics_after {
                    Some(after) => tokio::time::sleep(after).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                result = self.talk(link, stop) => result,
                () = failing => panic!("on purpose"),
            }
        })
    }

    fn send<'a>(&'a self, part: &'a Part) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        self.0.sent.lock().unwrap().push((part.to.peer.clone(), tokio::time::Instant::now()));
        Box::pin(std::future::ready(Ok(Receipt::new("1".into(), part.to.peer.clone()))))
    }

    fn probe(&self) -> BoxFuture<'_, Result<Wellbeing, Fault>> {
        Box::pin(std::future::ready(Ok(Wellbeing::default())))
    }

    fn render(&self, rich: &Rich) -> String {
        crate::text::plain(rich)
    }

    fn silence_max(&self) -> Duration {
        Duration::from_hours(1)
    }

    fn address(&self, target: &str, _thread: Option<&str>) -> Option<Address> {
        Some(Address { peer: target.to_owned(), thread: None })
    }
}

/// Answers every message with the same words. In the group [`VERAS`] its agent has a name of its own.
struct Echo;

#[tonic::async_trait]
impl Inbound for Echo {
    type SubmitStream = stream::BoxStream<'static, Result<SubmitResponse, Status>>;

    async fn submit(&self, _: Request<SubmitRequest>) -> Result<Response<Self::SubmitStream>, Status> {
        let says = |status: &str| SubmitResponse { status: status.to_owned(), ..SubmitResponse::default() };
        let end = SubmitResponse { payloads: vec![Payload { text: "yes".to_owned(), ..Payload::default() }], ..says("ok") };
        Ok(Response::new(stream::iter([Ok(says("accepted")), Ok(end)]).boxed()))
    }

    async fn activation(&self, request: Request<ActivationRequest>) -> Result<Response<ActivationResponse>, Status> {
        let own = request.get_ref().peer_id == VERAS;
        let called_by = own.then(|| CalledBy { patterns: vec![r"\bvera\b".to_owned()] });
        Ok(Response::new(ActivationResponse { activation: None, called_by }))
    }
}

struct House {
    shared: Shared,
    stop: CancellationToken,
    tasks: Tasks,
    folder: tempfile::TempDir,
}

impl House {
    async fn build(config: serde_json::Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verso.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let env = verso_kit::config::Env::default();
        let mut context = Context::for_test("channel", folder.path());
        context.config = Arc::new(File::load(&path, &env).unwrap());
        let store = Store::open(folder.path().join("channel.sqlite"), 1).await.unwrap();
        let shelf = Shelf::open(folder.path().join("media")).await.unwrap();
        let routes = tonic::service::Routes::new(InboundServer::new(Echo));
        let agent = Agent::new(Peer::over(verso_kit::grpc::in_memory(routes)), context.clock.clone());
        let stop = CancellationToken::new();
        let tasks = Tasks::new(stop.clone());
        let shared = Shared { store, shelf, agent, webhooks: Webhooks::new(tasks.clone()), context };
        Self { shared, stop, tasks, folder }
    }

    fn start(&self, account: &str) -> (Toy, Arc<Unit>) {
        let toy = Toy::default();
        let key = AccountKey { channel: "irc".into(), account: account.into() };
        let unit = Arc::new(Unit::new(key, Network::Irc, Box::new(toy.clone()), self.shared.clone()));
        self.tasks.spawn("account", Arc::clone(&unit).run(self.stop.child_token()));
        (toy, unit)
    }
}

fn open() -> serde_json::Value {
    serde_json::json!({"channels": {"irc": {"dmPolicy": "open", "allowFrom": ["*"]}}})
}

async fn until(what: &str, mut met: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !met() {
        assert!(tokio::time::Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Writes to each account in turn, one message after the other, and returns how long each answer took.
async fn answer_times(toys: &[Toy], round: usize, messages: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for number in 0..messages {
        for (place, toy) in toys.iter().enumerate() {
            let name = round * 1_000_000 + number * 100 + place;
            let begun = tokio::time::Instant::now();
            let before = toy.sent().len();
            toy.write(name);
            until("an answer", || toy.sent().len() > before).await;
            times.push(toy.sent()[before].1 - begun);
        }
    }
    times
}

/// How long the slowest twentieth took.
fn p95(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 95 / 100]
}

#[allow(clippy::disallowed_methods, reason = "a test asks its surroundings")]
fn asked_for<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok().and_then(|value| value.parse().ok())
}

fn messages() -> usize {
    asked_for("VERSO_PANIC_MESSAGES").unwrap_or(MESSAGES_DEFAULT)
}

/// How long the account works before it panics again. Far less than anybody would bear, so that a short test has many.
fn panics_after() -> Duration {
    asked_for("VERSO_PANIC_EVERY_MS").map_or(Duration::from_millis(20), Duration::from_millis)
}

#[tokio::test]
async fn an_account_that_panics_again_and_again_leaves_the_other_nineteen_alone() {
    let house = House::build(open()).await;
    let (bad, bad_unit) = house.start("bad");
    let others: Vec<_> = (0..OTHERS).map(|number| house.start(&format!("good{number}"))).collect();
    let toys: Vec<Toy> = others.iter().map(|(toy, _)| toy.clone()).collect();
    until("all accounts to run", || bad_unit.state().running && others.iter().all(|(_, unit)| unit.state().running)).await;
    let (mut quiet, mut noisy) = (Vec::new(), Vec::new());
    // Both take turns: what grows while the test goes on, or happens on the machine, meets both.
    for round in 0..ROUNDS {
        *bad.0.panics_after.lock().unwrap() = None;
        quiet.extend(answer_times(&toys, 2 * round + 1, messages()).await);
        *bad.0.panics_after.lock().unwrap() = Some(panics_after());
        bad.0.again.notify_one();
        until("the account to panic", || bad_unit.state().last_error.as_deref() == Some("the account's code panicked")).await;
        noisy.extend(answer_times(&toys, 2 * round + 2, messages()).await);
    }
    let (quiet, noisy) = (p95(quiet), p95(noisy));
    #[allow(clippy::print_stderr, reason = "the figures are wanted")]
    {
        eprintln!("p95 of {OTHERS} accounts: {quiet:?} in quiet, {noisy:?} beside one that panicked {} times", bad_unit.state().restarts);
    }
    until("the account to be started again", || bad_unit.state().restarts >= 2).await;
    assert!(toys.iter().all(|toy| toy.sent().len() == 2 * ROUNDS * messages()), "every message of the others is answered once");
    assert!(others.iter().all(|(_, unit)| unit.state().restarts == 0 && unit.state().last_error.is_none()));
    // It is never given up: as soon as it does not panic any more, it works.
    *bad.0.panics_after.lock().unwrap() = None;
    bad.write(7);
    until("the account to answer", || bad.sent().len() == 1).await;
    assert!(!house.stop.is_cancelled(), "the service goes on");
}

#[tokio::test]
async fn sec_86_each_start_reads_the_settings_as_they_are_then() {
    let house = House::build(open()).await;
    let (toy, unit) = house.start("own");
    *toy.0.refused.lock().unwrap() = Some("no".into());
    toy.0.again.notify_one();
    until("a refusal", || unit.state().last_error.as_deref() == Some("no")).await;
    let changed = serde_json::json!({"channels": {"irc": {"dmPolicy": "open", "allowFrom": ["*"], "textChunkLimit": 77}}});
    std::fs::write(house.folder.path().join("verso.json"), changed.to_string()).unwrap();
    until("the new settings", || toy.0.starts.lock().unwrap().last().is_some_and(|profile| profile.text_chunk_limit == Some(77))).await;
}

#[tokio::test]
async fn sec_87_an_account_that_is_refused_says_so_and_is_tried_for_ever() {
    let house = House::build(open()).await;
    let (toy, unit) = house.start("own");
    *toy.0.refused.lock().unwrap() = Some("the token is void".into());
    toy.0.again.notify_one();
    until("some attempts", || toy.0.started.load(Ordering::Relaxed) >= 6).await;
    let state = unit.state();
    assert_eq!((state.running, state.last_error.as_deref()), (false, Some("the token is void")));
    *toy.0.refused.lock().unwrap() = None;
    toy.write(1);
    until("an answer", || toy.sent().len() == 1).await;
    assert_eq!(unit.state().last_error, None);
}

#[tokio::test]
async fn an_agent_is_called_by_its_own_patterns_and_any_other_by_those_of_all() {
    let network = serde_json::json!({"groupPolicy": "open"});
    let usual = serde_json::json!({"groupChat": {"mentionPatterns": [r"\bverso\b"]}});
    let house = House::build(serde_json::json!({"channels": {"irc": network}, "messages": usual})).await;
    let (toy, _unit) = house.start("own");
    let mut answered = 0;
    for (group, ignored, heard) in [(VERAS, "verso, hi", "Vera, hi"), ("#den", "vera, hi", "Verso, hi")] {
        let taken = || toy.0.arrived.lock().unwrap().is_empty();
        toy.write_in(group, &format!("{answered}-ignored"), ignored);
        until("the message to be read", taken).await;
        // A chat's messages are judged in their order: when this one is answered, the one before it was not.
        toy.write_in(group, &format!("{answered}-heard"), heard);
        answered += 1;
        until("an answer", || toy.sent().len() >= answered).await;
        let groups: Vec<String> = toy.sent().into_iter().map(|(peer, _)| peer).collect();
        assert_eq!((groups.len(), groups.last().map(String::as_str)), (answered, Some(group)), "{ignored}");
    }
}
