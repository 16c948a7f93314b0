//! `verso chaos`: ends processes of the running gateway by a plan, and tells whether a client has noticed.

use std::cell::RefCell;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use verso_chaos::{Fault, Planned, percentile};
use verso_client::{CallErrorKind, Client};
use verso_kit::peer::Caller;
use verso_proto::supervisor::v1::{ServiceInfo, ServicesRestartRequest};
use verso_supervisor::ServiceName;

use super::{Session, services};
use crate::args::Chaos;
use crate::client::{Connection, Mode};
use crate::failure::Failure;
use crate::output::{self, Tone};

/// How long the connection may take, and an answer.
const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(40);

/// Between two calls.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a service may take to be back.
const BACK: Duration = Duration::from_mins(1);

/// Between two looks whether it is.
const LOOK: Duration = Duration::from_millis(20);

/// What was seen. It went well when nothing is `wrong`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    seed: u64,
    seconds: u64,
    faults: Vec<Happened>,
    calls: u64,
    answers: u64,
    /// Calls whose answer asked for another try.
    asked_to_come_back: u64,
    events: u64,
    recovery_p50_ms: u64,
    recovery_p95_ms: u64,
    wrong: Vec<String>,
}

/// A fault, and how long the service took to serve again.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Happened {
    at_ms: u64,
    service: String,
    fault: &'static str,
    recovered_ms: Option<u64>,
}

pub(super) async fn run(session: &Session, arguments: &Chaos) -> anyhow::Result<ExitCode> {
    let names = arguments.services.iter().map(|name| name.trim().parse::<ServiceName>()).collect::<Result<Vec<_>, _>>()?;
    if names.is_empty() || !arguments.yes {
        return Err(Failure::new("this kills processes of the running gateway; add --yes if that is wanted").into());
    }
    let number = arguments.seed.unwrap_or_else(rand::random);
    let names: Vec<&str> = names.into_iter().map(ServiceName::as_str).collect();
    let plan = verso_chaos::plan(number, arguments.length, arguments.every, &names);
    let connection = Connection::open(session, &arguments.target, PATIENCE, Mode::Cli).await?;
    if !arguments.json {
        output::line(format!("Seed {number}: {} faults in {} s", plan.len(), arguments.length.as_secs()))?;
    }
    let seen = RefCell::new(Seen { seed: number, seconds: arguments.length.as_secs(), ..Seen::default() });
    let begin = Instant::now();
    let until = begin + arguments.length;
    let disturbing = disturb(session, &plan, begin, arguments.json, &seen);
    let ((), (), disturbed) = tokio::join!(call(connection.client(), until, &seen), listen(connection.client(), until, &seen), disturbing);
    disturbed?;
    report(session, arguments.json, seen.into_inner())
}

/// Calls until the end.
async fn call(client: &Client, until: Instant, seen: &RefCell<Seen>) {
    while Instant::now() < until {
        let answer = timeout(ANSWER, client.call("health", json!({}))).await;
        {
            let mut seen = seen.borrow_mut();
            seen.calls += 1;
            match answer {
                Ok(Ok(_)) => seen.answers += 1,
                Ok(Err(error)) if error.kind == CallErrorKind::Closed => return seen.wrong.push("the socket was closed".to_owned()),
                Ok(Err(error)) if error.retryable => seen.asked_to_come_back += 1,
                Ok(Err(error)) => seen.wrong.push(format!("health: {error}")),
                Err(_) => seen.wrong.push(format!("health: no answer within {} s", ANSWER.as_secs())),
            }
        }
        sleep(PAUSE).await;
    }
}

/// Reads events until the end. The client itself sees one that is missing.
async fn listen(client: &Client, until: Instant, seen: &RefCell<Seen>) {
    let mut events = client.events();
    while let Ok(event) = timeout_at(until, events.next()).await {
        let mut seen = seen.borrow_mut();
        match event {
            Ok(event) if event.name == "shutdown" => seen.wrong.push("the client was told to leave".to_owned()),
            Ok(_) => seen.events += 1,
            Err(error) => return seen.wrong.push(format!("events: {error}")),
        }
    }
}

