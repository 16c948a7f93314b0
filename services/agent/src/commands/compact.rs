//! The command `/compact`.

use super::hear::Place;
use crate::compaction::{self, Outcome};
use crate::error::Error;
use crate::runs::Runs;

pub(super) async fn compact(runs: &Runs, place: &Place, instructions: &str) -> Result<String, Error> {
    let instructions = Some(instructions).filter(|instructions| !instructions.is_empty());
    Ok(match compaction::session(runs, &place.agent, &place.key, instructions).await? {
        Outcome::Done { summarised, kept } => format!("Summarised: {summarised} messages · kept as they are: {kept}"),
        Outcome::Nothing => "There is nothing to summarise yet.".to_owned(),
        Outcome::Failed(why) => format!("⚠️ The conversation was not summarised: {why}"),
    })
}
