//! Jobs: made, changed, run, logged, and accounted for when the service dies.

use std::path::Path;

use serde_json::Value;
use tonic::transport::Channel;
use tonic::{Code, Status};
use verso_kit::clock::Clock;
use verso_proto::agent::v1::cron_client::CronClient;
use verso_proto::agent::v1::event::Event as Kind;
use verso_proto::agent::v1::{
    CronAddRequest, CronEvent, CronJob, CronListRequest, CronPatch, CronPayload, CronRemoveRequest, CronRunEntry, CronRunRequest,
    CronRunResponse, CronRunsRequest, CronSchedule, CronStatusRequest, CronUpdateRequest,
};

use crate::agent::{Agent, Events, config};
use crate::provider::Provider;
use crate::recovery::Mortal;

/// Far enough in the future that it never comes.
const NEVER_MS: i64 = 4_000_000_000_000;

fn at(at_ms: i64) -> CronSchedule {
    CronSchedule { kind: "at".to_owned(), at_ms: Some(at_ms), ..CronSchedule::default() }
}

fn every(every_ms: i64) -> CronSchedule {
    CronSchedule { kind: "every".to_owned(), every_ms: Some(every_ms), ..CronSchedule::default() }
}

fn report(text: &str, schedule: CronSchedule) -> CronAddRequest {
    CronAddRequest {
        name: "report".to_owned(),
        schedule: Some(schedule),
        session_target: "main".to_owned(),
        wake_mode: "next-heartbeat".to_owned(),
        payload: Some(CronPayload { kind: "systemEvent".to_owned(), text: Some(text.to_owned()), ..CronPayload::default() }),
        ..CronAddRequest::default()
    }
}

fn turn(message: &str, schedule: CronSchedule) -> CronAddRequest {
    CronAddRequest {
        name: "turn".to_owned(),
        session_target: "isolated".to_owned(),
        payload: Some(CronPayload { kind: "agentTurn".to_owned(), message: Some(message.to_owned()), ..CronPayload::default() }),
        ..report("", schedule)
    }
}

/// The same configuration, without heartbeats: jobs of these tests only report.
fn quiet(provider: &Provider) -> Value {
    let mut config = config(provider);
    config["agents"]["defaults"]["heartbeat"] = serde_json::json!({"every": "0m", "activeHours": {"start": "00:00", "end": "00:01"}});
    config
}

impl Agent {
    fn cron(&self) -> CronClient<Channel> {
        CronClient::new(self.channel.clone())
    }

    async fn add(&self, request: CronAddRequest) -> CronJob {
        self.cron().cron_add(request).await.unwrap().into_inner()
    }

    async fn run_job(&self, id: &str, mode: &str) -> Result<CronRunResponse, Status> {
        let request =
            CronRunRequest { id: Some(id.to_owned()), mode: Some(mode.to_owned()), wait: Some(true), ..CronRunRequest::default() };
        self.cron().cron_run(request).await.map(tonic::Response::into_inner)
    }

    async fn log(&self, id: &str) -> Vec<CronRunEntry> {
        let request = CronRunsRequest { id: Some(id.to_owned()), ..CronRunsRequest::default() };
        self.cron().cron_runs(request).await.unwrap().into_inner().entries
    }

    async fn jobs(&self, include_disabled: bool) -> Vec<CronJob> {
        let request = CronListRequest { include_disabled: Some(include_disabled), ..CronListRequest::default() };
        self.cron().cron_list(request).await.unwrap().into_inner().jobs
    }
}

impl Events {
    async fn cron(&mut self) -> CronEvent {
        loop {
            if let Kind::Cron(event) = self.next().await {
                return *event;
            }
        }
    }

    async fn finished(&mut self) -> CronEvent {
        loop {
            let event = self.cron().await;
            if event.action == "finished" {
                return event;
            }
        }
    }
}

async fn open(folder: &Path, provider: &Provider, epoch: u64) -> Agent {
    Agent::open(folder, quiet(provider), epoch).await
}

