//! The tool `message`: to somebody on a chat network, through the channel service and its outbox.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::{BoxFuture, FutureExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use verso_kit::peer::{Caller, Peer};
use verso_proto::channel::v1::{EditRequest, PollRequest, ReactRequest, SendRequest, Spot, UnsendRequest};
use verso_tools::files::Place;
use verso_tools::tool::{Answer, Refused, Scene, Spec, Tool, arguments, blocking};
use verso_tools::web::check_url;

use super::config::CrossContext;

/// The largest file that is sent, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The longest message, in characters; the channel service cuts it into what its network takes.
const MESSAGE_CHARS_MAX: usize = 16_000;

/// The tool `message`.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) channel: Peer,
    pub(super) rules: CrossContext,
    /// Where the conversation is, if it is one on a chat network.
    pub(super) here: Option<Chat>,
    /// The networks that are configured.
    pub(super) known: Vec<String>,
}

/// A chat on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chat {
    pub(super) channel: String,
    pub(super) to: String,
    pub(super) thread: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    action: Option<String>,
    channel: Option<String>,
    #[serde(alias = "target", alias = "chatId")]
    to: Option<Value>,
    #[serde(alias = "text", alias = "content")]
    message: Option<String>,
    /// A file of the workspace, or a public address.
    #[serde(alias = "path", alias = "mediaUrl")]
    media: Option<String>,
    account_id: Option<String>,
    reply_to: Option<Value>,
    thread_id: Option<Value>,
    silent: Option<bool>,
    #[serde(alias = "pollQuestion")]
    question: Option<String>,
    #[serde(default, alias = "pollOption")]
    options: Vec<String>,
    max_selections: Option<i64>,
    message_id: Option<Value>,
    emoji: Option<String>,
    #[serde(default)]
    remove: bool,
}

/// Where a message goes, and whether that is elsewhere.
#[derive(Debug)]
struct Destination {
    chat: Chat,
    elsewhere: bool,
}

impl Chat {
    /// Reads where a session's conversation is out of its key: `<channel>:<dm|group|channel>:<id>`, perhaps with an account before and a
    /// thread after.
    pub(super) fn of(key: &str) -> Option<Self> {
        let (_, rest) = crate::keys::parse(key)?;
        let parts: Vec<&str> = rest.split(':').collect();
        let place = parts.iter().position(|part| matches!(*part, "dm" | "group" | "channel")).filter(|place| (1..=2).contains(place))?;
        let after = &parts[place + 1..];
        let end = after.iter().position(|part| matches!(*part, "thread" | "topic")).unwrap_or(after.len());
        let (to, thread) = (after[..end].join(":"), after.get(end + 1..).map(|rest| rest.join(":")).filter(|rest| !rest.is_empty()));
        (!to.is_empty()).then(|| Self { channel: parts[0].to_owned(), to, thread })
    }
}

impl Message {
    /// Returns where it goes. Nobody's words lead out of a conversation by accident: another network needs the owner's configuration.
    fn destination(&self, wanted: &Arguments) -> Result<Destination, Refused> {
        let named = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let channel = named(wanted.channel.clone()).map(|channel| channel.to_lowercase());
        let to = named(wanted.to.as_ref().map(plain));
        let thread = named(wanted.thread_id.as_ref().map(plain));
        let Some(here) = &self.here else {
            let channel = channel.or_else(|| (self.known.len() == 1).then(|| self.known[0].clone()));
            let channel =
                channel.ok_or_else(|| Refused::Arguments(format!("channel is required; there are: {}", self.known.join(", "))))?;
            let to = to.ok_or_else(|| Refused::Arguments("to is required: this conversation is on no chat network".to_owned()))?;
            return Ok(Destination { chat: Chat { channel, to, thread }, elsewhere: false });
        };
        let channel = channel.unwrap_or_else(|| here.channel.clone());
        if channel != here.channel {
            if !self.rules.across() {
                let words = format!("this conversation is on {}, and tools.message.crossContext.allowAcrossProviders is off", here.channel);
                return Err(Refused::Forbidden(words));
            }
            let to = to.ok_or_else(|| Refused::Arguments("to is required for another channel".to_owned()))?;
            return Ok(Destination { chat: Chat { channel, to, thread }, elsewhere: true });
        }
        let to = to.unwrap_or_else(|| here.to.clone());
        let elsewhere = to != here.to;
        if elsewhere && !self.rules.within() {
            let words = "tools.message.crossContext.allowWithinProvider is off: only this conversation can be written to".to_owned();
            return Err(Refused::Forbidden(words));
        }
        let thread = thread.or_else(|| if elsewhere { None } else { here.thread.clone() });
        Ok(Destination { chat: Chat { channel, to, thread }, elsewhere })
    }

