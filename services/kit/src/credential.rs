//! Who a process is, proven to the other processes of its gateway, and for whom it speaks.
//!
//! The supervisor is the [`Authority`]: it gives each process that it starts a [`Credential`]. With it the process signs what it says of
//! itself (a token for each process that it calls) and, where it lets clients in, what it says of them. All of it is checked by
//! `grpc::gate`. `verso/wire/v1/credential.proto` has the shapes.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use prost::Message as _;
use tonic::metadata::{Binary, MetadataValue};
use verso_proto::wire::v1::{CallerToken, Certificate, Credential as Written, Principal, PrincipalToken};

use crate::clock::Clock;

/// The secret under which a process is given its credential.
pub const SECRET: &str = "VERSO_CREDENTIAL";

/// The file of the run folder that holds the credential of the owner's command line.
pub const OPERATOR_FILE: &str = "operator.credential";

/// What the owner's command line is called.
pub const OPERATOR: &str = "operator";

/// How long a token says who calls, in milliseconds.
pub(crate) const TOKEN_LIFE_MS: i64 = 5 * 60_000;

/// After how long a caller makes another one, in milliseconds.
const TOKEN_RENEWAL_MS: i64 = 60_000;

/// What a signature is for: none is good for anything else.
const CERTIFICATE: &[u8] = b"verso certificate 1";
const CALLER: &[u8] = b"verso caller 1";
const PRINCIPAL: &[u8] = b"verso principal 1";

/// The text is no credential.
#[derive(Debug, thiserror::Error)]
#[error("not a credential of this gateway")]
pub struct Unusable;

/// Says who the processes of one gateway are.
pub struct Authority {
    key: SigningKey,
}

impl Authority {
    /// Makes one that nobody has known before.
    pub fn generate() -> Self {
        Self { key: SigningKey::from_bytes(&rand::random()) }
    }

    /// Makes the credential of one incarnation of a process.
    pub fn credential(&self, process: &str, epoch: u64) -> Credential {
        let key = SigningKey::from_bytes(&rand::random());
        let mut certificate =
            Certificate { process: process.to_owned(), epoch, key: key.verifying_key().as_bytes().to_vec(), signature: Vec::new() };
        certificate.signature = self.key.sign(&described(&certificate)).to_vec();
        Credential { own: Arc::new(Own { certificate, key, authority: self.key.verifying_key(), tokens: Mutex::default() }) }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// What makes a process the one that it says it is. Clones share it.
#[derive(Clone)]
pub struct Credential {
    own: Arc<Own>,
}

struct Own {
    certificate: Certificate,
    key: SigningKey,
    authority: VerifyingKey,
    /// The last token for each process that was called, and when it was made.
    tokens: Mutex<HashMap<String, (i64, MetadataValue<Binary>)>>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Certificate { process, epoch, .. } = &self.own.certificate;
        f.debug_struct("Credential").field("process", process).field("epoch", epoch).finish_non_exhaustive()
    }
}

impl Credential {
    /// Reads what [`Credential::to_text`] has written.
    pub fn parse(text: &str) -> Result<Self, Unusable> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| Unusable)?;
        let written = Written::decode(bytes.as_slice()).map_err(|_| Unusable)?;
        let certificate = written.certificate.ok_or(Unusable)?;
        let key = SigningKey::from_bytes(&written.seed.try_into().map_err(|_| Unusable)?);
        let authority = verifying_key(&written.authority).ok_or(Unusable)?;
        let is_own = certificate.key == key.verifying_key().as_bytes();
        if !is_own || !is_signed(&authority, &described(&certificate), &certificate.signature) {
            return Err(Unusable);
        }
        Ok(Self { own: Arc::new(Own { certificate, key, authority, tokens: Mutex::default() }) })
    }

    /// Writes the credential as one line. Whoever reads it can be this process.
    pub fn to_text(&self) -> String {
        let Own { certificate, key, authority, .. } = self.own.as_ref();
        let written =
            Written { certificate: Some(certificate.clone()), seed: key.to_bytes().to_vec(), authority: authority.as_bytes().to_vec() };
        STANDARD.encode(written.encode_to_vec())
    }

    /// Returns what signs the credentials of this gateway.
    pub(crate) fn authority(&self) -> VerifyingKey {
        self.own.authority
    }

    /// Returns what tells `audience` who calls.
    pub(crate) fn token(&self, audience: &str, clock: &Clock) -> MetadataValue<Binary> {
        let now_ms = clock.now_ms();
        let mut tokens = self.own.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_ms, token)) = tokens.get(audience)
            // A clock that was set makes another one too.
            && (0..TOKEN_RENEWAL_MS).contains(&(now_ms - made_ms))
        {
            return token.clone();
        }
        let mut token = CallerToken {
            certificate: Some(self.own.certificate.clone()),
            audience: audience.to_owned(),
            issued_at_ms: now_ms,
            signature: Vec::new(),
        };
        token.signature = self.own.key.sign(&called(&token)).to_vec();
        let token = MetadataValue::from_bytes(&token.encode_to_vec());
        tokens.insert(audience.to_owned(), (now_ms, token.clone()));
        token
    }

    /// Says on whose behalf this process calls others.
    pub(crate) fn vouch(&self, principal: &Principal) -> PrincipalToken {
        let principal = principal.encode_to_vec();
        let signature = self.own.key.sign(&spoken_for(&principal)).to_vec();
        PrincipalToken { certificate: Some(self.own.certificate.clone()), principal, signature }
    }
}