#[tokio::test]
async fn a_job_is_made_listed_changed_and_removed() {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let agent = open(folder.path(), &provider, 1).await;
    let mut events = agent.listen(None).await;
    let job = agent.add(report("x", at(NEVER_MS))).await;
    assert_eq!(job.state.as_ref().unwrap().next_run_at_ms, Some(NEVER_MS));
    assert_eq!(job.schedule.as_ref().unwrap().at.as_deref(), Some("2096-10-02T07:06:40.000Z"));
    let off = agent.add(CronAddRequest { enabled: Some(false), ..report("y", every(1_000)) }).await;
    let ids = |jobs: Vec<CronJob>| jobs.into_iter().map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(ids(agent.jobs(false).await), std::slice::from_ref(&job.id));
    assert_eq!(ids(agent.jobs(true).await), [job.id.clone(), off.id]);
    let status = agent.cron().cron_status(CronStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.enabled, status.jobs, status.next_wake_at_ms), (true, 2, Some(NEVER_MS)));

    let patch = CronPatch { name: Some("renamed".to_owned()), ..CronPatch::default() };
    let request = CronUpdateRequest { id: Some(job.id.clone()), patch: Some(patch) };
    assert_eq!(agent.cron().cron_update(request).await.unwrap().into_inner().name, "renamed");
    let remove = || CronRemoveRequest { id: Some(job.id.clone()) };
    assert!(agent.cron().cron_remove(remove()).await.unwrap().into_inner().removed);
    assert!(!agent.cron().cron_remove(remove()).await.unwrap().into_inner().removed);
    for expected in ["added", "added", "updated", "removed"] {
        assert_eq!(events.cron().await.action, expected);
    }
}

#[tokio::test]
async fn refuses_what_makes_no_sense_in_the_references_words() {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let agent = open(folder.path(), &provider, 1).await;
    let wrong = CronAddRequest { session_target: "main".to_owned(), ..turn("x", every(1_000)) };
    let refused = agent.cron().cron_add(wrong).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, r#"Error: main cron jobs require payload.kind="systemEvent""#));
    let refused = agent.run_job("nobody", "force").await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "unknown cron job id: nobody"));
    let refused = agent.cron().cron_update(CronUpdateRequest::default()).await.unwrap_err();
    assert_eq!(refused.message(), "invalid cron.update params: missing id");
    assert_eq!(agent.jobs(true).await.len(), 0);
}

#[tokio::test]
async fn a_job_of_the_main_session_reports_and_is_off_afterwards() {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let agent = open(folder.path(), &provider, 1).await;
    let job = agent.add(report("feed the cat", at(NEVER_MS))).await;
    let early = agent.run_job(&job.id, "due").await.unwrap();
    assert_eq!((early.ran, early.reason.as_deref()), (Some(false), Some("not-due")));
    assert_eq!(agent.run_job(&job.id, "force").await.unwrap().ran, Some(true));
    assert_eq!(agent.queued().await, ["feed the cat"]);
    let log = agent.log(&job.id).await;
    assert_eq!((log.len(), log[0].status.as_deref(), log[0].summary.as_deref()), (1, Some("ok"), Some("feed the cat")));
    let job = agent.jobs(true).await.remove(0);
    let state = job.state.unwrap();
    assert_eq!((job.enabled, state.last_status.as_deref(), state.running_at_ms), (false, Some("ok"), None));
}

#[tokio::test]
async fn a_job_that_is_due_runs_by_itself_and_may_remove_itself() {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let agent = open(folder.path(), &provider, 1).await;
    let mut events = agent.listen(None).await;
    agent.add(CronAddRequest { delete_after_run: Some(true), ..report("now", at(5)) }).await;
    for expected in ["added", "started", "finished", "removed"] {
        assert_eq!(events.cron().await.action, expected);
    }
    assert_eq!((agent.jobs(true).await.len(), agent.queued().await), (0, vec!["now".to_owned()]));
}

#[tokio::test]
async fn sec_55_a_job_runs_a_turn_in_a_fresh_session_of_its_own() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let agent = open(folder.path(), &provider, 1).await;
    let job = agent.add(turn("look", every(100_000_000))).await;
    for number in 1..=2 {
        let words = format!("seen {number}");
        let (ran, asked) = tokio::join!(agent.run_job(&job.id, "force"), provider.reply(&words));
        assert_eq!(ran.unwrap().ran, Some(true));
        let messages = asked["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 2, "nothing of an earlier run: {messages:?}");
        assert!(messages[1].to_string().contains(&format!("[cron:{} turn] look", job.id)), "{messages:?}");
    }
    assert_eq!(agent.queued().await, ["Cron: seen 1", "Cron: seen 2"]);
    let log = agent.log(&job.id).await;
    assert_eq!(log.iter().map(|entry| entry.summary.as_deref().unwrap()).collect::<Vec<_>>(), ["seen 1", "seen 2"]);
    assert!(log[1].next_run_at_ms.is_some());
}

