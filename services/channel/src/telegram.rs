//! Telegram, through the Bot API.
//!
//! The client is our own: the few calls that are made here need the raw refusals (`error_code`, `retry_after`) and a root that can be changed,
//! and the published clients hide the one or cost a minute of compilation.

mod api;
mod updates;

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;
use verso_kit::CancellationToken;
use verso_kit::config::Secret;

use crate::adapter::{Adapter, Fault, Refusal, Wellbeing};
use crate::link::Link;
use crate::media::Shelf;
use crate::message::{Address, Part, Receipt};
use crate::profile::Profile;
use crate::text::{self, Rich};
use api::{Api, Failure};
use updates::{Me, Sent, Update};

/// How long the Bot API may keep a question for updates.
const POLL_SECONDS: u64 = 30;

/// How long the Bot API may say nothing before the account is started anew.
const SILENCE_MAX: Duration = Duration::from_mins(2);

/// The pause after a failed question for updates.
const POLL_PAUSE: Duration = Duration::from_secs(1);

/// How often a question for updates may fail in a row.
const POLL_FAILURES_MAX: u32 = 8;

/// What updates are asked for.
const UPDATES: [&str; 2] = ["message", "callback_query"];

/// The topic of a forum that messages without one belong to.
const GENERAL_TOPIC: &str = "1";

/// A bot.
#[derive(Debug)]
pub(crate) struct Bot {
    api: Api,
    me: OnceLock<Me>,
    link_preview: bool,
    mentions: Vec<String>,
    shelf: Shelf,
}

impl Bot {
    pub(crate) fn new(token: Secret<String>, profile: &Profile, shelf: Shelf) -> Result<Self, Fault> {
        let api = Api::new(token, profile.api_root.as_deref())?;
        let mentions = profile.mention_patterns.clone().unwrap_or_default().iter().map(|word| word.to_lowercase()).collect();
        Ok(Self { api, me: OnceLock::new(), link_preview: profile.link_preview.unwrap_or(true), mentions, shelf })
    }

    async fn poll(&self, link: &Link, stop: &CancellationToken) -> Result<(), Fault> {
        let me: Me = self.api.call("getMe", &json!({})).await.map_err(Failure::into_fault)?;
        // A webhook and polling exclude each other.
        let _: bool = self.api.call("deleteWebhook", &json!({})).await.map_err(Failure::into_fault)?;
        drop(self.me.set(me.clone()));
        link.pulse.connected(link.clock.now_ms());
        let mut position = link.position().await?;
        let mut failures = 0;
        while !stop.is_cancelled() {
            let ask = json!({"offset": position.map(|last| last + 1), "timeout": POLL_SECONDS, "allowed_updates": UPDATES});
            let updates: Vec<serde_json::Value> = match self.api.call("getUpdates", &ask).await {
                Ok(updates) => updates,
                Err(failure) => {
                    failures += 1;
                    self.after_failure(failure, failures, stop).await?;
                    continue;
                }
            };
            failures = 0;
            link.pulse.beat(link.clock.now_ms());
            for raw in updates {
                position = self.take(link, raw, &me).await?.or(position);
            }
        }
        Ok(())
    }

    /// Keeps an update. The next question tells the Bot API that it was kept.
    async fn take(&self, link: &Link, raw: serde_json::Value, me: &Me) -> Result<Option<i64>, Fault> {
        let id = raw.get("update_id").and_then(serde_json::Value::as_i64);
        let update = Update::read(raw);
        if let Some(query) = update.as_ref().and_then(|update| update.callback_query.as_ref()) {
            // The button stops spinning; what it means is decided like any message.
            drop(self.api.call::<bool>("answerCallbackQuery", &json!({"callback_query_id": query.id})).await);
        }
        let incoming = update.and_then(|update| update.incoming(me, &self.mentions));
        link.take(incoming.as_ref(), id).await?;
        Ok(id)
    }

