//! Who is asking, as call metadata: a principal, signed by the process that let them in, and passed on as it is.

use std::ops::Deref;
use std::sync::Arc;

use prost::Message as _;
use tonic::metadata::{Binary, MetadataValue};
use verso_proto::wire::v1::{Principal, PrincipalToken};

use crate::credential::Credential;

pub(crate) const KEY: &str = "verso-principal-bin";

/// Somebody for whom a process of this gateway vouches. Clones share it.
#[derive(Debug, Clone)]
pub struct Vouched(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    principal: Principal,
    token: MetadataValue<Binary>,
}

impl Vouched {
    /// Vouches for `principal` as the process that `credential` names; as nobody where processes have none.
    pub fn new(principal: Principal, credential: Option<&Credential>) -> Self {
        let token = match credential {
            Some(credential) => credential.vouch(&principal),
            None => PrincipalToken { principal: principal.encode_to_vec(), ..PrincipalToken::default() },
        };
        Self::received(principal, &token)
    }

    /// Makes `request` one that is made on their behalf.
    pub fn stamp<T>(&self, request: &mut tonic::Request<T>) {
        request.metadata_mut().insert_bin(KEY, self.0.token.clone());
    }

    /// Takes over what somebody else has vouched for.
    pub(crate) fn received(principal: Principal, token: &PrincipalToken) -> Self {
        Self(Arc::new(Inner { principal, token: MetadataValue::from_bytes(&token.encode_to_vec()) }))
    }
}

impl Deref for Vouched {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.0.principal
    }
}

/// Returns who is asking, if the caller said so.
pub fn principal<T>(request: &tonic::Request<T>) -> Option<Vouched> {
    request.extensions().get::<Vouched>().cloned()
}
