//! A streaming answer that goes on after its service died: the caller says how much of it has arrived.

use tonic::metadata::{MetadataMap, MetadataValue};

const KEY: &str = "verso-delivered";

/// Returns how many items of the answer the caller already has; the service leaves that many out.
pub fn delivered<T>(request: &tonic::Request<T>) -> usize {
    request.metadata().get(KEY).and_then(|count| count.to_str().ok()).and_then(|count| count.parse().ok()).unwrap_or(0)
}

pub(crate) fn insert(metadata: &mut MetadataMap, delivered: usize) {
    metadata.insert(KEY, MetadataValue::from(delivered as u64));
}
