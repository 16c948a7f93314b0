//! Which question comes when, and what its answer may be. Nothing here touches the file.

use serde_json::Value;
use verso_kit::config::Secret;
use verso_proto::Json;
use verso_proto::edge::v1::{WizardOption, WizardStartRequest, WizardStep};

use super::answers::{Answers, Mode, PROVIDERS, Present, address, folder, line};

/// The choice that leaves the model as it is.
const KEEP: &str = "keep";

/// The questions of one wizard.
#[derive(Debug, Clone)]
pub(super) struct Questions {
    present: Present,
    answers: Answers,
    ask: Ask,
    /// What was wrong with the last answer: shown as a note before the question is asked again.
    problem: Option<String>,
    /// Counts what was shown, so that an answer to something shown earlier is not taken for one to what is shown now.
    shown: u32,
    installs_daemon: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Welcome,
    Mode,
    RemoteUrl,
    RemoteToken,
    Workspace,
    Provider,
    Address,
    Model,
    Key,
    Confirm,
}

/// What an answer leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// There is another question.
    Asks,
    /// Everything is known and agreed to.
    Write,
    /// Nothing shall be written.
    Leave,
}

impl Questions {
    /// Begins. What the request says already is not asked.
    pub(super) fn new(present: Present, request: &WizardStartRequest) -> Result<Self, String> {
        let workspace = request.workspace.clone().map(Value::String).map(|value| line(&value).and_then(folder)).transpose();
        let answers = Answers {
            mode: request.mode.as_deref().and_then(Mode::parse),
            workspace: workspace.map_err(|problem| format!("invalid workspace: {problem}"))?,
            ..Answers::default()
        };
        let installs_daemon = request.install_daemon == Some(true);
        Ok(Self { present, answers, ask: Ask::Welcome, problem: None, shown: 1, installs_daemon })
    }

    /// The answers so far as a merge patch.
    pub(super) fn patch(&self, finished_at: Option<String>) -> Value {
        self.answers.patch(&self.present, finished_at)
    }

    /// Says what is wrong with an answer, and asks again afterwards.
    pub(super) fn object(&mut self, problem: String) {
        self.problem = Some(problem);
        self.shown += 1;
    }

    /// Takes the answer to the present step.
    pub(super) fn take(&mut self, value: &Value) -> Result<Taken, String> {
        self.shown += 1;
        if self.problem.take().is_some() {
            return Ok(Taken::Asks);
        }
        self.note(value)?;
        if self.ask == Ask::Confirm {
            return match value {
                Value::Bool(true) => Ok(Taken::Write),
                Value::Bool(false) => Ok(Taken::Leave),
                _ => Err("This takes yes or no.".to_owned()),
            };
        }
        self.ask = self.following();
        Ok(Taken::Asks)
    }

    fn note(&mut self, value: &Value) -> Result<(), String> {
        let answers = &mut self.answers;
        match self.ask {
            Ask::Welcome | Ask::Confirm => {}
            Ask::Mode => {
                let mode = value.as_str().and_then(Mode::parse);
                answers.mode = Some(mode.ok_or("Choose one of the options.")?);
            }
            Ask::RemoteUrl => answers.remote_url = Some(address(line(value)?, ["wss", "ws"])?),
            Ask::RemoteToken => answers.remote_token = secret(value)?,
            Ask::Workspace => answers.workspace = Some(folder(line(value)?)?),
            Ask::Provider => {
                let name = value.as_str().unwrap_or_default();
                let chosen = PROVIDERS.iter().find(|provider| provider.name == name);
                if chosen.is_none() && name != KEEP {
                    return Err("Choose one of the options.".to_owned());
                }
                answers.provider = chosen;
            }
            Ask::Address => answers.address = Some(address(line(value)?, ["https", "http"])?),
            Ask::Model => {
                let name = line(value)?;
                if name.is_empty() || name.contains(char::is_whitespace) {
                    return Err("Name one model, as its provider does.".to_owned());
                }
                answers.model = Some(name);
            }
            Ask::Key => answers.key = secret(value)?,
        }
        Ok(())
    }

    /// The question behind the present one: the first that is not answered and not beside the point.
    fn following(&self) -> Ask {
        let provider = self.answers.provider;
        match self.ask {
            Ask::Welcome if self.answers.mode.is_none() => Ask::Mode,
            Ask::Welcome | Ask::Mode => match self.answers.mode {
                Some(Mode::Remote) => Ask::RemoteUrl,
                _ if self.answers.workspace.is_none() => Ask::Workspace,
                _ => Ask::Provider,
            },
            Ask::RemoteUrl => Ask::RemoteToken,
            Ask::Workspace => Ask::Provider,
            Ask::Provider => match provider {
                None => Ask::Confirm,
                Some(provider) if provider.asks_address => Ask::Address,
                Some(_) => Ask::Model,
            },
            Ask::Address => Ask::Model,
            Ask::Model if provider.is_some_and(|provider| provider.asks_key) => Ask::Key,
            Ask::RemoteToken | Ask::Model | Ask::Key | Ask::Confirm => Ask::Confirm,
        }
    }

