//! The environment: the process's own, plus the secrets that the supervisor handed over.

use std::collections::BTreeMap;

/// Environment variables. Secrets in it never enter the process's real environment, where others could read them.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// Returns the process's environment. Variables that are not UTF-8 are left out.
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn process() -> Self {
        Self(std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect())
    }

    /// Returns an environment of these variables alone.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// Adds variables; they replace those of the same name.
    #[must_use]
    pub fn with<N: Into<String>, V: Into<String>>(mut self, pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        self.0.extend(pairs.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Adds the variables that are not set yet; the first of a name counts.
    #[must_use]
    pub fn with_missing<N: Into<String>>(self, pairs: impl IntoIterator<Item = (N, String)>) -> Self {
        let mut missing = BTreeMap::new();
        for (name, value) in pairs {
            let name = name.into();
            if self.get(&name).is_none() {
                missing.entry(name).or_insert(value);
            }
        }
        self.with(missing)
    }

    /// Takes a variable away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    /// Returns a variable's value without surrounding space; a blank value counts as unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Whether a switch is on: `1`, `true`, `yes` or `on`, in any case.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| ["1", "true", "yes", "on"].iter().any(|word| value.eq_ignore_ascii_case(word)))
    }

    /// Returns all variables in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.0.keys()).finish()
    }
}
