//! Questions about commands, passed on to chats: asked there, and their end told. Whoever answers there is checked by the chat's side.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;
use verso_kit::CancellationToken;
use verso_kit::events::Hub;
use verso_kit::peer::{Caller, Peer};
use verso_proto::agent::v1::SessionsLocateRequest;
use verso_proto::channel::v1::SendRequest;
use verso_proto::node::v1::event::Event as Kind;
use verso_proto::node::v1::{Event, ExecApprovalRequested, ExecApprovalResolved, ExecQuestion};

use crate::approvals::DECISIONS;
use crate::grpc::visible;

/// How many chats one question goes to.
const CHATS_MAX: usize = 16;

/// How long the channel service may take to accept a message.
const ACCEPTANCE: Duration = Duration::from_secs(20);

/// How many questions are remembered whose end is to be told.
const OPEN_MAX: usize = 512;

/// `approvals.exec`, as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Config {
    /// Default: false.
    enabled: bool,
    /// Default: `session`.
    mode: Mode,
    /// Only questions of these agents. Default: all.
    agent_filter: Vec<String>,
    /// Only questions of sessions whose key contains one of these. Default: all.
    session_filter: Vec<String>,
    /// The chats of `targets` and `both`.
    targets: Vec<Target>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// Where the conversation is that the command is for.
    #[default]
    Session,
    Targets,
    Both,
}

/// A chat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Target {
    channel: String,
    to: String,
    account_id: Option<String>,
    /// A text or a number.
    thread_id: Option<Value>,
}

/// Passes questions on.
#[derive(Debug)]
pub(crate) struct Forwarder {
    /// What is in force now.
    config: watch::Receiver<Config>,
    hub: Hub<Event>,
    channel: Peer,
    agent: Peer,
    open: HashMap<String, Open>,
}

/// A question that was passed on.
#[derive(Debug)]
struct Open {
    chats: Vec<Target>,
    expires: Instant,
}

impl Forwarder {
    pub(crate) fn new(config: watch::Receiver<Config>, hub: Hub<Event>, channel: Peer, agent: Peer) -> Self {
        Self { config, hub, channel, agent, open: HashMap::new() }
    }

