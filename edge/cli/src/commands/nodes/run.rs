//! `verso nodes run`: a program on a node. The command ends as the program did.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::super::Session;
use super::super::remote::{Remote, members, text};
use super::find::Invoke;
use crate::args::{NodesRun, Reach};
use crate::failure::Failure;
use crate::output;

pub(super) async fn run(session: &Session, reach: &Reach, arguments: &NodesRun) -> anyhow::Result<()> {
    let params = params(arguments)?;
    let mut remote = Remote::open(session, reach).await?;
    let key = Uuid::new_v4().to_string();
    let call = Invoke { node: &arguments.node, command: "system.run", params, timeout: arguments.invoke_timeout, key };
    let payload = call.send(&mut remote).await?;
    let ran = &payload["payload"];
    if reach.json {
        output::document(&payload)?;
    } else {
        output::part(text(ran, "/stdout"))?;
        output::notice_part(text(ran, "/stderr"));
        if ran["timedOut"] == true {
            output::notice("The program took too long and was stopped.");
        } else if let Some(error) = ran["error"].as_str() {
            output::notice(error);
        }
    }
    match exit_code(ran) {
        0 => Ok(()),
        code => Err(Failure::exit(code).into()),
    }
}

fn params(arguments: &NodesRun) -> Result<Value, Failure> {
    let command = match &arguments.raw {
        Some(line) => vec!["/bin/sh".to_owned(), "-lc".to_owned(), line.clone()],
        None if arguments.argv.is_empty() => return Err(Failure::new("error: missing required argument 'command'")),
        None => arguments.argv.clone(),
    };
    let mut env = BTreeMap::new();
    for pair in &arguments.env {
        let Some((name, value)) = pair.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Failure::new(format!("--env wants NAME=VALUE, not \"{pair}\"")));
        };
        env.insert(name, value);
    }
    Ok(members([
        ("command", json!(command)),
        ("rawCommand", json!(arguments.raw)),
        ("cwd", json!(arguments.cwd)),
        ("env", if env.is_empty() { Value::Null } else { json!(env) }),
        ("agentId", json!(arguments.agent)),
        ("timeoutMs", json!(arguments.command_timeout.map(|timeout| timeout.as_millis()))),
        ("needsScreenRecording", if arguments.needs_screen_recording { json!(true) } else { Value::Null }),
    ]))
}

/// The program's own exit code as far as ours can say it; 1 for a program that did not end by itself.
fn exit_code(ran: &Value) -> u8 {
    let own = ran["exitCode"].as_i64().and_then(|code| u8::try_from(code & 0xff).ok());
    match (own, ran["success"].as_bool()) {
        (Some(0), Some(false)) => 1,
        (Some(code), _) => code,
        (None, Some(true)) => 0,
        (None, _) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_as_the_program_did() {
        for (ran, expected) in [
            (json!({"exitCode": 0, "success": true}), 0),
            (json!({"exitCode": 3, "success": false}), 3),
            (json!({"exitCode": 0, "success": false, "timedOut": true}), 1),
            (json!({"success": false}), 1),
            (json!({}), 1),
        ] {
            assert_eq!(exit_code(&ran), expected, "{ran}");
        }
    }
}
