//! A streaming answer that goes on after its service died: the caller says how much of it has arrived.

use tonic::metadata::{MetadataMap, MetadataValue};

const KEY: &str = "verso-delivered";

/// Returns how many items of the answer the caller already has, when this is not the first time that it asks; the service leaves that many
/// out.
pub fn delivered<T>(request: &tonic::Request<T>) -> Option<usize> {
    request.metadata().get(KEY)?.to_str().ok()?.parse().ok()
}

pub(crate) fn insert(metadata: &mut MetadataMap, delivered: usize) {
    metadata.insert(KEY, MetadataValue::from(delivered as u64));
}
