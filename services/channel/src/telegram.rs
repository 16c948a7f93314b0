//! Telegram, through the Bot API.
//!
//! The client is our own: the few calls that are made here need the raw refusals (`error_code`, `retry_after`) and a root that can be changed,
//! and the published clients hide the one or cost a minute of compilation.

mod api;
mod menu;
mod pace;
mod polling;
mod reading;
mod sending;
mod updates;
mod webhook;

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use verso_kit::CancellationToken;
use verso_kit::config::Secret;
use verso_kit::peer::Peer;

use crate::adapter::{Ability, Adapter, Fault, Refusal, Room, Wellbeing};
use crate::link::Link;
use crate::media::Shelf;
use crate::mentions::Mentions;
use crate::message::{Address, Attached, Part, Receipt};
use crate::profile::{CustomCommand, Profile};
use crate::text::{self, Rich};
use crate::webhooks::Webhooks;
use api::{Api, Failure};
use pace::Pace;
use reading::Reader;
use updates::{Held, Me};

/// How long the Bot API may say nothing before the account is started anew.
const SILENCE_MAX: Duration = Duration::from_mins(3);

/// What fits into a message, in UTF-16 units once its entities are parsed.
const ROOM: Room = Room { text_units_max: 4_096, caption_units_max: 1_024 };

/// Where deliveries come in, unless configured: only programs of this host reach it.
const WEBHOOK_HOST_DEFAULT: &str = "127.0.0.1";
const WEBHOOK_PORT_DEFAULT: u16 = 8_787;
const WEBHOOK_PATH_DEFAULT: &str = "/telegram-webhook";

/// What a bot needs besides its settings.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) shelf: Shelf,
    pub(crate) webhooks: Webhooks,
    /// The agent service, which knows the commands.
    pub(crate) agent: Peer,
}

/// A bot.
#[derive(Debug)]
pub(crate) struct Bot {
    api: Api,
    pace: Pace,
    hook: Option<Hook>,
    link_preview: bool,
    mentions: Mentions,
    native_commands: bool,
    custom_commands: Vec<CustomCommand>,
    shelf: Shelf,
    webhooks: Webhooks,
    agent: Peer,
}

/// Where the Bot API delivers to.
#[derive(Debug)]
struct Hook {
    /// As the Bot API reaches it.
    url: String,
    host: String,
    port: u16,
    path: String,
    secret: Option<Secret<String>>,
}

impl Bot {
    pub(crate) fn new(token: Secret<String>, profile: &Profile, surroundings: Surroundings) -> Result<Self, Fault> {
        let Surroundings { shelf, webhooks, agent } = surroundings;
        let hook = profile.webhook_url.as_ref().map(|url| Hook {
            url: url.trim().to_owned(),
            host: profile.webhook_host.clone().unwrap_or_else(|| WEBHOOK_HOST_DEFAULT.to_owned()),
            port: profile.webhook_port.unwrap_or(WEBHOOK_PORT_DEFAULT),
            path: profile.webhook_path.clone().unwrap_or_else(|| WEBHOOK_PATH_DEFAULT.to_owned()),
            secret: profile.webhook_secret.clone(),
        });
        Ok(Self {
            api: Api::new(token, profile)?,
            pace: Pace::new(),
            hook,
            link_preview: profile.link_preview.unwrap_or(true),
            mentions: profile.mentions(),
            native_commands: profile.native_commands(),
            custom_commands: profile.custom_commands.clone().unwrap_or_default(),
            shelf,
            webhooks,
            agent,
        })
    }

    async fn live(&self, link: &Link, stop: &CancellationToken) -> Result<(), Fault> {
        let me: Me = self.api.call("getMe", &json!({})).await.map_err(Failure::into_fault)?;
        let reader = Reader { me, mentions: self.mentions.clone() };
        let receiving = async {
            match &self.hook {
                Some(hook) => self.receive_by_webhook(hook, &reader, link, stop).await,
                None => self.receive_by_polling(&reader, link, stop).await,
            }
        };
        // The menu waits for an agent service that is starting; messages do not.
        let announcing = async {
            self.announce_commands().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            received = receiving => received,
            () = announcing => Ok(()),
        }
    }

