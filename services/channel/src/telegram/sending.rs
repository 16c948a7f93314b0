//! From a message in the terms that all networks share to calls of the Bot API.

use serde_json::{Map, Value, json};

use super::Bot;
use super::api::{Failure, Upload};
use super::reading::GENERAL_TOPIC;
use super::updates::Sent;
use crate::adapter::Refusal;
use crate::media::Way;
use crate::message::{Button, Enclosed, MediaKind, Part, Question, Receipt};

impl Bot {
    /// Sends a message.
    pub(super) async fn deliver(&self, part: &Part) -> Result<Receipt, Refusal> {
        let sent = match (&part.replaces, &part.poll, &part.media) {
            (Some(preview), None, None) => return self.take_place(preview, part).await,
            (_, Some(question), _) => self.ask(part, question).await?,
            (_, None, Some(enclosed)) => self.enclose(part, enclosed).await?,
            (_, None, None) => self.say(part).await.map_err(Failure::into_refusal)?,
        };
        self.pace.sent(&part.to.peer);
        let options = part.poll.as_ref().map(|poll| poll.options.clone()).unwrap_or_default();
        let poll_id = sent.poll.map(|poll| poll.id);
        Ok(Receipt { poll_id, options, ..Receipt::new(sent.message_id.to_string(), part.to.peer.clone()) })
    }

    /// Changes a message that was sent.
    pub(super) async fn change(&self, message_id: &str, part: &Part) -> Result<(), Failure> {
        let mut fields = Map::new();
        fields.insert("chat_id".to_owned(), json!(part.to.peer));
        fields.insert("message_id".to_owned(), number(message_id));
        self.add_preview(&mut fields);
        add_buttons(&mut fields, &part.buttons);
        let changed: Result<Value, Failure> = self.with_text("editMessageText", "text", fields, part).await;
        match changed {
            // What it says already is what it should say.
            Err(failure) if failure.says("message is not modified") => Ok(()),
            changed => changed.map(drop),
        }
    }

    /// Lets the whole answer take the place of the message that showed its beginning.
    async fn take_place(&self, preview: &str, part: &Part) -> Result<Receipt, Refusal> {
        let changed = self.change(preview, part).await;
        let gone = |failure: &Failure| failure.says("message to edit not found") || failure.says("message can't be edited");
        match changed {
            Ok(()) => Ok(Receipt::new(preview.to_owned(), part.to.peer.clone())),
            Err(failure) if gone(&failure) => {
                let sent = self.say(part).await.map_err(Failure::into_refusal)?;
                Ok(Receipt::new(sent.message_id.to_string(), part.to.peer.clone()))
            }
            // A change can be made again without harm.
            Err(Failure::NotAnswered(reason)) => Err(Refusal::Later { reason, after: None }),
            Err(failure) => Err(failure.into_refusal()),
        }
    }

    async fn say(&self, part: &Part) -> Result<Sent, Failure> {
        let mut fields = addressed(part);
        self.add_preview(&mut fields);
        self.with_text("sendMessage", "text", fields, part).await
    }

    async fn ask(&self, part: &Part, question: &Question) -> Result<Sent, Refusal> {
        let mut fields = addressed(part);
        let options: Vec<Value> = question.options.iter().map(|option| json!({"text": option})).collect();
        fields.insert("question".to_owned(), json!(question.asks));
        fields.insert("options".to_owned(), Value::Array(options));
        fields.insert("is_anonymous".to_owned(), json!(question.anonymous));
        fields.insert("allows_multiple_answers".to_owned(), json!(question.selections_max > 1));
        if let Some(seconds) = question.open_seconds {
            fields.insert("open_period".to_owned(), json!(seconds));
        }
        self.once_without_topic("sendPoll", fields).await.map_err(Failure::into_refusal)
    }

