//! `config.*`: the file, read without its secrets and written on top of what the writer has seen.

mod answer;
pub(crate) mod by_agents;
mod hashes;
pub(super) mod overlay;

use verso_config::{Document, EditError, Error, KeyPath, Redactor, Snapshot, Store};
use verso_kit::config::parse;
use verso_proto::Json;
use verso_proto::edge::v1::{
    ConfigApplyRequest, ConfigApplyResponse, ConfigGetRequest, ConfigGetResponse, ConfigIssue, ConfigPatchRequest, ConfigPatchResponse,
    ConfigPreviewRequest, ConfigPreviewResponse, ConfigSchemaLookupRequest, ConfigSchemaRequest, ConfigSetRequest, ConfigSetResponse,
};
use verso_protocol::{ErrorShape, Version};

use super::Local;
use crate::dispatch::Asking;
use crate::error::fault;
use crate::fence::Fence;
use crate::gateway::Gateway;
use answer::{Change, resolved_leniently};
use hashes::Hashes;

pub(super) fn register(local: &mut Local) {
    local.on::<ConfigGetRequest, _, _>(|asking, _| on_disk(move || get(&asking)));
    local.on_rendered::<ConfigSchemaRequest, _, _>(|_, _| async { answer::schema() });
    local.on::<ConfigSchemaLookupRequest, _, _>(|_, request| async move { answer::lookup(&request.path) });
    local.on::<ConfigSetRequest, _, _>(|asking, request| {
        on_disk(move || {
            let desk = Desk::of(&asking)?;
            let written = desk.replace(&request.raw, request.base_hash.as_deref())?;
            Ok(ConfigSetResponse { ok: true, path: desk.shown_path(), config: Some(written.config) })
        })
    });
    local.on::<ConfigApplyRequest, _, _>(|asking, request| {
        on_disk(move || {
            let desk = Desk::of(&asking)?;
            let change = desk.replace(&request.raw, request.base_hash.as_deref())?;
            let (restart, mut sentinel) = change.told(&asking.gateway, "config.apply", request.note);
            if let Some(payload) = &mut sentinel.payload {
                (payload.session_key, payload.delivery_context) = (request.session_key, request.delivery_context);
            }
            let path = desk.shown_path();
            Ok(ConfigApplyResponse { ok: true, path, config: Some(change.config), restart: Some(restart), sentinel: Some(sentinel) })
        })
    });
    local.on::<ConfigPreviewRequest, _, _>(|asking, request| on_disk(move || preview(&asking, &request)));
    local.on::<ConfigPatchRequest, _, _>(|asking, request| {
        on_disk(move || {
            let desk = Desk::of(&asking)?;
            let change = desk.patch(&request)?;
            let (restart, mut sentinel) = change.told(&asking.gateway, "config.patch", request.note);
            if let Some(payload) = &mut sentinel.payload {
                (payload.session_key, payload.delivery_context) = (request.session_key, request.delivery_context);
            }
            let path = desk.shown_path();
            Ok(ConfigPatchResponse { ok: true, path, config: Some(change.config), restart: Some(restart), sentinel: Some(sentinel) })
        })
    });
}

/// Files are read and written where waiting for them holds up nobody.
pub(crate) async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> Result<T, ErrorShape> + Send + 'static) -> Result<T, ErrorShape> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(fault(&error)))
}

/// The file as one client sees it.
struct Desk {
    store: Store,
    fence: Fence,
    seen: Snapshot,
    hashes: Hashes,
    redactor: Redactor,
}

impl Desk {
    fn of(asking: &Asking) -> Result<Self, ErrorShape> {
        Self::open(&asking.gateway, asking.outlet.peer.version)
    }

    fn open(gateway: &Gateway, version: Version) -> Result<Self, ErrorShape> {
        let context = &gateway.context;
        let store = Store::new(&gateway.config_path(), &context.env);
        let seen = store.snapshot();
        let redactor = Redactor::of([&seen.parsed, seen.file.value(), &resolved_leniently(&seen.file)]);
        let hashes = Hashes::of(&context.state_dir, version).map_err(|error| fault(&error))?;
        Ok(Self { store, fence: gateway.fence.clone(), seen, hashes, redactor })
    }

    fn shown_path(&self) -> String {
        self.store.path().display().to_string()
    }

    fn replace(&self, raw: &str, base_hash: Option<&str>) -> Result<Change, ErrorShape> {
        self.change(base_hash, |stored| {
            let sent = Document::parse(raw)?;
            Ok(self.redactor.restore(&sent, stored)?)
        })
    }

    fn patch(&self, request: &ConfigPatchRequest) -> Result<Change, ErrorShape> {
        let patch = parse(&request.raw).map_err(|reason| ErrorShape::invalid(format!("JSON5 parse failed: {reason}")))?;
        if !patch.is_object() {
            return Err(ErrorShape::invalid("config.patch raw must be an object"));
        }
        let replace_paths: Vec<KeyPath> = request.replace_paths.iter().filter_map(|path| KeyPath::parse(path)).collect();
        self.change(request.base_hash.as_deref(), |stored| self.merged(stored, &patch, &replace_paths))
    }

    /// The text of `stored` with a patch laid over it.
    fn merged(&self, stored: &Document, patch: &serde_json::Value, replace_paths: &[KeyPath]) -> Result<String, Error> {
        if !self.seen.is_valid() {
            return Err(Error::AlreadyInvalid);
        }
        let patch = self.redactor.restore_value(patch, stored.value())?;
        Ok(stored.merge(&patch, replace_paths)?.text().to_owned())
    }

