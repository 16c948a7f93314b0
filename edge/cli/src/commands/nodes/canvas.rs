//! `verso nodes canvas`: pages, pictures and interfaces on a node's screen.

use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::Session;
use super::super::remote::{Remote, members, text};
use super::find::Invoke;
use crate::args::{NodesA2ui, NodesCanvas, OnNode, Reach};
use crate::failure::Failure;

/// How large a file of messages may be, in bytes.
const JSONL_BYTES_MAX: u64 = 1 << 20;

/// Whose interfaces these are on the gateway's own canvas.
const SESSION: &str = "main";

pub(super) async fn run(session: &Session, reach: &Reach, command: &NodesCanvas) -> anyhow::Result<()> {
    let mut remote = Remote::open(session, reach).await?;
    match command {
        NodesCanvas::Present { on, target, x, y, width, height } => {
            let placement = members([("x", json!(x)), ("y", json!(y)), ("width", json!(width)), ("height", json!(height))]);
            let placement = if placement == json!({}) { Value::Null } else { placement };
            let params = members([("url", json!(target)), ("placement", placement)]);
            done(&mut remote, on, "canvas.present", params, "Shown.").await
        }
        NodesCanvas::Hide { on } => done(&mut remote, on, "canvas.hide", json!({}), "Hidden.").await,
        NodesCanvas::Navigate { on, page } => done(&mut remote, on, "canvas.navigate", json!({"url": page}), "Gone there.").await,
        NodesCanvas::Eval { on, script, js } => {
            let payload = ask(&mut remote, on, "canvas.eval", json!({"javaScript": script.as_ref().or(js.as_ref())})).await?;
            remote.answer(&payload, || text(&payload, "/payload/result").to_owned())
        }
        NodesCanvas::Snapshot { on, format, max_width, quality } => {
            let format = if format == "png" { "png" } else { "jpeg" };
            let params = members([("format", json!(format)), ("maxWidth", json!(max_width)), ("quality", json!(quality))]);
            let payload = ask(&mut remote, on, "canvas.snapshot", params).await?;
            let path = kept(&payload["payload"])?;
            let format = &payload["payload"]["format"];
            remote.answer(&json!({"file": {"path": path, "format": format}}), || format!("MEDIA:{path}"))
        }
        NodesCanvas::A2ui { command: NodesA2ui::Push { on, jsonl, text } } => {
            let jsonl = match (jsonl, text) {
                (Some(path), _) => messages(path)?,
                (None, text) => line(text.as_deref().unwrap_or_default()),
            };
            // What is wrong is said with its line, before any node hears of it.
            remote.call("canvas.a2ui.pushJSONL", json!({"sessionKey": SESSION, "jsonl": jsonl})).await?;
            done(&mut remote, on, "canvas.a2ui.pushJSONL", json!({"jsonl": jsonl}), "Shown.").await
        }
        NodesCanvas::A2ui { command: NodesA2ui::Reset { on } } => {
            remote.call("canvas.a2ui.reset", json!({"sessionKey": SESSION})).await?;
            done(&mut remote, on, "canvas.a2ui.reset", json!({}), "Taken away.").await
        }
    }
}

async fn ask(remote: &mut Remote<'_>, on: &OnNode, command: &str, params: Value) -> anyhow::Result<Value> {
    let call = Invoke { node: &on.node, command, params, timeout: on.invoke_timeout, key: Uuid::new_v4().to_string() };
    call.send(remote).await
}

async fn done(remote: &mut Remote<'_>, on: &OnNode, command: &str, params: Value, words: &str) -> anyhow::Result<()> {
    let payload = ask(remote, on, command, params).await?;
    remote.answer(&payload, || words.to_owned())
}

/// Puts a picture into a file that nobody else can read, and returns its path.
fn kept(payload: &Value) -> anyhow::Result<String> {
    let wrong = || Failure::new("invalid canvas.snapshot payload");
    let ending = match payload["format"].as_str() {
        Some("png") => ".png",
        Some("jpg" | "jpeg") => ".jpg",
        _ => return Err(wrong().into()),
    };
    let bytes = STANDARD.decode(payload["base64"].as_str().unwrap_or_default()).map_err(|_| wrong())?;
    if bytes.is_empty() {
        return Err(wrong().into());
    }
    let mut file = tempfile::Builder::new().prefix("verso-canvas-snapshot-").suffix(ending).tempfile().context("no picture can be kept")?;
    file.write_all(&bytes).context("the picture cannot be kept")?;
    let (_, path) = file.keep().context("the picture cannot be kept")?;
    Ok(path.display().to_string())
}

fn messages(path: &Path) -> anyhow::Result<String> {
    let mut jsonl = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(JSONL_BYTES_MAX + 1).read_to_string(&mut jsonl)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(JSONL_BYTES_MAX + 1).read_to_string(&mut jsonl))
    };
    let length = read.with_context(|| format!("could not read {}", path.display()))?;
    if u64::try_from(length).unwrap_or(u64::MAX) > JSONL_BYTES_MAX {
        return Err(Failure::new(format!("{} is larger than {JSONL_BYTES_MAX} bytes", path.display())).into());
    }
    Ok(jsonl)
}

/// An interface that shows one text.
fn line(text: &str) -> String {
    let components = json!([
        {"id": "root", "component": {"Column": {"children": {"explicitList": ["text"]}}}},
        {"id": "text", "component": {"Text": {"text": {"literalString": text}, "usageHint": "body"}}},
    ]);
    let update = json!({"surfaceUpdate": {"surfaceId": "main", "components": components}});
    format!("{update}\n{}", json!({"beginRendering": {"surfaceId": "main", "root": "root"}}))
}
