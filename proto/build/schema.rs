//! JSON Schema of a request message, as validators of both protocol generations expect it, and of what is answered.

use protox::prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use crate::attributes::is_optional;
use crate::options::{self, Options};

/// In a patch, `null` stands beside the strings that the rules allow.
const NULLABLE_STRING: &str = "verso.wire.v1.NullableString";

/// The schema of `message`. An open one accepts members that it does not list.
pub(crate) fn of(pool: &DescriptorPool, message: &MessageDescriptor, open: bool) -> Value {
    if message.full_name() == "verso.wire.v1.Json" {
        return json!({});
    }
    if options::bare(pool, message) {
        return message.fields().next().map_or_else(|| json!({}), |field| of_field(pool, &field, open));
    }
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in message.fields() {
        let rules = options::rules(pool, &field);
        let schema = of_field(pool, &field, open);
        if let Some(alias) = rules.as_ref().map(|rules| rules.text("alias")).filter(|alias| !alias.is_empty()) {
            properties.insert(alias, schema.clone());
        } else if is_required(&field, rules.as_ref()) {
            required.push(field.json_name().to_owned());
        }
        properties.insert(field.json_name().to_owned(), schema);
    }
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !open {
        schema["additionalProperties"] = json!(false);
    }
    schema
}

/// The schema of `message` as it is written: in an answer or an event. A reader must bear members that are not listed.
pub(crate) fn of_written(pool: &DescriptorPool, message: &MessageDescriptor) -> Value {
    if message.full_name() == "verso.wire.v1.Json" {
        return json!({});
    }
    if options::bare(pool, message) {
        return message.fields().next().map_or_else(|| json!({}), |field| of_written_field(pool, &field));
    }
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for field in message.fields() {
        properties.insert(field.json_name().to_owned(), of_written_field(pool, &field));
        if is_always_written(&field, options::rules(pool, &field).as_ref()) {
            required.push(field.json_name().to_owned());
        }
    }
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn of_written_field(pool: &DescriptorPool, field: &FieldDescriptor) -> Value {
    let kind = if field.is_map() { field.kind().as_message().map(|entry| entry.map_entry_value_field().kind()) } else { None };
    let kind = kind.unwrap_or_else(|| field.kind());
    let rules = options::rules(pool, field);
    let one = match kind.as_message().filter(|message| message.full_name() != NULLABLE_STRING) {
        Some(message) => of_written(pool, message),
        // Limits are for those who ask; of those, an answer keeps the list of what a string may be.
        None => match rules.as_ref().map(|rules| rules.texts("one_of")).filter(|values| !values.is_empty()) {
            Some(values) => json!({"enum": values}),
            None => of_kind(pool, &kind, None, true),
        },
    };
    if field.is_map() {
        json!({"type": "object", "additionalProperties": one})
    } else if field.is_list() {
        json!({"type": "array", "items": one})
    } else if rules.is_some_and(|rules| rules.flag("nullable")) {
        json!({"anyOf": [one, {"type": "null"}]})
    } else {
        one
    }
}

/// What the attributes of the generated types never leave out.
fn is_always_written(field: &FieldDescriptor, rules: Option<&Options>) -> bool {
    let (nullable, omittable) = (rules.is_some_and(|rules| rules.flag("nullable")), rules.is_some_and(|rules| rules.flag("omittable")));
    if field.is_list() || field.is_map() {
        return !omittable;
    }
    let message = matches!(field.kind(), Kind::Message(_));
    nullable || !(is_optional(field) || message)
}

fn is_required(field: &FieldDescriptor, rules: Option<&Options>) -> bool {
    let asked_for = rules.is_some_and(|rules| rules.limit("min_items").is_some());
    let omittable = rules.is_some_and(|rules| rules.flag("omittable"));
    let plain = !is_optional(field) && !field.is_list() && !field.is_map();
    (plain || asked_for) && !omittable
}

fn of_field(pool: &DescriptorPool, field: &FieldDescriptor, open: bool) -> Value {
    let rules = options::rules(pool, field);
    if field.is_map() {
        let kind = field.kind();
        let value = kind.as_message().map(MessageDescriptor::map_entry_value_field);
        let items = value.map_or_else(|| json!({}), |value| of_kind(pool, &value.kind(), None, open));
        return json!({"type": "object", "additionalProperties": items});
    }
    let mut schema = of_kind(pool, &field.kind(), rules.as_ref(), open);
    if field.is_list() {
        schema = json!({"type": "array", "items": schema});
        limit(&mut schema, rules.as_ref(), &[("min_items", "minItems"), ("max_items", "maxItems")]);
    }
    if rules.is_some_and(|rules| rules.flag("nullable")) && schema.get("type").is_some() {
        schema["type"] = json!([schema["type"], "null"]);
    }
    schema
}

fn of_kind(pool: &DescriptorPool, kind: &Kind, rules: Option<&Options>, open: bool) -> Value {
    let mut schema = match kind {
        Kind::String => json!({"type": "string"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Double | Kind::Float => json!({"type": "number"}),
        Kind::Message(message) if message.full_name() == NULLABLE_STRING => json!({"type": ["string", "null"]}),
        Kind::Message(message) => return of(pool, message, open),
        _ => json!({"type": "integer"}),
    };
    limit(&mut schema, rules, &[("min_len", "minLength"), ("max_len", "maxLength"), ("gte", "minimum"), ("lte", "maximum")]);
    if let Some(values) = rules.map(|rules| rules.texts("one_of")).filter(|values| !values.is_empty()) {
        let cleared = (schema["type"].is_array()).then_some(Value::Null);
        schema = json!({"enum": values.into_iter().map(Value::from).chain(cleared).collect::<Vec<_>>()});
    }
    schema
}

fn limit(schema: &mut Value, rules: Option<&Options>, names: &[(&str, &str)]) {
    for (rule, keyword) in names {
        if let Some(number) = rules.and_then(|rules| rules.limit(rule)).and_then(|number| i64::try_from(number).ok()) {
            schema[*keyword] = json!(number);
        }
    }
}
