//! What is to be done with a message: words go to the model, everything else is answered here.

use verso_proto::upkeep::v1::ChangeRequest;

use super::catalog::{self, Command, Does};
use super::directives::{self, Directives};
use super::{Parsed, Who, bash, compact, configure, debug, manage, options, set, show, speech, subagents};
use crate::error::Error;
use crate::keys::{AgentId, SessionKey};
use crate::runs::{Inline, QueueWishes, Runs};
use crate::sessions::levels;
use crate::skills;
use crate::store::Setting;

/// Where a message was said.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) agent: AgentId,
    pub(crate) key: SessionKey,
}

/// Words for a model, and what holds for them alone.
#[derive(Debug, Default)]
pub(crate) struct Spoken {
    pub(crate) message: String,
    /// Whether the session begins afresh with them.
    pub(crate) reset: bool,
    pub(crate) thinking: Option<String>,
    /// `provider/model`.
    pub(crate) model: Option<String>,
    pub(crate) queue: QueueWishes,
    pub(crate) inline: Inline,
}

/// What a message is.
#[derive(Debug)]
pub(crate) enum Heard {
    Words(Box<Spoken>),
    /// Stops what the session is doing.
    Stop,
    /// Begins the session afresh, and nothing else.
    Reset,
    /// It is answered already.
    Answer(Answer),
}

/// An answer that no model gave.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) afterwards: Option<Afterwards>,
}

/// What is done once the answer is written down: it could not be written down any more.
#[derive(Debug)]
pub(crate) enum Afterwards {
    /// Settings of the session.
    Set(Vec<(Setting, Option<String>)>),
    /// A patch of the configuration.
    Configure(ChangeRequest),
    /// The agents' process ends, and begins again.
    Restart,
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self { text, afterwards: None }
    }
}

/// Decides about a message of `who`.
pub(crate) async fn hear(runs: &Runs, place: &Place, who: &Who, message: &str) -> Result<Heard, Error> {
    match runs.parts.commands.parse(message, who) {
        Parsed::Stop => Ok(Heard::Stop),
        Parsed::Reset { rest } => reset(runs, place, rest).await,
        Parsed::Command { command, arguments } if command.does != Does::Directive => match command.does {
            Does::Skill => skill(runs, place, &arguments).await,
            _ => Ok(Heard::Answer(answer(runs, place, who, (command, &arguments)).await?)),
        },
        Parsed::Command { .. } | Parsed::Words => words(runs, place, who, message).await,
    }
}

/// Returns what is to be done with a message that begins its session afresh; none if it does not.
pub(crate) async fn fresh(runs: &Runs, place: &Place, who: &Who, message: &str) -> Result<Option<Heard>, Error> {
    match runs.parts.commands.parse(message, who) {
        Parsed::Reset { rest } => reset(runs, place, rest).await.map(Some),
        _ => Ok(None),
    }
}

/// Does what could only be done after the answer.
pub(crate) async fn afterwards(runs: &Runs, place: &Place, what: Afterwards) -> Result<(), Error> {
    match what {
        Afterwards::Set(changes) => set::change(runs, place, changes).await,
        Afterwards::Configure(change) => {
            configure::configure(runs, change);
            Ok(())
        }
        Afterwards::Restart => {
            manage::restart(runs);
            Ok(())
        }
    }
}

async fn answer(runs: &Runs, place: &Place, who: &Who, (command, arguments): (&Command, &str)) -> Result<Answer, Error> {
    let commands = &runs.parts.commands;
    Ok(match command.does {
        Does::Status => show::status(runs, place).await?.into(),
        Does::WhoAmI => show::whoami(place, who).into(),
        Does::Context => show::context(runs, place, arguments).await?.into(),
        Does::Models => set::models(runs).into(),
        Does::Compact => compact::compact(runs, place, arguments).await?.into(),
        Does::Subagents => subagents::subagents(runs, place, who, arguments).await?.into(),
        Does::Usage => options::usage(runs, place, who, arguments).await?.into(),
        Does::Send => options::send(arguments),
        Does::Activation => options::activation(runs, place, arguments).await?.into(),
        Does::Speech => speech::speech(runs, arguments).await?.into(),
        Does::Approve => manage::approve(runs, arguments).await.into(),
        Does::Config => configure::config(runs, who, arguments).await,
        Does::Bash => bash::bash(runs, place, who, arguments).await?.into(),
        Does::Debug => debug::debug(runs, who, arguments).await.into(),
        Does::Allowlist => configure::allowlist(runs, who, arguments).await,
        Does::Restart => Answer { text: "The agents' process is started again now.".to_owned(), afterwards: Some(Afterwards::Restart) },
        Does::Help | Does::Stop | Does::Reset | Does::Skill | Does::Directive => {
            catalog::help(|command| commands.enabled(command), who).into()
        }
    })
}

