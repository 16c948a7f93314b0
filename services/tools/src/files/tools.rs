//! The tools `read`, `write` and `edit`.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::{BoxFuture, FutureExt as _};
use serde::Deserialize;
use serde_json::{Value, json};

use super::place::{Place, Problem};
use crate::tool::{Answer, Block, Refused, Scene, Spec, Tool, arguments, blocking};

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// The largest picture that is shown to a model, in bytes.
const IMAGE_BYTES_MAX: usize = 5 << 20;

/// Lines of an answer, unless the call says otherwise.
const LINES: usize = 2_000;

/// Characters of an answer.
const CHARS_MAX: usize = 50_000;

/// The tool `read`.
#[derive(Debug)]
pub struct Read {
    /// Folders beside the workspace that may be read: skills are there.
    pub also: Vec<PathBuf>,
}

/// The tool `write`.
#[derive(Debug)]
pub struct Write;

/// The tool `edit`.
#[derive(Debug)]
pub struct Edit;

#[derive(Debug, Deserialize)]
struct ReadArguments {
    #[serde(alias = "file_path")]
    path: String,
    /// The first line, counted from 1.
    offset: Option<usize>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct WriteArguments {
    #[serde(alias = "file_path")]
    path: String,
    content: String,
}

#[derive(Debug, Deserialize)]
struct EditArguments {
    #[serde(alias = "file_path")]
    path: String,
    #[serde(rename = "oldText", alias = "old_string")]
    old: String,
    #[serde(rename = "newText", alias = "new_string")]
    new: String,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Outside(_) => Self::Forbidden(problem.to_string()),
            Problem::NoFile(_) | Problem::Missing(_) | Problem::TooLarge { .. } => Self::Arguments(problem.to_string()),
            Problem::Io { .. } => Self::Failed(problem.to_string()),
        }
    }
}

impl Tool for Read {
    fn spec(&self) -> Arc<Spec> {
        static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| {
            let properties = json!({
                "path": {"type": "string", "description": "Relative to the workspace"},
                "offset": {"type": "number", "description": "First line, from 1"},
                "limit": {"type": "number", "description": "Lines"},
            });
            Spec::new("read", "Reads a file. Pictures are shown.", properties, &["path"]).into()
        });
        Arc::clone(&SPEC)
    }

    fn parallel(&self) -> bool {
        true
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let wanted: ReadArguments = arguments(value)?;
            let places: Vec<Place> = std::iter::once(&scene.workspace).chain(&self.also).map(Place::new).collect();
            blocking(move || read(&places, &wanted)).await
        }
        .boxed()
    }
}

impl Tool for Write {
    fn spec(&self) -> Arc<Spec> {
        static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| {
            let properties = json!({"path": {"type": "string", "description": "Relative to the workspace"}, "content": {"type": "string"}});
            Spec::new("write", "Writes a whole file; folders on the way are made.", properties, &["path", "content"]).into()
        });
        Arc::clone(&SPEC)
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let WriteArguments { path, content } = arguments(value)?;
            let place = Place::new(&scene.workspace);
            blocking(move || {
                place.write(&path, content.as_bytes())?;
                Ok(Answer::text(format!("Wrote {} bytes to {path}", content.len())))
            })
            .await
        }
        .boxed()
    }
}

impl Tool for Edit {
    fn spec(&self) -> Arc<Spec> {
        static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| {
            let properties = json!({
                "path": {"type": "string", "description": "Relative to the workspace"},
                "oldText": {"type": "string", "description": "What is there, exactly, once"},
                "newText": {"type": "string", "description": "What is to be there"},
            });
            Spec::new("edit", "Replaces a text that is in a file exactly once.", properties, &["path", "oldText", "newText"]).into()
        });
        Arc::clone(&SPEC)
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let wanted: EditArguments = arguments(value)?;
            let place = Place::new(&scene.workspace);
            blocking(move || edit(&place, &wanted)).await
        }
        .boxed()
    }
}

fn read(places: &[Place], wanted: &ReadArguments) -> Result<Answer, Refused> {
    let mut result = Err(Problem::Outside(wanted.path.clone()));
    for place in places {
        result = place.read(&wanted.path, FILE_BYTES_MAX);
        if !matches!(result, Err(Problem::Outside(_))) {
            break;
        }
    }
    let bytes = result?;
    if let Some(mime_type) = picture_type(&bytes) {
        if bytes.len() > IMAGE_BYTES_MAX {
            return Err(Problem::TooLarge { path: wanted.path.clone(), max: IMAGE_BYTES_MAX as u64 }.into());
        }
        let image = Block::Image { data: STANDARD.encode(&bytes), mime_type: mime_type.to_owned() };
        let words = Block::Text(format!("Read image file [{mime_type}]"));
        return Ok(Answer { blocks: vec![words, image], details: json!({}), is_error: false });
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(Answer::text(part(&text, wanted.offset.unwrap_or(1).max(1), wanted.limit.unwrap_or(LINES).max(1))))
}

/// Returns some lines of a text, and says what is left.
fn part(text: &str, first: usize, count: usize) -> String {
    let total = text.lines().count();
    let mut shown = String::new();
    let mut next = first;
    for line in text.lines().skip(first - 1).take(count) {
        if !shown.is_empty() && shown.len() + line.len() >= CHARS_MAX {
            break;
        }
        shown.extend([line, "\n"]);
        next += 1;
    }
    if shown.len() > CHARS_MAX {
        let cut = shown.floor_char_boundary(CHARS_MAX);
        shown.truncate(cut);
        shown.push_str("\n[this line was cut]");
    }
    if next <= total {
        shown.push_str(&format_rest(next, total));
    }
    shown
}

fn format_rest(next: usize, total: usize) -> String {
    format!("\n[{} more lines; go on with offset={next}]", total + 1 - next)
}

fn edit(place: &Place, wanted: &EditArguments) -> Result<Answer, Refused> {
    if wanted.old.is_empty() {
        return Err(Refused::Arguments("oldText is empty".to_owned()));
    }
    let bytes = place.read(&wanted.path, FILE_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| Refused::Arguments(format!("{} is not text", wanted.path)))?;
    match text.matches(&wanted.old).count() {
        0 => Err(Refused::Arguments(format!("the text is not in {}; it must be there exactly, spaces included", wanted.path))),
        1 => {
            place.write(&wanted.path, text.replacen(&wanted.old, &wanted.new, 1).as_bytes())?;
            Ok(Answer::text(format!("Replaced the text in {}", wanted.path)))
        }
        count => Err(Refused::Arguments(format!("the text is {count} times in {}; give more of what is around it", wanted.path))),
    }
}

/// Says what kind of picture a file begins like.
pub fn picture_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xFF, 0xD8, 0xFF, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}
