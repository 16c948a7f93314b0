//! The tool `apply_patch`: several changes of several files in one text. All are worked out before the first is written.

use std::sync::{Arc, LazyLock};

use futures_util::future::{BoxFuture, FutureExt as _};
use serde::Deserialize;
use serde_json::{Value, json};

use super::place::Place;
use crate::tool::{Answer, Refused, Scene, Spec, Tool, arguments, blocking};

/// The largest file that is patched, in bytes.
const FILE_BYTES_MAX: u64 = 8 << 20;

const BEGIN: &str = "*** Begin Patch";
const END: &str = "*** End Patch";
const ADD: &str = "*** Add File: ";
const DELETE: &str = "*** Delete File: ";
const UPDATE: &str = "*** Update File: ";
const MOVE: &str = "*** Move to: ";
const END_OF_FILE: &str = "*** End of File";

/// The tool `apply_patch`.
#[derive(Debug)]
pub struct ApplyPatch;

#[derive(Debug, Deserialize)]
struct Arguments {
    input: String,
}

/// What a patch asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Patch(Vec<Change>);

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Add { path: String, text: String },
    Delete { path: String },
    Update { path: String, to: Option<String>, hunks: Vec<Hunk> },
}

/// Lines that are there, and those that are to be there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Hunk {
    /// A line above, from which on the lines are looked for.
    anchor: Option<String>,
    old: Vec<String>,
    new: Vec<String>,
}

impl Tool for ApplyPatch {
    fn spec(&self) -> Arc<Spec> {
        static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| {
            let description = "Changes files. The input begins with *** Begin Patch and ends with *** End Patch; between them are *** Add File: path (lines \
                begin with +), *** Delete File: path, and *** Update File: path (optionally *** Move to: path), whose hunks begin with @@ and have lines that begin with a space, - or +.";
            Spec::new("apply_patch", description, json!({"input": {"type": "string"}}), &["input"]).into()
        });
        Arc::clone(&SPEC)
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let Arguments { input } = arguments(value)?;
            let place = Place::new(&scene.workspace);
            blocking(move || Patch::parse(&input).map_err(Refused::Arguments)?.apply(&place)).await
        }
        .boxed()
    }
}

impl Patch {
    /// Reads a patch.
    pub fn parse(input: &str) -> Result<Self, String> {
        let mut lines = input.trim().lines().peekable();
        if lines.next().map(str::trim_end) != Some(BEGIN) {
            return Err(format!("the first line is not {BEGIN}"));
        }
        let mut changes = Vec::new();
        loop {
            let line = lines.next().ok_or_else(|| format!("the last line is not {END}"))?;
            if line.trim_end() == END {
                return if changes.is_empty() { Err("the patch changes nothing".to_owned()) } else { Ok(Self(changes)) };
            }
            let mut body = Vec::new();
            while let Some(next) =
                lines.next_if(|next| !next.starts_with("*** ") || next.starts_with(MOVE) || next.trim_end() == END_OF_FILE)
            {
                body.push(next);
            }
            changes.push(Change::parse(line, &body)?);
        }
    }

    /// Carries it out.
    fn apply(self, place: &Place) -> Result<Answer, Refused> {
        let mut writes: Vec<(String, Option<String>)> = Vec::new();
        let mut summary = Vec::new();
        for change in self.0 {
            match change {
                Change::Add { path, text } => {
                    if place.read(&path, FILE_BYTES_MAX).is_ok() {
                        return Err(Refused::Arguments(format!("{path} exists already")));
                    }
                    summary.push(format!("A {path}"));
                    writes.push((path, Some(text)));
                }
                Change::Delete { path } => {
                    place.read(&path, FILE_BYTES_MAX)?;
                    summary.push(format!("D {path}"));
                    writes.push((path, None));
                }
                Change::Update { path, to, hunks } => {
                    let bytes = place.read(&path, FILE_BYTES_MAX)?;
                    let text = String::from_utf8(bytes).map_err(|_| Refused::Arguments(format!("{path} is not text")))?;
                    let text = patched(&text, &hunks).map_err(|reason| Refused::Arguments(format!("{path}: {reason}")))?;
                    summary.push(format!("M {}", to.as_deref().unwrap_or(&path)));
                    if to.is_some() {
                        writes.push((path.clone(), None));
                    }
                    writes.push((to.unwrap_or(path), Some(text)));
                }
            }
        }
        for (path, text) in writes {
            match text {
                Some(text) => place.write(&path, text.as_bytes())?,
                None => place.remove(&path)?,
            }
        }
        Ok(Answer::text(format!("Success. Updated the following files:\n{}", summary.join("\n"))))
    }
}

