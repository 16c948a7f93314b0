//! Which model answers: what the configuration says, else what a key in the environment allows, else what runs on this host, else
//! the built-in offline responder.

pub(crate) mod access;
pub(crate) mod aside;
pub(crate) mod auth;
mod chain;
mod keyring;
mod known;
mod local;
mod params;
mod price;
mod server;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use verso_kit::clock::Clock;
use verso_kit::config::Env;

use crate::config::{self, Config};
use crate::error::Error;
use crate::keys::AgentId;
use crate::provider::Sampling;
use crate::provider::client::Clients;
pub(crate) use keyring::{Key, Keyring};
use known::KNOWN;
pub(crate) use server::{Dialect, Endpoint, Server, Signing};

/// What the offline responder is called.
pub(crate) const OFFLINE_PROVIDER: &str = "verso";
pub(crate) const OFFLINE_MODEL: &str = "offline";

/// The window of a model whose configuration does not tell, in tokens.
const CONTEXT_WINDOW_DEFAULT: u64 = 200_000;

/// The smallest window that is of use, in tokens, unless `agents.defaults.minContextTokens` says otherwise. A model on this host is
/// what it is.
const CONTEXT_WINDOW_MIN: u64 = 16_000;

/// The window of a local model that does not tell, in tokens.
const LOCAL_CONTEXT_WINDOW_DEFAULT: u64 = 8_192;

/// How long a host without a local model is believed to have none, in milliseconds.
const LOCAL_SEARCH_INTERVAL_MS: i64 = 15_000;

/// A model, and how to reach it.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) provider: String,
    pub(crate) id: String,
    pub(crate) name: String,
    /// In tokens.
    pub(crate) context_window: u64,
    /// The longest answer, in tokens.
    pub(crate) max_tokens: Option<u64>,
    /// Whether it can be told how much to think.
    pub(crate) reasoning: bool,
    /// Whether it sees pictures.
    pub(crate) images: bool,
    /// What it costs, if somebody has said.
    pub(crate) price: Option<config::Price>,
    /// How it chooses its words, unless somebody asks for something else.
    pub(crate) sampling: Sampling,
    pub(crate) endpoint: Endpoint,
}

impl Model {
    /// Returns `provider/model`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.provider, self.id)
    }

    /// Returns the name of what is spoken with its provider.
    pub(crate) fn api(&self) -> &'static str {
        match &self.endpoint {
            Endpoint::Server(server) => server.dialect.as_str(),
            Endpoint::Offline | Endpoint::Unusable(_) => OFFLINE_PROVIDER,
        }
    }

    /// Whether this is the offline responder.
    pub(crate) fn offline(&self) -> bool {
        matches!(self.endpoint, Endpoint::Offline)
    }

    fn named(provider: &str, id: &str, endpoint: Endpoint) -> Self {
        Self {
            provider: provider.to_owned(),
            id: id.to_owned(),
            name: id.to_owned(),
            context_window: CONTEXT_WINDOW_DEFAULT,
            max_tokens: None,
            reasoning: false,
            images: false,
            price: None,
            sampling: Sampling::default(),
            endpoint,
        }
    }
}

/// All models.
#[derive(Debug)]
pub(crate) struct Catalog {
    providers: Vec<(String, config::Provider)>,
    /// The configured default, `provider/model`.
    primary: Option<String>,
    /// What stands in for it.
    fallbacks: Vec<String>,
    /// Those that are asked about pictures.
    image: Vec<String>,
    /// The models that may be asked for, and their short names; empty: all.
    allowed: BTreeMap<String, config::Allowed>,
    /// How the models of agents choose their words that have ways of their own.
    sampling: HashMap<AgentId, Sampling>,
    /// The most context that any model is given, in tokens.
    context_limit: Option<u64>,
    /// The smallest window with which a model of another host is asked, in tokens.
    context_floor: u64,
    env: Env,
    clock: Clock,
    local: tokio::sync::Mutex<local::Search>,
    /// The default as far as it is known, for those who must not wait.
    current: Mutex<Arc<Model>>,
}