    async fn send(&self, scene: &Scene, wanted: &Arguments) -> Result<Answer, Refused> {
        let Destination { chat, elsewhere } = self.destination(wanted)?;
        let text = wanted.message.clone().unwrap_or_default();
        if text.chars().count() > MESSAGE_CHARS_MAX {
            return Err(Refused::Arguments(format!("the message is longer than {MESSAGE_CHARS_MAX} characters")));
        }
        if text.trim().is_empty() && wanted.media.is_none() {
            return Err(Refused::Arguments("message or media is required".to_owned()));
        }
        let message = match self.here.as_ref().filter(|_| elsewhere) {
            Some(here) => self.rules.marked(&text, &here.channel),
            None => text,
        };
        let request = SendRequest {
            to: chat.to,
            message,
            channel: Some(chat.channel),
            thread_id: chat.thread,
            account_id: wanted.account_id.clone(),
            reply_to_id: wanted.reply_to.as_ref().map(plain),
            silent: wanted.silent,
            session_key: Some(scene.session.clone()),
            agent_id: Some(scene.agent.clone()),
            idempotency_key: format!("{}-{}", scene.run, scene.call),
            ..SendRequest::default()
        };
        let request = with_media(request, scene, wanted.media.as_deref()).await?;
        let answer = self.channel.call(request, &Caller::default()).await;
        let answer = answer.map_err(|error| Refused::failed("the message could not be sent", error.message()))?;
        Ok(Answer::json(json!({"ok": true, "channel": answer.channel, "messageId": answer.message_id, "chatId": answer.chat_id})))
    }

    async fn poll(&self, scene: &Scene, wanted: &Arguments) -> Result<Answer, Refused> {
        let Destination { chat, .. } = self.destination(wanted)?;
        let question = wanted.question.clone().or_else(|| wanted.message.clone()).filter(|question| !question.trim().is_empty());
        if wanted.options.len() < 2 {
            return Err(Refused::Arguments("a poll needs two options at least".to_owned()));
        }
        let request = PollRequest {
            to: chat.to,
            question: question.ok_or_else(|| Refused::Arguments("question is required".to_owned()))?,
            options: wanted.options.clone(),
            max_selections: wanted.max_selections,
            channel: Some(chat.channel),
            thread_id: chat.thread,
            account_id: wanted.account_id.clone(),
            silent: wanted.silent,
            idempotency_key: format!("{}-{}", scene.run, scene.call),
            ..PollRequest::default()
        };
        let answer = self.channel.call(request, &Caller::default()).await;
        let answer = answer.map_err(|error| Refused::failed("the poll could not be sent", error.message()))?;
        Ok(Answer::json(json!({"ok": true, "channel": answer.channel, "messageId": answer.message_id, "pollId": answer.poll_id})))
    }
}

impl Message {
    /// Returns the message that is meant.
    fn spot(&self, wanted: &Arguments) -> Result<Spot, Refused> {
        let Destination { chat, .. } = self.destination(wanted)?;
        let message_id = wanted.message_id.as_ref().map(plain).filter(|id| !id.trim().is_empty());
        let message_id = message_id.ok_or_else(|| Refused::Arguments("messageId is required".to_owned()))?;
        Ok(Spot { channel: chat.channel, account_id: wanted.account_id.clone(), to: chat.to, thread_id: chat.thread, message_id })
    }

