//! A turn as it would be sent to a model, without sending it.

use std::sync::Arc;

use verso_kit::trace;
use verso_proto::Json;
use verso_proto::agent::v1::{
    AgentPreviewRequest, AgentPreviewResponse, ChatMessage, PreviewFile, PreviewRequest, PreviewSizes, PreviewTool,
};

use super::Runs;
use super::turn::{self, Scenery};
use crate::compaction;
use crate::error::Error;
use crate::keys::SessionKey;
use crate::messages;
use crate::models::{Endpoint, Model};
use crate::prompt::workspace::ContextFile;
use crate::prompt::{self, Ingredients};
use crate::provider::{self, Call, Prompt, Sampling, ToolChoice, ToolSpec};
use crate::sessions::levels;
use crate::tools::{ExecWishes, Turn};

/// Puts a turn together.
pub(crate) async fn preview(runs: &Runs, request: AgentPreviewRequest) -> Result<AgentPreviewResponse, Error> {
    const METHOD: &str = "agent.preview";
    let parts = &runs.parts;
    let named = parts.roster.named(METHOD, request.agent_id.as_deref())?;
    let (agent, key) = parts.roster.session(METHOD, named.as_ref(), request.session_key.as_deref())?;
    let profile = parts.roster.get(&agent);
    let session = parts.store.session(&key).await?;
    let asked = request.model.clone().filter(|model| !model.trim().is_empty());
    let asked = asked.or_else(|| session.as_ref().and_then(crate::store::SessionRecord::model_override));
    let chain = parts.catalog.chain(&parts.clients, asked.as_deref(), &profile).await?;
    let model = Arc::clone(&chain[0]);
    let level = session.as_ref().and_then(|session| session.thinking_level.as_deref());
    let thinking = request.thinking.as_deref().or(level).unwrap_or(&parts.thinking_default).to_owned();
    let (exec, account) = (ExecWishes::default(), session.as_ref().and_then(crate::store::SessionRecord::last_account));
    let scene = Turn { runs, key: &key, profile: &profile, models: &chain, skills: &[], origin: None, account, exec };
    let Scenery { files, skills, equipment } = turn::scenery(scene, None).await.map_err(turn::Error::refused)?;
    let conversation = conversation(runs, &key, &model, &request.message).await?;
    let around = turn::surroundings(parts, &key, &equipment.specs, (&files, skills), &thinking);
    let prompt = prompt::build(&Ingredients {
        profile: &profile,
        model: &model,
        zone: &parts.zone,
        now_ms: parts.clock.now_ms(),
        around: &around,
        extra: request.extra_system_prompt.as_deref(),
        conversation: &conversation,
    });
    let unfit = parts.catalog.unfit(&model).map(|failure| failure.to_string());
    let rendered = rendered(&model, &prompt, &equipment.specs, &thinking);
    let (request, problem) = match rendered {
        Ok(request) => (request, unfit),
        Err(problem) => (None, Some(problem)),
    };
    Ok(AgentPreviewResponse {
        agent_id: agent.to_string(),
        session_key: key.to_string(),
        provider: model.provider.clone(),
        model: model.id.clone(),
        api: model.api().to_owned(),
        thinking: levels::usable(&thinking, &model).to_owned(),
        fallbacks: chain[1..].iter().map(|model| model.full_name()).collect(),
        sizes: Some(sizes(&model, &prompt, &equipment.specs, &files, request.as_ref())),
        tools: equipment.specs.iter().map(tool).collect(),
        system_prompt: prompt.system,
        messages: prompt.messages.into_iter().map(Arc::unwrap_or_clone).collect(),
        request,
        problem,
    })
}

/// Returns what was said before, and the message.
async fn conversation(runs: &Runs, key: &SessionKey, model: &Model, message: &str) -> Result<Vec<Arc<ChatMessage>>, Error> {
    let mut said = Vec::new();
    if let Some(session) = runs.parts.store.session(key).await? {
        let context = runs.parts.store.context(&session.session_id, i64::MAX, compaction::page(model)).await?;
        said = compaction::shown(context);
    }
    said.push(Arc::new(messages::user(message, &[], runs.parts.clock.now_ms())));
    Ok(said)
}

/// Renders the request; none for the responder that needs none.
fn rendered(model: &Model, prompt: &Prompt, tools: &[ToolSpec], thinking: &str) -> Result<Option<PreviewRequest>, String> {
    let credential = match &model.endpoint {
        Endpoint::Server(server) => server.credential.as_ref(),
        Endpoint::Offline => return Ok(None),
        Endpoint::Unusable(reason) => return Err(reason.clone()),
    };
    let call = Call {
        model,
        credential,
        prompt,
        tools,
        tool_choice: &ToolChoice::Auto,
        sampling: &Sampling::default(),
        thinking: levels::usable(thinking, model),
        patient: false,
        trace: trace::current(),
        status: "",
    };
    provider::shown(&call).map_err(|failure| failure.to_string())
}

fn tool(spec: &ToolSpec) -> PreviewTool {
    let parameters = spec.parameters.text().get().to_owned();
    PreviewTool {
        name: spec.name.clone(),
        description: spec.description.clone(),
        bytes: number(spec.name.len() + spec.description.len() + parameters.len()),
        parameters: Some(Json { text: parameters }),
    }
}

fn sizes(model: &Model, prompt: &Prompt, tools: &[ToolSpec], files: &[ContextFile], request: Option<&PreviewRequest>) -> PreviewSizes {
    let described: Vec<String> = tools.iter().map(|spec| format!("{}{}{}", spec.name, spec.description, spec.parameters.text())).collect();
    let file = |file: &ContextFile| PreviewFile {
        name: file.name.to_owned(),
        present: file.text.is_some(),
        chars: number(file.text.as_deref().unwrap_or_default().chars().count()),
    };
    PreviewSizes {
        system_prompt_chars: number(prompt.system.chars().count()),
        system_prompt_tokens: whole(prompt::tokens(&prompt.system)),
        tools_bytes: number(described.iter().map(String::len).sum()),
        tools_tokens: whole(described.iter().map(|text| prompt::tokens(text)).sum()),
        messages_tokens: whole(prompt.messages.iter().map(|message| prompt::cost(message)).sum()),
        context_window: whole(model.context_window),
        body_bytes: number(request.and_then(|request| request.body.as_ref()).map_or(0, |body| body.text.len())),
        files: files.iter().map(file).collect(),
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