#[tokio::test]
async fn a_turn_that_fails_is_logged_and_a_job_that_runs_once_is_tried_again() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let agent = open(folder.path(), &provider, 1).await;
    let job = agent.add(turn("look", at(NEVER_MS))).await;
    let (ran, ()) = tokio::join!(agent.run_job(&job.id, "force"), async { provider.call().await.refuse(401, None) });
    ran.unwrap();
    let entry = agent.log(&job.id).await.remove(0);
    assert_eq!(entry.status.as_deref(), Some("error"));
    assert_eq!(entry.next_run_at_ms.map(|next_ms| next_ms - entry.ts_ms), Some(30_000));
    assert!(agent.queued().await[0].starts_with("Cron (error): "));
}

#[tokio::test]
async fn a_delivery_without_a_recipient_is_an_error_unless_nobody_insists() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let agent = open(folder.path(), &provider, 1).await;
    for (best_effort, expected) in [(false, "error"), (true, "skipped")] {
        let mut request = turn("look", every(100_000_000));
        let payload = request.payload.as_mut().unwrap();
        (payload.deliver, payload.best_effort_deliver) = (Some(true), Some(best_effort));
        let job = agent.add(request).await;
        let (ran, _) = tokio::join!(agent.run_job(&job.id, "force"), provider.reply("words"));
        ran.unwrap();
        assert_eq!(agent.log(&job.id).await[0].status.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn a_job_under_which_the_service_dies_is_accounted_for_once() {
    let (folder, mut provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let first = Mortal::open(folder.path(), quiet(&provider)).await;
    let job = first.agent().add(turn("look", every(100_000_000))).await;
    let request = CronRunRequest { id: Some(job.id.clone()), mode: Some("force".to_owned()), ..CronRunRequest::default() };
    let begun = first.agent().cron().cron_run(request).await.unwrap().into_inner();
    assert_eq!(begun.enqueued, Some(true));
    provider.call().await;
    first.kill();

    let second = open(folder.path(), &provider, 2).await;
    let mut events = second.listen(None).await;
    provider.reply("seen").await;
    assert_eq!(events.finished().await.summary.as_deref(), Some("seen"));
    let log = second.log(&job.id).await;
    assert_eq!(log.iter().map(|entry| entry.run_id.clone()).collect::<Vec<_>>(), [begun.run_id]);
    assert_eq!(second.queued().await, ["Cron: seen"]);
    drop(second);
    let third = open(folder.path(), &provider, 3).await;
    assert_eq!((third.log(&job.id).await.len(), third.queued().await.len()), (1, 1));
    assert!(provider.idle());
}

#[tokio::test]
async fn what_was_due_while_nobody_was_there_follows_the_policy() {
    const HOUR_MS: i64 = 3_600_000;
    let provider = Provider::start().await;
    for (policy, away_ms, runs) in
        [("skip", 2 * HOUR_MS, false), ("run", 2 * HOUR_MS, true), ("window", 2 * HOUR_MS, true), ("window", 3 * HOUR_MS, false)]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut config = quiet(&provider);
        config["cron"] = serde_json::json!({"missedRuns": policy, "missedRunWindowMinutes": 60});
        let clock = Clock::fixed(1_800_000_000_000);
        let first = Agent::open_at(folder.path(), config.clone(), 1, clock.clone()).await;
        let job = first.add(report("missed", every(HOUR_MS))).await;
        drop(first);
        clock.advance(away_ms);
        let second = Agent::open_at(folder.path(), config, 2, clock.clone()).await;
        if runs {
            // It may have run before anybody can listen.
            second.listen(Some("an earlier one")).await.finished().await;
        }
        assert_eq!(second.log(&job.id).await.len(), usize::from(runs), "{policy} {away_ms}");
        let next = second.jobs(true).await.remove(0).state.unwrap().next_run_at_ms;
        assert_eq!(next, Some(clock.now_ms() + HOUR_MS), "{policy} {away_ms}");
    }
}

#[tokio::test]
async fn nothing_runs_by_itself_when_jobs_are_turned_off() {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::start().await);
    let mut config = quiet(&provider);
    config["cron"] = serde_json::json!({"enabled": false});
    let agent = Agent::open(folder.path(), config, 1).await;
    agent.add(report("x", at(5))).await;
    let status = agent.cron().cron_status(CronStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.enabled, status.jobs, status.next_wake_at_ms), (false, 1, None));
}
