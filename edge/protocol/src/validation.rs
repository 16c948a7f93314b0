//! Parameters against the contract's JSON Schemas, with the texts that clients of both generations parse.

mod parts;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::LocationSegment;
use jsonschema::{ValidationError, Validator};
use serde_json::Value;
use serde_json::value::RawValue;
use verso_proto::methods::{METHODS, Method};

pub(crate) use parts::Parts;

use crate::Version;

/// Checks the parameters of one call. Absent parameters and `null` count as `{}`.
///
/// The error is `invalid <method> params: …` in the wording of `version`.
pub fn check(version: Version, method: &Method, params: Option<&RawValue>) -> Result<(), String> {
    let schema = schema_of(method);
    let text = params.map(RawValue::get).filter(|text| *text != "null").unwrap_or("{}");
    if schema.accepts_nothing && text == "{}" {
        return Ok(());
    }
    let value = serde_json::from_str(text).map_err(|error| unreadable(method.name, &error))?;
    if schema.validator.is_valid(&value) {
        return Ok(());
    }
    Err(schema.explain(version, method.name, &value))
}

/// The message for parameters that the schema lets through and the typed message does not: a number out of range, a member twice.
pub fn unreadable(method: &str, error: &serde_json::Error) -> String {
    let text = error.to_string();
    // The position is one in our own buffer and would mislead.
    let text = text.split(" at line ").next().unwrap_or_default();
    format!("invalid {method} params: {text}")
}

/// One method's schema, compiled.
struct Schema {
    validator: Validator,
    source: Value,
    accepts_nothing: bool,
}

/// Compiled at first use: a gateway is up before anybody calls the rarer methods, and most are never called.
fn schema_of(method: &Method) -> &'static Schema {
    static TABLE: LazyLock<HashMap<&'static str, (&'static str, OnceLock<Schema>)>> = LazyLock::new(|| {
        METHODS.iter().filter(|row| !row.name.is_empty()).map(|row| (row.name, (row.params_schema, OnceLock::new()))).collect()
    });
    let (source, compiled) = TABLE.get(method.name).expect("only rows of METHODS are dispatched");
    compiled.get_or_init(|| Schema::compile(source))
}

impl Schema {
    fn compile(source: &str) -> Self {
        let source: Value = serde_json::from_str(source).expect("a test compiles every schema of the contract");
        let validator = jsonschema::validator_for(&source).expect("a test compiles every schema of the contract");
        let accepts_nothing = validator.is_valid(&Value::Object(serde_json::Map::new()));
        Self { validator, source, accepts_nothing }
    }

    fn explain(&self, version: Version, method: &str, value: &Value) -> String {
        let mut errors: Vec<_> = self.validator.iter_errors(value).map(|error| (self.place(&error), error)).collect();
        errors.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut parts = Parts::new(version);
        for (_, error) in &errors {
            describe(&mut parts, error);
        }
        parts.message(&format!("invalid {method} params"))
    }

    /// Where the clients' validators would have met the error: an object's own rules, then unknown members, then its members in the
    /// order of the schema.
    fn place(&self, error: &ValidationError<'_>) -> Place {
        let mut schema = Some(&self.source);
        let positions = error.instance_path().segments().map(|segment| {
            let (position, next) = step(schema, &segment);
            schema = next;
            position
        });
        let positions = positions.collect();
        let unknown_member = matches!(error.kind(), ValidationErrorKind::AdditionalProperties { .. });
        Place { positions, unknown_member }
    }
}

#[derive(PartialEq, Eq)]
struct Place {
    positions: Vec<usize>,
    unknown_member: bool,
}

impl Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.positions.cmp(&other.positions).then(self.unknown_member.cmp(&other.unknown_member))
    }
}

fn step<'a>(schema: Option<&'a Value>, segment: &LocationSegment<'_>) -> (usize, Option<&'a Value>) {
    match segment {
        LocationSegment::Index(index) => (*index, schema.and_then(|schema| schema.get("items"))),
        LocationSegment::Property(name) => {
            let listed = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
            let known = listed.and_then(|members| members.iter().enumerate().find(|(_, (member, _))| *member == name));
            known.map_or_else(
                || (usize::MAX, schema.and_then(|schema| schema.get("additionalProperties"))),
                |(position, (_, below))| (position, Some(below)),
            )
        }
    }
}

fn describe(parts: &mut Parts, error: &ValidationError<'_>) {
    let path = error.instance_path().as_str();
    match error.kind() {
        ValidationErrorKind::Required { property } => parts.missing(path, property.as_str().unwrap_or_default()),
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            for name in unexpected {
                parts.unexpected(path, name);
            }
        }
        ValidationErrorKind::Type { kind } => describe_type(parts, path, kind),
        ValidationErrorKind::MinLength { limit } => parts.too_few(path, *limit, "characters"),
        ValidationErrorKind::MaxLength { limit } => parts.too_many(path, *limit, "characters"),
        ValidationErrorKind::MinItems { limit } => parts.too_few(path, *limit, "items"),
        ValidationErrorKind::MaxItems { limit } => parts.too_many(path, *limit, "items"),
        ValidationErrorKind::Minimum { limit } => parts.push(path, &format!("must be >= {limit}")),
        ValidationErrorKind::Maximum { limit } => parts.push(path, &format!("must be <= {limit}")),
        ValidationErrorKind::Enum { .. } => parts.not_one_of(path),
        ValidationErrorKind::Constant { .. } => parts.push(path, "must be equal to constant"),
        ValidationErrorKind::Pattern { pattern } => parts.push(path, &format!("must match pattern \"{pattern}\"")),
        ValidationErrorKind::AnyOf { .. } => parts.push(path, "must match a schema in anyOf"),
        other => parts.push(path, &format!("must pass \"{}\" keyword validation", other.keyword())),
    }
}

fn describe_type(parts: &mut Parts, path: &str, kind: &TypeKind) {
    match kind {
        TypeKind::Single(name) => parts.push(path, &format!("must be {name}")),
        TypeKind::Multiple(names) => {
            for name in names {
                parts.push(path, &format!("must be {name}"));
            }
            parts.push(path, "must match a schema in anyOf");
        }
    }
}
