//! The rules, each as something to do and to expect.

use std::process::Stdio;
use std::time::Duration;

use tokio::time::timeout;
use verso_proto::adapter::v1::run_response::Kind;
use verso_proto::adapter::v1::send_response::Outcome as Sent;
use verso_proto::adapter::v1::{
    Capabilities, ChatKind, Destination, HelloResponse, Inbound, InboundKind, ReactRequest, Receipt, RunRequest, SendRequest, TextFormat,
};

use super::{Not, Outcome, Trial, listening};
use crate::client::{Client, Events};
use crate::error::Error;
use crate::process::Process;

/// How often an adapter is to say that it is alive, in milliseconds.
const PROGRESS_INTERVAL_MS: u32 = 500;

/// How many signs of life without the message show that it does not come.
const SIGNS_WITHOUT: usize = 3;

/// How long a process may take to see that it is alone.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(10);

/// A version that nobody speaks.
const NO_VERSION: u32 = 9_999;

pub(super) fn introduced(hello: &HelloResponse) -> Outcome {
    let format = hello.capabilities.as_ref().map_or(TextFormat::Unspecified, Capabilities::text_format);
    check(!hello.label.trim().is_empty(), "its hello has no label: people would see a channel without a name")?;
    check(format != TextFormat::Unspecified, "its capabilities name no text_format: nobody knows how to format a message for it")
}

pub(super) async fn version(process: &Process) -> Outcome {
    match process.client().hello_of(NO_VERSION).await {
        Err(Error::Version { theirs, .. }) => check(theirs.is_some(), "its refusal does not say why"),
        Ok(_) | Err(Error::Disagreed { .. }) => kept(format!("it agreed to version {NO_VERSION}, which does not exist")),
        Err(other) => Err(other.into()),
    }
}

pub(super) async fn token(process: &Process) -> Outcome {
    let stranger = process.client_with("not-the-token")?;
    for (call, answer) in [("Hello", stranger.hello().await.map(drop)), ("Probe", stranger.probe("default").await.map(drop))] {
        match answer {
            Err(Error::Refused { code, .. }) if code == "Unauthenticated" => {}
            Err(other) => return kept(format!("{call} with a wrong token: {other}; it should say UNAUTHENTICATED")),
            Ok(()) => return kept(format!("{call} was answered with a wrong token")),
        }
    }
    Ok(())
}

pub(super) fn private(process: &Process) -> Outcome {
    let open = listening::beyond_this_machine(process.id()).ok_or(Not::Tried("this system does not tell who listens where"))?;
    check(open.is_empty(), &format!("it listens on {}", open.join(", ")))
}

pub(super) async fn stop(process: &mut Process) -> Outcome {
    process.client().stop().await?;
    let exit = process.stop().await;
    check(exit.clean, &format!("it ended with {exit}"))
}

