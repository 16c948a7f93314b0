//! Documents that newer clients show: folders below `documents/` with a manifest of their own. They get no scripts of ours.

use std::io::{self, Read as _};

use http::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use http::{Response, header};
use serde::Deserialize;

use crate::root::Root;
use crate::route::Place;
use crate::site::Body;

/// Where documents are.
const FOLDER: &str = "documents";

/// Says what a document is.
const MANIFEST: &str = "manifest.json";

/// How large a manifest may be, in bytes.
const MANIFEST_BYTES_MAX: u64 = 64 << 10;

/// For documents whose scripts may do nothing but draw.
const SCRIPTS_ONLY: &str = "default-src 'none'; script-src 'unsafe-inline' 'self'; style-src 'unsafe-inline' 'self'; img-src 'self' data: blob:; \
    media-src 'self' data: blob:; font-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox allow-scripts";

/// A document that a file belongs to.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Document {
    /// `scripts`: runs its scripts, apart from everything else.
    csp_sandbox: Option<String>,
}

impl Document {
    /// The document of the file at `place`; none when it belongs to none. It blocks.
    pub(crate) fn of(root: &Root, place: &Place) -> io::Result<Option<Self>> {
        let [folder, id, ..] = place.names.as_slice() else { return Ok(None) };
        if folder != FOLDER {
            return Ok(None);
        }
        let manifest = Place { names: vec![folder.clone(), id.clone(), MANIFEST.to_owned()], folder: false };
        let Some(opened) = root.open(&manifest)? else { return Ok(None) };
        let mut text = Vec::new();
        std::fs::File::from(opened.file).take(MANIFEST_BYTES_MAX).read_to_end(&mut text)?;
        // What cannot be read asks for the most confined way.
        Ok(Some(serde_json::from_slice(&text).unwrap_or_else(|_| Self { csp_sandbox: Some("scripts".to_owned()) })))
    }
}

/// Adds the policy that a document asks for to its pages.
pub(crate) fn confine(mut response: Response<Body>, document: Option<&Document>) -> Response<Body> {
    let is_page = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if is_page && document.is_some_and(|document| document.csp_sandbox.as_deref() == Some("scripts")) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(SCRIPTS_ONLY));
    }
    response
}
