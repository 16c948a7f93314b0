//! `verso gateway call`: one method, its answer as it came.

use serde_json::Value;

use super::Session;
use crate::args::Call;
use crate::client::{Connection, Mode};
use crate::failure::Failure;
use crate::output;

pub(super) async fn run(session: &Session, arguments: &Call) -> anyhow::Result<()> {
    let answer = match serde_json::from_str::<Value>(&arguments.params) {
        Ok(params) => ask(session, arguments, params).await,
        Err(error) => Err(Failure::new(format!("--params is not JSON: {error}")).into()),
    };
    match answer {
        Ok(payload) if arguments.json => Ok(output::document(&payload)?),
        Ok(payload) => {
            output::line(format!("Gateway call: {}", arguments.method))?;
            Ok(output::document(&payload)?)
        }
        Err(error) => {
            crate::client::print_transport_error(&error, arguments.json)?;
            Err(Failure::new(format!("Gateway call failed: Error: {error:#}")).into())
        }
    }
}

async fn ask(session: &Session, arguments: &Call, params: Value) -> anyhow::Result<Value> {
    let mut connection = Connection::open(session, &arguments.target, arguments.patience.timeout, Mode::Cli).await?;
    if arguments.expect_final {
        connection.call_final(&arguments.method, params, arguments.patience.timeout).await
    } else {
        connection.call(&arguments.method, params, arguments.patience.timeout).await
    }
}
