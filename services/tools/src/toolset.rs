//! The tools of one turn: what the model is told of them, and calling them within limits that can be seen.

use std::sync::Arc;

use serde_json::Value;

use crate::policy::Situation;
use crate::tool::{Answer, Block, Refused, Scene, Spec, Tool};

/// Characters of words in one answer that a model is shown.
const ANSWER_CHARS_MAX: usize = 60_000;

/// Of what is cut, how much of the end is kept: one part in so many.
const TAIL_SHARE: usize = 4;

/// The order in which tools are listed; others follow by their names.
const ORDER: [&str; 24] = [
    "read",
    "write",
    "edit",
    "apply_patch",
    "grep",
    "find",
    "ls",
    "exec",
    "process",
    "web_search",
    "web_fetch",
    "browser",
    "canvas",
    "nodes",
    "cron",
    "message",
    "gateway",
    "agents_list",
    "sessions_list",
    "sessions_history",
    "sessions_send",
    "sessions_spawn",
    "session_status",
    "image",
];

/// The tools of one turn.
#[derive(Debug, Clone, Default)]
pub struct Toolset {
    tools: Vec<(Arc<Spec>, Arc<dyn Tool>)>,
}

impl Toolset {
    /// Takes those of `tools` that the situation permits.
    pub fn new(tools: Vec<Arc<dyn Tool>>, situation: &Situation<'_>) -> Self {
        let mut known: Vec<(Arc<Spec>, Arc<dyn Tool>)> = tools.into_iter().map(|tool| (tool.spec(), tool)).collect();
        let names: Vec<&str> = known.iter().map(|(spec, _)| spec.name.as_str()).collect();
        let permitted = situation.permitted(&names);
        known.retain(|(spec, _)| permitted.contains(&spec.name));
        let place = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
        known.sort_by(|(a, _), (b, _)| (place(&a.name), &a.name).cmp(&(place(&b.name), &b.name)));
        Self { tools: known }
    }

    /// Takes away what another situation does not permit.
    pub fn narrow(&mut self, situation: &Situation<'_>) {
        let names: Vec<&str> = self.tools.iter().map(|(spec, _)| spec.name.as_str()).collect();
        let permitted = situation.permitted(&names);
        self.tools.retain(|(spec, _)| permitted.contains(&spec.name));
    }

    /// Returns what a model is told of them.
    pub fn specs(&self) -> impl Iterator<Item = &Arc<Spec>> {
        self.tools.iter().map(|(spec, _)| spec)
    }

    /// Whether there is a tool of that name.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Whether calls of a tool may run beside others. One that is not there does nothing.
    pub fn parallel(&self, name: &str) -> bool {
        self.find(name).is_none_or(|tool| tool.parallel())
    }

    /// Calls a tool. `arguments` are as the model wrote them.
    pub async fn call(&self, name: &str, arguments: &str, scene: &Scene) -> Answer {
        self.attempt(name, arguments, scene).await.unwrap_or_else(|refused| Answer::refusal(refused.to_string()))
    }

    /// The same, for callers who make a difference between the ways in which a call can fail.
    pub async fn attempt(&self, name: &str, arguments: &str, scene: &Scene) -> Result<Answer, Refused> {
        let tool = self.find(name).ok_or_else(|| Refused::Arguments(format!("there is no tool named {name}")))?;
        let parsed = if arguments.trim().is_empty() { Ok(Value::Object(serde_json::Map::new())) } else { serde_json::from_str(arguments) };
        let value = parsed.map_err(|error| Refused::Arguments(format!("the arguments are not JSON: {error}")))?;
        let answer = tokio::select! {
            answer = tool.call(scene, value) => answer,
            () = scene.cancelled.cancelled() => Err(Refused::Failed("the run ended".to_owned())),
        };
        answer.map(capped)
    }

    /// Whether a tool takes an argument of that name.
    pub fn takes(&self, name: &str, argument: &str) -> bool {
        let spec = self.tools.iter().find(|(spec, _)| spec.name == name).map(|(spec, _)| spec);
        spec.is_some_and(|spec| spec.parameters["properties"].get(argument).is_some())
    }

    fn find(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools.iter().find(|(spec, _)| spec.name == name).map(|(_, tool)| tool)
    }
}

/// Cuts words that are too many, and says so where they were.
fn capped(mut answer: Answer) -> Answer {
    for block in &mut answer.blocks {
        if let Block::Text(text) = block {
            *text = cut(text, ANSWER_CHARS_MAX);
        }
    }
    answer
}

/// Returns a text of at most about so many bytes: its beginning, a mark, and its end.
pub fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let tail = max / TAIL_SHARE;
    let head_end = text.floor_char_boundary(max - tail);
    let tail_start = text.ceil_char_boundary(text.len() - tail);
    format!("{}\n[… {} bytes were cut here …]\n{}", &text[..head_end], tail_start - head_end, &text[tail_start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_can_be_seen() {
        assert_eq!(cut("short", 10), "short");
        let text = cut(&"ä".repeat(100), 40);
        assert!(text.starts_with('ä') && text.ends_with('ä') && text.contains("[… 160 bytes were cut here …]"), "{text}");
    }
}
