//! What an MCP server has answered, as far as a model can be shown it.

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::{Value, json};

use crate::tool::{Answer, Block};

/// Parts of one answer that are shown.
const BLOCKS_MAX: usize = 64;

/// The largest picture, in bytes of base64.
const PICTURE_BYTES_MAX: usize = 7 << 20;

/// The longest text of a refusal, in bytes.
const REFUSAL_BYTES_MAX: usize = 2_000;

/// Returns a text of a server at a length that people can read.
pub(super) fn shortened(text: &str) -> String {
    crate::toolset::cut(text.trim(), REFUSAL_BYTES_MAX)
}

/// Reads an answer. Its words are cut later, with those of all tools.
pub(super) fn answer(result: CallToolResult) -> Answer {
    let left_out = result.content.len().saturating_sub(BLOCKS_MAX);
    let mut blocks: Vec<Block> = result.content.into_iter().take(BLOCKS_MAX).map(block).collect();
    if left_out > 0 {
        blocks.push(Block::Text(format!("[{left_out} more parts of the answer are left out]")));
    }
    let structured = result.structured_content.unwrap_or_default();
    if blocks.is_empty() {
        blocks.push(Block::Text(if structured.is_null() { "(no answer)".to_owned() } else { structured.to_string() }));
    }
    Answer { blocks, details: structured, is_error: result.is_error == Some(true) }
}

fn block(block: ContentBlock) -> Block {
    match block {
        ContentBlock::Text(text) => Block::Text(text.text),
        ContentBlock::Image(image) if image.data.len() <= PICTURE_BYTES_MAX => {
            Block::Image { data: image.data, mime_type: image.mime_type }
        }
        ContentBlock::Image(image) => {
            Block::Text(format!("[a picture of about {} bytes, too large to be shown]", image.data.len() / 4 * 3))
        }
        ContentBlock::Audio(audio) => Block::Text(format!("[a sound of about {} bytes, {}]", audio.data.len() / 4 * 3, audio.mime_type)),
        ContentBlock::Resource(embedded) => resource(embedded.resource),
        other => Block::Text(listed(&other)),
    }
}

fn resource(contents: ResourceContents) -> Block {
    match contents {
        ResourceContents::TextResourceContents { uri, text, .. } => Block::Text(format!("{uri}\n{text}")),
        ResourceContents::BlobResourceContents { uri, mime_type, blob, .. } => match mime_type {
            Some(mime_type) if mime_type.starts_with("image/") && blob.len() <= PICTURE_BYTES_MAX => Block::Image { data: blob, mime_type },
            mime_type => {
                let kind = mime_type.unwrap_or_else(|| "of an unknown kind".to_owned());
                Block::Text(format!("[{uri}: about {} bytes, {kind}]", blob.len() / 4 * 3))
            }
        },
        _ => Block::Text("[a resource of a kind that is not known]".to_owned()),
    }
}

/// A link is shown as what it says of itself.
fn listed(block: &ContentBlock) -> String {
    let value: Value = serde_json::to_value(block).unwrap_or_else(|_| json!({}));
    let word = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    shortened(&format!("[{} {}] {}", word("name"), word("uri"), word("description")))
}