    /// Whether the writer has seen the present text.
    fn admit(&self, present: Option<&str>, base_hash: Option<&str>) -> Result<(), Error> {
        match (present, base_hash) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(Error::BaseRequired),
            (Some(text), Some(hash)) if self.hashes.matches(text, hash) => Ok(()),
            (Some(_), Some(_)) => Err(Error::Changed),
        }
    }

    fn change(&self, base_hash: Option<&str>, edit: impl FnOnce(&Document) -> Result<String, Error>) -> Result<Change, ErrorShape> {
        self.write(|present| self.admit(present, base_hash), edit).map_err(|error| self.refusal(&error))?;
        let now = self.store.snapshot();
        let redactor = Redactor::of([&now.parsed, now.file.value(), &resolved_leniently(&now.file)]);
        Ok(Change { config: json(&redactor.value(&now.parsed)), before: self.seen.file.value().clone(), after: now.file.value().clone() })
    }

    fn write(
        &self,
        admit: impl FnOnce(Option<&str>) -> Result<(), Error>,
        edit: impl FnOnce(&Document) -> Result<String, Error>,
    ) -> Result<(), Error> {
        let refused = |source| Error::Io { doing: "write", path: self.store.path().to_owned(), source };
        let _others_wait = self.fence.enter().map_err(refused)?;
        let written = self.store.change(admit, edit)?;
        tracing::info!(generation = written.generation, changed = written.changed, "configuration written");
        Ok(())
    }

    fn refusal(&self, error: &Error) -> ErrorShape {
        match error {
            Error::Invalid(problems) => {
                let issues: Vec<_> = problems
                    .iter()
                    .map(|problem| serde_json::json!({"path": problem.path, "message": self.redactor.text(&problem.message)}))
                    .collect();
                ErrorShape::invalid("invalid config").with_details(&serde_json::json!({"issues": issues}))
            }
            Error::Io { .. } | Error::Link(_) | Error::Edit(EditError::TooLarge) => {
                tracing::error!(error = error as &dyn std::error::Error, "configuration not written");
                ErrorShape::new(verso_protocol::Code::Unavailable, format!("config not written: {error}"))
            }
            other => ErrorShape::invalid(self.redactor.text(&other.to_string())),
        }
    }
}

/// Says what a text would be and do in the file's place.
fn preview(asking: &Asking, request: &ConfigPreviewRequest) -> Result<ConfigPreviewResponse, ErrorShape> {
    let desk = Desk::of(asking)?;
    let restored = |stored: &Document| -> Result<String, Error> { Ok(desk.redactor.restore(&Document::parse(&request.raw)?, stored)?) };
    let rehearsed = desk.store.rehearse(|present| desk.admit(present, request.base_hash.as_deref()), restored);
    let next = match rehearsed {
        Ok(next) => next,
        Err(error @ (Error::BaseRequired | Error::Changed)) => return Err(desk.refusal(&error)),
        Err(error) => {
            let issue = ConfigIssue { path: String::new(), message: desk.refusal(&error).message.into_owned() };
            return Ok(ConfigPreviewResponse { valid: false, issues: vec![issue], restart: None });
        }
    };
    if !next.is_valid() {
        let issues = [&next.problems, &next.legacy].into_iter().flat_map(|problems| answer::issues(problems, &desk.redactor)).collect();
        return Ok(ConfigPreviewResponse { valid: false, issues, restart: None });
    }
    let change = Change { config: Json::default(), before: desk.seen.file.value().clone(), after: next.file.value().clone() };
    let (restart, _) = change.told(&asking.gateway, "config.preview", None);
    Ok(ConfigPreviewResponse { valid: true, issues: Vec::new(), restart: Some(restart) })
}

fn get(asking: &Asking) -> Result<ConfigGetResponse, ErrorShape> {
    let desk = Desk::of(asking)?;
    let (seen, redactor) = (&desk.seen, &desk.redactor);
    let view = |value: &serde_json::Value| Some(json(&redactor.value(value)));
    let resolved = resolved_leniently(&seen.file);
    let running = asking.gateway.running_config();
    let in_use = resolved_leniently(&running);
    let in_use = verso_config::with_defaults(Redactor::of([&in_use]).value(&in_use));
    let raw = seen.raw.as_deref().and_then(|text| redactor.document(&Document::parse(text).ok()?).ok());
    Ok(ConfigGetResponse {
        path: desk.shown_path(),
        exists: seen.raw.is_some(),
        raw,
        parsed: view(&seen.parsed),
        valid: seen.is_valid(),
        config: view(&verso_config::with_defaults(resolved.clone())),
        hash: desk.hashes.of_text(seen.raw.as_deref().unwrap_or_default()),
        issues: answer::issues(&seen.problems, redactor),
        warnings: answer::issues(&seen.warnings, redactor),
        legacy_issues: answer::issues(&seen.legacy, redactor),
        included_paths: seen.file.files().iter().skip(1).map(|path| path.display().to_string()).collect(),
        source_config: view(seen.file.value()),
        resolved: view(&resolved),
        runtime_config: Some(json(&in_use)),
        config_revision_hash: desk.hashes.of_text(&seen.file.value().to_string()),
        applied_config_hash: desk.hashes.of_text(&running.value().to_string()),
    })
}

fn json(value: &serde_json::Value) -> Json {
    Json { text: value.to_string() }
}
