//! `$include`: parts of a configuration in files of their own.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Error, FILE_BYTES_MAX, parse};

/// The key that names the files to include.
const KEY: &str = "$include";

/// How deep files may include each other.
const DEPTH_MAX: usize = 10;

/// How many files one configuration may consist of.
const FILES_MAX: usize = 64;

/// Puts the contents of included files into `value`, which stands in the file at `path`. Returns the value and every file that was
/// read, the first one included. Files must lie below the first one's folder or below one of `roots`.
pub(super) fn resolve(path: &Path, value: Value, roots: &[PathBuf]) -> Result<(Value, Vec<PathBuf>), Error> {
    let main = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let home = main.parent().unwrap_or(Path::new("/")).to_owned();
    let roots = roots.iter().filter_map(|root| fs::canonicalize(root).ok());
    let mut includer = Includer { allowed: std::iter::once(home).chain(roots).collect(), open: vec![main], read: vec![path.to_owned()] };
    let value = includer.fill(value)?;
    Ok((value, includer.read))
}

struct Includer {
    allowed: Vec<PathBuf>,
    /// The files that are being read, the innermost last.
    open: Vec<PathBuf>,
    read: Vec<PathBuf>,
}

impl Includer {
    fn fill(&mut self, value: Value) -> Result<Value, Error> {
        match value {
            Value::Array(items) => Ok(Value::Array(items.into_iter().map(|item| self.fill(item)).collect::<Result<_, _>>()?)),
            Value::Object(mut members) => {
                let included = members.shift_remove(KEY).map(|named| self.include(&named)).transpose()?;
                let mut own = Map::new();
                for (name, member) in members {
                    own.insert(name, self.fill(member)?);
                }
                match included {
                    None => Ok(Value::Object(own)),
                    Some(included) if own.is_empty() => Ok(included),
                    Some(Value::Object(included)) => Ok(merged(Value::Object(included), Value::Object(own))),
                    Some(_) => Err(Error::Include("Sibling keys require included content to be an object".to_owned())),
                }
            }
            other => Ok(other),
        }
    }

    fn include(&mut self, what: &Value) -> Result<Value, Error> {
        let wrong = |kind: &str| Err(Error::Include(format!("Invalid $include value: expected string or array of strings, got {kind}")));
        match what {
            Value::String(name) => self.read(name),
            Value::Array(several) => {
                let mut all = None;
                for each in several {
                    let Value::String(name) = each else { return wrong(kind(each)) };
                    let part = self.read(name)?;
                    all = Some(match all {
                        None => part,
                        Some(before) => merged(before, part),
                    });
                }
                Ok(all.unwrap_or_else(|| Value::Object(Map::new())))
            }
            other => wrong(kind(other)),
        }
    }

    fn read(&mut self, name: &str) -> Result<Value, Error> {
        let from = self.open.last().and_then(|file| file.parent()).unwrap_or(Path::new("/"));
        let wanted = from.join(name);
        let at = |what: &str| Error::Include(format!("{what}: {name} (resolved: {})", wanted.display()));
        if self.open.len() > DEPTH_MAX {
            return Err(Error::Include(format!("Maximum include depth ({DEPTH_MAX}) exceeded at: {}", wanted.display())));
        }
        // Links are followed before the place is judged: one inside the folder may point out of it.
        let found = fs::canonicalize(&wanted).map_err(|_| at("Failed to read include file"))?;
        if !self.allowed.iter().any(|root| found.starts_with(root)) {
            return Err(at("Include file is outside the configuration folder and VERSO_INCLUDE_ROOTS"));
        }
        if self.open.contains(&found) {
            let chain: Vec<String> = self.open.iter().chain([&found]).map(|file| file.display().to_string()).collect();
            return Err(Error::Include(format!("Circular include detected: {}", chain.join(" -> "))));
        }
        if self.read.len() >= FILES_MAX {
            return Err(at("Too many included files"));
        }
        let size_bytes = fs::metadata(&found).map_err(|_| at("Failed to read include file"))?.len();
        if size_bytes > FILE_BYTES_MAX {
            return Err(at("Include file is too large"));
        }
        let text = fs::read_to_string(&found).map_err(|_| at("Failed to read include file"))?;
        let value = parse(&text).map_err(|_| at("Failed to parse include file"))?;
        self.read.push(wanted.clone());
        self.open.push(found);
        let filled = self.fill(value);
        self.open.pop();
        filled
    }
}