    async fn react(&self, wanted: &Arguments) -> Result<Answer, Refused> {
        let emoji = wanted.emoji.clone().filter(|emoji| !wanted.remove && !emoji.trim().is_empty());
        if emoji.is_none() && !wanted.remove {
            return Err(Refused::Arguments("emoji is required, or remove".to_owned()));
        }
        let request = ReactRequest { spot: Some(self.spot(wanted)?), emoji };
        let done = self.channel.call(request, &Caller::default()).await;
        done.map_err(|error| Refused::failed("the message could not be marked", error.message()))?;
        Ok(Answer::json(json!({"ok": true})))
    }

    async fn edit(&self, wanted: &Arguments) -> Result<Answer, Refused> {
        let text = wanted.message.clone().filter(|text| !text.trim().is_empty());
        let text = text.ok_or_else(|| Refused::Arguments("message is required".to_owned()))?;
        let request = EditRequest { spot: Some(self.spot(wanted)?), text };
        let done = self.channel.call(request, &Caller::default()).await;
        done.map_err(|error| Refused::failed("the message could not be changed", error.message()))?;
        Ok(Answer::json(json!({"ok": true})))
    }

    async fn unsend(&self, wanted: &Arguments) -> Result<Answer, Refused> {
        let request = UnsendRequest { spot: Some(self.spot(wanted)?) };
        let done = self.channel.call(request, &Caller::default()).await;
        done.map_err(|error| Refused::failed("the message could not be taken back", error.message()))?;
        Ok(Answer::json(json!({"ok": true})))
    }
}

impl Tool for Message {
    fn spec(&self) -> Arc<Spec> {
        let properties = json!({
            "action": {"type": "string", "enum": ["send", "poll", "react", "edit", "delete"]},
            "channel": {"type": "string", "description": format!("One of: {}. Default: this conversation's", self.known.join(", "))},
            "to": {"type": "string", "description": "A person or chat as the network calls it. Default: this conversation"},
            "message": {"type": "string"},
            "media": {"type": "string", "description": "A file of the workspace, or a public https address"},
            "replyTo": {"type": "string", "description": "Id of a message"}, "threadId": {"type": "string"},
            "accountId": {"type": "string"}, "silent": {"type": "boolean"},
            "question": {"type": "string", "description": "For poll"},
            "options": {"type": "array", "items": {"type": "string"}, "description": "For poll"},
            "maxSelections": {"type": "number"},
            "messageId": {"type": "string", "description": "For react, edit and delete; edit and delete only what was sent from here"},
            "emoji": {"type": "string", "description": "For react"}, "remove": {"type": "boolean", "description": "For react: take it back"},
        });
        let about = "Sends a message or a poll on a chat network, marks one with an emoji, changes or takes back its own. A plain reply needs no tool: what you say is sent to this conversation.";
        Spec::new("message", about, properties, &["action"]).into()
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let wanted: Arguments = arguments(value)?;
            match wanted.action.as_deref().unwrap_or("send") {
                "send" => self.send(scene, &wanted).await,
                "poll" => self.poll(scene, &wanted).await,
                "react" => self.react(&wanted).await,
                "edit" => self.edit(&wanted).await,
                "delete" | "unsend" => self.unsend(&wanted).await,
                other => {
                    Err(Refused::Arguments(format!("there is no action \"{other}\": send, poll, react, edit and delete are what there is")))
                }
            }
        }
        .boxed()
    }
}

