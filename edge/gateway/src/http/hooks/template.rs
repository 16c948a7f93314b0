//! Templates of mapped webhooks. They can read the call and nothing else: no files, no other templates, and only so many steps.

use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, Output, State, UndefinedBehavior, Value as Shown};
use serde_json::Value;

use super::mapping::Call;

/// Steps of one template.
const FUEL: u64 = 20_000;

/// The longest text that a template may make, in bytes.
const TEXT_BYTES_MAX: usize = 512 << 10;

/// Names that mean something to the original's language and nothing here.
const NEVER: [&str; 3] = ["__proto__", "prototype", "constructor"];

/// The function that stands for a plain path.
const LOOKUP: &str = "__path";

/// Renders a template. `payload` is the call's, or one part of it.
pub(super) fn render(template: &str, call: &Call, payload: &Value, now: &str) -> Result<String, minijinja::Error> {
    let context = serde_json::json!({
        "payload": payload, "headers": call.headers, "query": call.query, "path": call.path, "now": now,
    });
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(FUEL));
    environment.set_formatter(show);
    let known = context.clone();
    environment.add_function(LOOKUP, move |path: String| find(&known, &path).map_or(Shown::UNDEFINED, |value| Serde(value).into()));
    // What only the payload has can be named without it.
    let mut names = payload.as_object().cloned().unwrap_or_default();
    names.extend(context.as_object().cloned().unwrap_or_default());
    let text = environment.render_str(&plain_paths(template), Serde(Value::Object(names)))?;
    if text.len() > TEXT_BYTES_MAX {
        let words = format!("the template makes more than {TEXT_BYTES_MAX} bytes");
        return Err(minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, words));
    }
    Ok(text)
}

/// Nothing for what is not there, texts as they are, and everything else as JSON.
fn show(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Shown) -> Result<(), minijinja::Error> {
    let written = match value.kind() {
        ValueKind::Undefined | ValueKind::None => Ok(()),
        // This language writes it with a capital letter.
        ValueKind::Bool => out.write_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Map | ValueKind::Seq | ValueKind::Iterable => {
            let json = serde_json::to_string(value).map_err(|error| {
                minijinja::Error::new(minijinja::ErrorKind::BadSerialization, "a value cannot be written as JSON").with_source(error)
            })?;
            out.write_str(&json)
        }
        _ => write!(out, "{value}"),
    };
    written.map_err(|_| minijinja::Error::new(minijinja::ErrorKind::WriteFailure, "the text could not be written"))
}

/// Puts a lookup in place of plain paths that this language cannot read: names of headers and members may hold what it takes for a
/// minus, and mappings that were written for the original name them without quotes.
fn plain_paths(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((inside, following)) = after.split_once("}}") else {
            out.push_str("{{");
            rest = after;
            continue;
        };
        if is_foreign(inside.trim()) {
            let path = inside.trim();
            let quoted = serde_json::to_string(path).unwrap_or_default();
            out.extend(["{{ ", LOOKUP, "(", &quoted, ") }}"]);
        } else {
            out.extend(["{{", inside, "}}"]);
        }
        rest = following;
    }
    out.push_str(rest);
    out
}

/// Whether an expression is a plain path with a name that this language cannot write without quotes.
fn is_foreign(path: &str) -> bool {
    let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.' | '[' | ']' | '$' | '@');
    let never = || path.split(['.', '[']).any(|name| NEVER.contains(&name));
    !path.is_empty() && path.chars().all(plain) && (path.contains(['-', '$', '@']) || never())
}

/// Follows a path: names between dots, places in brackets.
fn find<'a>(context: &'a Value, path: &str) -> Option<&'a Value> {
    let first = path.split(['.', '[']).next().unwrap_or_default();
    let known = ["payload", "headers", "query", "path", "now"].contains(&first);
    let mut value = if known { context } else { context.get("payload")? };
    for segment in path.split('.') {
        let (name, places) = segment.split_once('[').map_or((segment, ""), |(name, places)| (name, places));
        if NEVER.contains(&name) {
            return None;
        }
        if !name.is_empty() {
            value = value.as_object()?.get(name)?;
        }
        for place in places.split('[').filter(|place| !place.is_empty()) {
            value = value.as_array()?.get(place.strip_suffix(']')?.parse::<usize>().ok()?)?;
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(payload: Value) -> Call {
        let request = http::Request::post("/hooks/github?q=Q0&q=Q1").header("x-github-event", "push").body(()).unwrap();
        Call::new(&request.into_parts().0, "github", payload)
    }

    fn rendered(template: &str, payload: Value) -> Result<String, minijinja::Error> {
        let call = call(payload);
        render(template, &call, &call.payload, "2026-01-02T03:04:05.006Z")
    }

    #[test]
    fn reads_the_call_as_mappings_of_the_reference_write_it() {
        let payload = json!({"action": "opened", "repo": {"a": 1}, "list": [{"v": "one"}, {"v": "two"}], "num": 5, "yes": true});
        let template = "gh {{payload.action}} {{headers.x-github-event}} q={{query.q}} p={{path}} miss=[{{nope}}] obj={{repo}} \
                        arr={{list[1].v}} num={{n}}{{num}} {{ yes }} {{__proto__}}{{repo.constructor}}{{now}}";
        let expected = "gh opened push q=Q1 p=github miss=[] obj={\"a\":1} arr=two num=5 true 2026-01-02T03:04:05.006Z";
        assert_eq!(rendered(template, payload).unwrap(), expected);
    }

    #[test]
    fn knows_the_language_beyond_paths() {
        let payload = json!({"items": ["a", "b"], "title": "  Hi "});
        let template = "{% for item in items %}{{ loop.index }}{{ item }} {% endfor %}{{ title | trim | upper }}{{ missing.deep.path }}";
        assert_eq!(rendered(template, payload).unwrap(), "1a 2b HI");
        assert!(rendered("{{ unclosed", json!({})).is_err());
    }

    #[test]
    fn what_a_call_brings_is_no_template_and_no_template_runs_for_ever() {
        let payload = json!({"evil": "{{ payload.secret }} {% for x in y %}", "secret": "s"});
        assert_eq!(rendered("{{evil}}", payload).unwrap(), "{{ payload.secret }} {% for x in y %}");
        for endless in [
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
            "{% include 'other' %}",
            "{% import 'other' as o %}",
        ] {
            assert!(rendered(endless, json!({})).is_err(), "{endless}");
        }
    }
}
