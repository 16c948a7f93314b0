//! Every difference between the versions, one row each. Services send the widest form; a row says what a version's clients do not get.

use super::Version::{self, V3, V4};
use crate::Code;

/// One difference in a payload.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) version: Version,
    /// The method, or the event.
    pub(super) name: &'static str,
    /// Members from the payload inwards, joined with dots; an array on the way stands for each of its elements.
    pub(super) path: &'static str,
    pub(super) edit: Edit,
}

/// What happens at the path.
#[derive(Debug, Clone, Copy)]
pub(super) enum Edit {
    /// The member is left out.
    Drop,
    /// The member is left out unless the object in it has this one.
    DropUnless(&'static str),
    /// One JSON text becomes another.
    Replace { from: &'static str, to: &'static str },
    /// The event is not sent at all when the member is one of these JSON texts.
    Suppress(&'static [&'static str]),
    /// The event is sent only if its session asks for details, when the member is one of these JSON texts.
    Verbose(&'static [&'static str]),
    /// The event is sent only to those who started what it is about and can read it, when the member is one of these JSON texts.
    Starters(&'static [&'static str]),
    /// The member is left out when the one beside it, of this name, is this JSON text.
    DropBeside(&'static str, &'static str),
    /// The object, or each object of the list, goes without these members.
    DropAll(&'static [&'static str]),
    /// The session's key as the reader has written it.
    Alias,
}

/// What protocol 4 tells of a session beyond protocol 3.
const ROW_OF_4: &[&str] = &[
    "agentId",
    "classification",
    "isMain",
    "isBackground",
    "chatType",
    "archived",
    "pinned",
    "unread",
    "icon",
    "color",
    "category",
    "createdAt",
    "lastInteractionAt",
    "status",
    "startedAt",
    "endedAt",
    "runtimeMs",
    "lastRunId",
    "lastRunError",
    "hasActiveRun",
    "activeRunIds",
    "thinkingLevels",
    "thinkingOptions",
    "thinkingDefault",
    "totalTokensFresh",
    "visibility",
    "sharingRole",
    "snapshotAt",
    "spawnedBy",
];

/// What protocol 4 tells of a new session beyond protocol 3.
const DEFAULTS_OF_4: &[&str] = &["thinkingLevels", "thinkingOptions", "thinkingDefault", "modelSelectionTarget"];

/// One difference in errors.
#[derive(Debug)]
pub(super) struct ErrorRow {
    pub(super) version: Version,
    pub(super) code: Code,
    /// The code that the version has instead.
    pub(super) becomes: Option<Code>,
    /// Only errors whose details have this code.
    pub(super) detail: Option<&'static str>,
    /// The whole message, when the message starts so.
    pub(super) short_message: Option<&'static str>,
    /// What the message begins with.
    pub(super) prefix: Option<&'static str>,
}

const fn drop(version: Version, name: &'static str, path: &'static str) -> Row {
    Row { version, name, path, edit: Edit::Drop }
}