    /// Names the present step; no other one of this wizard has or had this name.
    pub(super) fn step_id(&self) -> String {
        let name = match self.ask {
            _ if self.problem.is_some() => "problem",
            Ask::Welcome => "welcome",
            Ask::Mode => "mode",
            Ask::RemoteUrl => "remote-url",
            Ask::RemoteToken => "remote-token",
            Ask::Workspace => "workspace",
            Ask::Provider => "provider",
            Ask::Address => "address",
            Ask::Model => "model",
            Ask::Key => "key",
            Ask::Confirm => "confirm",
        };
        format!("{name}-{}", self.shown)
    }

    /// The present step.
    pub(super) fn step(&self) -> WizardStep {
        let step = match &self.problem {
            Some(problem) => note("That does not work", problem),
            None => self.question(),
        };
        WizardStep { id: self.step_id(), executor: Some("gateway".to_owned()), ..step }
    }

    fn question(&self) -> WizardStep {
        match self.ask {
            Ask::Welcome => note("Setting up", &self.welcome()),
            Ask::Mode => {
                let here = option("local", "On this machine", "agents, channels and nodes meet here");
                let elsewhere = option("remote", "Elsewhere", "commands on this machine use another gateway");
                let chosen = self.present.mode.as_deref().unwrap_or("local");
                select("Gateway", "Where is the gateway?", vec![here, elsewhere], chosen)
            }
            Ask::RemoteUrl => text("Remote gateway", "Its WebSocket address", self.present.remote_url.as_deref(), "wss://gateway.example"),
            Ask::RemoteToken => hidden("Remote gateway", "Its token. Leave this empty to keep what is configured."),
            Ask::Workspace => text("Workspace", "The folder that agents work in", Some(&self.present.workspace), "~/workspace"),
            Ask::Provider => self.providers(),
            Ask::Address => {
                let provider = self.answers.provider;
                let usual = provider.map(|provider| provider.address).filter(|address| !address.is_empty());
                let known = provider.and_then(|provider| self.present.addresses.get(provider.name)).map(String::as_str);
                text("Model provider", "The address of its API", known.or(usual), "http://127.0.0.1:8000/v1")
            }
            Ask::Model => {
                let usual = self.answers.provider.map(|provider| provider.model).filter(|model| !model.is_empty());
                text("Model", "The model that answers unless another is asked for", self.present_model().or(usual), "model name")
            }
            Ask::Key => hidden("Model provider", &self.key_message()),
            Ask::Confirm => WizardStep { initial_value: Some(json(&true.into())), ..step("confirm", "Write this?", &self.last_words()) },
        }
    }

    fn welcome(&self) -> String {
        let mut words = "A few questions set up this gateway. Nothing is written before the last one, and comments and other \
                         settings of the configuration stay."
            .to_owned();
        if self.installs_daemon {
            words.push_str("\nThe service that starts the gateway with the machine is set up on its host: verso gateway install");
        }
        words
    }

    fn providers(&self) -> WizardStep {
        let kept = self.present.model.as_deref().unwrap_or("what the environment offers");
        let keep = option(KEEP, "Keep as it is", kept);
        let offered = PROVIDERS.iter().map(|provider| option(provider.name, provider.label, provider.hint));
        select("Model provider", "Whose models do agents use?", std::iter::once(keep).chain(offered).collect(), KEEP)
    }

    /// The configured model, when it is one of the chosen provider.
    fn present_model(&self) -> Option<&str> {
        let (provider, model) = self.present.model.as_deref()?.split_once('/')?;
        (provider == self.answers.provider?.name).then_some(model)
    }

    fn key_message(&self) -> String {
        let variable = self.answers.provider.map(|provider| provider.key_variable).unwrap_or_default();
        if variable.is_empty() {
            "Its key. Leave this empty to keep what is configured, or if it needs none.".to_owned()
        } else {
            format!("Its key. Leave this empty to keep what is configured, or to use the variable {variable}.")
        }
    }

    fn last_words(&self) -> String {
        let mut words = self.answers.summary();
        if self.answers.mode == Some(Mode::Remote) {
            words.push_str("\nThis gateway does not start again while the mode is remote.");
        }
        words
    }
}

/// Reads a secret; none when nothing was entered.
fn secret(value: &Value) -> Result<Option<Secret<String>>, String> {
    let text = line(value)?;
    Ok(Some(text).filter(|text| !text.is_empty()).map(Secret::new))
}

fn step(kind: &str, title: &str, message: &str) -> WizardStep {
    WizardStep { r#type: kind.to_owned(), title: Some(title.to_owned()), message: Some(message.to_owned()), ..WizardStep::default() }
}

fn note(title: &str, message: &str) -> WizardStep {
    step("note", title, message)
}

fn text(title: &str, message: &str, initial: Option<&str>, placeholder: &str) -> WizardStep {
    let initial_value = initial.map(|initial| json(&initial.into()));
    WizardStep { initial_value, placeholder: Some(placeholder.to_owned()), ..step("text", title, message) }
}

fn hidden(title: &str, message: &str) -> WizardStep {
    WizardStep { sensitive: Some(true), ..step("text", title, message) }
}

fn select(title: &str, message: &str, options: Vec<WizardOption>, initial: &str) -> WizardStep {
    WizardStep { options, initial_value: Some(json(&initial.into())), ..step("select", title, message) }
}

fn option(value: &str, label: &str, hint: &str) -> WizardOption {
    WizardOption { value: Some(json(&value.into())), label: label.to_owned(), hint: Some(hint.to_owned()) }
}

fn json(value: &Value) -> Json {
    Json { text: value.to_string() }
}