/// Lays `over` on `under`: objects member by member, arrays one after the other, of other values the upper one.
fn merged(under: Value, over: Value) -> Value {
    match (under, over) {
        (Value::Object(mut under), Value::Object(over)) => {
            for (name, value) in over {
                let value = match under.shift_remove(&name) {
                    Some(before) => merged(before, value),
                    None => value,
                };
                under.insert(name, value);
            }
            Value::Object(under)
        }
        (Value::Array(mut under), Value::Array(over)) => {
            under.extend(over);
            Value::Array(under)
        }
        (_, over) => over,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn load(files: &[(&str, &str)]) -> Result<(Value, Vec<PathBuf>), String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            fs::write(folder.path().join(name), text).unwrap();
        }
        let main = folder.path().join("verso.json");
        let value = parse(&fs::read_to_string(&main).unwrap()).unwrap();
        let root = fs::canonicalize(folder.path()).unwrap().display().to_string();
        resolve(&main, value, &[]).map_err(|error| error.to_string().replace(&root, "").replace(&folder.path().display().to_string(), ""))
    }

    #[test]
    fn joins_files_and_lets_the_including_one_win() {
        let (value, read) = load(&[
            ("verso.json", "{gateway: {$include: './parts/gateway.json5', port: 2}, list: {$include: ['a.json', 'b.json']}}"),
            ("parts/gateway.json5", "{port: 1, bind: 'lan', auth: {$include: 'auth.json'}} // below"),
            ("parts/auth.json", "{mode: 'token'}"),
            ("a.json", "[1]"),
            ("b.json", "[2]"),
        ])
        .unwrap();
        assert_eq!(value, json!({"gateway": {"port": 2, "bind": "lan", "auth": {"mode": "token"}}, "list": [1, 2]}));
        assert_eq!(read.len(), 5);
    }

    #[test]
    fn refuses_what_cannot_end_or_cannot_be_joined() {
        let wrong = |files: &[(&str, &str)]| load(files).unwrap_err();
        let circle = wrong(&[("verso.json", "{$include: 'a.json'}"), ("a.json", "{b: {$include: 'verso.json'}}")]);
        assert_eq!(circle, "Circular include detected: /verso.json -> /a.json -> /verso.json");
        assert_eq!(
            wrong(&[("verso.json", "{a: {$include: 'a.json', b: 1}}"), ("a.json", "[]")]),
            "Sibling keys require included content to be an object"
        );
        assert_eq!(wrong(&[("verso.json", "{$include: 7}")]), "Invalid $include value: expected string or array of strings, got number");
        assert_eq!(wrong(&[("verso.json", "{$include: 'no.json'}")]), "Failed to read include file: no.json (resolved: /no.json)");
        let bad = [("verso.json", "{$include: 'a.json'}"), ("a.json", "{token: 's3cret-")];
        assert_eq!(wrong(&bad), "Failed to parse include file: a.json (resolved: /a.json)");
        let chain: Vec<(String, String)> = (0..12).map(|at| (format!("{at}.json"), format!("{{$include: '{}.json'}}", at + 1))).collect();
        let mut files = vec![("verso.json", "{$include: '0.json'}")];
        files.extend(chain.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        assert_eq!(wrong(&files), "Maximum include depth (10) exceeded at: /10.json");
    }

    #[test]
    fn refuses_files_elsewhere_and_links_that_lead_there() {
        for name in ["../outside.json", "/etc/hostname"] {
            let text = format!("{{$include: '{name}'}}");
            let error = load(&[("verso.json", text.as_str())]).unwrap_err();
            assert!(error.starts_with("Include file is outside") || error.starts_with("Failed to read"), "{error}");
        }
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(elsewhere.path().join("a.json"), "{}").unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join("a.json"), folder.path().join("a.json")).unwrap();
        let (main, value) = (folder.path().join("verso.json"), json!({"$include": "a.json"}));
        let error = resolve(&main, value.clone(), &[]).unwrap_err().to_string();
        assert!(error.starts_with("Include file is outside"), "{error}");
        assert!(resolve(&main, value, &[elsewhere.path().to_owned()]).is_ok(), "an allowed root");
    }
}