/// What a certificate's signature is over.
fn described(certificate: &Certificate) -> Vec<u8> {
    let Certificate { process, epoch, key, .. } = certificate;
    statement(CERTIFICATE, &[process.as_bytes(), &epoch.to_be_bytes(), key])
}

/// What a caller's signature is over.
fn called(token: &CallerToken) -> Vec<u8> {
    statement(CALLER, &[token.audience.as_bytes(), &token.issued_at_ms.to_be_bytes()])
}

/// What the signature of whoever let a client in is over.
fn spoken_for(principal: &[u8]) -> Vec<u8> {
    statement(PRINCIPAL, &[principal])
}

/// Puts fields together so that no other fields look the same.
fn statement(purpose: &[u8], fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = purpose.to_vec();
    for field in fields {
        bytes.extend((field.len() as u64).to_be_bytes());
        bytes.extend_from_slice(field);
    }
    bytes
}

fn verifying_key(bytes: &[u8]) -> Option<VerifyingKey> {
    VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()
}

fn is_signed(key: &VerifyingKey, statement: &[u8], signature: &[u8]) -> bool {
    Signature::from_slice(signature).is_ok_and(|signature| key.verify(statement, &signature).is_ok())
}

/// Checks a certificate; returns the key of the process that it names.
fn certified(authority: &VerifyingKey, certificate: &Certificate) -> Option<VerifyingKey> {
    is_signed(authority, &described(certificate), &certificate.signature).then(|| verifying_key(&certificate.key)).flatten()
}

/// Checks who signed a caller's token; not whether it is still good, nor for whom.
pub(crate) fn check_caller(authority: &VerifyingKey, token: &CallerToken) -> Option<Certificate> {
    let certificate = token.certificate.as_ref()?;
    let key = certified(authority, certificate)?;
    is_signed(&key, &called(token), &token.signature).then(|| certificate.clone())
}

/// Checks who vouches for a client.
pub(crate) fn check_principal(authority: &VerifyingKey, token: &PrincipalToken) -> Option<Certificate> {
    let certificate = token.certificate.as_ref()?;
    let key = certified(authority, certificate)?;
    is_signed(&key, &spoken_for(&token.principal), &token.signature).then(|| certificate.clone())
}
