//! The tool `canvas`: pages and interfaces on a device, through the node service; interfaces also on the gateway's own canvas.

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::{BoxFuture, FutureExt as _};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use verso_kit::peer::{Caller, Peer};
use verso_proto::Json;
use verso_proto::canvas::v1::{A2uiPushJsonlRequest, A2uiResetRequest};
use verso_proto::node::v1::InvokeRequest;
use verso_tools::files::Place;
use verso_tools::tool::{Answer, Block, Refused, Scene, Spec, Tool, arguments, blocking};

use super::devices;

/// How long a device has to answer, in milliseconds.
const WAIT_MS: i64 = 30_000;

/// How large a file of messages may be, in bytes.
const JSONL_BYTES_MAX: u64 = 1 << 20;

/// How large a picture may be, in bytes.
const PICTURE_BYTES_MAX: usize = 6 << 20;

/// The tool `canvas`.
#[derive(Debug)]
pub(super) struct Canvas {
    node: Peer,
    canvas: Peer,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    action: String,
    node: Option<String>,
    target: Option<String>,
    url: Option<String>,
    x: Option<f64>,
    y: Option<f64>,
    width: Option<f64>,
    height: Option<f64>,
    java_script: Option<String>,
    output_format: Option<String>,
    max_width: Option<f64>,
    quality: Option<f64>,
    jsonl: Option<String>,
    jsonl_path: Option<String>,
}

/// One call of the tool.
struct Asked<'a> {
    tool: &'a Canvas,
    scene: &'a Scene,
    wanted: Arguments,
}

impl Canvas {
    pub(super) fn new(node: Peer, canvas: Peer) -> Self {
        Self { node, canvas }
    }
}

