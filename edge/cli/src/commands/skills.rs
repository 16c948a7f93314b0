//! `verso skills`: what agents have learnt to do.

use serde_json::{Value, json};

use super::Session;
use super::remote::{Remote, ask, facts, text};
use crate::args::{Group, Skills};
use crate::failure::Failure;
use crate::output::{self, As, Column};

const SKILLS: [Column; 4] = [
    Column("Skill", &["/name"], As::Text),
    Column("Usable", &["/eligible"], As::Yes),
    Column("Source", &["/source"], As::Text),
    Column("What it does", &["/description"], As::Text),
];

pub(super) async fn run(session: &Session, group: &Group<Skills>) -> anyhow::Result<()> {
    let reach = &group.reach;
    match group.command.as_ref().unwrap_or(&Skills::List { eligible: false }) {
        Skills::List { eligible } => {
            let mut remote = Remote::open(session, reach).await?;
            let mut payload = remote.call("skills.status", json!({})).await?;
            if let Some(skills) = payload["skills"].as_array_mut() {
                skills.retain(|skill| !eligible || skill["eligible"] == true);
            }
            remote.answer(&payload, || remote.section("Skills", &payload, "/skills", &SKILLS))
        }
        Skills::Info { name } => {
            let mut remote = Remote::open(session, reach).await?;
            let payload = remote.call("skills.status", json!({})).await?;
            let found = payload["skills"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|skill| skill["name"] == name.as_str() || skill["skillKey"] == name.as_str());
            let skill = found.ok_or_else(|| Failure::new(format!("unknown skill: {name}")))?;
            remote.answer(skill, || facts(skill))
        }
        Skills::Check => ask(session, reach, "skills.status", json!({}), |_, payload| checked(payload)).await,
    }
}

fn checked(payload: &Value) -> String {
    let skills = payload["skills"].as_array().map(Vec::as_slice).unwrap_or_default();
    let usable = skills.iter().filter(|skill| skill["eligible"] == true).count();
    let mut lines = vec![format!("{usable} of {} skills can be used", skills.len())];
    for skill in skills.iter().filter(|skill| skill["eligible"] != true) {
        let missing =
            skill["missing"].as_object().into_iter().flatten().filter(|(_, what)| what.as_array().is_some_and(|what| !what.is_empty()));
        let missing: Vec<String> = missing.map(|(kind, what)| format!("{kind}: {}", output::plain(what))).collect();
        let why = if skill["disabled"] == true { "turned off".to_owned() } else { missing.join("; ") };
        lines.push(format!("- {}: {}", text(skill, "/name"), if why.is_empty() { "not eligible" } else { &why }));
    }
    lines.join("\n")
}