/// A fresh beginning: with a model, if that is what the next word names, and with words, if there are more.
async fn reset(runs: &Runs, place: &Place, rest: String) -> Result<Heard, Error> {
    let (word, behind) = rest.split_once(char::is_whitespace).unwrap_or((&rest, ""));
    let mut words = rest.as_str();
    if !word.is_empty()
        && let Ok(model) = runs.parts.catalog.choose(&runs.parts.clients, Some(word), None).await
    {
        set::model(runs, place, &model.full_name()).await?;
        words = behind.trim();
    }
    if words.is_empty() {
        return Ok(Heard::Reset);
    }
    Ok(Heard::Words(Box::new(Spoken { message: words.to_owned(), reset: true, ..Spoken::default() })))
}

async fn skill(runs: &Runs, place: &Place, arguments: &str) -> Result<Heard, Error> {
    let (name, input) = arguments.split_once(char::is_whitespace).unwrap_or((arguments, ""));
    let found = skills::of_agent(&runs.parts, &runs.parts.roster.get(&place.agent)).await?;
    let mut usable = found.into_iter().filter(verso_tools::skills::Skill::eligible);
    let wanted = name.replace('_', "-");
    let is = |known: &str| known.eq_ignore_ascii_case(name) || known.replace('_', "-").eq_ignore_ascii_case(&wanted);
    let Some(skill) = usable.find(|skill| is(&skill.manifest.name) || is(&skill.manifest.key)) else {
        return Ok(Heard::Answer(format!("There is no usable skill \"{name}\".").into()));
    };
    let message = format!("Use the skill \"{}\" ({}) for this:\n\n{}", skill.manifest.name, skill.file.display(), input.trim());
    Ok(Heard::Words(Box::new(Spoken { message, ..Spoken::default() })))
}

async fn words(runs: &Runs, place: &Place, who: &Who, message: &str) -> Result<Heard, Error> {
    let (found, rest) = directives::take(message, who);
    let plain = || Heard::Words(Box::new(Spoken { message: message.to_owned(), ..Spoken::default() }));
    if found.is_empty() {
        return Ok(plain());
    }
    if rest.is_empty() {
        // With no other words they are settings of the session, and those are not everybody's to change.
        return if who.manages || set::only_asks(&found) {
            Ok(Heard::Answer(set::keep(runs, place, who, found).await?.into()))
        } else {
            Ok(plain())
        };
    }
    spoken(runs, place, who, found, rest).await
}

/// Words with directives, which hold for these words.
async fn spoken(runs: &Runs, place: &Place, who: &Who, found: Directives, message: String) -> Result<Heard, Error> {
    let mut spoken = Spoken { message, ..Spoken::default() };
    if let Some(name) = found.model.and_then(|asked| asked.raw) {
        match set::named_model(runs, &name).await {
            Ok(name) => spoken.model = Some(name),
            Err(why) => return Ok(Heard::Answer(why.into())),
        }
    }
    let model = match &spoken.model {
        Some(name) => name.clone(),
        None => set::current_model(runs, place).await?,
    };
    let level = found.think.and_then(|asked| asked.raw);
    spoken.thinking = level.and_then(|raw| levels::thinking(&raw, &model).ok());
    spoken.queue = found.queue.map(|asked| asked.wishes).unwrap_or_default();
    let read = |choice: levels::Choice, asked: Option<directives::Asked>| choice.read(&asked?.raw?).ok();
    let exec = found.exec.unwrap_or_default();
    let word = |choice: levels::Choice, raw: Option<String>| choice.read(&raw?).ok();
    spoken.inline = Inline {
        verbose: read(levels::VERBOSE, found.verbose),
        reasoning: read(levels::REASONING, found.reasoning),
        elevated: read(levels::ELEVATED, found.elevated).filter(|_| set::may_elevate(runs, place, who)),
        exec_host: word(levels::EXEC_HOST, exec.host),
        exec_security: word(levels::EXEC_SECURITY, exec.security),
        exec_ask: word(levels::EXEC_ASK, exec.ask),
        exec_node: exec.node,
    };
    Ok(Heard::Words(Box::new(spoken)))
}
