//! One entry: merging two reports of it, and keeping it small.

use verso_proto::presence::v1::Entry;

/// The longest text of an entry, in bytes. The list goes to every client with every change.
const TEXT_BYTES_MAX: usize = 2_048;

/// The longest other string of an entry, in bytes.
const FIELD_BYTES_MAX: usize = 256;

/// The longest list of an entry.
const LIST_ITEMS_MAX: usize = 64;

/// Lets each value that `newer` has replace the older one. Roles and scopes add up.
pub(crate) fn merge(entry: &mut Entry, newer: Entry) {
    replace(&mut entry.host, newer.host);
    replace(&mut entry.ip, newer.ip);
    replace(&mut entry.version, newer.version);
    replace(&mut entry.platform, newer.platform);
    replace(&mut entry.device_family, newer.device_family);
    replace(&mut entry.model_identifier, newer.model_identifier);
    replace(&mut entry.mode, newer.mode);
    replace(&mut entry.last_input_seconds, newer.last_input_seconds);
    replace(&mut entry.reason, newer.reason);
    replace(&mut entry.text, newer.text);
    replace(&mut entry.device_id, newer.device_id);
    replace(&mut entry.instance_id, newer.instance_id);
    if !newer.tags.is_empty() {
        entry.tags = newer.tags;
    }
    unite(&mut entry.roles, newer.roles);
    unite(&mut entry.scopes, newer.scopes);
}

/// Cuts off what is too long, and drops strings that say nothing.
pub(crate) fn bounded(mut entry: Entry) -> Entry {
    let fields = [
        &mut entry.host,
        &mut entry.ip,
        &mut entry.version,
        &mut entry.platform,
        &mut entry.device_family,
        &mut entry.model_identifier,
        &mut entry.mode,
        &mut entry.reason,
        &mut entry.device_id,
        &mut entry.instance_id,
    ];
    for field in fields {
        cut(field, FIELD_BYTES_MAX);
    }
    cut(&mut entry.text, TEXT_BYTES_MAX);
    for list in [&mut entry.tags, &mut entry.roles, &mut entry.scopes] {
        list.truncate(LIST_ITEMS_MAX);
        for item in list {
            item.truncate(item.floor_char_boundary(FIELD_BYTES_MAX));
        }
    }
    entry
}

fn replace<T>(old: &mut Option<T>, new: Option<T>) {
    if new.is_some() {
        *old = new;
    }
}

fn unite(old: &mut Vec<String>, new: Vec<String>) {
    for item in new {
        if old.len() < LIST_ITEMS_MAX && !old.contains(&item) {
            old.push(item);
        }
    }
}

fn cut(field: &mut Option<String>, bytes_max: usize) {
    if let Some(text) = field {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
    if field.as_deref().is_some_and(|text| text.trim().is_empty()) {
        *field = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_value_wins_and_roles_add_up() {
        let old = Entry { host: Some("a".into()), mode: Some("ui".into()), roles: vec!["operator".into()], ..Entry::default() };
        let new = Entry { host: Some("b".into()), roles: vec!["node".into(), "operator".into()], ..Entry::default() };
        let mut merged = old;
        merge(&mut merged, new);
        assert_eq!(merged.host.as_deref(), Some("b"));
        assert_eq!(merged.mode.as_deref(), Some("ui"));
        assert_eq!(merged.roles, ["operator", "node"]);
    }

    #[test]
    fn cuts_on_a_character_and_drops_blanks() {
        let entry = bounded(Entry { host: Some("ä".repeat(200)), ip: Some("  ".into()), tags: vec!["t".into(); 100], ..Entry::default() });
        assert_eq!(entry.host.map(|host| host.len()), Some(256));
        assert_eq!(entry.ip, None);
        assert_eq!(entry.tags.len(), LIST_ITEMS_MAX);
    }
}
