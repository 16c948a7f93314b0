//! `verso update`: has a running gateway go on with another executable, one service after the other.

use serde_json::json;
use verso_kit::peer::Caller;
use verso_proto::supervisor::v1::{ServicesUpdateRequest, ServicesUpdateResponse};
use verso_supervisor::digest_of;

use super::{Session, services};
use crate::args::Update;
use crate::failure::Failure;
use crate::output::{self, Tone};

pub(super) async fn run(session: &Session, arguments: &Update) -> anyhow::Result<()> {
    let path = std::path::absolute(&arguments.from)?;
    let (_, sha256) = digest_of(&path).map_err(|error| Failure::new(format!("Could not read {}: {error}", path.display())))?;
    let executable = path.to_str().ok_or_else(|| Failure::new("The path must be valid UTF-8".to_owned()))?.to_owned();
    let request = ServicesUpdateRequest { executable, sha256: sha256.clone(), install: !arguments.no_install };
    let mut answers = services::supervisor(&session.instance)?.open(&request, &Caller::default()).await?;
    let mut steps = Vec::new();
    while let Some(step) = answers.next().await? {
        if !arguments.json {
            output::notice(words(session, &step));
        }
        steps.push(step);
    }
    let last = steps.last().map_or("", |step| step.step.as_str());
    let ok = last == "done";
    if arguments.json {
        output::document(&json!({"ok": ok, "sha256": sha256, "steps": steps}))?;
    }
    match steps.last() {
        _ if ok && arguments.json => Ok(()),
        _ if ok => {
            Ok(output::line("Every service runs the new executable; the supervisor itself follows with the next start of the gateway.")?)
        }
        Some(step) => {
            let service = step.service.as_deref().unwrap_or("a service");
            let why = step.detail.as_deref().unwrap_or("it did not come up");
            Err(Failure::new(format!("Not updated: {service} did not come up with the new executable ({why}).\nThe earlier one runs."))
                .into())
        }
        None => Err(Failure::new("Not updated: the supervisor said nothing.".to_owned()).into()),
    }
}

fn words(session: &Session, step: &ServicesUpdateResponse) -> String {
    let tone = match step.step.as_str() {
        "rolled-back" | "not-installed" => Tone::Warning,
        "down" | "abandoned" => Tone::Bad,
        _ => Tone::Good,
    };
    let service = step.service.as_ref().map(|service| format!("{service}: ")).unwrap_or_default();
    let detail = step.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
    format!("{service}{}{detail}", session.style.paint(tone, &step.step))
}
