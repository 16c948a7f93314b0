//! Where telemetry goes, for a process of ours that sees neither the configuration nor our environment.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::{Env, Error, File};

/// What such a process is told. It may hold what a collector must be presented, so it is for no argument and no environment.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Destination {
    /// `diagnostics.otel`, with its variables replaced.
    otel: Map<String, Value>,
    variables: BTreeMap<String, String>,
}

impl Destination {
    /// Returns where the telemetry of this process goes.
    pub fn of(config: &File, env: &Env) -> Result<Self, Error> {
        let concerns = |name: &str| name.starts_with("OTEL_") || name == "VERSO_EPOCH";
        let variables = env.iter().filter(|(name, _)| concerns(name)).map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Self { otel: config.section("diagnostics.otel")?, variables: variables.collect() })
    }

    /// Returns what to start telemetry with: `logging` and the rest of it, as that process has them.
    pub fn applied(self, logging: &Value, env: Env) -> (File, Env) {
        (File::from_value(json!({"logging": logging, "diagnostics": {"otel": self.otel}})), env.with(self.variables))
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Destination").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_is_where_telemetry_goes_and_nothing_else() {
        let env =
            Env::from_pairs([("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("VERSO_EPOCH", "7"), ("KEY", "k"), ("OPENAI_API_KEY", "o")]);
        let text = r#"{diagnostics: {otel: {headers: {"x-key": "${KEY}"}}, flags: ["x"]}, gateway: {auth: {token: "t"}}}"#;
        let config = File::parse(std::path::Path::new("verso.json"), text, &env).unwrap();
        let told = serde_json::to_string(&Destination::of(&config, &env).unwrap()).unwrap();
        let told: Destination = serde_json::from_str(&told).unwrap();
        let (config, env) = told.applied(&json!({"level": "silent"}), Env::from_pairs([("PATH", "/bin")]));
        assert_eq!(*config.value(), json!({"logging": {"level": "silent"}, "diagnostics": {"otel": {"headers": {"x-key": "k"}}}}));
        let names: Vec<_> = env.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["OTEL_EXPORTER_OTLP_ENDPOINT", "PATH", "VERSO_EPOCH"]);
    }
}
