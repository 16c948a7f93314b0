//! Mends the configuration: what nobody knows is taken out, what has moved is moved, and a token is made where one is asked for.

use serde_json::Value;
use verso_config::{Document, KeyPath, Problem, Store, moved_to};

use super::super::{Session, setup};
use super::{Check, Status};
use crate::args::Doctor;

const UNKNOWN: &str = "Unrecognized key: \"";

pub(super) fn mend(session: &Session, arguments: &Doctor) -> anyhow::Result<Vec<Check>> {
    let mut checks = Vec::new();
    if arguments.fix && !session.snapshot.is_valid() {
        checks.extend(strip(session));
    }
    if arguments.generate_gateway_token && session.snapshot.file.value().pointer("/gateway/auth/token").is_none() {
        let wanted = [(vec!["gateway", "auth", "token"], Value::String(setup::new_token()))];
        setup::write(&session.instance, &wanted, false)?;
        checks.push(Check::wrong("gateway.token", Status::Fixed, "made a token: gateway.auth.token"));
    }
    Ok(checks)
}

/// Takes out what cannot be used, as far as that makes a file that can be. The file as it was is kept as a generation.
fn strip(session: &Session) -> Vec<Check> {
    let id = "config.mended";
    let snapshot = &session.snapshot;
    let store = Store::new(&session.instance.config_path, &session.instance.env);
    let (mut done, problems, legacy) = (Vec::new(), &snapshot.problems, &snapshot.legacy);
    let written = store.change(
        |_| Ok(()),
        |document| {
            let mut document = document.clone();
            for moved in legacy {
                document = moves(&document, moved, &mut done)?;
            }
            for problem in problems {
                document = removes(&document, problem, &mut done)?;
            }
            Ok(document.text().to_owned())
        },
    );
    match written {
        Ok(written) if written.changed => {
            done.push(format!("the file as it was is kept: {}", session.instance.command("config generations")));
            done.into_iter().map(|words| Check::wrong(id, Status::Fixed, words)).collect()
        }
        Ok(_) => Vec::new(),
        Err(error) => {
            let check = Check::wrong(id, Status::Error, format!("the file cannot be mended without you: {error}"));
            vec![check.mended_by("Correct the keys that config.valid names.")]
        }
    }
}

fn moves(document: &Document, moved: &Problem, done: &mut Vec<String>) -> Result<Document, verso_config::Error> {
    let (Some(from), Some(to)) = (KeyPath::parse(&moved.path), moved_to(&moved.path).and_then(KeyPath::parse)) else {
        return Ok(document.clone());
    };
    let Some(value) = from.find(document.value()).cloned() else { return Ok(document.clone()) };
    // What is in the new place already counts.
    let document = if to.find(document.value()).is_some() { document.clone() } else { document.set(&to, &value)? };
    done.push(format!("{} is {to} now", moved.path));
    Ok(document.unset(&from)?)
}

fn removes(document: &Document, problem: &Problem, done: &mut Vec<String>) -> Result<Document, verso_config::Error> {
    let name = problem.message.strip_prefix(UNKNOWN).and_then(|rest| rest.split('"').next());
    let Some(name) = name else { return Ok(document.clone()) };
    let inside = if problem.path == "<root>" { Some(KeyPath::of([])) } else { KeyPath::parse(&problem.path) };
    let Some(path) = inside.map(|inside| inside.below(name)).filter(|path| path.find(document.value()).is_some()) else {
        return Ok(document.clone());
    };
    done.push(format!("took {path} out: no key is called that"));
    Ok(document.unset(&path)?)
}