impl Catalog {
    /// Reads what is configured; nothing is searched for yet.
    pub(crate) fn new(config: &Config, env: &Env, clock: Clock) -> Self {
        let catalog = Self {
            providers: config.models.providers.clone(),
            primary: config.agents.defaults.model.as_ref().and_then(config::ModelChoice::primary).map(str::to_owned),
            fallbacks: config.agents.defaults.model.as_ref().and_then(config::ModelChoice::fallbacks).unwrap_or_default().to_vec(),
            image: config.agents.defaults.image_model.iter().flat_map(config::ModelChoice::all).map(str::to_owned).collect(),
            allowed: config.agents.defaults.models.clone(),
            sampling: config
                .agents
                .list
                .iter()
                .filter(|agent| !agent.params.is_empty())
                .map(|agent| (AgentId::normalize(&agent.id), params::read(&agent.params)))
                .collect(),
            context_limit: config.agents.defaults.context_tokens,
            context_floor: config.agents.defaults.min_context_tokens.unwrap_or(CONTEXT_WINDOW_MIN),
            env: env.clone(),
            clock,
            local: tokio::sync::Mutex::new(local::Search::new(env)),
            current: Mutex::new(Arc::new(offline())),
        };
        if let Some(model) = catalog.without_search() {
            catalog.set_current(model);
        }
        catalog
    }

    /// Returns the model of a run: the one it asks for, else the agent's own, else the default.
    pub(crate) async fn choose(&self, clients: &Clients, asked: Option<&str>, agents: Option<&str>) -> Result<Arc<Model>, Error> {
        if let Some(name) = asked {
            let found = self.find(name).filter(|model| self.allows(model));
            return found.map(Arc::new).ok_or_else(|| Error::ModelNotAllowed(name.to_owned()));
        }
        if let Some(name) = agents {
            return Ok(Arc::new(self.configured(name)));
        }
        Ok(self.default(clients).await)
    }

    /// Returns the model that the configuration or a session names, else the default as far as it is known, without waiting.
    pub(crate) fn known(&self, name: Option<&str>) -> Arc<Model> {
        name.map_or_else(|| self.current(), |name| Arc::new(self.configured(name)))
    }

