//! The syntax tree of a text, with everything that means nothing.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstContainerNode, CstInputValue, CstNode, CstRootNode};
use serde_json::Value;

use super::{Change, EditError};
use crate::key_path::Step;

pub(super) struct Tree(CstRootNode);

impl Tree {
    pub(super) fn parse(text: &str) -> Result<Self, EditError> {
        let tree = CstRootNode::parse(text, &ParseOptions::default()).map_err(|_| EditError::NotLossless)?;
        Ok(Self(tree))
    }

    pub(super) fn text(&self) -> String {
        self.0.to_string()
    }

    /// Makes the tree, which means `present`, mean `wanted`, with the fewest changes.
    pub(super) fn assign(&self, present: &Value, wanted: &Value) {
        match self.0.value() {
            Some(node) => assign(&node, present, wanted),
            None => self.0.set_value(input(wanted)),
        }
    }

    pub(super) fn rewrite(&self, change: &mut Change<'_>) {
        for node in self.0.children() {
            rewrite(&node, &mut Vec::new(), change);
        }
    }
}

fn assign(node: &CstNode, present: &Value, wanted: &Value) {
    if present == wanted {
        return;
    }
    match (present, wanted) {
        (Value::Object(before), Value::Object(after)) if node.as_object().is_some() => {
            let Some(object) = node.as_object() else { return };
            for name in before.keys().filter(|name| !after.contains_key(*name)) {
                if let Some(property) = object.get(name) {
                    property.remove();
                }
            }
            for (name, value) in after {
                match (object.get(name), before.get(name)) {
                    (Some(property), Some(old)) => match property.value() {
                        Some(inner) => assign(&inner, old, value),
                        None => property.set_value(input(value)),
                    },
                    _ => drop(object.append(name, input(value))),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) if node.as_array().is_some() => {
            let Some(array) = node.as_array() else { return };
            let elements = array.elements();
            // One that was taken out in the middle leaves the others as they are.
            if after.len() < before.len() {
                let kept = before.iter().zip(after).take_while(|(old, new)| old == new).count();
                let cut = before.len() - after.len();
                if before[kept + cut..] == after[kept..] {
                    elements.into_iter().skip(kept).take(cut).for_each(CstNode::remove);
                    return;
                }
                elements.iter().skip(after.len()).cloned().for_each(CstNode::remove);
            }
            for ((element, old), new) in elements.into_iter().zip(before).zip(after) {
                assign(&element, old, new);
            }
            for value in after.iter().skip(before.len()) {
                array.append(input(value));
            }
        }
        _ => replace(node, wanted),
    }
}

fn replace(node: &CstNode, wanted: &Value) {
    let value = input(wanted);
    if let Some(object) = node.as_object() {
        object.replace_with(value);
    } else if let Some(array) = node.as_array() {
        array.replace_with(value);
    } else if let Some(text) = node.as_string_lit() {
        text.replace_with(value);
    } else if let Some(number) = node.as_number_lit() {
        number.replace_with(value);
    } else if let Some(flag) = node.as_boolean_lit() {
        flag.replace_with(value);
    } else if let Some(null) = node.as_null_keyword() {
        null.replace_with(value);
    } else if let Some(word) = node.as_word_lit() {
        word.replace_with(value);
    }
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(flag) => CstInputValue::Bool(*flag),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(members) => CstInputValue::Object(members.iter().map(|(name, value)| (name.clone(), input(value))).collect()),
    }
}

fn rewrite(node: &CstNode, path: &mut Vec<Step>, change: &mut Change<'_>) {
    if let Some(comment) = node.as_comment() {
        if let Some(text) = change(None, &comment.raw_value()) {
            comment.set_raw_value(text);
        }
    } else if let Some(literal) = node.as_string_lit() {
        let text = literal.decoded_value().ok().and_then(|text| change(Some(path), &text));
        if let Some(text) = text {
            literal.set_raw_value(Value::String(text).to_string());
        }
    } else if let Some(number) = node.as_number_lit() {
        if let Some(text) = change(Some(path), &number.to_string()) {
            number.set_raw_value(Value::String(text).to_string());
        }
    } else if let Some(object) = node.as_object() {
        children(&CstContainerNode::from(object), path, change);
    } else if let Some(array) = node.as_array() {
        children(&CstContainerNode::from(array), path, change);
    }
}

/// The comments between the values, and the values.
fn children(node: &CstContainerNode, path: &mut Vec<Step>, change: &mut Change<'_>) {
    let mut index = 0;
    for child in node.children() {
        if let Some(property) = child.as_object_prop() {
            path.push(Step::Key(property.decoded_name().unwrap_or_default()));
            let value = property.value();
            for part in property.children() {
                // The name is no value, but a comment may stand beside it.
                if part.is_comment() {
                    rewrite(&part, path, change);
                }
            }
            if let Some(value) = value {
                rewrite(&value, path, change);
            }
            path.pop();
        } else if child.is_trivia() || child.is_token() {
            rewrite(&child, path, change);
        } else {
            path.push(Step::Index(index));
            rewrite(&child, path, change);
            path.pop();
            index += 1;
        }
    }
}
