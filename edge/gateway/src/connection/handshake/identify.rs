//! Who is asking, and what he may do.

use std::time::Duration;

use verso_proto::edge::v1::{ClientInfo, DevicePairResolved, GrantedAuth};
use verso_protocol::ErrorShape;
use verso_protocol::auth::{
    Challenge, Deviceless, Mode, Refusal as Refused, RefusalFacts, SharedMethod, VerifiedDevice, Waiting, admit_without_device,
    check_origin, check_shared, confirm_tailnet, device_token_candidates, is_web_client, pairing_required, requested_scopes, verify_device,
};

use super::{Attempt, Failure, Identity, closing};
use crate::devices::{Claim, TokenCheck};
use crate::error::fault;
use crate::metrics::{self, Limit};
use crate::rate_limit::Guesser;

/// What the client's credentials, or somebody who vouches for it, came to.
struct Shared {
    result: Result<SharedMethod, Refused>,
    user: Option<String>,
}

impl Attempt<'_> {
    /// Finds out who is asking and what he may do.
    pub(super) async fn identify(&self) -> Result<Identity, Failure> {
        check_origin(&self.facts.rules(&self.config), &self.client(), self.version).map_err(closing)?;
        let Some(proof) = &self.request.device else {
            return self.identify_without_device().await;
        };
        let challenge =
            Challenge { nonce: self.nonce, now_ms: self.gateway.context.clock.now_ms(), local: self.facts.local, version: self.version };
        let device = verify_device(&self.request, proof, &challenge).map_err(closing)?;
        self.identify_device(device).await
    }

    async fn identify_without_device(&self) -> Result<Identity, Failure> {
        self.refuse_locked().map_err(closing)?;
        let shared = self.check_shared().await;
        let admitted = admit_without_device(&Deviceless {
            version: self.version,
            role: self.role,
            client: &self.client(),
            credentials: self.request.auth.as_ref(),
            scopes: self.asked_scopes(),
            shared: shared.result,
            direct_local: self.facts.local,
            control_ui: self.config.control_ui.policy,
        });
        let scopes = match admitted {
            Ok(scopes) => scopes,
            Err(error) => {
                self.count_failure(shared.result.err()).await;
                return Err(closing(error));
            }
        };
        self.note_success().map_err(closing)?;
        let method = shared.result.unwrap_or(SharedMethod::None);
        Ok(Identity { device: None, user: shared.user, method, auth: self.granted(method, &scopes), scopes })
    }

    /// A device that has proven its key still needs a secret, and to be paired.
    async fn identify_device(&self, device: VerifiedDevice) -> Result<Identity, Failure> {
        self.refuse_locked().map_err(closing)?;
        let scopes = requested_scopes(self.version, self.role, self.asked_scopes());
        let claim = self.claim(&device, scopes.clone());
        let shared = self.check_shared().await;
        let method = match shared.result {
            Ok(method) => method,
            Err(refusal) => self.check_device_token(&claim, refusal).await.map_err(closing)?,
        };
        self.note_success().map_err(closing)?;
        self.pair(&claim).await?;
        let mut auth = self.granted(method, &scopes);
        let token = self.gateway.devices.token(&claim).await.map_err(|error| closing(fault(&error)))?;
        auth.issued_at_ms = Some(token.issued_at_ms());
        auth.device_token = Some(token.value);
        Ok(Identity { device: Some(device), user: shared.user, method, scopes, auth })
    }

    /// Decides without the device: by the tailnet, a declared proxy, or the shared secret.
    async fn check_shared(&self) -> Shared {
        let server = self.config.auth.server_secret();
        let nobody = |result| Shared { result, user: None };
        if server.mode == Mode::None {
            // It is the machine that is trusted, so whoever speaks for others is not.
            return nobody(if self.facts.local { Ok(SharedMethod::None) } else { Err(Refused::NotLocal) });
        }
        let tailnet = self.check_tailnet().await;
        if let Some(Ok(user)) = tailnet {
            return Shared { result: Ok(SharedMethod::Tailscale), user: Some(user) };
        }
        if server.mode == Mode::TrustedProxy {
            return match self.facts.proxy_user.clone().unwrap_or(Err(Refused::ProxyNotConfigured)) {
                Ok(user) => Shared { result: Ok(SharedMethod::TrustedProxy), user: Some(user) },
                // The owner at this machine needs a way in that does not lead through the proxy.
                Err(_) if self.facts.local && server.secret.is_some() => nobody(check_shared(server, self.request.auth.as_ref())),
                Err(refusal) => nobody(Err(refusal)),
            };
        }
        let result = check_shared(server, self.request.auth.as_ref());
        nobody(match (result, tailnet) {
            (Err(Refused::TokenMissing | Refused::PasswordMissing), Some(Err(refusal))) => Err(refusal),
            (Err(Refused::TokenMissing | Refused::PasswordMissing), _) if self.sent_only_a_setup_code() => {
                Err(Refused::BootstrapTokenInvalid)
            }
            (result, _) => result,
        })
    }

    /// Who of the tailnet asks; none when the request does not claim to come from there.
    async fn check_tailnet(&self) -> Option<Result<String, Refused>> {
        let claim = match self.facts.tailnet.as_ref()? {
            Ok(claim) => claim,
            Err(refusal) => return Some(Err(*refusal)),
        };
        let known = self.gateway.tailnet.whois(claim.address).await;
        Some(confirm_tailnet(claim, known.as_deref()))
    }

    fn sent_only_a_setup_code(&self) -> bool {
        self.request.auth.as_ref().is_some_and(|auth| auth.bootstrap_token.is_some() && auth.device_token.is_none())
    }

    /// The shared secret was missing or wrong: the device's own token may stand in for it.
    async fn check_device_token(&self, claim: &Claim, refusal: Refused) -> Result<SharedMethod, ErrorShape> {
        let named = self.request.auth.as_ref().and_then(|auth| auth.device_token.as_deref()).filter(|token| !token.is_empty());
        let mut refusal = if named.is_some() { Refused::DeviceTokenMismatch } else { refusal };
        for token in self.request.auth.iter().flat_map(device_token_candidates) {
            match self.gateway.devices.check_token(claim, token).await {
                TokenCheck::Right => return Ok(SharedMethod::DeviceToken),
                TokenCheck::TooNarrow => refusal = Refused::ScopeMismatch,
                TokenCheck::Wrong => {}
            }
        }
        self.count_failure(Some(refusal)).await;
        let may_try_device_token = named.is_none() && self.gateway.devices.has_token(claim).await;
        Err(refusal.error(self.refusal_facts(&self.client(), may_try_device_token)))
    }

    /// Makes sure that the device is paired for what it asks. Whoever sits at this machine and knows the secret is not asked again.
    async fn pair(&self, claim: &Claim) -> Result<(), Failure> {
        let Some(missing) = self.gateway.devices.missing(self.version, claim).await else { return Ok(()) };
        if self.facts.local && !self.is_foreign_page() {
            self.gateway.devices.pair(claim).await.map_err(|error| closing(fault(&error)))?;
            self.gateway.emit(DevicePairResolved {
                request_id: uuid::Uuid::new_v4().to_string(),
                device_id: claim.device_id.clone(),
                decision: "approved".to_owned(),
                ts_ms: self.gateway.context.clock.now_ms(),
            });
            return Ok(());
        }
        let (request, is_new) = self.gateway.devices.ask(claim).await.map_err(|error| closing(fault(&error)))?;
        let request_id = request.request_id.clone();
        if is_new {
            self.gateway.emit(request);
        }
        let waiting = Waiting {
            reason: missing.reason,
            request_id: &request_id,
            asked: claim.asked(),
            approved_roles: &missing.roles,
            approved_scopes: &missing.scopes,
        };
        Err(pairing_required(self.version, &waiting))
    }

    /// Whether a page asks that is not a user interface of ours: its owner is somebody else than the owner of this machine.
    fn is_foreign_page(&self) -> bool {
        self.facts.origin.is_some() && !self.request.client.as_ref().is_some_and(is_web_client)
    }

    fn guesser(&self) -> Guesser {
        Guesser::new(self.facts.client_ip, self.facts.origin.as_deref())
    }

    fn refuse_locked(&self) -> Result<(), ErrorShape> {
        self.gateway.failed_auth.locked_for(&self.guesser()).map_or(Ok(()), |left| Err(self.locked(left)))
    }

    fn note_success(&self) -> Result<(), ErrorShape> {
        self.gateway.failed_auth.succeeded(&self.guesser()).map_err(|left| self.locked(left))
    }

    fn locked(&self, left: Duration) -> ErrorShape {
        metrics::reached(Limit::FailedAuth);
        let retry_after_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        Refused::RateLimited { retry_after_ms }.error(self.refusal_facts(&self.client(), false))
    }

    async fn count_failure(&self, refusal: Option<Refused>) {
        if refusal.is_some_and(Refused::counts_as_failure) {
            let delay = self.gateway.failed_auth.failed(&self.guesser(), &self.config.auth.rate_limit);
            tokio::time::sleep(delay).await;
        }
    }

    fn refusal_facts<'c>(&self, client: &'c ClientInfo, may_try_device_token: bool) -> RefusalFacts<'c> {
        RefusalFacts { client, version: self.version, local: self.facts.local, may_try_device_token }
    }

    fn client(&self) -> ClientInfo {
        self.request.client.clone().unwrap_or_default()
    }

    fn asked_scopes(&self) -> Option<&[String]> {
        self.request.scopes.as_ref().map(|scopes| scopes.values.as_slice())
    }

    fn granted(&self, method: SharedMethod, scopes: &[String]) -> GrantedAuth {
        GrantedAuth {
            method: Some(method.as_str().to_owned()),
            device_token: None,
            role: self.role.as_str().to_owned(),
            scopes: scopes.to_vec(),
            issued_at_ms: None,
        }
    }

    fn claim(&self, device: &VerifiedDevice, scopes: Vec<String>) -> Claim {
        let client = self.client();
        Claim {
            device_id: device.id.clone(),
            public_key: device.public_key.clone(),
            display_name: client.display_name,
            platform: Some(client.platform),
            device_family: client.device_family,
            client_id: Some(client.id),
            client_mode: Some(client.mode),
            role: self.role.as_str().to_owned(),
            scopes,
            remote_ip: (!self.facts.local).then(|| self.facts.client_ip.to_string()),
        }
    }
}