    async fn ask_wellbeing(&self) -> Result<Wellbeing, Fault> {
        let bot: Value = self.api.call("getMe", &json!({})).await.map_err(Failure::into_fault)?;
        let mut details = Map::new();
        let flags = ["can_join_groups", "can_read_all_group_messages", "supports_inline_queries"];
        let names = ["canJoinGroups", "canReadAllGroupMessages", "supportsInlineQueries"];
        let mut shown = Map::from_iter([("id".to_owned(), bot["id"].clone()), ("username".to_owned(), bot["username"].clone())]);
        shown.extend(flags.iter().zip(names).filter_map(|(flag, name)| Some((name.to_owned(), bot.get(flag)?.clone()))));
        details.insert("bot".to_owned(), Value::Object(shown));
        // Not every server of this interface has it.
        if let Ok(info) = self.api.call::<Value>("getWebhookInfo", &json!({})).await {
            let webhook =
                json!({"url": info["url"], "hasCustomCert": info["has_custom_certificate"], "lastError": info["last_error_message"]});
            details.insert("webhook".to_owned(), webhook);
        }
        let name = bot["username"].as_str().map_or_else(|| bot["id"].to_string(), str::to_owned);
        Ok(Wellbeing { name, mode: self.mode(), details })
    }
}

impl Adapter for Bot {
    fn abilities(&self) -> &[Ability] {
        &[Ability::Edits, Ability::Reactions, Ability::Media, Ability::Polls, Ability::Buttons]
    }

    fn room(&self) -> Room {
        ROOM
    }

    fn mode(&self) -> Option<&'static str> {
        Some(if self.hook.is_some() { "webhook" } else { "polling" })
    }

    fn receive<'a>(&'a self, link: &'a Link, stop: &'a CancellationToken) -> BoxFuture<'a, Result<(), Fault>> {
        self.live(link, stop).boxed()
    }

    fn pause(&self, to: &Address) -> Option<Duration> {
        self.pace.pause(&to.peer)
    }

    fn send<'a>(&'a self, part: &'a Part) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        self.deliver(part).boxed()
    }

    fn edit<'a>(&'a self, message_id: &'a str, part: &'a Part) -> BoxFuture<'a, Result<(), Refusal>> {
        async { self.change(message_id, part).await.map_err(Failure::into_refusal) }.boxed()
    }

    fn remove<'a>(&'a self, to: &'a Address, message_id: &'a str) -> BoxFuture<'a, Result<(), Refusal>> {
        async {
            let asked = json!({"chat_id": to.peer, "message_id": message_id.parse::<i64>().unwrap_or_default()});
            self.api.call::<Value>("deleteMessage", &asked).await.map(drop).map_err(Failure::into_refusal)
        }
        .boxed()
    }

    fn react<'a>(&'a self, to: &'a Address, message_id: &'a str, emoji: Option<&'a str>) -> BoxFuture<'a, Result<(), Refusal>> {
        async move {
            let marks: Vec<Value> = emoji.iter().map(|emoji| json!({"type": "emoji", "emoji": emoji})).collect();
            let asked = json!({"chat_id": to.peer, "message_id": message_id.parse::<i64>().unwrap_or_default(), "reaction": marks});
            self.api.call::<Value>("setMessageReaction", &asked).await.map(drop).map_err(Failure::into_refusal)
        }
        .boxed()
    }

    fn fetch<'a>(&'a self, media: &'a Attached, bytes_max: usize) -> BoxFuture<'a, Result<Vec<u8>, Refusal>> {
        async move {
            let too_large = |bytes: u64| usize::try_from(bytes).map_or(true, |bytes| bytes > bytes_max);
            if media.bytes.is_some_and(too_large) {
                return Err(Failure::TooLarge(bytes_max).into_refusal());
            }
            let held: Result<Held, Failure> = self.api.call("getFile", &json!({"file_id": media.reference})).await;
            let path = held.map_err(Failure::into_refusal)?.file_path;
            let path = path.ok_or_else(|| Refusal::Never("the file is not there".to_owned()))?;
            self.api.download(&path, bytes_max).await.map_err(Failure::into_refusal)
        }
        .boxed()
    }

    fn typing<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, ()> {
        async move {
            let thread = to.thread.as_deref().and_then(|thread| thread.parse::<i64>().ok());
            let mut action = json!({"chat_id": to.peer, "action": "typing"});
            if let (Some(thread), Some(fields)) = (thread, action.as_object_mut()) {
                fields.insert("message_thread_id".to_owned(), json!(thread));
            }
            // Nobody misses a sign of typing.
            drop(self.api.call::<Value>("sendChatAction", &action).await);
        }
        .boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Result<Wellbeing, Fault>> {
        self.ask_wellbeing().boxed()
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
        let target = target.strip_prefix("group:").unwrap_or(target);
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
