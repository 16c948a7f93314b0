//! Who may connect, and what a peer may then do. Pure rules; the edge brings the facts and keeps the state.

mod access;
mod device;
mod deviceless;
mod network;
mod pairing;
mod refusal;
mod scopes;
mod secret;
mod vouched;

pub use access::{Peer, PeerRole, authorize, may_receive, missing_scope};
pub use device::{Challenge, PayloadVersion, PublicKey, SigningFields, VerifiedDevice, verify_device};
pub use deviceless::{ControlUiPolicy, Deviceless, admit_without_device};
pub use network::{RequestFacts, check_origin, client_address, is_direct_local, is_listed, is_trusted_proxy};
pub use pairing::{Approved, Asked, PairingReason, Waiting, pairing_needed, pairing_required};
pub use refusal::{Refusal, RefusalFacts};
pub use scopes::{ScopeSet, covers, requested_scopes, scope_name};
pub use secret::{Mode, ServerSecret, SharedMethod, check_shared, device_token_candidates, same_secret};
pub use vouched::{TailnetClaim, TrustedProxyPolicy, claimed_by_tailnet, confirm_tailnet, vouched_by_proxy};

use verso_proto::edge::v1::ClientInfo;

/// The id of the browser UI that the gateway itself serves.
const CONTROL_UI: &str = "openclaw-control-ui";

/// Whether the client says that it runs in a browser page.
pub fn is_web_client(client: &ClientInfo) -> bool {
    client.mode == "webchat" || matches!(client.id.as_str(), CONTROL_UI | "webchat-ui" | "webchat")
}