impl Change {
    fn parse(line: &str, body: &[&str]) -> Result<Self, String> {
        if let Some(path) = line.strip_prefix(ADD) {
            let lines: Option<Vec<&str>> = body.iter().map(|line| line.strip_prefix('+')).collect();
            let lines = lines.ok_or("every line of a new file begins with +")?;
            let text = if lines.is_empty() { String::new() } else { format!("{}\n", lines.join("\n")) };
            return Ok(Self::Add { path: path.trim().to_owned(), text });
        }
        if let Some(path) = line.strip_prefix(DELETE) {
            return Ok(Self::Delete { path: path.trim().to_owned() });
        }
        let path = line.strip_prefix(UPDATE).ok_or_else(|| format!("what does this line mean? {line}"))?;
        let (to, body) = match body.split_first() {
            Some((first, rest)) if first.starts_with(MOVE) => (first.strip_prefix(MOVE).map(|to| to.trim().to_owned()), rest),
            _ => (None, body),
        };
        let hunks = hunks(body)?;
        if hunks.is_empty() && to.is_none() {
            return Err(format!("{path} is to be updated without a hunk"));
        }
        Ok(Self::Update { path: path.trim().to_owned(), to, hunks })
    }
}

fn hunks(body: &[&str]) -> Result<Vec<Hunk>, String> {
    let mut hunks: Vec<Hunk> = Vec::new();
    for line in body {
        if let Some(anchor) = line.strip_prefix("@@") {
            let anchor = anchor.trim().trim_end_matches("@@").trim();
            hunks.push(Hunk { anchor: (!anchor.is_empty()).then(|| anchor.to_owned()), ..Hunk::default() });
            continue;
        }
        if line.trim_end() == END_OF_FILE {
            continue;
        }
        if hunks.is_empty() {
            hunks.push(Hunk::default());
        }
        let Some(hunk) = hunks.last_mut() else { continue };
        match line.split_at_checked(1) {
            None => {
                hunk.old.push(String::new());
                hunk.new.push(String::new());
            }
            Some((" ", text)) => {
                hunk.old.push(text.to_owned());
                hunk.new.push(text.to_owned());
            }
            Some(("-", text)) => hunk.old.push(text.to_owned()),
            Some(("+", text)) => hunk.new.push(text.to_owned()),
            Some(_) => return Err(format!("a line begins with neither a space nor - nor +: {line}")),
        }
    }
    Ok(hunks)
}

fn patched(text: &str, hunks: &[Hunk]) -> Result<String, String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut from = 0;
    for hunk in hunks {
        if let Some(anchor) = &hunk.anchor {
            let place = lines[from..].iter().position(|line| line.trim() == anchor);
            from += place.ok_or_else(|| format!("there is no line \"{anchor}\""))? + 1;
        }
        let place = if hunk.old.is_empty() {
            if hunk.anchor.is_some() { from } else { lines.len() }
        } else {
            find(&lines, &hunk.old, from).ok_or_else(|| format!("these lines are not there:\n{}", hunk.old.join("\n")))?
        };
        lines.splice(place..place + hunk.old.len(), hunk.new.iter().cloned());
        from = place + hunk.new.len();
    }
    Ok(if lines.is_empty() { String::new() } else { format!("{}\n", lines.join("\n")) })
}

/// Finds lines as they are; else without the space at their ends.
fn find(lines: &[String], wanted: &[String], from: usize) -> Option<usize> {
    let places = || from..=lines.len().checked_sub(wanted.len()).unwrap_or(from);
    let at = |place: usize, same: fn(&str, &str) -> bool| {
        lines.get(place..place + wanted.len()).is_some_and(|found| found.iter().zip(wanted).all(|(found, wanted)| same(found, wanted)))
    };
    places()
        .find(|place| at(*place, |found, wanted| found == wanted))
        .or_else(|| places().find(|place| at(*place, |found, wanted| found.trim_end() == wanted.trim_end())))
}