/// Carries the plan out.
async fn disturb(session: &Session, plan: &[Planned<'_>], begin: Instant, silent: bool, seen: &RefCell<Seen>) -> anyhow::Result<()> {
    for planned in plan {
        sleep_until(begin + planned.at).await;
        let Some(before) = find(session, planned.service).await?.filter(|service| service.pid.is_some()) else { continue };
        let since = Instant::now();
        let fault = inflict(session, planned, &before).await?;
        let recovered = timeout(BACK, back(session, planned.service, &before, fault)).await.is_ok().then(|| since.elapsed());
        if !silent {
            let end = recovered.map_or("is not back".to_owned(), |took| format!("serves after {} ms", took.as_millis()));
            let at = begin.elapsed().as_secs_f64();
            output::line(session.style.paint(Tone::Muted, format!("{at:6.1} s  {fault} {}: {end}", planned.service)))?;
        }
        let mut seen = seen.borrow_mut();
        if recovered.is_none() {
            seen.wrong.push(format!("{} is not back after {} s", planned.service, BACK.as_secs()));
        }
        seen.faults.push(Happened { at_ms: ms(planned.at), service: planned.service.to_owned(), fault, recovered_ms: recovered.map(ms) });
    }
    Ok(())
}

/// Does it to the process, and names what was done. The files of a running gateway are left alone: what would touch them is a kill.
async fn inflict(session: &Session, planned: &Planned<'_>, service: &ServiceInfo) -> anyhow::Result<&'static str> {
    let pid = service.pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    match (planned.fault, pid) {
        _ if planned.service == ServiceName::Edge.as_str() => restart(session, planned.service).await,
        (Fault::Restart, _) => restart(session, planned.service).await,
        (Fault::Pause(length_ms), Some(pid)) => {
            rustix::process::kill_process(pid, Signal::STOP)?;
            sleep(Duration::from_millis(length_ms)).await;
            rustix::process::kill_process(pid, Signal::CONT)?;
            Ok("pause")
        }
        (_, Some(pid)) => {
            rustix::process::kill_process(pid, Signal::KILL)?;
            Ok("kill")
        }
        (_, None) => Ok("nothing"),
    }
}

async fn restart(session: &Session, name: &str) -> anyhow::Result<&'static str> {
    let request = ServicesRestartRequest { name: name.to_owned(), ..ServicesRestartRequest::default() };
    services::supervisor(&session.instance)?.call(request, &Caller::default()).await.map_err(services::refused)?;
    Ok("restart")
}

/// Waits until the service serves: by another process, if its own was killed.
async fn back(session: &Session, name: &str, before: &ServiceInfo, fault: &str) {
    loop {
        if let Ok(Some(now)) = find(session, name).await
            && now.state == "serving"
            && (fault != "kill" || now.pid != before.pid)
        {
            return;
        }
        sleep(LOOK).await;
    }
}

async fn find(session: &Session, name: &str) -> anyhow::Result<Option<ServiceInfo>> {
    Ok(services::list(session).await?.into_iter().find(|service| service.name == name))
}

fn report(session: &Session, json: bool, mut seen: Seen) -> anyhow::Result<ExitCode> {
    let killed = seen.faults.iter().filter(|happened| happened.fault == "kill");
    let recoveries: Vec<Duration> = killed.filter_map(|happened| happened.recovered_ms).map(Duration::from_millis).collect();
    (seen.recovery_p50_ms, seen.recovery_p95_ms) = (ms(percentile(&recoveries, 50)), ms(percentile(&recoveries, 95)));
    let went_well = seen.wrong.is_empty();
    if json {
        output::document(&seen)?;
    } else {
        output::line(format!(
            "{} faults; {} of {} calls answered, {} asked to come back; {} events without a gap; back after {} ms (p95 {} ms)",
            seen.faults.len(),
            seen.answers,
            seen.calls,
            seen.asked_to_come_back,
            seen.events,
            seen.recovery_p50_ms,
            seen.recovery_p95_ms
        ))?;
        for wrong in &seen.wrong {
            output::line(session.style.paint(Tone::Bad, wrong))?;
        }
        if went_well {
            output::line(session.style.paint(Tone::Good, "Nobody noticed."))?;
        }
    }
    Ok(if went_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