    /// Returns the default model as far as it is known, without waiting.
    pub(crate) fn current(&self) -> Arc<Model> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_current(&self, model: Model) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(model);
    }

    /// Returns the default model. Searches this host for one when nothing else is there, but not at every call.
    pub(crate) async fn default(&self, clients: &Clients) -> Arc<Model> {
        if self.without_search().is_some() {
            return self.current();
        }
        let mut search = self.local.lock().await;
        let now_ms = self.clock.now_ms();
        if search.due(now_ms, LOCAL_SEARCH_INTERVAL_MS) {
            let found = search.run(clients, now_ms).await;
            self.set_current(self.limited(found.unwrap_or_else(offline)));
        }
        self.current()
    }

    /// Returns every model that can be named: the configured ones, and the default.
    pub(crate) fn list(&self) -> Vec<Model> {
        let mut models: Vec<Model> = Vec::new();
        for (provider, section) in &self.providers {
            models.extend(section.models.iter().map(|model| self.limited(self.in_section(provider, section, model))));
        }
        let current = self.current();
        if !models.iter().any(|model| model.provider == current.provider && model.id == current.id) {
            models.push((*current).clone());
        }
        models
    }

    /// Returns the default if it needs no search. What is configured always comes before what the environment offers.
    fn without_search(&self) -> Option<Model> {
        if let Some(name) = &self.primary {
            return Some(self.configured(name));
        }
        for (provider, section) in &self.providers {
            if let Some(model) = section.models.first() {
                return Some(self.limited(self.in_section(provider, section, model)));
            }
        }
        let keyed = |known: &&known::Known| known.key(&self.env).is_some() && known.default_model(&self.env).is_some();
        let known = KNOWN.iter().find(keyed)?;
        Some(self.limited(known.model(&self.env, known.default_model(&self.env)?)))
    }

    /// Returns a model that the configuration names: if it cannot be used, the run says why.
    fn configured(&self, name: &str) -> Model {
        self.find(name).unwrap_or_else(|| {
            let (provider, id) = name.split_once('/').unwrap_or(("", name));
            let reason = known::find(provider).map_or_else(
                || format!("the configured model {name} has no provider: add models.providers.{provider} with its baseUrl"),
                |known| format!("no key for {name}: set {} or models.providers.{provider}.apiKey", known.key_variables[0]),
            );
            Model::named(provider, id, Endpoint::Unusable(reason))
        })
    }

    /// Finds a model by `provider/model`, or by its id alone.
    fn find(&self, name: &str) -> Option<Model> {
        let name = self.unaliased(name.trim());
        let Some((provider, id)) = name.trim().split_once('/') else {
            return self.list().into_iter().find(|model| model.id == name.trim());
        };
        if (provider, id) == (OFFLINE_PROVIDER, OFFLINE_MODEL) {
            return Some(offline());
        }
        let found = match self.providers.iter().find(|(name, _)| name.eq_ignore_ascii_case(provider)) {
            Some((provider, section)) => {
                let unlisted =
                    config::Model { id: id.to_owned(), context_window: Some(CONTEXT_WINDOW_DEFAULT), ..config::Model::default() };
                let model = section.models.iter().find(|model| model.id == id).unwrap_or(&unlisted);
                self.in_section(provider, section, model)
            }
            None => match known::find(provider) {
                Some(known) if known.key(&self.env).is_some() => known.model(&self.env, id),
                Some(_) => return None,
                None => local::named(&self.env, provider, id)?,
            },
        };
        Some(self.limited(found))
    }

    fn in_section(&self, provider: &str, section: &config::Provider, model: &config::Model) -> Model {
        Model {
            name: model.name.clone().unwrap_or_else(|| model.id.clone()),
            context_window: model.context_window.filter(|tokens| *tokens > 0).unwrap_or(CONTEXT_WINDOW_DEFAULT),
            max_tokens: model.max_tokens.filter(|tokens| *tokens > 0),
            reasoning: model.reasoning,
            images: model.input.iter().any(|input| input == "image"),
            price: model.cost,
            ..Model::named(provider, &model.id, endpoint(provider, section, model, &self.env))
        }
    }

    /// Gives a model what the configuration says about it wherever it is described.
    fn limited(&self, model: Model) -> Model {
        let context_window = self.context_limit.map_or(model.context_window, |limit| limit.min(model.context_window));
        let params = self.allowed.get(&model.full_name()).map(|allowed| params::read(&allowed.params));
        Model { context_window, sampling: params.unwrap_or_default(), ..model }
    }
}

/// Returns the built-in responder.
pub(crate) fn offline() -> Model {
    Model { name: "Offline responder".to_owned(), ..Model::named(OFFLINE_PROVIDER, OFFLINE_MODEL, Endpoint::Offline) }
}

fn endpoint(provider: &str, section: &config::Provider, model: &config::Model, env: &Env) -> Endpoint {
    // A model may speak another dialect than its provider does.
    let api = model.api.as_deref().or(section.api.as_deref());
    let dialect = match Dialect::parse(api) {
        Ok(dialect) => dialect,
        Err(spoken) => return Endpoint::Unusable(format!("models.providers.{provider}.api is {:?}; {spoken}", api.unwrap_or_default())),
    };
    if section.base_url.trim().is_empty() {
        return Endpoint::Unusable(format!("models.providers.{provider}.baseUrl is empty"));
    }
    let headers = section.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let server = Server { headers, ..Server::new(dialect, &section.base_url, section.api_key.clone()) };
    let signing = if dialect == Dialect::Bedrock { Signing::of(env, server.host()) } else { None };
    Server { signing, ..server }.into()
}
