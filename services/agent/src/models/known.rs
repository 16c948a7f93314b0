//! Providers that a key in the environment is enough for.

use verso_kit::config::{Env, Secret};

use super::server::{Dialect, Server};
use super::{CONTEXT_WINDOW_DEFAULT, Model};

/// A provider whose address is known.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) provider: &'static str,
    /// What people call it.
    pub(super) name: &'static str,
    dialect: Dialect,
    base_url: &'static str,
    pub(super) key_variables: &'static [&'static str],
    base_url_variable: &'static str,
    model_variable: &'static str,
    /// The model that its key alone asks for; none: it answers only when it is named.
    model: Option<&'static str>,
    context_window: u64,
}

const fn compatible(provider: &'static str, name: &'static str, base_url: &'static str, key_variables: &'static [&'static str]) -> Known {
    Known {
        provider,
        name,
        dialect: Dialect::Completions,
        base_url,
        key_variables,
        base_url_variable: "",
        model_variable: "",
        model: None,
        context_window: CONTEXT_WINDOW_DEFAULT,
    }
}

/// Those with a default model come first, in the order in which they are preferred.
pub(super) const KNOWN: [Known; 22] = [
    Known {
        provider: "anthropic",
        name: "Anthropic",
        dialect: Dialect::Anthropic,
        base_url: "https://api.anthropic.com",
        key_variables: &["ANTHROPIC_API_KEY"],
        base_url_variable: "ANTHROPIC_BASE_URL",
        model_variable: "ANTHROPIC_MODEL",
        model: Some("claude-opus-4-5"),
        context_window: 200_000,
    },
    Known {
        provider: "openai",
        name: "OpenAI",
        dialect: Dialect::Completions,
        base_url: "https://api.openai.com/v1",
        key_variables: &["OPENAI_API_KEY"],
        base_url_variable: "OPENAI_BASE_URL",
        model_variable: "OPENAI_MODEL",
        model: Some("gpt-5-mini"),
        context_window: 400_000,
    },
    Known {
        dialect: Dialect::Google,
        context_window: 1_048_576,
        ..compatible(
            "google",
            "Google",
            "https://generativelanguage.googleapis.com/v1beta",
            &["GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY"],
        )
    },
    compatible("openrouter", "OpenRouter", "https://openrouter.ai/api/v1", &["OPENROUTER_API_KEY"]),
    compatible("groq", "Groq", "https://api.groq.com/openai/v1", &["GROQ_API_KEY"]),
    compatible("mistral", "Mistral", "https://api.mistral.ai/v1", &["MISTRAL_API_KEY"]),
    compatible("xai", "xAI", "https://api.x.ai/v1", &["XAI_API_KEY"]),
    compatible("deepseek", "DeepSeek", "https://api.deepseek.com/v1", &["DEEPSEEK_API_KEY"]),
    compatible("together", "Together AI", "https://api.together.xyz/v1", &["TOGETHER_API_KEY"]),
    compatible("fireworks", "Fireworks AI", "https://api.fireworks.ai/inference/v1", &["FIREWORKS_API_KEY"]),
    compatible("cohere", "Cohere", "https://api.cohere.ai/compatibility/v1", &["COHERE_API_KEY", "CO_API_KEY"]),
    compatible("zai", "Z.AI", "https://api.z.ai/api/paas/v4", &["ZAI_API_KEY", "Z_AI_API_KEY"]),
    compatible("moonshot", "Moonshot AI", "https://api.moonshot.ai/v1", &["MOONSHOT_API_KEY"]),
    compatible("perplexity", "Perplexity", "https://api.perplexity.ai", &["PERPLEXITY_API_KEY"]),
    compatible("nvidia", "NVIDIA", "https://integrate.api.nvidia.com/v1", &["NVIDIA_API_KEY"]),
    compatible("huggingface", "Hugging Face", "https://router.huggingface.co/v1", &["HUGGINGFACE_API_KEY", "HF_TOKEN"]),
    compatible("sambanova", "SambaNova", "https://api.sambanova.ai/v1", &["SAMBANOVA_API_KEY"]),
    compatible("hyperbolic", "Hyperbolic", "https://api.hyperbolic.xyz/v1", &["HYPERBOLIC_API_KEY"]),
    compatible("vercel-ai-gateway", "Vercel AI Gateway", "https://ai-gateway.vercel.sh/v1", &["AI_GATEWAY_API_KEY"]),
    Known { dialect: Dialect::Anthropic, ..compatible("minimax", "MiniMax", "https://api.minimax.io/anthropic", &["MINIMAX_API_KEY"]) },
    Known {
        dialect: Dialect::Anthropic,
        ..compatible("synthetic", "Synthetic", "https://api.synthetic.new/anthropic", &["SYNTHETIC_API_KEY"])
    },
    compatible("cerebras", "Cerebras", "https://api.cerebras.ai/v1", &["CEREBRAS_API_KEY"]),
];

/// Returns a known provider.
pub(super) fn find(provider: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.provider.eq_ignore_ascii_case(provider))
}

impl Known {
    /// Returns its key.
    pub(super) fn key(&self, env: &Env) -> Option<Secret<String>> {
        let key = self.key_variables.iter().find_map(|name| env.get(name).filter(|key| !key.trim().is_empty()))?;
        Some(Secret::new(key.to_owned()))
    }

    /// Returns the model that its key alone asks for.
    pub(super) fn default_model<'a>(&'a self, env: &'a Env) -> Option<&'a str> {
        env.get(self.model_variable).filter(|_| !self.model_variable.is_empty()).or(self.model)
    }

    /// Returns one of its models.
    pub(super) fn model(&self, env: &Env, id: &str) -> Model {
        let base_url = env.get(self.base_url_variable).filter(|_| !self.base_url_variable.is_empty()).unwrap_or(self.base_url);
        let server = Server::new(self.dialect, base_url, self.key(env));
        Model { context_window: self.context_window, images: true, ..Model::named(self.provider, id, server.into()) }
    }
}
