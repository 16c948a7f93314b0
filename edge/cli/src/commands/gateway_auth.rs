//! `verso gateway auth-token`: what clients must present, printed only when it is asked for.

use serde_json::json;

use super::Session;
use crate::args::AuthToken;
use crate::failure::Failure;
use crate::gateway::{Presented, presented};
use crate::output;

pub(super) fn run(session: &Session, arguments: &AuthToken) -> anyhow::Result<()> {
    let Presented { mode, token, origin } = presented(&session.instance, &session.snapshot)?;
    let shown = token.as_ref().filter(|_| arguments.show).map(|token| token.expose().clone());
    if arguments.json {
        let document = json!({"mode": mode, "configured": token.is_some(), "source": origin, "token": shown});
        return Ok(output::document(&document)?);
    }
    match (origin, shown) {
        (Some(_), Some(token)) => Ok(output::line(token)?),
        (Some(origin), None) => {
            output::line(format!("Clients present a token: {origin}."))?;
            Ok(output::line(format!("Print it with: {}", session.instance.command("gateway auth-token --show")))?)
        }
        (None, _) if mode == "token" => {
            let start = session.instance.command("gateway");
            Err(Failure::new(format!("There is no token yet: the first start makes one. Start the gateway with: {start}")).into())
        }
        (None, _) => Err(Failure::new(format!("gateway.auth.mode is {mode}: clients present no token.")).into()),
    }
}
