//! The table of keys, as a tree. It is read once from `keys/*.keys`, the one place that says which keys there are.

mod kind;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub(crate) use kind::Kind;

/// The sources of the table, in the order of the reference page.
const SOURCES: [&str; 5] = [
    include_str!("../keys/gateway.keys"),
    include_str!("../keys/agents.keys"),
    include_str!("../keys/tools.keys"),
    include_str!("../keys/channels.keys"),
    include_str!("../keys/sessions.keys"),
];

/// What a place in the file takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    /// The values that it takes besides an object or a list described below. Empty: none.
    pub(crate) kinds: Vec<Kind>,
    pub(crate) default: Option<serde_json::Value>,
    pub(crate) about: &'static str,
    /// It is accepted because files of older gateways have it, and nothing reads it, nor what is below unless that says otherwise.
    pub(crate) without_effect: bool,
    /// What the table says of that; none: what holds for the place that it is in.
    mark: Option<bool>,
    /// The keys of an object, in the order of the table.
    pub(crate) fields: Vec<(String, Node)>,
    /// Any other key.
    pub(crate) any: Option<Box<Node>>,
    /// The items of a list.
    pub(crate) item: Option<Box<Node>>,
}

impl Node {
    /// Returns what the key takes.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, node)| node).or(self.any.as_deref())
    }

    /// Whether an object of known keys may stand here.
    pub(crate) fn is_object(&self) -> bool {
        !self.fields.is_empty() || self.any.is_some()
    }

    fn enter(&mut self, name: &str) -> &mut Self {
        let (name, is_list) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
        let node = if name == "*" {
            self.any.get_or_insert_default()
        } else {
            let at = self.fields.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                self.fields.push((name.to_owned(), Self::default()));
                self.fields.len() - 1
            });
            &mut self.fields[at].1
        };
        if is_list { node.item.get_or_insert_default() } else { node }
    }

    /// Returns the place at a path that other lines have described.
    fn described(&mut self, path: &str) -> Option<&mut Self> {
        path.split('.').filter(|name| !name.is_empty()).try_fold(self, |node, name| {
            let (name, is_list) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
            let node = if name == "*" {
                node.any.as_deref_mut()
            } else {
                node.fields.iter_mut().find(|(known, _)| known == name).map(|(_, node)| node)
            };
            if is_list { node?.item.as_deref_mut() } else { node }
        })
    }

    /// Says of every place whether it has an effect. A place that is only made of others has none when none of them has.
    fn settle(&mut self, of_all: bool) {
        let marked = self.mark.unwrap_or(of_all);
        let inner = self.any.as_deref_mut().into_iter().chain(self.item.as_deref_mut());
        let mut none_acts = self.kinds.is_empty();
        for node in self.fields.iter_mut().map(|(_, node)| node).chain(inner) {
            node.settle(marked);
            none_acts &= node.without_effect;
        }
        self.without_effect = marked || none_acts;
    }

    fn lay(&mut self, other: &Self) {
        if self.about.is_empty() {
            self.about = other.about;
        }
        if self.kinds.is_empty() {
            self.kinds.clone_from(&other.kinds);
            self.default.clone_from(&other.default);
        }
        self.mark = self.mark.or(other.mark);
        for (name, field) in &other.fields {
            self.enter(name).lay(field);
        }
        if let Some(any) = &other.any {
            self.any.get_or_insert_default().lay(any);
        }
        if let Some(item) = &other.item {
            self.item.get_or_insert_default().lay(item);
        }
    }
}

/// The whole file.
pub(crate) static ROOT: LazyLock<Node> = LazyLock::new(|| read(&SOURCES).expect("the tests read the built-in table"));

fn read(sources: &[&'static str]) -> Result<Node, String> {
    let (mut root, mut groups) = (Node::default(), BTreeMap::<&str, Node>::new());
    for source in sources {
        let (mut group, mut prefix) = (None, "");
        for line in source.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (mark, line) = marked(line);
            if let Some(name) = line.strip_prefix('@') {
                (group, prefix) = (Some(name), "");
                continue;
            }
            if line.starts_with('[') && line.ends_with(']') {
                (group, prefix) = (None, &line[1..line.len() - 1]);
                if mark.is_some() {
                    at(&mut root, prefix, "").mark = mark;
                }
                continue;
            }
            let mut target = group.map_or_else(Node::default, |name| groups.remove(name).unwrap_or_default());
            let base = if group.is_some() { &mut target } else { &mut root };
            row(base, prefix, (mark, line), &groups).map_err(|why| format!("{why}: {line}"))?;
            if let Some(name) = group {
                groups.insert(name, target);
            }
        }
    }
    root.settle(false);
    Ok(root)
}