/// Adds a file. What is on this host comes out of the workspace and nowhere else; what is elsewhere is public.
async fn with_media(request: SendRequest, scene: &Scene, media: Option<&str>) -> Result<SendRequest, Refused> {
    let Some(media) = media.map(str::trim).filter(|media| !media.is_empty()) else { return Ok(request) };
    if media.contains("://") {
        let url = check_url(media).map_err(|blocked| Refused::Forbidden(blocked.to_string()))?;
        return Ok(SendRequest { media_url: Some(url.to_string()), ..request });
    }
    let (place, path) = (Place::new(&scene.workspace), media.to_owned());
    let bytes = blocking(move || Ok(place.read(&path, FILE_BYTES_MAX)?)).await?;
    let name = media.rsplit('/').next().unwrap_or(media).to_owned();
    Ok(SendRequest { buffer: Some(STANDARD.encode(bytes)), filename: Some(name), ..request })
}

/// Models write ids as numbers too.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(here: Option<&str>, rules: Value) -> Message {
        Message {
            channel: Peer::unix("/nowhere"),
            rules: serde_json::from_value(rules).unwrap(),
            here: here.and_then(Chat::of),
            known: vec!["telegram".to_owned(), "irc".to_owned()],
        }
    }

    fn goes(tool: &Message, arguments: Value) -> Result<(String, String, Option<String>, bool), String> {
        let found = tool.destination(&serde_json::from_value(arguments).unwrap()).map_err(|refused| refused.to_string())?;
        Ok((found.chat.channel, found.chat.to, found.chat.thread, found.elsewhere))
    }

    #[test]
    fn a_key_says_where_its_conversation_is() {
        let chat = |key: &str| Chat::of(key).map(|chat| (chat.channel, chat.to, chat.thread));
        let found = |channel: &str, to: &str, thread: Option<&str>| Some((channel.to_owned(), to.to_owned(), thread.map(str::to_owned)));
        assert_eq!(chat("agent:main:telegram:dm:123"), found("telegram", "123", None));
        assert_eq!(chat("agent:main:telegram:work:dm:123"), found("telegram", "123", None));
        assert_eq!(chat("agent:main:telegram:group:-100:topic:7"), found("telegram", "-100", Some("7")));
        assert_eq!(chat("agent:main:slack:channel:c1:thread:1700.5"), found("slack", "c1", Some("1700.5")));
        for key in ["agent:main:main", "agent:main:dm:alice", "agent:main:subagent:dm", "global"] {
            assert_eq!(chat(key), None, "{key}");
        }
    }

    #[tokio::test]
    async fn nobody_is_written_to_on_another_network_unless_the_owner_says_so() {
        let closed = tool(Some("agent:main:telegram:group:-100:topic:7"), json!({}));
        assert_eq!(goes(&closed, json!({})), Ok(("telegram".to_owned(), "-100".to_owned(), Some("7".to_owned()), false)));
        assert_eq!(goes(&closed, json!({"to": 5})), Ok(("telegram".to_owned(), "5".to_owned(), None, true)));
        assert!(goes(&closed, json!({"channel": "irc", "to": "#x"})).unwrap_err().contains("allowAcrossProviders"));
        let shut = tool(Some("agent:main:telegram:dm:1"), json!({"crossContext": {"allowWithinProvider": false}}));
        assert!(goes(&shut, json!({"to": "2"})).unwrap_err().contains("allowWithinProvider"));
        for rules in [json!({"allowCrossContextSend": true}), json!({"crossContext": {"allowAcrossProviders": true}})] {
            let open = tool(Some("agent:main:telegram:dm:1"), rules);
            assert_eq!(goes(&open, json!({"channel": "IRC", "to": "#x"})), Ok(("irc".to_owned(), "#x".to_owned(), None, true)));
            assert_eq!(open.rules.marked("hi", "telegram"), "[from telegram] hi");
        }
        let outside = tool(None, json!({}));
        assert!(goes(&outside, json!({"to": "1"})).unwrap_err().contains("channel is required"));
        assert_eq!(goes(&outside, json!({"channel": "irc", "to": "#x"})), Ok(("irc".to_owned(), "#x".to_owned(), None, false)));
    }
}
