//! Who answers when the preferred model does not.

use std::sync::Arc;

use super::{Catalog, Endpoint, Model, params};
use crate::error::Error;
use crate::provider::client::Clients;
use crate::provider::{Failure, Kind};
use crate::roster::Profile;

impl Catalog {
    /// Returns the models that may answer a run, the preferred first: what is asked for, what stands in for it, the configured default.
    pub(crate) async fn chain(&self, clients: &Clients, asked: Option<&str>, profile: &Profile) -> Result<Vec<Arc<Model>>, Error> {
        let mut chain = vec![self.choose(clients, asked, profile.model.as_deref()).await?];
        let fallbacks = profile.fallbacks.as_ref().unwrap_or(&self.fallbacks);
        let primary = profile.model.as_ref().or(self.primary.as_ref());
        for name in fallbacks.iter().chain(primary) {
            let model = self.configured(name);
            if chain.iter().all(|other| other.full_name() != model.full_name()) {
                chain.push(Arc::new(model));
            }
        }
        if let Some(own) = self.sampling.get(&profile.id) {
            // What an agent has of its own counts before what its model has.
            let sampled = |model: &Model| Model { sampling: params::or(own, &model.sampling), ..model.clone() };
            chain = chain.iter().map(|model| Arc::new(sampled(model))).collect();
        }
        Ok(chain)
    }

    /// Returns the models that are asked about pictures: those of `imageModel`, else the turn's own if it sees.
    pub(crate) fn seeing(&self, own: &Arc<Model>) -> Vec<Arc<Model>> {
        if self.image.is_empty() {
            return own.images.then(|| Arc::clone(own)).into_iter().collect();
        }
        self.image.iter().map(|name| Arc::new(self.configured(name))).collect()
    }

    /// Returns why a model is not worth asking.
    pub(crate) fn unfit(&self, model: &Model) -> Option<Failure> {
        let Endpoint::Server(server) = &model.endpoint else { return None };
        (model.context_window < self.context_floor && !server.local()).then(|| {
            let words = format!("its context window of {} tokens is smaller than {}", model.context_window, self.context_floor);
            Failure::new(Kind::Unusable, words)
        })
    }

    /// Returns what a model is to the configuration: `default`, `fallback#1`, `configured`, `alias:…`.
    pub(crate) fn tags(&self, model: &Model) -> Vec<String> {
        let name = model.full_name();
        let mut tags = Vec::new();
        if self.current().full_name() == name {
            tags.push("default".to_owned());
        }
        let place = self.fallbacks.iter().position(|fallback| self.unaliased(fallback) == name);
        tags.extend(place.map(|place| format!("fallback#{}", place + 1)));
        if self
            .providers
            .iter()
            .any(|(provider, section)| *provider == model.provider && section.models.iter().any(|one| one.id == model.id))
        {
            tags.push("configured".to_owned());
        }
        tags.extend(self.allowed.get(&name).and_then(|allowed| allowed.alias.as_ref()).map(|alias| format!("alias:{alias}")));
        tags
    }

    /// Returns the short names of models, and what they stand for.
    pub(crate) fn aliases(&self) -> Vec<(&str, &str)> {
        let named = self.allowed.iter().filter_map(|(full, allowed)| Some((allowed.alias.as_deref()?.trim(), full.as_str())));
        named.filter(|(alias, _)| !alias.is_empty()).collect()
    }

    /// Whether a model may be asked for by name.
    pub(super) fn allows(&self, model: &Model) -> bool {
        let name = model.full_name();
        let named = |other: &String| self.unaliased(other) == name;
        self.allowed.is_empty()
            || model.offline()
            || self.allowed.contains_key(&name)
            || self.primary.as_ref().is_some_and(named)
            || self.fallbacks.iter().any(named)
    }

    /// Returns what a short name stands for; any other name as it is.
    pub(super) fn unaliased<'a>(&'a self, name: &'a str) -> &'a str {
        let matches =
            |allowed: &super::config::Allowed| allowed.alias.as_ref().is_some_and(|alias| alias.trim().eq_ignore_ascii_case(name));
        self.allowed.iter().find(|(_, allowed)| matches(allowed)).map_or(name, |(full, _)| full)
    }
}