/// Takes the mark off a line: whether what it is about is without effect, if it says so.
fn marked(line: &'static str) -> (Option<bool>, &'static str) {
    let told = [("~ ", true), ("+ ", false)].into_iter().find_map(|(sign, mark)| Some((Some(mark), line.strip_prefix(sign)?.trim())));
    told.unwrap_or((None, line))
}

/// Reads one line below `prefix`, and its mark.
fn row(base: &mut Node, prefix: &str, (mark, line): (Option<bool>, &'static str), groups: &BTreeMap<&str, Node>) -> Result<(), String> {
    if let Some(about) = line.strip_prefix('=') {
        at(base, prefix, "").about = about.trim();
        return Ok(());
    }
    if let Some((paths, name)) = line.split_once(" use @") {
        let group = groups.get(name.trim()).ok_or("no such group")?;
        for path in expand(paths.trim()) {
            let node = at(base, prefix, &path);
            node.mark = mark.or(node.mark);
            node.lay(group);
        }
        return Ok(());
    }
    if mark.is_some() && !line.contains('|') {
        for path in expand(line) {
            let node = base.described(&format!("{prefix}.{path}")).ok_or("a mark of what no line describes")?;
            node.mark = mark;
        }
        return Ok(());
    }
    let columns: Vec<&'static str> = line.splitn(4, '|').map(str::trim).collect();
    let [paths, kinds, default, about] = columns[..] else { return Err("not four columns".to_owned()) };
    let kinds = Kind::read_all(kinds)?;
    // What does not read as JSON is a word.
    let default = (!default.is_empty()).then(|| serde_json::from_str(default).unwrap_or_else(|_| default.into()));
    for path in expand(paths) {
        let node = at(base, prefix, &path);
        node.kinds.clone_from(&kinds);
        node.default.clone_from(&default);
        node.about = about;
        node.mark = mark.or(node.mark);
    }
    Ok(())
}

fn at<'a>(base: &'a mut Node, prefix: &str, path: &str) -> &'a mut Node {
    prefix.split('.').chain(path.split('.')).filter(|name| !name.is_empty()).fold(base, Node::enter)
}

/// `a.{b,c}.d` stands for `a.b.d` and `a.c.d`.
fn expand(path: &str) -> Vec<String> {
    let Some((before, (names, after))) = path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) else {
        return vec![path.to_owned()];
    };
    names.split(',').flat_map(|name| expand(&format!("{before}{}{after}", name.trim()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(path: &str, node: &Node, count: &mut usize) {
        assert!(!node.kinds.is_empty() || node.is_object() || node.item.is_some(), "{path} takes nothing");
        *count += 1;
        let inner = node.any.iter().chain(&node.item).map(|inner| ("*", &**inner));
        for (name, field) in node.fields.iter().map(|(name, field)| (name.as_str(), field)).chain(inner) {
            walk(&format!("{path}.{name}"), field, count);
        }
    }

    #[test]
    fn the_built_in_table_can_be_read() {
        let mut count = 0;
        walk("", &read(&SOURCES).unwrap(), &mut count);
        assert!(count > 2000, "{count} places");
    }

    #[test]
    fn names_a_line_that_it_cannot_read() {
        assert_eq!(read(&["[a]\nb | nonsense | | c"]).unwrap_err(), "unknown type \"nonsense\": b | nonsense | | c");
        assert_eq!(read(&["a use @x"]).unwrap_err(), "no such group: a use @x");
        assert_eq!(read(&["[a]\nb | bool | | c\n~ d.e"]).unwrap_err(), "a mark of what no line describes: d.e");
    }

    #[test]
    fn marks_hold_for_keys_groups_and_sections_with_what_is_below() {
        let source = "@g\nlive | bool | | x\n~ dead | bool | | x\n~ [old]\n= x\na.b | text | | x\nc[].*.d | text | | x\n[new]\n\
                      ~ key.{one,two} | text | | x\nkey.three | text | | x\nfirst use @g\n~ second use @g\nl[].*.e | text | | x\n\
                      ~ l[].*.e\n+ second.live\n[old]\n+ a";
        let table = read(&[source]).unwrap();
        let effect = |path: &str| {
            let place = path.split('.').fold(&table, |node, name| match name {
                "[]" => node.item.as_deref().unwrap(),
                name => node.field(name).unwrap(),
            });
            !place.without_effect
        };
        for (path, acts) in [
            ("old", false),
            ("old.a.b", true),
            ("old.c.[].x.d", false),
            ("new", true),
            ("new.key", true),
            ("new.key.one", false),
            ("new.key.two", false),
            ("new.key.three", true),
            ("new.first", true),
            ("new.first.live", true),
            ("new.first.dead", false),
            ("new.second", false),
            ("new.second.live", true),
            ("new.second.dead", false),
            ("new.l.[].x.e", false),
        ] {
            assert_eq!(effect(path), acts, "{path}");
        }
    }
}
