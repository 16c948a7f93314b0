//! Commands about more than one session.

use std::time::Duration;

use verso_kit::peer::Caller;
use verso_proto::node::v1::ExecApprovalResolveRequest;
use verso_proto::supervisor::v1::ServicesRestartRequest;

use crate::runs::Runs;

/// How long a restart waits, so that its announcement is on its way.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Decides about a program that somebody asks for.
pub(super) async fn approve(runs: &Runs, arguments: &str) -> String {
    let mut words = arguments.split_whitespace();
    let (Some(id), Some(decision), None) = (words.next(), words.next(), words.next()) else {
        return "Options: /approve <id> allow-once, allow-always or deny.".to_owned();
    };
    let decision = match decision.to_lowercase().as_str() {
        "allow" | "once" | "allow-once" | "yes" => "allow-once",
        "always" | "allow-always" => "allow-always",
        "deny" | "no" | "reject" => "deny",
        _ => return "Options: /approve <id> allow-once, allow-always or deny.".to_owned(),
    };
    let request = ExecApprovalResolveRequest { id: id.to_owned(), decision: decision.to_owned() };
    match runs.parts.node.call(request, &Caller::default()).await {
        Ok(_) => format!("{id}: {decision}"),
        Err(status) => format!("⚠️ {}", status.message()),
    }
}

/// Has the supervisor start this process again, in a moment.
pub(super) fn restart(runs: &Runs) {
    let parts = std::sync::Arc::clone(&runs.parts);
    runs.spawn("restart", async move {
        tokio::time::sleep(RESTART_PAUSE).await;
        let request = ServicesRestartRequest { name: "agent".to_owned(), on_behalf_of: Some("a chat command".to_owned()) };
        if let Err(status) = parts.supervisor.call(request, &Caller::default()).await {
            tracing::warn!(error = status.message(), "the supervisor did not restart the agents' process");
        }
    });
}
