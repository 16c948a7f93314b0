//! Files: their text, marked as somebody else's words.

use tracing::info;

use super::{Content, Error, Limits};
use crate::pdf;

/// The type whose text has to be found first.
pub(super) const PDF: &str = "application/pdf";

/// Stands for the text of a file that has none, such as a scanned one.
const NO_TEXT: &str = "[No extractable text]";

/// What a file is called that has no name.
const NAME: &str = "file";

/// The longest name that is shown, in characters.
const NAME_CHARS_MAX: usize = 120;

/// Returns what the agent reads of a file.
pub(super) async fn text(content: &Content, name: Option<&str>, limits: &Limits) -> Result<String, Error> {
    let kind = content.plain_type().or_else(|| name.and_then(by_name).map(str::to_owned)).unwrap_or_else(|| "text/plain".to_owned());
    if !limits.types.contains(&kind) {
        return Err(Error::Type { what: "file", kind });
    }
    let text = if kind == PDF { of_pdf(content, limits.pages_max).await? } else { decoded(content) };
    let text: String = text.chars().take(limits.chars_max).collect();
    // Nobody can write the end of the marks into a file without knowing it.
    let mark = format!("{:016x}", rand::random::<u64>());
    Ok(format!(
        "<file name=\"{}\">\n<<<EXTERNAL_UNTRUSTED_CONTENT id=\"{mark}\">>>\n{text}\n<<<END_EXTERNAL_UNTRUSTED_CONTENT id=\"{mark}\">>>\n</file>",
        shown(name)
    ))
}

async fn of_pdf(content: &Content, pages_max: usize) -> Result<String, Error> {
    let text = pdf::text(&content.bytes, pages_max).await.map_err(|error| {
        info!(error = &error as &dyn std::error::Error, "a PDF of a request is refused");
        Error::NoPdf
    })?;
    Ok(if text.trim().is_empty() { NO_TEXT.to_owned() } else { text })
}

fn by_name(name: &str) -> Option<&'static str> {
    let ending = name.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match ending.as_str() {
        "txt" | "log" => "text/plain",
        "md" => "text/markdown",
        "html" | "htm" => "text/html",
        "csv" => "text/csv",
        "json" => "application/json",
        "pdf" => PDF,
        "zip" => "application/zip",
        _ => return None,
    })
}

/// The charset that is named decides, and UTF-8 where none is that anybody knows.
fn decoded(content: &Content) -> String {
    let charset = content.media_type.as_deref().unwrap_or_default().split(';').skip(1);
    let charset = charset.filter_map(|parameter| parameter.trim().strip_prefix("charset=")).map(|name| name.trim_matches('"')).next();
    match charset.map(str::to_ascii_lowercase).as_deref() {
        // Each byte is a character.
        Some("iso-8859-1" | "latin1") => content.bytes.iter().copied().map(char::from).collect(),
        _ => String::from_utf8_lossy(&content.bytes).trim_start_matches('\u{feff}').to_owned(),
    }
}

fn shown(name: Option<&str>) -> String {
    let plain = |letter: &char| !letter.is_control() && !matches!(letter, '<' | '>' | '"' | '&');
    let name: String = name.unwrap_or_default().trim().chars().filter(plain).take(NAME_CHARS_MAX).collect();
    if name.is_empty() { NAME.to_owned() } else { name }
}