    /// Passes questions on until the shutdown. A chat that cannot be reached is one line in the log: the question stays open for others.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let hub = self.hub.clone();
        let following = async {
            loop {
                let mut events = hub.subscribe(None);
                // A stream that has lost events is followed anew: what was asked meanwhile is seen by operators.
                while let Some(happened) = self.next(&mut events).await {
                    match happened {
                        Happened::Asked(question) => self.asked(*question).await,
                        Happened::Decided(decided) => self.decided(&decided).await,
                        Happened::Expired => self.expired().await,
                    }
                }
            }
        };
        shutdown.run_until_cancelled(following).await;
    }

    async fn next<E>(&self, events: &mut (impl futures_util::Stream<Item = Result<Event, E>> + Unpin)) -> Option<Happened> {
        loop {
            let first = self.open.values().map(|open| open.expires).min();
            let event = tokio::select! {
                event = events.next() => event?.ok()?,
                () = async { sleep_until(first.unwrap_or_else(Instant::now)).await }, if first.is_some() => return Some(Happened::Expired),
            };
            match event.event {
                Some(Kind::ExecApprovalRequested(question)) => return Some(Happened::Asked(Box::new(question))),
                Some(Kind::ExecApprovalResolved(decided)) => return Some(Happened::Decided(decided)),
                _ => {}
            }
        }
    }

    async fn asked(&mut self, asked: ExecApprovalRequested) {
        let ExecApprovalRequested { id, request, created_at_ms, expires_at_ms } = asked;
        let question = request.unwrap_or_default();
        let asks_there = self.config.borrow().asks_conversations();
        let here = if asks_there { self.conversation(&question).await } else { None };
        let chats = self.config.borrow().chats(&question, here);
        if chats.is_empty() || self.open.len() >= OPEN_MAX {
            return;
        }
        let wait_ms = expires_at_ms.saturating_sub(created_at_ms).max(0).unsigned_abs();
        self.tell(&chats, &words(&id, &question, wait_ms), &format!("exec-approval-{id}")).await;
        self.open.insert(id, Open { chats, expires: Instant::now() + Duration::from_millis(wait_ms) });
    }

    /// The chat of the question's conversation: the one that its key names, or else the one that wrote to it last.
    async fn conversation(&self, question: &ExecQuestion) -> Option<Target> {
        let session = question.session_key.as_deref().filter(|session| !session.is_empty())?;
        if let Some(chat) = chat_of(session) {
            return Some(chat);
        }
        let request = SessionsLocateRequest { key: session.to_owned(), agent_id: question.agent_id.clone() };
        let located = timeout(ACCEPTANCE, self.agent.call(request, &Caller::default())).await.ok().and_then(Result::ok);
        let Some(located) = located else {
            warn!("an exec approval is not shown in its conversation: the agent service did not say where that is");
            return None;
        };
        let place = located.last_place?;
        let thread_id = place.thread_id.map(Value::String);
        Some(Target { channel: place.channel, to: place.to, account_id: place.account_id, thread_id })
    }

    async fn decided(&mut self, decided: &ExecApprovalResolved) {
        let Some(open) = self.open.remove(&decided.id) else { return };
        let by = decided.resolved_by.as_deref().map(|by| format!(" by {}", visible(by))).unwrap_or_default();
        let text = format!("Exec approval {}: {}{by}.", decided.id, decided.decision);
        self.tell(&open.chats, &text, &format!("exec-approval-{}-decided", decided.id)).await;
    }

    async fn expired(&mut self) {
        let now = Instant::now();
        let over: Vec<String> = self.open.iter().filter(|(_, open)| open.expires <= now).map(|(id, _)| id.clone()).collect();
        for id in over {
            let Some(open) = self.open.remove(&id) else { continue };
            self.tell(&open.chats, &format!("Exec approval {id}: nobody decided in time."), &format!("exec-approval-{id}-expired")).await;
        }
    }

    async fn tell(&self, chats: &[Target], text: &str, key: &str) {
        for (index, chat) in chats.iter().enumerate() {
            let request = SendRequest {
                to: chat.to.clone(),
                message: text.to_owned(),
                channel: Some(chat.channel.clone()),
                account_id: chat.account_id.clone(),
                thread_id: chat.thread_id.as_ref().map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned)),
                idempotency_key: format!("{key}-{index}"),
                ..SendRequest::default()
            };
            let sent = timeout(ACCEPTANCE, self.channel.call(request, &Caller::default())).await;
            let reason = match &sent {
                Ok(Ok(_)) => continue,
                Ok(Err(status)) => status.message(),
                Err(_) => "the channel service did not answer",
            };
            warn!(channel = chat.channel, reason, "an exec approval did not reach its chat");
        }
    }
}

/// What there is to pass on.
enum Happened {
    Asked(Box<ExecApprovalRequested>),
    Decided(ExecApprovalResolved),
    Expired,
}

impl Config {
    /// Whether questions go to the chats of their conversations.
    fn asks_conversations(&self) -> bool {
        self.enabled && self.mode != Mode::Targets
    }

    /// The chats that a question goes to, each once; `here` is that of its conversation.
    fn chats(&self, question: &ExecQuestion, here: Option<Target>) -> Vec<Target> {
        let session = question.session_key.as_deref().unwrap_or_default();
        let agent = question.agent_id.as_deref().unwrap_or_default();
        let passes = |filter: &[String], is: &dyn Fn(&str) -> bool| filter.is_empty() || filter.iter().any(|entry| is(entry));
        if !self.enabled
            || !passes(&self.agent_filter, &|entry| entry == agent)
            || !passes(&self.session_filter, &|entry| session.contains(entry))
        {
            return Vec::new();
        }
        let mut chats: Vec<Target> = here.into_iter().collect();
        if self.mode != Mode::Session {
            chats.extend(self.targets.iter().filter(|target| !target.channel.is_empty() && !target.to.is_empty()).cloned());
        }
        let mut once: Vec<Target> = Vec::new();
        for chat in chats {
            if once.len() < CHATS_MAX && !once.contains(&chat) {
                once.push(chat);
            }
        }
        once
    }
}

