//! The reference page of all keys, out of the table.

use std::fmt::Write as _;

use crate::plan;
use crate::table::{Kind, Node, ROOT};

/// Groups that repeat under many keys are described once, where they first stand.
const REPEATED: [(&str, &str); 2] = [
    (".accounts.*", "the keys of the channel itself; `configWrites`, `mediaRetentionHours` and the tools of groups only count there"),
    ("agents.list[].sandbox", "see `agents.defaults.sandbox`"),
];

/// What a change does of a key that nobody reads.
const NO_EFFECT: &str = "accepted from older files; no effect";

/// Returns the page as Markdown.
pub fn reference() -> String {
    let (sections, counted) = sections();
    let mut page = String::from(
        "# Configuration keys\n\nOne JSON5 file, `~/.verso/verso.json` by default. `*` stands for any name, `[]` for the items of a list. \
         Any string may hold `${VARIABLE}`; any object may hold `$include`. The last column says what a change does to the running gateway.\n",
    );
    let Counted { acting, accepted } = counted;
    writeln!(
        page,
        "\nOf these keys {acting} act. Another {accepted} are only accepted, because files of OpenClaw and of older gateways have them: \
         their rows say \"{NO_EFFECT}\", and `verso config validate` and `verso doctor` name those of your own file."
    )
    .unwrap_or_default();
    page + &sections
}

/// How many rows there are of each kind.
#[derive(Debug, Default)]
struct Counted {
    acting: usize,
    accepted: usize,
}

fn sections() -> (String, Counted) {
    let (mut page, mut counted) = (String::new(), Counted::default());
    for (name, node) in &ROOT.fields {
        writeln!(page, "\n## `{name}`\n").unwrap_or_default();
        if node.is_object() || node.item.is_some() {
            if !node.about.is_empty() {
                writeln!(page, "{}\n", node.about).unwrap_or_default();
            }
            if node.without_effect {
                page.push_str("Nothing of this section has an effect; it is accepted from older files.\n\n");
            }
            page.push_str("| key | takes | default | what it does | on change |\n|---|---|---|---|---|\n");
            rows(name, node, (&mut page, &mut counted));
        } else {
            counted.acting += 1;
            writeln!(page, "{} {}", node.kinds.iter().map(Kind::words).collect::<Vec<_>>().join(" or "), node.about).unwrap_or_default();
        }
    }
    (page, counted)
}

fn rows(path: &str, node: &Node, (page, counted): (&mut String, &mut Counted)) {
    if let Some((_, instead)) = REPEATED.iter().find(|(end, _)| path.ends_with(end)) {
        let effect = if node.without_effect { NO_EFFECT } else { "" };
        writeln!(page, "| `{path}` | | | {instead} | {effect} |").unwrap_or_default();
        return;
    }
    if !node.kinds.is_empty() {
        let takes = node.kinds.iter().map(Kind::words).collect::<Vec<_>>().join(" or ").replace('|', "\\|");
        let default = node.default.as_ref().map(|value| format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
        let (effect, count) = if node.without_effect {
            (NO_EFFECT.to_owned(), &mut counted.accepted)
        } else {
            (plan::effect(&path.replace("[]", "")), &mut counted.acting)
        };
        *count += 1;
        writeln!(page, "| `{path}` | {takes} | {} | {} | {effect} |", default.unwrap_or_default(), node.about).unwrap_or_default();
    }
    for (name, field) in &node.fields {
        rows(&format!("{path}.{name}"), field, (page, counted));
    }
    if let Some(any) = &node.any {
        rows(&format!("{path}.*"), any, (page, counted));
    }
    if let Some(item) = &node.item {
        rows(&format!("{path}[]"), item, (page, counted));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn a_row_says_whether_its_key_acts() {
        let page = super::reference();
        let row = |key: &str| page.lines().find(|line| line.starts_with(&format!("| `{key}` |"))).unwrap_or_default().to_owned();
        assert!(row("gateway.port").ends_with("| at the next start |"), "{}", row("gateway.port"));
        for key in ["browser.enabled", "agents.list[].agentDir", "channels.discord.token", "models.providers.*.models[].headers.*"] {
            assert!(row(key).ends_with("| accepted from older files; no effect |"), "{}", row(key));
        }
        assert!(row("agents.list[].skills").ends_with("| agent: hot |"), "{}", row("agents.list[].skills"));
    }

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
