//! The tool calls of one round: those that change nothing side by side, the others one after the other, in the model's order.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};
use verso_kit::CancellationToken;
use verso_kit::trace;
use verso_proto::Json;
use verso_proto::agent::v1::{ChatMessage, ContentBlock};
use verso_tools::tool::{Answer, Block, Progress, Scene};
use verso_tools::toolset::cut;

use super::{arguments, call_id};
use crate::messages::{self, Named as _};
use crate::metrics;
use crate::provider::ToolFragment;
use crate::runs::ask::Round;
use crate::runs::{Run, Runs, queue, spans};
use crate::store;
use crate::tools::Equipment;

/// Bytes of words in a `tool` event; clients that want more read the transcript.
const EVENT_BYTES_MAX: usize = 8_000;

/// What a model reads of a call that was not carried out because somebody has spoken.
const SKIPPED: &str = "not carried out: a new message has come, read it first";

/// What came of a round's tool calls.
pub(super) struct Answered {
    pub(super) results: Vec<ChatMessage>,
    /// What was said to the turn meanwhile.
    pub(super) heard: Vec<ChatMessage>,
}

/// Answers the tool calls of a round. When the run ends meanwhile, so do they; when somebody speaks to it, those that have not begun are left
/// undone.
pub(super) async fn answer(runs: &Runs, run: &Arc<Run>, equipment: &Equipment, round: &Round) -> Result<Answered, store::Error> {
    // From here on a restart cannot simply ask again.
    runs.parts.store.note_tool_call(&run.id).await?;
    let profile = runs.parts.roster.get(&run.agent);
    let cancelled = CancellationToken::new();
    // Dropped with the turn.
    let _leash = cancelled.clone().drop_guard();
    let scene = |call: &ToolFragment| {
        let (id, name, told) = (call_id(call), call.name.clone(), Arc::clone(run));
        Scene {
            agent: run.agent.to_string(),
            session: run.key.to_string(),
            run: run.id.clone(),
            call: id.clone(),
            workspace: profile.workspace.clone(),
            variables: equipment.variables.clone(),
            cancelled: cancelled.clone(),
            progress: Progress::new(move |text| {
                let partial = json!({"content": [{"type": "text", "text": cut(text, EVENT_BYTES_MAX)}]});
                told.emitter.tool_updated(&id, &name, Json { text: partial.to_string() });
            }),
        }
    };
    let calls: Vec<&ToolFragment> = round.calls.values().collect();
    let (mut results, mut heard) = (Vec::with_capacity(calls.len()), Vec::new());
    for group in calls.chunk_by(|a, b| equipment.set.parallel(&a.name) && equipment.set.parallel(&b.name)) {
        if !heard.is_empty() {
            let now_ms = runs.parts.clock.now_ms();
            results.extend(group.iter().map(|call| result(call, Answer::refusal(SKIPPED), now_ms)));
            continue;
        }
        let answers = join_all(group.iter().map(|call| {
            let scene = scene(call);
            async move {
                run.emitter.tool_started(&scene.call, &call.name, &arguments(call));
                let begun_ms = runs.parts.clock.now_ms();
                let known = equipment.specs.iter().find(|spec| spec.name == call.name).map(|spec| spec.name.as_str());
                let span = spans::tool(known);
                let answer = trace::within(span.clone(), equipment.set.call(&call.name, &call.arguments, &scene)).await;
                spans::tool_called(&span, answer.is_error);
                metrics::tool_called(known, answer.is_error, runs.parts.clock.now_ms() - begun_ms);
                run.emitter.tool_ended(&scene.call, &call.name, Json { text: for_event(&answer).to_string() }, answer.is_error);
                answer
            }
        }));
        let at_ms = |answers: Vec<Answer>| answers.into_iter().map(|answer| (answer, runs.parts.clock.now_ms())).collect::<Vec<_>>();
        let answered = at_ms(answers.await);
        results.extend(group.iter().zip(answered).map(|(call, (answer, at_ms))| result(call, answer, at_ms)));
        heard.extend(steered(runs, run));
    }
    Ok(Answered { results, heard })
}

/// Takes what was said to the turn under way. It ends with this run, unless it is to have a turn of its own as well.
fn steered(runs: &Runs, run: &Arc<Run>) -> Vec<ChatMessage> {
    let hear = |other: Arc<Run>| {
        let message = messages::user(&other.request.message, &other.request.images, other.accepted_at_ms).named(&other.id);
        if !other.is_unclaimed() {
            run.take_in(other);
        }
        message
    };
    queue::steer(runs, run, &run.request).into_iter().map(hear).collect()
}

/// A picture is for the model now; the transcript keeps what it was.
pub(super) fn for_transcript(mut message: ChatMessage) -> ChatMessage {
    for block in message.content.iter_mut().filter(|block| block.r#type == "image") {
        let bytes = block.data.as_ref().map_or(0, String::len) / 4 * 3;
        *block = messages::text_block(format!("[{} of about {bytes} bytes]", block.mime_type.as_deref().unwrap_or("a picture")));
    }
    message
}

fn result(call: &ToolFragment, answer: Answer, at_ms: i64) -> ChatMessage {
    let block = |block| match block {
        Block::Text(text) => messages::text_block(text),
        Block::Image { data, mime_type } => {
            ContentBlock { r#type: "image".to_owned(), data: Some(data), mime_type: Some(mime_type), ..ContentBlock::default() }
        }
    };
    ChatMessage {
        role: "toolResult".to_owned(),
        content: answer.blocks.into_iter().map(block).collect(),
        timestamp_ms: Some(at_ms),
        tool_call_id: Some(call_id(call)),
        tool_name: Some(call.name.clone()),
        is_error: Some(answer.is_error),
        ..ChatMessage::default()
    }
}

fn for_event(answer: &Answer) -> Value {
    let block = |block: &Block| match block {
        Block::Text(text) => json!({"type": "text", "text": cut(text, EVENT_BYTES_MAX)}),
        Block::Image { data, mime_type } => json!({"type": "image", "mimeType": mime_type, "bytes": data.len() / 4 * 3, "omitted": true}),
    };
    let details = if answer.details.to_string().len() > EVENT_BYTES_MAX { json!({"omitted": true}) } else { answer.details.clone() };
    json!({"content": answer.blocks.iter().map(block).collect::<Vec<_>>(), "details": details})
}
