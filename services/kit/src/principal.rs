//! Who is asking, as call metadata.

use prost::Message as _;
use tonic::metadata::{MetadataMap, MetadataValue};
use verso_proto::wire::v1::Principal;

const KEY: &str = "verso-principal-bin";

/// Returns who is asking, if the caller said so.
pub fn principal<T>(request: &tonic::Request<T>) -> Option<Principal> {
    let bytes = request.metadata().get_bin(KEY)?.to_bytes().ok()?;
    Principal::decode(bytes).ok()
}

pub(crate) fn insert(metadata: &mut MetadataMap, principal: &Principal) {
    metadata.insert_bin(KEY, MetadataValue::from_bytes(&principal.encode_to_vec()));
}
