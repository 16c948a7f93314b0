//! How a model chooses its words by the configuration, wherever nobody asks for something else.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::Model;
use crate::provider::Sampling;

/// What `params` of the configuration say. What is of another kind than its key takes, or not known here, counts for nothing.
pub(super) fn read(params: &Map<String, Value>) -> Sampling {
    let found = |names: [&str; 2]| names.into_iter().find_map(|name| params.get(name));
    let number = |names| found(names).and_then(Value::as_f64);
    let stop = match params.get("stop") {
        Some(Value::String(word)) => vec![word.clone()],
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    Sampling {
        temperature: params.get("temperature").and_then(Value::as_f64),
        top_p: number(["topP", "top_p"]),
        frequency_penalty: number(["frequencyPenalty", "frequency_penalty"]),
        presence_penalty: number(["presencePenalty", "presence_penalty"]),
        seed: params.get("seed").and_then(Value::as_i64),
        max_tokens: found(["maxTokens", "max_tokens"]).and_then(Value::as_u64).filter(|tokens| *tokens > 0),
        stop,
        response_format: None,
    }
}

/// Returns what is asked for, with the usual where nothing is.
pub(super) fn or(asked: &Sampling, usual: &Sampling) -> Sampling {
    Sampling {
        temperature: asked.temperature.or(usual.temperature),
        top_p: asked.top_p.or(usual.top_p),
        frequency_penalty: asked.frequency_penalty.or(usual.frequency_penalty),
        presence_penalty: asked.presence_penalty.or(usual.presence_penalty),
        seed: asked.seed.or(usual.seed),
        max_tokens: asked.max_tokens.or(usual.max_tokens),
        stop: if asked.stop.is_empty() { usual.stop.clone() } else { asked.stop.clone() },
        response_format: asked.response_format.clone().or_else(|| usual.response_format.clone()),
    }
}

impl Model {
    /// Returns how it is to choose its words for somebody who asks for `asked`.
    pub(crate) fn sampling<'a>(&self, asked: &'a Sampling) -> Cow<'a, Sampling> {
        if self.sampling == Sampling::default() { Cow::Borrowed(asked) } else { Cow::Owned(or(asked, &self.sampling)) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(params: &Value) -> Sampling {
        read(params.as_object().unwrap())
    }

    #[test]
    fn reads_what_it_knows_in_either_spelling() {
        let all = Sampling {
            temperature: Some(0.5),
            top_p: Some(0.9),
            frequency_penalty: Some(0.1),
            presence_penalty: Some(0.2),
            seed: Some(7),
            max_tokens: Some(100),
            stop: vec!["END".to_owned()],
            response_format: None,
        };
        let own = json!({"temperature": 0.5, "topP": 0.9, "frequencyPenalty": 0.1, "presencePenalty": 0.2, "seed": 7, "maxTokens": 100,
                         "stop": "END", "cacheRetention": "long"});
        let wire = json!({"temperature": 0.5, "top_p": 0.9, "frequency_penalty": 0.1, "presence_penalty": 0.2, "seed": 7,
                          "max_tokens": 100, "stop": ["END"]});
        assert_eq!((of(&own), of(&wire)), (all.clone(), all));
        assert_eq!(of(&json!({"temperature": "hot", "maxTokens": 0, "topP": null, "seed": 1.5})), Sampling::default());
    }

    #[test]
    fn whoever_asks_is_heard_before_the_configuration() {
        let asked = Sampling { temperature: Some(0.0), stop: vec!["a".to_owned()], ..Sampling::default() };
        let usual = Sampling { temperature: Some(1.0), top_p: Some(0.9), stop: vec!["b".to_owned()], ..Sampling::default() };
        assert_eq!(or(&asked, &usual), Sampling { top_p: Some(0.9), ..asked });
    }
}
