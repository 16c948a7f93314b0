//! `${VAR}` in the strings of a configuration.

use serde_json::Value;

use super::{Env, Error};

/// Replaces every `${NAME}` (upper-case letters, digits, `_`) in every string. `$${NAME}` stands for `${NAME}` itself.
/// `path` is where the value stands in the file.
pub(super) fn replace(value: &mut Value, env: &Env, path: &str) -> Result<(), Error> {
    walk(value, env, &mut path.to_owned())
}

fn walk(value: &mut Value, env: &Env, path: &mut String) -> Result<(), Error> {
    let length = path.len();
    match value {
        Value::String(text) if text.contains("${") => {
            *text = expand(text, env)
                .map_err(|name| Error::Value { key: path.clone(), reason: format!("environment variable {name} is not set") })?;
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                path.extend(["[", &index.to_string(), "]"]);
                walk(item, env, path)?;
                path.truncate(length);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(name);
                walk(member, env, path)?;
                path.truncate(length);
            }
        }
        _ => {}
    }
    Ok(())
}

/// Fails with the name of the first variable that is not set.
fn expand(text: &str, env: &Env) -> Result<String, String> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = (&rest[..start], &rest[start + 2..]);
        let Some(end) = after.find('}').filter(|end| is_name(&after[..*end])) else {
            result.push_str(&rest[..start + 2]);
            rest = after;
            continue;
        };
        if let Some(escaped) = before.strip_suffix('$') {
            result.push_str(escaped);
            result.push_str(&rest[start..=start + 2 + end]);
        } else {
            result.push_str(before);
            result.push_str(env.get(&after[..end]).ok_or_else(|| after[..end].to_owned())?);
        }
        rest = &after[end + 1..];
    }
    result.push_str(rest);
    Ok(result)
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase() || first == '_')
        && name.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_escapes_and_leaves_the_rest() {
        let env = Env::from_pairs([("A", "1"), ("B_2", "two")]);
        for (text, expected) in
            [("${A}", "1"), ("a${A}b${B_2}c", "a1btwoc"), ("$${A}", "${A}"), ("${lower} ${", "${lower} ${"), ("${} ${A", "${} ${A")]
        {
            assert_eq!(expand(text, &env).unwrap(), expected, "{text}");
        }
        assert_eq!(expand("${MISSING}", &env), Err("MISSING".to_owned()));
    }
}