/// Differences in the payloads of responses.
pub(super) static RESPONSES: &[Row] = &[
    // A 3 client takes every present `auth` for "store this device token".
    Row { version: V3, name: "connect", path: "auth", edit: Edit::DropUnless("deviceToken") },
    drop(V3, "connect", "auth.method"),
    drop(V3, "connect", "features.capabilities"),
    drop(V3, "connect", "policy.attachments"),
    drop(V3, "connect", "server.bootId"),
    drop(V3, "connect", "server.controlUiBuildSource"),
    drop(V3, "connect", "snapshot.authMode"),
    drop(V3, "connect", "snapshot.sessionDefaults.modelConfigured"),
    drop(V3, "connect", "snapshot.sessionDefaults.ownership"),
    drop(V3, "connect", "snapshot.sessionDefaults.selectionRequired"),
    drop(V4, "connect", "server.host"),
    drop(V4, "connect", "canvasHostUrl"),
    drop(V3, "connect", "pluginSurfaceUrls"),
    drop(V3, "agent", "sessionKey"),
    drop(V3, "agent", "agentId"),
    drop(V3, "agent", "errorKind"),
    drop(V3, "chat.send", "errorKind"),
    Row { version: V3, name: "agent", path: "status", edit: Edit::Replace { from: "\"in_flight\"", to: "\"accepted\"" } },
    drop(V3, "config.get", "includedPaths"),
    drop(V3, "config.get", "sourceConfig"),
    drop(V3, "config.get", "resolved"),
    drop(V3, "config.get", "runtimeConfig"),
    drop(V3, "config.get", "configRevisionHash"),
    drop(V3, "config.get", "appliedConfigHash"),
    drop(V3, "chat.history", "hasMore"),
    drop(V3, "chat.history", "sessionInfo"),
    drop(V3, "chat.history", "totalMessages"),
    drop(V3, "chat.history", "nextOffset"),
    drop(V3, "chat.history", "pendingInputs"),
    drop(V3, "chat.history", "defaults"),
    drop(V3, "chat.history", "verboseLevel"),
    drop(V3, "chat.history", "messages.__openclaw"),
    drop(V3, "chat.history", "messages.idempotencyKey"),
    drop(V4, "chat.history", "thinkingLevel"),
    drop(V4, "chat.startup", "thinkingLevel"),
    drop(V3, "device.token.rotate", "tokenDelivery"),
    drop(V3, "agents.list", "ownership"),
    drop(V3, "agents.list", "selectionRequired"),
    drop(V3, "agents.list", "agents.kind"),
    drop(V3, "agents.list", "agents.workspace"),
    drop(V3, "agents.list", "agents.model"),
    drop(V3, "models.list", "models.tags"),
    drop(V3, "models.list", "models.thinkingLevels"),
    drop(V3, "models.list", "models.thinkingDefault"),
    drop(V3, "models.list", "models.available"),
    drop(V3, "sessions.patch", "resolved"),
    drop(V3, "node.list", "nodes.clientId"),
    drop(V3, "node.list", "nodes.clientMode"),
    drop(V3, "node.list", "nodes.sessionHost"),
    drop(V3, "node.list", "nodes.nodePluginTools"),
    drop(V3, "node.list", "nodes.approvalState"),
    drop(V3, "node.list", "nodes.lastConnectedAtMs"),
    drop(V3, "node.list", "nodes.lastSeenAtMs"),
    drop(V3, "node.list", "nodes.lastSeenReason"),
    drop(V3, "node.list", "nodes.approvedAtMs"),
    drop(V3, "node.list", "nodes.hostStats"),
    drop(V3, "node.describe", "clientId"),
    drop(V3, "node.describe", "clientMode"),
    drop(V3, "node.describe", "sessionHost"),
    drop(V3, "node.describe", "nodePluginTools"),
    drop(V3, "node.describe", "approvalState"),
    drop(V3, "node.describe", "lastConnectedAtMs"),
    drop(V3, "node.describe", "lastSeenAtMs"),
    drop(V3, "node.describe", "lastSeenReason"),
    drop(V3, "node.describe", "approvedAtMs"),
    drop(V3, "node.describe", "hostStats"),
    drop(V3, "node.event", "event"),
    drop(V3, "node.event", "handled"),
    drop(V3, "node.event", "reason"),
    drop(V3, "channels.status", "statusIssues"),
    drop(V3, "exec.approvals.get", "resolvedDefaults"),
    drop(V3, "exec.approvals.set", "resolvedDefaults"),
    drop(V3, "tts.status", "persona"),
    drop(V3, "tts.status", "personas"),
    drop(V3, "tts.status", "providerStates"),
    drop(V3, "cron.add", "schedule.at"),
    drop(V3, "cron.update", "schedule.at"),
    drop(V3, "cron.list", "jobs.schedule.at"),
    drop(V3, "cron.list", "total"),
    drop(V3, "cron.list", "offset"),
    drop(V3, "cron.list", "limit"),
    drop(V3, "cron.list", "hasMore"),
    drop(V3, "cron.list", "nextOffset"),
    drop(V3, "cron.list", "snapshotRevision"),
    drop(V3, "cron.status", "triggersEnabled"),
    drop(V3, "cron.status", "storage"),
    drop(V3, "cron.status", "sqlitePath"),
    drop(V3, "cron.run", "enqueued"),
    drop(V3, "cron.run", "runId"),
    drop(V3, "cron.runs", "entries.runId"),
    drop(V3, "cron.runs", "entries.sessionKey"),
    drop(V3, "cron.runs", "entries.jobName"),
    drop(V3, "cron.runs", "total"),
    drop(V3, "cron.runs", "offset"),
    drop(V3, "cron.runs", "limit"),
    drop(V3, "cron.runs", "hasMore"),
    drop(V3, "cron.runs", "nextOffset"),
    drop(V3, "sessions.list", "totalCount"),
    drop(V3, "sessions.list", "limitApplied"),
    drop(V3, "sessions.list", "nextOffset"),
    drop(V3, "sessions.list", "hasMore"),
    drop(V3, "sessions.list", "owners"),
    Row { version: V3, name: "sessions.list", path: "defaults", edit: Edit::DropAll(DEFAULTS_OF_4) },
    Row { version: V3, name: "sessions.list", path: "sessions", edit: Edit::DropAll(ROW_OF_4) },
];

