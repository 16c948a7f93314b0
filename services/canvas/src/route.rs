//! What a request path means. The one place that decodes it, once.

use verso_kit::page::decode;

/// Below these lie the canvas and what belongs to it.
const PREFIXES: [&str; 2] = ["__verso__", "__openclaw__"];

/// How deep a path may go, in names.
const NAMES_MAX: usize = 32;

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// A file of the folder, or the page of a folder in it.
    File(Place),
    /// Whether the process is alive.
    Health,
    /// The socket on which pages learn of changes.
    Reload,
    /// A file of the page that shows surfaces; none for the page itself without its slash.
    A2ui(Option<String>),
    /// Nothing that there could be.
    Nothing,
    /// Not a path.
    Malformed,
}

/// A place below the folder. Its names are plain: not empty, not hidden, not `..`, without a separator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) names: Vec<String>,
    /// Ends like a folder, so it must be one.
    pub(crate) folder: bool,
}

impl Route {
    /// Reads the path of a request.
    pub(crate) fn read(path: &str) -> Self {
        let Some(decoded) = decode(path) else { return Self::Malformed };
        if decoded.contains('\0') {
            return Self::Malformed;
        }
        let folder = decoded.ends_with('/');
        let names: Vec<&str> = decoded.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        if names.len() > NAMES_MAX || !names.iter().all(|name| is_plain(name)) {
            return Self::Nothing;
        }
        let file = |names: &[&str]| {
            Self::File(Place { folder: folder || names.is_empty(), names: names.iter().map(|name| (*name).to_owned()).collect() })
        };
        match names.as_slice() {
            ["healthz"] if !folder => Self::Health,
            [prefix, rest @ ..] if PREFIXES.contains(prefix) => match rest {
                ["canvas", below @ ..] => file(below),
                ["a2ui"] => Self::A2ui(folder.then(String::new)),
                ["a2ui", name] if !folder => Self::A2ui(Some((*name).to_owned())),
                ["ws"] => Self::Reload,
                _ => Self::Nothing,
            },
            below => file(below),
        }
    }
}

/// Hidden names, `..` and the separators of other systems are not names of files that we serve.
fn is_plain(name: &str) -> bool {
    !name.starts_with('.') && !name.chars().any(|letter| letter == '\\' || letter.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(names: &[&str], folder: bool) -> Route {
        Route::File(Place { names: names.iter().map(|name| (*name).to_owned()).collect(), folder })
    }

    #[test]
    fn knows_its_paths() {
        let table = [
            ("/", file(&[], true)),
            ("/a/b.css", file(&["a", "b.css"], false)),
            ("/__verso__/canvas", file(&[], true)),
            ("/__verso__/canvas/", file(&[], true)),
            ("/__openclaw__/canvas/a//./b/", file(&["a", "b"], true)),
            ("/__openclaw__/canvas/a%20b.txt", file(&["a b.txt"], false)),
            ("/%5f_verso__/canvas/x", file(&["x"], false)),
            ("/__verso__/a2ui/x.js", Route::A2ui(Some("x.js".to_owned()))),
            ("/__openclaw__/a2ui/", Route::A2ui(Some(String::new()))),
            ("/__openclaw__/a2ui", Route::A2ui(None)),
            ("/__openclaw__/a2ui/x/y.js", Route::Nothing),
            ("/__openclaw__/ws", Route::Reload),
            ("/__openclaw__/other", Route::Nothing),
            ("/__verso__", Route::Nothing),
            ("/healthz", Route::Health),
            ("/healthz/", file(&["healthz"], true)),
        ];
        for (path, expected) in table {
            assert_eq!(Route::read(path), expected, "{path}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_plain_path() {
        for path in ["/../x", "/a/../b", "/%2e%2e/x", "/..%2fx", "/.git/config", "/a/.env", "/a%5cb", "/..\\x", "/a%0ab"] {
            assert_eq!(Route::read(path), Route::Nothing, "{path}");
        }
        for path in ["/%", "/%4", "/%zz", "/%+1", "/a%00", "/%ff"] {
            assert_eq!(Route::read(path), Route::Malformed, "{path}");
        }
        assert_eq!(Route::read(&"/a".repeat(NAMES_MAX + 1)), Route::Nothing);
        assert_eq!(Route::read("/%252e%252e/x"), file(&["%2e%2e", "x"], false), "decoded once");
    }
}
