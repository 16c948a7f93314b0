//! The tool `image`: what is to be seen in a picture, told by a model that sees.

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::{BoxFuture, FutureExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use verso_kit::web::Fetcher;
use verso_tools::files::{Place, picture_type};
use verso_tools::tool::{Answer, Refused, Scene, Spec, Tool, arguments, blocking};

use crate::keys::AgentId;
use crate::messages;
use crate::models::{Model, aside};
use crate::provider::{Prompt, Sampling};
use crate::runs::Runs;

/// The largest picture, in bytes.
const PICTURE_BYTES_MAX: usize = 5_000_000;

/// The longest description, in tokens.
const TOKENS_MAX: u64 = 2_048;

/// What is asked when nobody says.
const QUESTION: &str = "Describe what is to be seen in this picture.";

/// The tool `image`.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) runs: Runs,
    /// Those that see, the preferred first; never empty.
    pub(super) models: Vec<Arc<Model>>,
}

#[derive(Debug, Deserialize)]
struct Arguments {
    #[serde(alias = "path", alias = "url")]
    image: String,
    prompt: Option<String>,
    model: Option<String>,
}

impl Image {
    fn chain(&self, wanted: Option<&str>) -> Result<Vec<Arc<Model>>, Refused> {
        let Some(name) = wanted.map(str::trim).filter(|name| !name.is_empty()) else { return Ok(self.models.clone()) };
        let found = self.models.iter().find(|model| model.full_name() == name || model.id == name);
        let known = || self.models.iter().map(|model| model.full_name()).collect::<Vec<_>>().join(", ");
        found
            .map(|model| vec![Arc::clone(model)])
            .ok_or_else(|| Refused::Arguments(format!("{name} is not one that sees; there are {}", known())))
    }
}

impl Tool for Image {
    fn spec(&self) -> Arc<Spec> {
        static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| {
            let properties = json!({
                "image": {"type": "string", "description": "A file of the workspace, or a public address"},
                "prompt": {"type": "string", "description": "What to look for"},
                "model": {"type": "string"},
            });
            Spec::new("image", "Has a model that sees look at a picture and tell what is there.", properties, &["image"]).into()
        });
        Arc::clone(&SPEC)
    }

    fn parallel(&self) -> bool {
        true
    }

    fn call<'a>(&'a self, scene: &'a Scene, value: Value) -> BoxFuture<'a, Result<Answer, Refused>> {
        async move {
            let wanted: Arguments = arguments(value)?;
            let chain = self.chain(wanted.model.as_deref())?;
            let picture = load(scene, wanted.image.trim()).await?;
            let question = wanted.prompt.filter(|prompt| !prompt.trim().is_empty()).unwrap_or_else(|| QUESTION.to_owned());
            let prompt = Prompt { system: String::new(), messages: vec![Arc::new(messages::user(&question, &[picture], 0))] };
            let sampling = Sampling { max_tokens: Some(TOKENS_MAX), ..Sampling::default() };
            let asked = aside::ask(&self.runs, &AgentId::normalize(&scene.agent), &chain, &prompt, &sampling).await;
            let (model, text) = asked.map_err(|reason| Refused::failed("no model could look at the picture", reason))?;
            Ok(Answer::text(text).with_details(json!({"model": model.full_name()})))
        }
        .boxed()
    }
}

/// Reads a picture out of the workspace, or from the public internet.
async fn load(scene: &Scene, image: &str) -> Result<messages::Image, Refused> {
    let bytes = if image.contains("://") {
        let fetched = Fetcher::default().get(image, PICTURE_BYTES_MAX).await;
        fetched.map_err(|error| Refused::failed("the picture cannot be fetched", error))?.bytes
    } else {
        let (place, path) = (Place::new(&scene.workspace), image.to_owned());
        blocking(move || Ok(place.read(&path, PICTURE_BYTES_MAX as u64)?)).await?
    };
    let mime_type = picture_type(&bytes).ok_or_else(|| Refused::Arguments(format!("{image} is no picture that a model can see")))?;
    Ok(messages::Image { mime_type: mime_type.to_owned(), data: STANDARD.encode(bytes) })
}
