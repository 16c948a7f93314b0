//! What models cost: as configured, else as their providers publish it.

use super::{Catalog, Endpoint, OFFLINE_PROVIDER};
use crate::config::Price;

/// Prices in US dollars a million tokens: input, output, read from the cache, written to it. A name stands for its dated versions too,
/// so that longer names come first.
const PUBLISHED: [(&str, &str, [f64; 4]); 13] = [
    ("anthropic", "claude-opus-4-5", [5.0, 25.0, 0.5, 6.25]),
    ("anthropic", "claude-opus-4", [15.0, 75.0, 1.5, 18.75]),
    ("anthropic", "claude-sonnet-4", [3.0, 15.0, 0.3, 3.75]),
    ("anthropic", "claude-haiku-4-5", [1.0, 5.0, 0.1, 1.25]),
    ("openai", "gpt-5-mini", [0.25, 2.0, 0.025, 0.0]),
    ("openai", "gpt-5-nano", [0.05, 0.4, 0.005, 0.0]),
    ("openai", "gpt-5", [1.25, 10.0, 0.125, 0.0]),
    ("openai", "gpt-4.1-mini", [0.4, 1.6, 0.1, 0.0]),
    ("openai", "gpt-4.1-nano", [0.1, 0.4, 0.025, 0.0]),
    ("openai", "gpt-4.1", [2.0, 8.0, 0.5, 0.0]),
    ("openai", "gpt-4o-mini", [0.15, 0.6, 0.075, 0.0]),
    ("openai", "gpt-4o", [2.5, 10.0, 1.25, 0.0]),
    ("openai", "o4-mini", [1.1, 4.4, 0.275, 0.0]),
];

/// Tokens that one price is for.
const PRICED_TOKENS: f64 = 1_000_000.0;

impl Catalog {
    /// Returns what a model costs; none if nobody knows. What runs on this host costs nothing.
    pub(crate) fn price(&self, provider: &str, model: &str) -> Option<Price> {
        if provider == OFFLINE_PROVIDER {
            return Some(Price::default());
        }
        let found = self.find(&format!("{provider}/{model}"));
        let configured = found.as_ref().and_then(|model| model.price);
        let local = || match &found.as_ref()?.endpoint {
            Endpoint::Server(server) if server.local() => Some(Price::default()),
            _ => None,
        };
        configured.or_else(|| published(provider, model)).or_else(local)
    }
}

fn published(provider: &str, model: &str) -> Option<Price> {
    let matches = |(owner, name, _): &&(&str, &str, [f64; 4])| {
        let rest = model.strip_prefix(name);
        *owner == provider && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '@']))
    };
    let (_, _, [input, output, cache_read, cache_write]) = PUBLISHED.iter().find(matches)?;
    Some(Price { input: *input, output: *output, cache_read: *cache_read, cache_write: *cache_write })
}

impl Price {
    /// Returns what so many tokens cost, in US dollars.
    #[allow(clippy::cast_precision_loss, reason = "nobody uses 2^53 tokens")]
    pub(crate) fn of(&self, input: i64, output: i64, cache_read: i64, cache_write: i64) -> f64 {
        let parts = [(input, self.input), (output, self.output), (cache_read, self.cache_read), (cache_write, self.cache_write)];
        parts.iter().map(|(tokens, price)| *tokens as f64 * price).sum::<f64>() / PRICED_TOKENS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_its_dated_versions() {
        let input = |model| published("openai", model).map(|price| price.input);
        assert_eq!([input("gpt-5"), input("gpt-5-2025-08-07"), input("gpt-5-mini-2025-08-07")], [Some(1.25), Some(1.25), Some(0.25)]);
        assert_eq!([input("gpt-50"), published("acme", "gpt-5").map(|price| price.input)], [None, None]);
        let cost = published("anthropic", "claude-opus-4-5").unwrap().of(1_000, 100, 10_000, 1_000);
        assert!((cost - 0.01875).abs() < 1e-9, "{cost}");
    }
}