impl Trial<'_> {
    fn account(&self) -> &str {
        &self.subject.program.account
    }

    fn can(&self) -> Capabilities {
        self.hello.capabilities.unwrap_or_default()
    }

    /// Runs the account, and waits until it is connected.
    async fn connected(&self, client: &Client) -> Result<Events, Not> {
        let request = RunRequest {
            account_id: self.account().to_owned(),
            settings_json: self.subject.settings_json.clone(),
            position: None,
            progress_interval_ms: PROGRESS_INTERVAL_MS,
        };
        let mut events = client.run(request).await?;
        match self.next(&mut events, "it did not say that the account is connected").await? {
            Kind::Connected(_) => Ok(events),
            Kind::Disconnected(why) => Err(Not::Kept(format!("the account is not connected: {}", why.reason))),
            Kind::Progress(_) | Kind::Inbound(_) => Err(Not::Kept("the first thing that it said was not that it is connected".to_owned())),
        }
    }

    async fn next(&self, events: &mut Events, otherwise: &str) -> Result<Kind, Not> {
        let patience = self.subject.patience;
        let late = || Not::Kept(format!("{otherwise} within {} s", patience.as_secs()));
        let said = timeout(patience, events.next()).await.map_err(|_| late())??;
        said.and_then(|said| said.kind).ok_or_else(|| Not::Kept(format!("{otherwise}; it ended the run")))
    }

    /// Waits for a message, or until enough signs of life came instead.
    async fn arrival(&self, events: &mut Events) -> Result<Option<Inbound>, Not> {
        let mut signs = 0;
        while signs < SIGNS_WITHOUT {
            match self.next(events, "there was no sign of life").await? {
                Kind::Inbound(inbound) => return Ok(Some(inbound)),
                Kind::Progress(_) => signs += 1,
                Kind::Connected(_) | Kind::Disconnected(_) => {}
            }
        }
        Ok(None)
    }

    pub(super) async fn progress(&self, process: &Process) -> Outcome {
        let mut events = self.connected(process.client()).await?;
        for _ in 0..2 {
            self.next(&mut events, "there was no sign of life").await?;
        }
        Ok(())
    }

    pub(super) async fn rerun(&self, process: &Process) -> Outcome {
        drop(self.connected(process.client()).await?);
        self.connected(process.client()).await.map(drop)
    }

    async fn sent(&self, client: &Client, id: &str) -> Result<Receipt, Not> {
        let to = self.subject.to.as_deref().ok_or(Not::Tried("no --to was given"))?;
        let text = "A message of the conformance check.".to_owned();
        let request = SendRequest {
            account_id: self.account().to_owned(),
            send_id: id.to_owned(),
            to: Some(Destination { peer: to.to_owned(), thread: None }),
            plain: text.clone(),
            text,
            ..SendRequest::default()
        };
        match client.send(request).await?.outcome {
            Some(Sent::Sent(receipt)) if receipt.message_id.is_empty() => Err(Not::Kept("its receipt has no message id".to_owned())),
            Some(Sent::Sent(receipt)) => Ok(receipt),
            Some(Sent::Later(later)) => Err(Not::Kept(format!("it wants it later: {}", later.reason))),
            Some(Sent::Refused(reason) | Sent::Uncertain(reason)) => Err(Not::Kept(reason)),
            None => Err(Not::Kept("its answer has no outcome".to_owned())),
        }
    }

    pub(super) async fn send(&self, process: &Process) -> Outcome {
        let _run = self.connected(process.client()).await?;
        self.sent(process.client(), &unique()).await.map(drop)
    }

    pub(super) async fn repeat(&self, process: &mut Process) -> Outcome {
        if !self.can().idempotent_send {
            return Err(Not::Tried("it does not say idempotent_send: what may have been sent is reported as uncertain"));
        }
        let id = unique();
        let run = self.connected(process.client()).await?;
        let first = self.sent(process.client(), &id).await?;
        check(first == self.sent(process.client(), &id).await?, "the second sending has another receipt than the first")?;
        drop(run);
        self.restart(process).await?;
        let _run = self.connected(process.client()).await?;
        check(first == self.sent(process.client(), &id).await?, "after a restart the same sending has another receipt: it was sent twice")
    }

    pub(super) async fn nonsense(&self, process: &Process) -> Outcome {
        let _run = self.connected(process.client()).await?;
        let client = process.client();
        let nowhere = SendRequest { account_id: self.account().to_owned(), send_id: unique(), ..SendRequest::default() };
        match client.send(nowhere).await {
            Ok(answer) => check(matches!(answer.outcome, Some(Sent::Refused(_))), "a message to nobody was not refused")?,
            Err(Error::Refused { code, .. }) if code == "InvalidArgument" => {}
            Err(other) => return kept(format!("a message to nobody: {other}; it should be refused")),
        }
        if !self.can().reactions {
            let react = ReactRequest { account_id: self.account().to_owned(), emoji: "👍".to_owned(), ..ReactRequest::default() };
            match client.react(react).await {
                Err(Error::Refused { code, .. }) if code == "Unimplemented" => {}
                other => return kept(format!("a reaction, which it does not offer, should be answered with UNIMPLEMENTED, not {other:?}")),
            }
        }
        client.hello().await?;
        Ok(())
    }

    /// Has the network deliver a message, and waits for it.
    async fn provoked(&self, events: &mut Events) -> Result<Inbound, Not> {
        let command = self.subject.inbound.as_deref().unwrap_or_default();
        let (program, arguments) = command.split_first().ok_or(Not::Tried("no --inbound was given"))?;
        let status = tokio::process::Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status().await;
        let status = status.map_err(|error| Not::Kept(format!("the --inbound program {program} could not be run: {error}")))?;
        check(status.success(), &format!("the --inbound program {program} ended with {status}"))?;
        match timeout(self.subject.patience, self.until_inbound(events)).await {
            Ok(inbound) => inbound,
            Err(_) => Err(Not::Kept(format!("the message was not delivered within {} s", self.subject.patience.as_secs()))),
        }
    }

    async fn until_inbound(&self, events: &mut Events) -> Result<Inbound, Not> {
        loop {
            if let Kind::Inbound(inbound) = self.next(events, "the message was not delivered").await? {
                return Ok(inbound);
            }
        }
    }

    pub(super) async fn inbound(&self, process: &Process) -> Outcome {
        let mut events = self.connected(process.client()).await?;
        let inbound = self.provoked(&mut events).await?;
        for (name, missing) in [
            ("event", inbound.event.is_empty()),
            ("kind", inbound.kind() == InboundKind::Unspecified),
            ("chat", inbound.chat() == ChatKind::Unspecified),
            ("peer", inbound.peer.is_empty()),
            ("sender", inbound.sender.is_empty()),
            ("at_ms", inbound.at_ms <= 0),
        ] {
            check(!missing, &format!("the message has no {name}"))?;
        }
        process.client().acknowledge(self.account(), &inbound.event).await?;
        Ok(())
    }

    pub(super) async fn redelivery(&self, process: &mut Process) -> Outcome {
        let mut events = self.connected(process.client()).await?;
        let first = self.provoked(&mut events).await?;
        drop(events);
        self.restart(process).await?;
        let mut events = self.connected(process.client()).await?;
        let again = self.arrival(&mut events).await?;
        let again =
            again.ok_or_else(|| Not::Kept("a message that was not acknowledged did not come again: it would be lost".to_owned()))?;
        check(
            again.event == first.event,
            &format!("it came again as {}, not as {}: it would be answered twice", again.event, first.event),
        )?;
        process.client().acknowledge(self.account(), &again.event).await?;
        Ok(())
    }

    pub(super) async fn forgets(&self, process: &mut Process) -> Outcome {
        let mut events = self.connected(process.client()).await?;
        let inbound = self.provoked(&mut events).await?;
        process.client().acknowledge(self.account(), &inbound.event).await?;
        drop(events);
        self.restart(process).await?;
        let mut events = self.connected(process.client()).await?;
        match self.arrival(&mut events).await? {
            None => Ok(()),
            Some(again) if again.event == inbound.event => kept("a message that was acknowledged came again".to_owned()),
            Some(other) => kept(format!("a message came that nobody sent: {}", other.event)),
        }
    }

    pub(super) async fn orphan(&self) -> Outcome {
        let (mut process, _) = self.subject.program.start().await?;
        process.cut_lifeline();
        match timeout(ORPHAN_TIMEOUT, process.exited()).await {
            Ok(_) => Ok(()),
            Err(_) => kept(format!("it still runs {} s after its standard input ended", ORPHAN_TIMEOUT.as_secs())),
        }
    }
}

fn unique() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn kept(reason: String) -> Outcome {
    Err(Not::Kept(reason))
}

fn check(holds: bool, otherwise: &str) -> Outcome {
    if holds { Ok(()) } else { kept(otherwise.to_owned()) }
}
