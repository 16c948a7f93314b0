//! Changing what a session remembers about itself.

use verso_proto::agent::v1::{ResolvedModel, SessionsPatchRequest, SessionsPatchResponse};
use verso_proto::wire::v1::NullableString;

use super::entry::entry;
use super::levels::{self, Choice};
use super::{Error, events, session};
use crate::keys::{AgentId, SessionKey};
use crate::runs::Runs;
use crate::store::{Changed, Setting};

/// The longest label of a session, in characters.
const LABEL_CHARS_MAX: usize = 64;

/// Settings and their new values; None clears.
type Changes = Vec<(Setting, Option<String>)>;

/// Reads the label of a session.
pub(crate) fn label(raw: &str) -> Result<String, crate::Error> {
    let label = raw.trim();
    match label.chars().count() {
        0 => Err(crate::Error::InvalidLabel("empty".to_owned())),
        length if length > LABEL_CHARS_MAX => Err(crate::Error::InvalidLabel(format!("too long (max {LABEL_CHARS_MAX})"))),
        _ => Ok(label.to_owned()),
    }
}

/// Changes settings of a session, which is made if there is none. All of them are checked before the first one counts.
pub(crate) async fn patch(runs: &Runs, request: SessionsPatchRequest) -> Result<SessionsPatchResponse, crate::Error> {
    let (agent, key) = session(runs, "sessions.patch", request.agent_id.as_deref(), &request.key)?;
    let now_ms = runs.parts.clock.now_ms();
    crate::agents::expect_session(runs, &key, request.expected_session_id.as_deref()).await?;
    let mut changes = choices(&request)?;
    changes.extend(marks(&request, now_ms)?);
    if let Some(change) = request.label {
        changes.push((Setting::Label, change.value.as_deref().map(label).transpose()?));
    }
    changes.extend(named("execNode", Setting::ExecNode, request.exec_node)?);
    changes.extend(parent(&key, request.spawned_by)?);
    changes.extend(model(runs, request.model).await?);
    if let Some(change) = request.thinking_level {
        let level = match change.value {
            Some(raw) => Some(levels::thinking(&raw, &next_model(runs, &key, &agent, &changes).await?)?),
            None => None,
        };
        changes.push((Setting::ThinkingLevel, level));
    }
    let clears_parent = changes.contains(&(Setting::SpawnedBy, None));
    let session = match runs.parts.store.patch(&key, &agent, changes, now_ms).await? {
        Changed::Done(session) => *session,
        Changed::LabelInUse(label) => return Err(Error::LabelInUse(label).into()),
        Changed::ParentKnown if clears_parent => return Err(Error::ParentCleared.into()),
        Changed::ParentKnown | Changed::OtherId => return Err(Error::ParentChanged.into()),
    };
    events::changed(runs, &key, &agent, events::What::reason("patch")).await;
    let name = session.model_override().or(runs.parts.roster.get(&agent).model);
    let resolved = runs.parts.catalog.known(name.as_deref());
    Ok(SessionsPatchResponse {
        ok: true,
        path: runs.parts.store_path(),
        key: key.to_string(),
        entry: Some(entry(session)),
        resolved: Some(ResolvedModel { model_provider: resolved.provider.clone(), model: resolved.id.clone() }),
    })
}

fn choices(request: &SessionsPatchRequest) -> Result<Changes, Error> {
    let all: [(Choice, Setting, &Option<NullableString>); 9] = [
        (levels::VERBOSE, Setting::VerboseLevel, &request.verbose_level),
        (levels::REASONING, Setting::ReasoningLevel, &request.reasoning_level),
        (levels::RESPONSE_USAGE, Setting::ResponseUsage, &request.response_usage),
        (levels::ELEVATED, Setting::ElevatedLevel, &request.elevated_level),
        (levels::EXEC_HOST, Setting::ExecHost, &request.exec_host),
        (levels::EXEC_SECURITY, Setting::ExecSecurity, &request.exec_security),
        (levels::EXEC_ASK, Setting::ExecAsk, &request.exec_ask),
        (levels::SEND_POLICY, Setting::SendPolicy, &request.send_policy),
        (levels::GROUP_ACTIVATION, Setting::GroupActivation, &request.group_activation),
    ];
    let mut changes = Vec::new();
    for (choice, setting, change) in all {
        if let Some(change) = change {
            changes.push((setting, change.value.as_deref().map(|raw| choice.read(raw)).transpose()?));
        }
    }
    Ok(changes)
}

/// Reads how the user keeps order among sessions.
fn marks(request: &SessionsPatchRequest, now_ms: i64) -> Result<Changes, Error> {
    let mut changes = Vec::new();
    for (setting, since) in [(Setting::Archived, request.archived), (Setting::Pinned, request.pinned)] {
        changes.extend(since.map(|set| (setting, set.then(|| now_ms.to_string()))));
    }
    changes.extend(request.unread.map(|unread| (Setting::Unread, unread.then(|| "1".to_owned()))));
    for (name, setting, change) in [
        ("icon", Setting::Icon, &request.icon),
        ("color", Setting::Color, &request.color),
        ("category", Setting::Category, &request.category),
    ] {
        changes.extend(named(name, setting, change.clone())?);
    }
    Ok(changes)
}

/// Reads a setting whose value is any name.
fn named(name: &'static str, setting: Setting, change: Option<NullableString>) -> Result<Option<(Setting, Option<String>)>, Error> {
    let Some(change) = change else { return Ok(None) };
    let value = change.value.map(|value| value.trim().to_owned());
    if value.as_deref() == Some("") { Err(Error::EmptySetting { name }) } else { Ok(Some((setting, value))) }
}

fn parent(key: &SessionKey, change: Option<NullableString>) -> Result<Option<(Setting, Option<String>)>, Error> {
    let change = named("spawnedBy", Setting::SpawnedBy, change)?;
    if matches!(change, Some((_, Some(_)))) && !key.is_subagent() { Err(Error::NotSpawned) } else { Ok(change) }
}

/// Reads a change of the model.
async fn model(runs: &Runs, change: Option<NullableString>) -> Result<Changes, crate::Error> {
    let Some((_, name)) = named("model", Setting::ModelOverride, change)? else { return Ok(Vec::new()) };
    let model = match name {
        Some(name) => Some(runs.parts.catalog.choose(&runs.parts.clients, Some(&name), None).await?),
        None => None,
    };
    let (provider, id) = model.map(|model| (model.provider.clone(), model.id.clone())).unzip();
    Ok(vec![(Setting::ProviderOverride, provider), (Setting::ModelOverride, id)])
}

/// Returns the name of the model that the session's next run begins with, once `changes` are made.
async fn next_model(runs: &Runs, key: &SessionKey, agent: &AgentId, changes: &Changes) -> Result<String, crate::Error> {
    let new = |wanted: Setting| changes.iter().find(|(setting, _)| *setting == wanted).map(|(_, value)| value.as_deref());
    let name = match (new(Setting::ProviderOverride), new(Setting::ModelOverride)) {
        (Some(provider), Some(id)) => provider.zip(id).map(|(provider, id)| format!("{provider}/{id}")),
        _ => runs.parts.store.session(key).await?.and_then(|session| session.model_override()),
    };
    let name = name.or(runs.parts.roster.get(agent).model);
    Ok(runs.parts.catalog.known(name.as_deref()).full_name())
}
