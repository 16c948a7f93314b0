//! The reference page of all keys, out of the table.

use std::fmt::Write as _;

use crate::plan;
use crate::table::{Kind, Node, ROOT};

/// Groups that repeat under many keys are described once, where they first stand.
const REPEATED: [(&str, &str); 2] =
    [(".accounts.*", "the keys of the channel itself"), ("agents.list[].sandbox", "see `agents.defaults.sandbox`")];

/// Returns the page as Markdown.
pub fn reference() -> String {
    let mut page = String::from(
        "# Configuration keys\n\nOne JSON5 file, `~/.verso/verso.json` by default. `*` stands for any name, `[]` for the items of a list. \
         Any string may hold `${VARIABLE}`; any object may hold `$include`. The last column says what a change does to the running gateway.\n",
    );
    for (name, node) in &ROOT.fields {
        writeln!(page, "\n## `{name}`\n").unwrap_or_default();
        if node.is_object() || node.item.is_some() {
            if !node.about.is_empty() {
                writeln!(page, "{}\n", node.about).unwrap_or_default();
            }
            page.push_str("| key | takes | default | what it does | on change |\n|---|---|---|---|---|\n");
            rows(name, node, &mut page);
        } else {
            writeln!(page, "{} {}", node.kinds.iter().map(Kind::words).collect::<Vec<_>>().join(" or "), node.about).unwrap_or_default();
        }
    }
    page
}

fn rows(path: &str, node: &Node, page: &mut String) {
    if let Some((_, instead)) = REPEATED.iter().find(|(end, _)| path.ends_with(end)) {
        writeln!(page, "| `{path}` | | | {instead} | |").unwrap_or_default();
        return;
    }
    if !node.kinds.is_empty() {
        let takes = node.kinds.iter().map(Kind::words).collect::<Vec<_>>().join(" or ").replace('|', "\\|");
        let default = node.default.as_ref().map(|value| format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
        let effect = plan::effect(&path.replace("[]", ""));
        writeln!(page, "| `{path}` | {takes} | {} | {} | {effect} |", default.unwrap_or_default(), node.about).unwrap_or_default();
    }
    for (name, field) in &node.fields {
        rows(&format!("{path}.{name}"), field, page);
    }
    if let Some(any) = &node.any {
        rows(&format!("{path}.*"), any, page);
    }
    if let Some(item) = &node.item {
        rows(&format!("{path}[]"), item, page);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// The page in the repository is the one that the table makes.
    #[test]
    fn the_reference_page_is_current() {
        // Cargo runs tests in the package's folder; where they were built may be another clone.
        let room = Path::new(".");
        let (page, now) = (room.join("REFERENCE.md"), super::reference());
        if std::fs::read_to_string(&page).unwrap_or_default() != now {
            let proposed = room.join("REFERENCE.proposed.md");
            std::fs::write(&proposed, now).unwrap();
            panic!("the keys changed: review {} and rename it to REFERENCE.md", proposed.display());
        }
    }
}