impl Asked<'_> {
    async fn answer(self) -> Result<Answer, Refused> {
        match self.wanted.action.as_str() {
            "present" => self.done("canvas.present", self.presentation()).await,
            "hide" => self.done("canvas.hide", Value::Null).await,
            "navigate" => {
                let url = self.wanted.url.clone().or_else(|| self.wanted.target.clone());
                let url = url.ok_or_else(|| Refused::Arguments("url is required".to_owned()))?;
                self.done("canvas.navigate", json!({"url": url})).await
            }
            "eval" => self.evaluate().await,
            "snapshot" => self.snapshot().await,
            "a2ui_push" => self.push().await,
            "a2ui_reset" => self.reset().await,
            other => Err(Refused::Arguments(format!("there is no action \"{other}\""))),
        }
    }

    fn presentation(&self) -> Value {
        let wanted = &self.wanted;
        let sizes = [("x", wanted.x), ("y", wanted.y), ("width", wanted.width), ("height", wanted.height)];
        let placement: Map<String, Value> = sizes.into_iter().filter_map(|(name, size)| Some((name.to_owned(), json!(size?)))).collect();
        let mut params = Map::new();
        if let Some(url) = wanted.url.as_ref().or(wanted.target.as_ref()) {
            params.insert("url".to_owned(), json!(url));
        }
        if !placement.is_empty() {
            params.insert("placement".to_owned(), Value::Object(placement));
        }
        Value::Object(params)
    }

    async fn evaluate(&self) -> Result<Answer, Refused> {
        let script = self.wanted.java_script.as_deref().filter(|script| !script.trim().is_empty());
        let script = script.ok_or_else(|| Refused::Arguments("javaScript is required".to_owned()))?;
        let payload = self.invoke("canvas.eval", json!({"javaScript": script})).await?;
        Ok(match payload["result"].as_str() {
            Some(result) => Answer::text(result).with_details(payload.clone()),
            None => Answer::json(json!({"ok": true})),
        })
    }

    async fn snapshot(&self) -> Result<Answer, Refused> {
        let format = match self.wanted.output_format.as_deref().unwrap_or("png").to_ascii_lowercase().as_str() {
            "png" => "png",
            "jpg" | "jpeg" => "jpeg",
            other => return Err(Refused::Arguments(format!("outputFormat is png, jpg or jpeg, not \"{other}\""))),
        };
        let mut params = json!({"format": format});
        if let Some(width) = self.wanted.max_width {
            params["maxWidth"] = json!(width);
        }
        if let Some(quality) = self.wanted.quality {
            params["quality"] = json!(quality);
        }
        let payload = self.invoke("canvas.snapshot", params).await?;
        let (Some(format), Some(data)) = (payload["format"].as_str(), payload["base64"].as_str()) else {
            return Err(Refused::Failed("invalid canvas.snapshot payload".to_owned()));
        };
        // Its length says enough to refuse it undecoded.
        if data.len() / 4 * 3 > PICTURE_BYTES_MAX || STANDARD.decode(data).is_err() {
            return Err(Refused::Failed(format!(
                "the picture is no base64 of at most {PICTURE_BYTES_MAX} bytes; ask for a smaller maxWidth"
            )));
        }
        let mime_type = if matches!(format, "jpg" | "jpeg") { "image/jpeg" } else { "image/png" };
        let image = Block::Image { data: data.to_owned(), mime_type: mime_type.to_owned() };
        Ok(Answer { blocks: vec![image], details: json!({"format": format}), is_error: false })
    }

    /// The gateway's canvas keeps the session's surfaces and checks the messages; a device that is named shows them as well.
    async fn push(&self) -> Result<Answer, Refused> {
        let jsonl = self.messages().await?;
        let request = A2uiPushJsonlRequest { session_key: Some(self.scene.session.clone()), jsonl: jsonl.clone() };
        let pushed = self.tool.canvas.call(request, &Caller::default()).await;
        let pushed = pushed.map_err(|error| Refused::Failed(error.message().to_owned()))?;
        if self.wanted.node.is_some() {
            self.invoke("canvas.a2ui.pushJSONL", json!({"jsonl": jsonl})).await?;
        }
        Ok(Answer::json(json!({"ok": true, "surfaces": pushed.surfaces})))
    }

    async fn reset(&self) -> Result<Answer, Refused> {
        let request = A2uiResetRequest { session_key: Some(self.scene.session.clone()) };
        self.tool.canvas.call(request, &Caller::default()).await.map_err(|error| Refused::Failed(error.message().to_owned()))?;
        if self.wanted.node.is_some() {
            self.invoke("canvas.a2ui.reset", Value::Null).await?;
        }
        Ok(Answer::json(json!({"ok": true})))
    }

    async fn messages(&self) -> Result<String, Refused> {
        if let Some(jsonl) = self.wanted.jsonl.clone().filter(|jsonl| !jsonl.trim().is_empty()) {
            return Ok(jsonl);
        }
        let path = self.wanted.jsonl_path.clone().ok_or_else(|| Refused::Arguments("jsonl or jsonlPath is required".to_owned()))?;
        let place = Place::new(&self.scene.workspace);
        let bytes = blocking(move || Ok(place.read(&path, JSONL_BYTES_MAX)?)).await?;
        String::from_utf8(bytes).map_err(|error| Refused::failed("the file is not UTF-8", error))
    }

    async fn done(&self, command: &str, params: Value) -> Result<Answer, Refused> {
        self.invoke(command, params).await?;
        Ok(Answer::json(json!({"ok": true})))
    }

    /// Has the named device carry out a command; returns what it says.
    async fn invoke(&self, command: &str, params: Value) -> Result<Value, Refused> {
        let name = self.wanted.node.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Refused::Arguments("node required".to_owned()))?;
        let request = InvokeRequest {
            node_id: devices::id(&self.tool.node, name).await?,
            command: command.to_owned(),
            params: (!params.is_null()).then(|| Json { text: params.to_string() }),
            timeout_ms: Some(WAIT_MS),
            idempotency_key: format!("{}-{}-{command}", self.scene.run, self.scene.call),
            session_key: Some(self.scene.session.clone()),
            ..InvokeRequest::default()
        };
        Ok(devices::payload(devices::invoke(&self.tool.node, request).await?).unwrap_or_default())
    }
}

impl Tool for Canvas {
    fn spec(&self) -> Arc<Spec> {
        static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| {
            let number = json!({"type": "number"});
            let properties = json!({
                "action": {"type": "string", "enum": ["present", "hide", "navigate", "eval", "snapshot", "a2ui_push", "a2ui_reset"]},
                "node": {"type": "string", "description": "Id or name of a device; for a2ui_push and a2ui_reset it may be left out"},
                "target": {"type": "string", "description": "For present and navigate: the same as url"},
                "url": {"type": "string", "description": "For present and navigate; a path is one of the canvas"},
                "x": number, "y": number, "width": number, "height": number,
                "javaScript": {"type": "string", "description": "For eval"},
                "outputFormat": {"type": "string", "enum": ["png", "jpg", "jpeg"], "description": "For snapshot"},
                "maxWidth": number, "quality": number,
                "jsonl": {"type": "string", "description": "For a2ui_push: messages of A2UI v0.8, one a line"},
                "jsonlPath": {"type": "string", "description": "The same, as a file of the workspace"},
            });
            let description = "Shows pages and interfaces (A2UI v0.8) on a device's canvas, or interfaces on the gateway's own; evaluates scripts in \
                and takes pictures of a device's.";
            Spec::new("canvas", description, properties, &["action"]).into()
        });
        Arc::clone(&SPEC)
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move { Asked { tool: self, scene, wanted: arguments(value)? }.answer().await }.boxed()
    }
}
