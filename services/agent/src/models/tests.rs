use serde_json::{Value, json};
use verso_kit::config::File;

use super::*;

fn catalog(file: Value, env: &[(&str, &str)]) -> Catalog {
    let pairs = env.iter().copied().chain([("VERSO_LOCAL_MODELS", "off")]);
    let config = Config::read(&File::from_value(file)).unwrap();
    Catalog::new(&config, &Env::from_pairs(pairs), Clock::fixed(0))
}

fn provider(api: &str) -> Value {
    json!({"agents": {"defaults": {"model": {"primary": "mock/mock-1"}}},
           "models": {"providers": {"mock": {"baseUrl": "http://127.0.0.1:1/v1/", "apiKey": "k", "api": api,
                                             "models": [{"id": "mock-0"}, {"id": "mock-1", "contextWindow": 5000}]}}}})
}

#[test]
fn configuration_beats_environment_beats_offline() {
    let keys = [("OPENAI_API_KEY", "sk"), ("ANTHROPIC_API_KEY", "sk")];
    let mut without_primary = provider("openai-completions");
    without_primary["agents"] = json!({});
    for (file, env, name) in [
        (provider("openai-completions"), &keys[..], "mock/mock-1"),
        (without_primary, &keys[..], "mock/mock-0"),
        (json!({}), &keys[..1], "openai/gpt-5-mini"),
        (json!({}), &keys[1..], "anthropic/claude-opus-4-5"),
        (json!({}), &[("OPENAI_API_KEY", "sk"), ("OPENAI_MODEL", "gpt-x")][..], "openai/gpt-x"),
        (json!({"agents": {"defaults": {"model": "openai/gpt-5"}}}), &keys[..], "openai/gpt-5"),
        (json!({}), &[], "verso/offline"),
    ] {
        assert_eq!(catalog(file, env).current().full_name(), name);
    }
}

#[test]
fn a_broken_configuration_is_not_replaced_by_a_key() {
    let keys = [("OPENAI_API_KEY", "sk")];
    for (file, words) in [
        (json!({"agents": {"defaults": {"model": "anthropic/claude"}}}), "set ANTHROPIC_API_KEY or models.providers.anthropic.apiKey"),
        (json!({"agents": {"defaults": {"model": "acme/one"}}}), "add models.providers.acme"),
        (
            provider("smoke-signals"),
            "this version speaks \"openai-completions\", \"openai-responses\", \"anthropic-messages\", \"google-generative-ai\", \"ollama\"",
        ),
    ] {
        let model = catalog(file, &keys).current();
        let Endpoint::Unusable(reason) = &model.endpoint else { panic!("{} is usable", model.full_name()) };
        assert!(reason.contains(words), "{reason}");
    }
}

#[test]
fn finds_models_by_name_and_refuses_unknown_providers() {
    let catalog = catalog(provider("openai-completions"), &[]);
    assert_eq!(catalog.find("mock/unlisted").unwrap().full_name(), "mock/unlisted");
    assert_eq!(catalog.find("mock-1").unwrap().context_window, 5_000);
    assert_eq!(catalog.find("verso/offline").unwrap().full_name(), "verso/offline");
    assert!(catalog.find("acme/one").is_none());
}

#[test]
fn the_base_url_has_no_slash_at_its_end() {
    let model = catalog(provider("openai-completions"), &[]).current();
    let Endpoint::Server(endpoint) = &model.endpoint else { panic!("unusable") };
    assert_eq!(endpoint.base_url, "http://127.0.0.1:1/v1");
}

#[test]
fn understands_where_ollama_listens() {
    for (host, base_url) in
        [("0.0.0.0", "http://127.0.0.1:11434/v1"), ("box:1234", "http://box:1234/v1"), ("https://box/", "https://box:11434/v1")]
    {
        let model = local::named(&Env::from_pairs([("OLLAMA_HOST", host)]), "ollama", "m").unwrap();
        let Endpoint::Server(endpoint) = &model.endpoint else { panic!("unusable") };
        assert_eq!(endpoint.base_url, base_url, "{host}");
    }
}

#[test]
fn a_model_speaks_its_own_dialect_or_that_of_its_provider() {
    let mut file = provider("anthropic-messages");
    file["models"]["providers"]["mock"]["models"][0]["api"] = json!("openai-responses");
    let catalog = catalog(file, &[]);
    let api = |name| catalog.find(name).unwrap().api();
    assert_eq!(
        (api("mock/mock-0"), api("mock/mock-1"), api("mock/unlisted")),
        ("openai-responses", "anthropic-messages", "anthropic-messages")
    );
}