/// Differences in the payloads of events.
pub(super) static EVENTS: &[Row] = &[
    drop(V3, "agent", "agentId"),
    drop(V3, "agent", "sessionId"),
    drop(V3, "agent", "isHeartbeat"),
    // The older gateways speak of a session as the client did; a client compares that with what it asked for.
    Row { version: V3, name: "agent", path: "sessionKey", edit: Edit::Alias },
    Row { version: V3, name: "agent", path: "stream", edit: Edit::Verbose(&["\"tool\""]) },
    // Others get `session.tool`.
    Row { version: V4, name: "agent", path: "stream", edit: Edit::Starters(&["\"tool\""]) },
    Row {
        version: V3,
        name: "agent",
        path: "stream",
        edit: Edit::Suppress(&[
            "\"run_status\"",
            "\"usage\"",
            "\"item\"",
            "\"plan\"",
            "\"approval\"",
            "\"command_output\"",
            "\"patch\"",
            "\"thinking\"",
        ]),
    },
    // Phases of a lifecycle that 3 does not have; no other stream uses these words.
    Row { version: V3, name: "agent", path: "data.phase", edit: Edit::Suppress(&["\"model\"", "\"finishing\""]) },
    drop(V3, "chat", "agentId"),
    Row { version: V3, name: "chat", path: "stopReason", edit: Edit::DropBeside("state", "\"final\"") },
    Row { version: V3, name: "chat", path: "sessionKey", edit: Edit::Alias },
    drop(V3, "chat", "deltaText"),
    drop(V3, "chat", "replace"),
    Row { version: V3, name: "chat", path: "state", edit: Edit::Suppress(&["\"status\""]) },
    drop(V3, "exec.approval.requested", "request.commandArgv"),
    drop(V3, "exec.approval.requested", "request.envKeys"),
    drop(V3, "exec.approval.requested", "request.nodeId"),
    drop(V3, "exec.approval.requested", "request.warningText"),
];

/// Differences in errors. Details are the same for both: the older clients' schemas allow them anywhere.
pub(super) static ERRORS: &[ErrorRow] = &[
    error(Code::Forbidden, Some(Code::InvalidRequest)),
    error(Code::ApprovalNotFound, Some(Code::InvalidRequest)),
    ErrorRow { short_message: Some("pairing required"), ..error(Code::NotPaired, None) },
    ErrorRow { detail: Some("CRON_JOB_NOT_FOUND"), prefix: Some("Error: "), ..error(Code::InvalidRequest, Some(Code::Unavailable)) },
    ErrorRow { short_message: Some("node command not allowed"), ..error(Code::InvalidRequest, None) },
];

/// One difference in what an error says.
#[derive(Debug)]
pub(super) struct Wording {
    pub(super) version: Version,
    pub(super) sent: &'static str,
    pub(super) becomes: &'static str,
}

/// Differences in what errors say.
pub(super) static WORDINGS: &[Wording] = &[
    Wording { version: V3, sent: "unknown or expired approval id", becomes: "unknown approval id" },
    Wording { version: V3, sent: "TIMEOUT: node invoke timed out", becomes: "node invoke timed out" },
];

const fn error(code: Code, becomes: Option<Code>) -> ErrorRow {
    ErrorRow { version: V3, code, becomes, detail: None, short_message: None, prefix: None }
}