/// The chat of a session, where its key names one.
fn chat_of(session: &str) -> Option<Target> {
    let rest: Vec<&str> = session.strip_prefix("agent:")?.split(':').skip(1).collect();
    let place = rest.iter().position(|word| matches!(*word, "dm" | "direct" | "group" | "channel"))?;
    let (channel, account) = match rest[..place] {
        [channel] => (channel, None),
        [channel, account] => (channel, Some(account)),
        _ => return None,
    };
    let peer: Vec<&str> = rest[place + 1..].iter().copied().take_while(|word| !matches!(*word, "thread" | "topic")).collect();
    let thread = rest.iter().rposition(|word| matches!(*word, "thread" | "topic")).and_then(|index| rest.get(index + 1));
    (!peer.is_empty()).then(|| Target {
        channel: channel.to_owned(),
        to: peer.join(":"),
        account_id: account.map(str::to_owned),
        thread_id: thread.map(|id| Value::String((*id).to_owned())),
    })
}

/// The question as a chat shows it: all of the command, and nothing that could hide a part of it.
fn words(id: &str, question: &ExecQuestion, wait_ms: u64) -> String {
    let mut lines = vec![format!("Exec approval required: {id}")];
    let facts = [
        ("Agent", &question.agent_id),
        ("Host", &question.host),
        ("Node", &question.node_id),
        ("Folder", &question.cwd),
        ("Program", &question.resolved_path),
        ("Note", &question.warning_text),
    ];
    let told = facts.into_iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}: {}", visible(value))));
    lines.extend(told);
    if !question.env_keys.is_empty() {
        lines.push(format!("Variables: {}", visible(&question.env_keys.join(", "))));
    }
    lines.push(format!("Command:\n{}", visible(&question.command)));
    lines.push(format!("Answer within {} s: /approve {id} {}", wait_ms / 1_000, DECISIONS.join("|")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn question(session: &str) -> ExecQuestion {
        ExecQuestion {
            command: "ls \u{1b}[2K".to_owned(),
            agent_id: Some("main".to_owned()),
            session_key: Some(session.to_owned()),
            ..ExecQuestion::default()
        }
    }

    fn chats(config: Value, session: &str) -> Vec<(String, String)> {
        let config: Config = serde_json::from_value(config).unwrap();
        let here = config.asks_conversations().then(|| chat_of(session)).flatten();
        config.chats(&question(session), here).into_iter().map(|chat| (chat.channel, chat.to)).collect()
    }

    #[test]
    fn a_session_says_which_chat_it_is() {
        let on = json!({"enabled": true});
        let telegram = |to: &str| vec![("telegram".to_owned(), to.to_owned())];
        assert_eq!(chats(on.clone(), "agent:main:telegram:group:-100:topic:7"), telegram("-100"));
        assert_eq!(chats(on.clone(), "agent:main:telegram:home:dm:42"), telegram("42"));
        for without in ["agent:main:main", "agent:main:dm:42", "main", "agent:main:subagent:x"] {
            assert_eq!(chats(on.clone(), without), [], "{without}");
        }
        assert_eq!(chat_of("agent:main:telegram:group:-100:topic:7").unwrap().thread_id, Some(json!("7")));
    }

    #[test]
    fn the_configuration_says_who_is_asked() {
        let target = json!({"channel": "irc", "to": "#ops"});
        let irc = vec![("irc".to_owned(), "#ops".to_owned())];
        let session = "agent:main:telegram:dm:42";
        assert_eq!(chats(json!({"targets": [target]}), session), [], "off");
        assert_eq!(chats(json!({"enabled": true, "mode": "targets", "targets": [target, target]}), session), irc, "once each");
        assert_eq!(chats(json!({"enabled": true, "mode": "both", "targets": [target]}), session).len(), 2);
        assert_eq!(chats(json!({"enabled": true, "agentFilter": ["other"]}), session), []);
        assert_eq!(chats(json!({"enabled": true, "sessionFilter": ["telegram"]}), session).len(), 1);
    }

    #[test]
    fn sec_38_a_chat_is_shown_the_whole_command() {
        let text = words("id-1", &question("main"), 120_000);
        assert!(text.contains("Command:\nls \\u{1b}[2K\n"), "{text}");
        assert!(text.ends_with("Answer within 120 s: /approve id-1 allow-once|allow-always|deny"), "{text}");
    }
}
