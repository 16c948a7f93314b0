//! The responder that answers while no model is configured. It never pretends to be one.

use futures_util::stream::{self, StreamExt as _};

use super::{Answer, Call, Delta, Finish};
use crate::messages;

/// What is said to everything but a question for the status.
const EXPLANATION: &str = "No language model is configured yet, so this answer comes from Verso itself, not from a model. \
Your message was received and stored in this session.

To connect a model, add a provider to the configuration file (`verso.json` in the state folder) and restart:

```json5
{
  models: {
    providers: {
      local: { baseUrl: \"http://127.0.0.1:8000/v1\", models: [{ id: \"my-model\" }] },
    },
  },
  agents: { defaults: { model: { primary: \"local/my-model\" } } },
}
```

Any server with an OpenAI-compatible `/chat/completions` will do; `api` names another dialect, such as `anthropic-messages`. Or start the gateway with `OPENAI_API_KEY` or `ANTHROPIC_API_KEY` set, \
or run Ollama or llama.cpp on this host: they are found by themselves. Ask for `status` to see how this gateway is doing.";

/// Answers at once, word by word.
pub(super) fn answer(call: &Call<'_>) -> Answer {
    let asked = call.prompt.messages.iter().rev().find(|message| message.role == "user").map(|message| messages::text_of(message));
    let text = if asked.as_deref().is_some_and(asks_for_status) { call.status.to_owned() } else { EXPLANATION.to_owned() };
    let words: Vec<String> = text.split_inclusive([' ', '\n']).map(str::to_owned).collect();
    let last = words.len().saturating_sub(1);
    stream::iter(words.into_iter().enumerate())
        .then(move |(place, text)| async move {
            // Lets the listeners have each word by itself.
            tokio::task::yield_now().await;
            let finish = (place == last).then_some(Finish::Stop);
            Ok(Delta { text, finish, ..Delta::default() })
        })
        .boxed()
}

/// Whether a message, with or without the time stamp in front of it, asks how things are.
fn asks_for_status(message: &str) -> bool {
    let words = match message.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, words)) => words,
        None => message,
    };
    let words = words.trim().trim_start_matches('/').trim_end_matches(['?', '.', '!']);
    words.eq_ignore_ascii_case("status")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_when_it_is_asked_for_the_status() {
        for message in ["status", "Status?", "/status", "[Sun 2026-11-22 10:22 UTC] status"] {
            assert!(asks_for_status(message), "{message}");
        }
        for message in ["", "what is the status of my order", "[status] x"] {
            assert!(!asks_for_status(message), "{message}");
        }
    }
}
