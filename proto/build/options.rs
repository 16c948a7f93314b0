//! Reads the options of `verso/wire/v1/options.proto` off descriptors.

use protox::prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, MethodDescriptor, ReflectMessage as _, Value,
};

/// The value of one option message, with getters that fall back to the proto3 default.
pub(crate) struct Options(DynamicMessage);

impl Options {
    pub(crate) fn text(&self, field: &str) -> String {
        self.value(field).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    }

    pub(crate) fn flag(&self, field: &str) -> bool {
        self.value(field).and_then(|value| value.as_bool()).unwrap_or_default()
    }

    pub(crate) fn number(&self, field: &str) -> u32 {
        self.value(field).and_then(|value| value.as_u32()).unwrap_or_default()
    }

    /// The Rust name of an enum value: `READ` is `Read`.
    pub(crate) fn variant(&self, field: &str) -> Option<String> {
        let descriptor = self.0.descriptor().get_field_by_name(field)?;
        let number = self.0.get_field(&descriptor).as_enum_number()?;
        let kind = descriptor.kind();
        let name = kind.as_enum()?.get_value(number)?.name().to_owned();
        Some(camel(&name))
    }

    /// The number of an enum value; 0 when it is not set.
    pub(crate) fn number_of(&self, field: &str) -> i32 {
        self.value(field).and_then(|value| value.as_enum_number()).unwrap_or_default()
    }

    pub(crate) fn texts(&self, field: &str) -> Vec<String> {
        let Some(Value::List(items)) = self.value(field) else { return Vec::new() };
        items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    }

    pub(crate) fn limit(&self, field: &str) -> Option<i128> {
        match self.present(field)? {
            Value::U64(number) => Some(number.into()),
            Value::I64(number) => Some(number.into()),
            _ => None,
        }
    }

    pub(crate) fn message(&self, field: &str) -> Option<Self> {
        match self.present(field)? {
            Value::Message(message) => Some(Self(message)),
            _ => None,
        }
    }

    fn value(&self, field: &str) -> Option<Value> {
        self.0.get_field_by_name(field).map(std::borrow::Cow::into_owned)
    }

    fn present(&self, field: &str) -> Option<Value> {
        self.0.has_field_by_name(field).then(|| self.value(field)).flatten()
    }
}

pub(crate) fn of_method(pool: &DescriptorPool, method: &MethodDescriptor) -> Option<Options> {
    read(pool, &method.options(), "verso.wire.v1.method")
}

pub(crate) fn rules(pool: &DescriptorPool, field: &FieldDescriptor) -> Option<Options> {
    read(pool, &field.options(), "verso.wire.v1.rules")
}

pub(crate) fn event(pool: &DescriptorPool, field: &FieldDescriptor) -> Option<Options> {
    read(pool, &field.options(), "verso.wire.v1.event")
}

/// Whether the message is written as the value of its single field.
pub(crate) fn bare(pool: &DescriptorPool, message: &MessageDescriptor) -> bool {
    let Some(extension) = pool.get_extension_by_name("verso.wire.v1.bare") else { return false };
    message.options().get_extension(&extension).as_bool().unwrap_or_default()
}

fn read(pool: &DescriptorPool, options: &DynamicMessage, name: &str) -> Option<Options> {
    let extension = pool.get_extension_by_name(name)?;
    if !options.has_extension(&extension) {
        return None;
    }
    options.get_extension(&extension).as_message().cloned().map(Options)
}

/// `verso.node.v1.ListRequest` is `crate::node::v1::ListRequest`.
pub(crate) fn rust_path(full_name: &str) -> String {
    format!("crate::{}", full_name.trim_start_matches("verso.").replace('.', "::"))
}

/// `ANY` is `Any`, `voicewake_changed` is `VoicewakeChanged`.
pub(crate) fn camel(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + &letters.as_str().to_lowercase())
        })
        .collect()
}