    async fn after_failure(&self, failure: Failure, failures: u32, stop: &CancellationToken) -> Result<(), Fault> {
        let pause = match &failure {
            Failure::Refused { retry_after: Some(after), .. } => *after,
            Failure::Refused { code: 401 | 404, .. } => return Err(failure.into_fault()),
            // Another poller (409) may go away, too.
            _ => POLL_PAUSE.saturating_mul(failures),
        };
        if failures >= POLL_FAILURES_MAX {
            return Err(failure.into_fault());
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
        Ok(())
    }

    async fn deliver(&self, part: &Part) -> Result<Receipt, Refusal> {
        let thread = part.to.thread.as_deref().filter(|thread| *thread != GENERAL_TOPIC).and_then(|thread| thread.parse::<i64>().ok());
        let reply = part.reply_to.as_deref().and_then(|id| id.parse::<i64>().ok());
        let mut message = json!({"chat_id": part.to.peer, "text": part.text, "parse_mode": "HTML"});
        if let Some(fields) = message.as_object_mut() {
            if let Some(thread) = thread {
                fields.insert("message_thread_id".to_owned(), json!(thread));
            }
            if let Some(reply) = reply {
                fields.insert("reply_parameters".to_owned(), json!({"message_id": reply, "allow_sending_without_reply": true}));
            }
            if part.silent {
                fields.insert("disable_notification".to_owned(), json!(true));
            }
            if !self.link_preview {
                fields.insert("link_preview_options".to_owned(), json!({"is_disabled": true}));
            }
        }
        let sent: Result<Sent, Failure> = self.api.call("sendMessage", &message).await;
        let sent = match sent {
            Err(Failure::Refused { code: 400, description, .. }) if description.to_lowercase().contains("can't parse entities") => {
                if let Some(fields) = message.as_object_mut() {
                    fields.remove("parse_mode");
                    fields.insert("text".to_owned(), json!(part.plain));
                }
                self.api.call("sendMessage", &message).await
            }
            sent => sent,
        };
        let sent: Sent = sent.map_err(Failure::into_refusal)?;
        Ok(Receipt { message_id: sent.message_id.to_string(), chat_id: part.to.peer.clone(), poll_id: None })
    }
}

impl Adapter for Bot {
    fn receive<'a>(&'a self, link: &'a Link, stop: &'a CancellationToken) -> BoxFuture<'a, Result<(), Fault>> {
        self.poll(link, stop).boxed()
    }

    fn send<'a>(&'a self, part: &'a Part) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        self.deliver(part).boxed()
    }

    fn typing<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, ()> {
        async move {
            let thread = to.thread.as_deref().and_then(|thread| thread.parse::<i64>().ok());
            let mut action = json!({"chat_id": to.peer, "action": "typing"});
            if let (Some(thread), Some(fields)) = (thread, action.as_object_mut()) {
                fields.insert("message_thread_id".to_owned(), json!(thread));
            }
            // Nobody misses a sign of typing.
            drop(self.api.call::<bool>("sendChatAction", &action).await);
        }
        .boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Result<Wellbeing, Fault>> {
        async {
            let me: Me = self.api.call("getMe", &json!({})).await.map_err(Failure::into_fault)?;
            Ok(Wellbeing { name: me.username.unwrap_or_else(|| me.id.to_string()), ..Wellbeing::default() })
        }
        .boxed()
    }

    fn render(&self, rich: &Rich) -> String {
        text::telegram_html(rich)
    }

    fn silence_max(&self) -> Duration {
        SILENCE_MAX
    }

    fn address(&self, target: &str, thread: Option<&str>) -> Option<Address> {
        let target = target.trim();
        let target = ["telegram:", "tg:"].iter().find_map(|prefix| target.strip_prefix(prefix)).unwrap_or(target);
        let target = ["https://t.me/", "http://t.me/", "t.me/"]
            .iter()
            .find_map(|prefix| target.strip_prefix(prefix))
            .map_or_else(|| target.to_owned(), |name| format!("@{name}"));
        let (peer, topic) = match target.split_once(":topic:").or_else(|| target.split_once(':')) {
            Some((peer, topic)) => (peer, Some(topic)),
            None => (target.as_str(), None),
        };
        let named = peer.strip_prefix('@').is_some_and(|name| !name.is_empty());
        let numbered = peer.parse::<i64>().is_ok();
        let thread = thread.or(topic).map(str::to_owned);
        (named || numbered).then(|| Address { peer: peer.to_owned(), thread })
    }
}