    /// Sends a file with a text below it.
    async fn enclose(&self, part: &Part, enclosed: &Enclosed) -> Result<Sent, Refusal> {
        let lost = |error: crate::media::Unusable| Refusal::Never(format!("the file {}: {error}", enclosed.file_name));
        let (mut method, mut field) = method(enclosed.kind);
        let mut formatted = !part.text.is_empty();
        let mut in_topic = true;
        // Each refusal takes one thing away, so that this ends.
        loop {
            let mut fields = addressed(part);
            if !in_topic {
                fields.remove("message_thread_id");
            }
            if formatted {
                fields.insert("caption".to_owned(), json!(part.text));
                fields.insert("parse_mode".to_owned(), json!("HTML"));
            } else if !part.plain.is_empty() {
                fields.insert("caption".to_owned(), json!(part.plain));
            }
            let bytes = self.shelf.get(Way::Out, &enclosed.file).await.map_err(lost)?;
            let upload = Upload { field, file_name: &enclosed.file_name, mime_type: &enclosed.mime_type, bytes };
            match self.api.upload(method, &fields, upload).await {
                Err(failure) if formatted && is_about_format(&failure) => formatted = false,
                Err(failure) if in_topic && failure.says("message thread not found") => in_topic = false,
                // A picture that is too wide, a voice that its hearer forbids: it still is a file.
                Err(failure) if method != "sendDocument" && is_about_kind(&failure) => (method, field) = ("sendDocument", "document"),
                sent => return sent.map_err(Failure::into_refusal),
            }
        }
    }

    /// Makes a call with a formatted text; without the format, if that is what is refused.
    async fn with_text<T: serde::de::DeserializeOwned>(
        &self,
        method: &str,
        field: &str,
        mut fields: Map<String, Value>,
        part: &Part,
    ) -> Result<T, Failure> {
        fields.insert(field.to_owned(), json!(part.text));
        fields.insert("parse_mode".to_owned(), json!("HTML"));
        match self.once_without_topic(method, fields.clone()).await {
            Err(failure) if is_about_format(&failure) => {
                fields.remove("parse_mode");
                fields.insert(field.to_owned(), json!(part.plain));
                self.once_without_topic(method, fields).await
            }
            done => done,
        }
    }

    /// Makes a call; in the chat itself, if its topic is gone.
    async fn once_without_topic<T: serde::de::DeserializeOwned>(&self, method: &str, mut fields: Map<String, Value>) -> Result<T, Failure> {
        match self.api.call(method, &Value::Object(fields.clone())).await {
            Err(failure) if failure.says("message thread not found") && fields.remove("message_thread_id").is_some() => {
                self.api.call(method, &Value::Object(fields)).await
            }
            done => done,
        }
    }

    fn add_preview(&self, fields: &mut Map<String, Value>) {
        if !self.link_preview {
            fields.insert("link_preview_options".to_owned(), json!({"is_disabled": true}));
        }
    }
}

/// Returns what every message says besides its text.
fn addressed(part: &Part) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("chat_id".to_owned(), json!(part.to.peer));
    // The general topic is addressed by naming none.
    if let Some(thread) = part.to.thread.as_deref().filter(|thread| *thread != GENERAL_TOPIC).and_then(|thread| thread.parse::<i64>().ok())
    {
        fields.insert("message_thread_id".to_owned(), json!(thread));
    }
    if let Some(reply) = part.reply_to.as_deref().and_then(|id| id.parse::<i64>().ok()) {
        fields.insert("reply_parameters".to_owned(), json!({"message_id": reply, "allow_sending_without_reply": true}));
    }
    if part.silent {
        fields.insert("disable_notification".to_owned(), json!(true));
    }
    add_buttons(&mut fields, &part.buttons);
    fields
}

fn add_buttons(fields: &mut Map<String, Value>, buttons: &[Vec<Button>]) {
    if buttons.is_empty() {
        return;
    }
    let row = |row: &Vec<Button>| row.iter().map(|button| json!({"text": button.label, "callback_data": button.says})).collect::<Vec<_>>();
    let rows: Vec<Vec<Value>> = buttons.iter().map(row).collect();
    fields.insert("reply_markup".to_owned(), json!({"inline_keyboard": rows}));
}

fn method(kind: MediaKind) -> (&'static str, &'static str) {
    match kind {
        MediaKind::Image => ("sendPhoto", "photo"),
        MediaKind::Animation => ("sendAnimation", "animation"),
        MediaKind::Video => ("sendVideo", "video"),
        MediaKind::Audio => ("sendAudio", "audio"),
        MediaKind::Voice => ("sendVoice", "voice"),
        MediaKind::Sticker => ("sendSticker", "sticker"),
        MediaKind::Document => ("sendDocument", "document"),
    }
}

fn is_about_format(failure: &Failure) -> bool {
    failure.says("can't parse entities")
}

fn is_about_kind(failure: &Failure) -> bool {
    ["photo_invalid_dimensions", "voice_messages_forbidden", "wrong file type", "image_process_failed"]
        .iter()
        .any(|words| failure.says(words))
}

/// The Bot API calls messages by numbers.
fn number(id: &str) -> Value {
    id.parse::<i64>().map_or_else(|_| json!(id), |id| json!(id))
}
