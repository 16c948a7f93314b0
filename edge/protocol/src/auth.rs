//! Who may connect, and what a peer may then do. Pure rules; the edge brings the facts and keeps the state.

mod access;
mod device;
mod deviceless;
mod network;
mod pairing;
mod scopes;
mod secret;

pub use access::{Peer, PeerRole, authorize, may_receive, missing_scope};
pub use device::{Challenge, PayloadVersion, PublicKey, SigningFields, VerifiedDevice, verify_device};
pub use deviceless::{ControlUiPolicy, Deviceless, admit_without_device};
pub use network::{RequestFacts, check_origin, client_address, is_direct_local};
pub use pairing::{Approved, Asked, PairingReason, Waiting, pairing_needed, pairing_required};
pub use scopes::{ScopeSet, covers, requested_scopes, scope_name};
pub use secret::{Mode, Refusal, RefusalFacts, ServerSecret, SharedMethod, check_shared, device_token_candidates, same_secret};

use verso_proto::edge::v1::ClientInfo;

/// The id of the browser UI that the gateway itself serves.
const CONTROL_UI: &str = "openclaw-control-ui";

/// Whether the client says that it runs in a browser page.
pub fn is_web_client(client: &ClientInfo) -> bool {
    client.mode == "webchat" || matches!(client.id.as_str(), CONTROL_UI | "webchat-ui" | "webchat")
}
