//! The page that shows surfaces: ours, plain, and part of the program.

/// The files, by name, with their media types.
const FILES: [(&str, &str, &str); 5] = [
    ("index.html", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("a2ui.css", "text/css; charset=utf-8", include_str!("page/a2ui.css")),
    ("a2ui.model.js", "text/javascript; charset=utf-8", include_str!("page/a2ui.model.js")),
    ("a2ui.components.js", "text/javascript; charset=utf-8", include_str!("page/a2ui.components.js")),
    ("a2ui.bundle.js", "text/javascript; charset=utf-8", include_str!("page/a2ui.bundle.js")),
];

/// What the page may do: run its own scripts, show pictures and sounds that surfaces name, and talk to where it came from.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: data: blob:; \
    media-src 'self' https: data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// Returns a file's media type and text.
pub(crate) fn file(name: &str) -> Option<(&'static str, &'static str)> {
    let name = if name.is_empty() { "index.html" } else { name };
    FILES.iter().find(|(known, ..)| *known == name).map(|(_, kind, text)| (*kind, *text))
}
