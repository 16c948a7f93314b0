//! The values that settings of a session have, and what people write for them.

use super::Error;
use crate::models::Model;

/// No thinking.
pub(crate) const OFF: &str = "off";

/// The hardest thinking, which few models know.
const XHIGH: &str = "xhigh";

/// What other models are asked for instead.
const HIGH: &str = "high";

/// The models that know it.
const XHIGH_MODELS: [&str; 3] = ["openai/gpt-5.2", "openai-codex/gpt-5.2-codex", "openai-codex/gpt-5.1-codex"];

/// A value, and what else people write for it.
type Value = (&'static str, &'static [&'static str]);

const THINKING: [Value; 5] = [
    (OFF, &[]),
    ("minimal", &["min", "think"]),
    ("low", &["on", "enable", "thinkhard"]),
    ("medium", &["mid", "med", "thinkharder", "harder"]),
    (HIGH, &["ultra", "ultrathink", "highest", "max"]),
];

/// A setting with a fixed list of values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    /// What requests call it.
    pub(super) name: &'static str,
    values: &'static [Value],
    /// Values that are understood, but not offered.
    quiet: &'static [Value],
}

impl Choice {
    const fn new(name: &'static str, values: &'static [Value]) -> Self {
        Self { name, values, quiet: &[] }
    }

    /// Reads a value in any of its spellings.
    pub(crate) fn read(&self, raw: &str) -> Result<String, Error> {
        find(self.values, raw).or_else(|| find(self.quiet, raw)).map(str::to_owned).ok_or_else(|| {
            let values: Vec<String> = self.values.iter().map(|(value, _)| format!("\"{value}\"")).collect();
            Error::InvalidSetting { name: self.name, values: values.join("|") }
        })
    }
}

pub(crate) const VERBOSE: Choice = Choice {
    quiet: &[("full", &["all", "everything"])],
    ..Choice::new("verboseLevel", &[("on", &["minimal", "1", "true", "yes"]), ("off", &["no", "0", "false"])])
};
pub(crate) const REASONING: Choice =
    Choice::new("reasoningLevel", &[("on", &["show"]), ("off", &["hide"]), ("stream", &["draft", "live"])]);
pub(crate) const RESPONSE_USAGE: Choice = Choice::new("responseUsage", &[("off", &[]), ("tokens", &["on"]), ("full", &[])]);
pub(crate) const ELEVATED: Choice =
    Choice::new("elevatedLevel", &[("on", &[]), ("off", &[]), ("ask", &[]), ("full", &["auto", "auto-approve"])]);
pub(crate) const EXEC_HOST: Choice = Choice::new("execHost", &[("sandbox", &[]), ("gateway", &[]), ("node", &[])]);
pub(crate) const EXEC_SECURITY: Choice = Choice::new("execSecurity", &[("deny", &[]), ("allowlist", &[]), ("full", &[])]);
pub(crate) const EXEC_ASK: Choice = Choice::new("execAsk", &[("off", &[]), ("on-miss", &[]), ("always", &[])]);
pub(crate) const SEND_POLICY: Choice = Choice::new("sendPolicy", &[("allow", &[]), ("deny", &[])]);
pub(crate) const GROUP_ACTIVATION: Choice = Choice::new("groupActivation", &[("mention", &[]), ("always", &[])]);

/// Reads how hard `model` is to think.
pub(crate) fn thinking(raw: &str, model: &str) -> Result<String, Error> {
    if raw.trim().eq_ignore_ascii_case(XHIGH) {
        let known = XHIGH_MODELS.contains(&model);
        return if known { Ok(XHIGH.to_owned()) } else { Err(Error::ThinkingUnsupported { models: XHIGH_MODELS.join(", ") }) };
    }
    find(&THINKING, raw).map(str::to_owned).ok_or_else(|| Error::InvalidSetting { name: "thinkingLevel", values: offered(model).join("|") })
}

/// Returns how hard a model can be asked to think.
pub(crate) fn offered(model: &str) -> Vec<&'static str> {
    THINKING.iter().map(|(value, _)| *value).chain(XHIGH_MODELS.contains(&model).then_some(XHIGH)).collect()
}

/// Returns the level that a model can be asked for: a session keeps its level when its model changes.
pub(crate) fn usable<'a>(level: &'a str, model: &Model) -> &'a str {
    if level == XHIGH && !XHIGH_MODELS.contains(&model.full_name().as_str()) { HIGH } else { level }
}

/// Returns the next lower level.
pub(crate) fn less(level: &str) -> &'static str {
    let place = THINKING.iter().position(|(value, _)| *value == level).unwrap_or(THINKING.len());
    place.checked_sub(1).map_or(OFF, |place| THINKING[place].0)
}

/// Returns the levels that a model can be asked for.
pub(crate) fn of(model: &Model) -> Vec<&'static str> {
    if !model.reasoning {
        return vec![OFF];
    }
    let hardest = XHIGH_MODELS.contains(&model.full_name().as_str()).then_some(XHIGH);
    THINKING.iter().map(|(value, _)| *value).chain(hardest).collect()
}

fn find(values: &[Value], raw: &str) -> Option<&'static str> {
    let wanted = raw.trim().to_lowercase();
    values.iter().find(|(value, spellings)| *value == wanted || spellings.contains(&wanted.as_str())).map(|(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models;

    #[test]
    fn reads_levels_in_their_spellings() {
        for (raw, level) in [("Low ", "low"), ("thinkhard", "low"), ("ultrathink", "high"), ("mid", "medium"), ("off", "off")] {
            assert_eq!(thinking(raw, "acme/one").unwrap(), level);
        }
        assert_eq!(thinking("xhigh", "openai/gpt-5.2").unwrap(), "xhigh");
        for (choice, raw, value) in [(VERBOSE, "everything", "full"), (VERBOSE, "0", "off"), (RESPONSE_USAGE, "on", "tokens")] {
            assert_eq!(choice.read(raw).unwrap(), value);
        }
    }

    #[test]
    fn says_which_levels_there_are() {
        let texts = [
            thinking("huge", "acme/one").unwrap_err().to_string(),
            thinking("huge", "openai/gpt-5.2").unwrap_err().to_string(),
            VERBOSE.read("loud").unwrap_err().to_string(),
            EXEC_ASK.read("never").unwrap_err().to_string(),
        ];
        assert_eq!(
            texts,
            [
                "invalid thinkingLevel (use off|minimal|low|medium|high)",
                "invalid thinkingLevel (use off|minimal|low|medium|high|xhigh)",
                r#"invalid verboseLevel (use "on"|"off")"#,
                r#"invalid execAsk (use "off"|"on-miss"|"always")"#,
            ]
        );
        assert!(
            thinking("xhigh", "acme/one").unwrap_err().to_string().starts_with(r#"thinkingLevel "xhigh" is only supported for openai/"#)
        );
    }

    #[test]
    fn a_model_is_not_asked_for_more_than_it_knows() {
        let model = models::offline();
        assert_eq!((usable("xhigh", &model), usable("low", &model)), ("high", "low"));
        assert_eq!(["xhigh", "high", "minimal", "off"].map(less), ["high", "medium", "off", "off"]);
    }
}
