//! The JSON form of messages, as serde attributes on the generated types: the table in `README.md`, one arm each.

use protox::prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

use crate::options;

/// Written by hand in `src/json.rs`: their JSON form is not that of a message.
const BY_HAND: [&str; 2] = ["verso.wire.v1.Json", "verso.wire.v1.NullableString"];

pub(crate) fn add(config: &mut tonic_prost_build::Config, pool: &DescriptorPool) {
    for message in pool.all_messages().filter(has_json_form) {
        let name = message.full_name();
        let bare = options::bare(pool, &message);
        let container = if bare { "#[serde(transparent)]" } else { "#[serde(default)]" };
        config.message_attribute(name, format!("#[derive(serde::Serialize, serde::Deserialize)] {container}"));
        for field in message.fields() {
            let path = format!("{name}.{}", field.name());
            if !bare {
                config.field_attribute(&path, field_attribute(pool, &field));
            }
        }
    }
}

/// Messages with a `oneof` are envelopes between services; they have no JSON form of their own.
fn has_json_form(message: &MessageDescriptor) -> bool {
    let name = message.full_name();
    name.starts_with("verso.")
        && !BY_HAND.contains(&name)
        && !message.is_map_entry()
        && !["Method", "Rules", "EventRule", "DynamicScope", "CarriedCall"].contains(&message.name())
        && message.oneofs().all(|oneof| oneof.is_synthetic())
}

fn field_attribute(pool: &DescriptorPool, field: &FieldDescriptor) -> String {
    let rules = options::rules(pool, field);
    let nullable = rules.as_ref().is_some_and(|rules| rules.flag("nullable"));
    let omittable = rules.as_ref().is_some_and(|rules| rules.flag("omittable"));
    let mut arguments = vec![format!("rename = {:?}", field.json_name())];
    if let Some(alias) = rules.as_ref().map(|rules| rules.text("alias")).filter(|alias| !alias.is_empty()) {
        arguments.push(format!("alias = {alias:?}"));
    }
    let message = matches!(field.kind(), Kind::Message(_)) && !field.is_list() && !field.is_map();
    if rules.as_ref().is_some_and(|rules| rules.flag("flatten")) {
        return "#[serde(flatten)]".to_owned();
    }
    if is_nullable_string(field) {
        arguments.push("deserialize_with = \"crate::json::present\"".to_owned());
    }
    if (is_optional(field) || message) && !nullable {
        arguments.push("skip_serializing_if = \"Option::is_none\"".to_owned());
    } else if field.is_list() && omittable {
        arguments.push("skip_serializing_if = \"Vec::is_empty\"".to_owned());
    } else if field.is_map() && omittable {
        arguments.push("skip_serializing_if = \"std::collections::BTreeMap::is_empty\"".to_owned());
    }
    format!("#[serde({})]", arguments.join(", "))
}

pub(crate) fn is_optional(field: &FieldDescriptor) -> bool {
    field.field_descriptor_proto().proto3_optional()
}

fn is_nullable_string(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(message) if message.full_name() == "verso.wire.v1.NullableString")
}
