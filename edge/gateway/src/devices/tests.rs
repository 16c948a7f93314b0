use super::*;

fn claim(device_id: &str, scopes: &[&str]) -> Claim {
    Claim {
        device_id: device_id.to_owned(),
        public_key: format!("key of {device_id}"),
        role: "operator".to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        ..Claim::default()
    }
}

async fn missing(devices: &Devices, claim: &Claim) -> Option<PairingReason> {
    devices.missing(Version::V4, claim).await.map(|missing| missing.reason)
}

#[allow(clippy::unnecessary_wraps, reason = "stands for a check that may fail")]
fn allowed(_: &[String]) -> Result<(), Error> {
    Ok(())
}

fn open(folder: &tempfile::TempDir) -> (Devices, Clock) {
    let clock = Clock::fixed(1_000_000);
    (Devices::open(folder.path(), Fence::new(folder.path(), 1), clock.clone()).unwrap(), clock)
}

#[tokio::test]
async fn a_paired_device_is_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, _) = open(&folder);
    let phone = claim("phone", &["operator.read"]);
    assert_eq!(missing(&devices, &phone).await, Some(PairingReason::NotPaired));
    devices.pair(&phone).await.unwrap();
    let token = devices.token(&phone).await.unwrap().value;
    let (devices, _) = open(&folder);
    assert_eq!(missing(&devices, &phone).await, None);
    assert_eq!(devices.check_token(&phone, &token).await, TokenCheck::Right);
    assert_eq!(devices.token(&phone).await.unwrap().value, token, "the token is reused");
}

#[tokio::test]
async fn more_scopes_need_another_approval() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, _) = open(&folder);
    devices.pair(&claim("phone", &["operator.read"])).await.unwrap();
    assert_eq!(missing(&devices, &claim("phone", &["operator.admin"])).await, Some(PairingReason::ScopeUpgrade));
    let node = Claim { role: "node".to_owned(), ..claim("phone", &[]) };
    assert_eq!(missing(&devices, &node).await, Some(PairingReason::RoleUpgrade));
}

#[tokio::test]
async fn admin_covers_every_other_scope() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, _) = open(&folder);
    devices.pair(&claim("cli", &["operator.admin"])).await.unwrap();
    assert_eq!(missing(&devices, &claim("cli", &["operator.admin", "operator.approvals", "operator.pairing"])).await, None);
}

#[tokio::test]
async fn another_key_inherits_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, _) = open(&folder);
    devices.pair(&claim("phone", &["operator.admin"])).await.unwrap();
    let stranger = Claim { public_key: "another key".to_owned(), ..claim("phone", &["operator.read"]) };
    assert_eq!(missing(&devices, &stranger).await, Some(PairingReason::NotPaired));
    devices.pair(&stranger).await.unwrap();
    assert_eq!(devices.list().await.1[0].scopes, ["operator.read"]);
}

#[tokio::test]
async fn a_repeated_request_keeps_its_id_until_it_expires() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, clock) = open(&folder);
    let phone = claim("phone", &["operator.read"]);
    let (first, is_new) = devices.ask(&phone).await.unwrap();
    assert!(is_new);
    let (second, is_new) = devices.ask(&phone).await.unwrap();
    assert_eq!((&second.request_id, is_new), (&first.request_id, false));
    clock.advance(PENDING_TTL_MS);
    assert!(devices.list().await.0.is_empty());
    assert!(matches!(devices.approve(&first.request_id, allowed).await, Err(Error::UnknownRequest)));
    assert_ne!(devices.ask(&phone).await.unwrap().0.request_id, first.request_id);
}

#[tokio::test]
async fn a_rejected_request_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, _) = open(&folder);
    let phone = claim("phone", &["operator.read"]);
    let (request, _) = devices.ask(&phone).await.unwrap();
    assert_eq!(devices.reject(&request.request_id).await.unwrap(), "phone");
    assert!(matches!(devices.approve(&request.request_id, allowed).await, Err(Error::UnknownRequest)));
    assert_eq!(missing(&devices, &phone).await, Some(PairingReason::NotPaired));
}

#[tokio::test]
async fn a_revoked_or_rotated_token_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, _) = open(&folder);
    let phone = claim("phone", &["operator.read"]);
    devices.pair(&phone).await.unwrap();
    let old = devices.token(&phone).await.unwrap();
    let wider = Some(vec!["operator.admin".to_owned()]);
    let rotated = devices.rotate(("phone", "operator"), wider, allowed).await.unwrap();
    assert_eq!(rotated.scopes, ["operator.read"], "a rotation does not widen");
    assert_eq!(devices.check_token(&phone, &old.value).await, TokenCheck::Wrong);
    assert_eq!(devices.check_token(&phone, &rotated.value).await, TokenCheck::Right);
    devices.revoke("phone", "operator").await.unwrap();
    assert_eq!(devices.check_token(&phone, &rotated.value).await, TokenCheck::Wrong);
    assert!(matches!(devices.revoke("phone", "node").await, Err(Error::UnknownToken)));
}

#[tokio::test]
async fn the_list_holds_no_token_values() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, _) = open(&folder);
    let phone = claim("phone", &["operator.read"]);
    devices.pair(&phone).await.unwrap();
    let token = devices.token(&phone).await.unwrap().value;
    assert!(!serde_json::to_string(&devices.list().await.1).unwrap().contains(&token));
}

#[tokio::test]
async fn sec_10_an_approval_is_for_what_was_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, _) = open(&folder);
    let (seen, _) = devices.ask(&claim("phone", &["operator.read"])).await.unwrap();
    let (wider, is_new) = devices.ask(&claim("phone", &["operator.admin"])).await.unwrap();
    assert!(is_new && wider.request_id != seen.request_id, "a wider request is another request");
    assert!(matches!(devices.approve(&seen.request_id, allowed).await, Err(Error::UnknownRequest)));
    assert_eq!(devices.list().await.0.len(), 1, "one request a device");
    let (narrower, is_new) = devices.ask(&claim("phone", &[])).await.unwrap();
    assert_eq!((&narrower.request_id, is_new), (&wider.request_id, false));
    let device = devices.approve(&narrower.request_id, allowed).await.unwrap();
    assert_eq!(device.scopes, Vec::<String>::new());
}

#[tokio::test]
async fn sec_10_pairing_again_starts_from_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, _) = open(&folder);
    let admin = claim("phone", &["operator.admin"]);
    devices.pair(&admin).await.unwrap();
    let token = devices.token(&admin).await.unwrap();
    devices.remove("phone").await.unwrap();
    assert!(matches!(devices.remove("phone").await, Err(Error::UnknownDevice)));
    assert_eq!(devices.check_token(&admin, &token.value).await, TokenCheck::Wrong);
    devices.pair(&claim("phone", &[])).await.unwrap();
    assert_eq!(missing(&devices, &admin).await, Some(PairingReason::ScopeUpgrade), "the old scopes are gone");
    assert_eq!(devices.token(&claim("phone", &[])).await.unwrap().scopes, Vec::<String>::new());
    let changed_key = Claim { public_key: "another".to_owned(), ..claim("phone", &[]) };
    devices.pair(&admin).await.unwrap();
    devices.pair(&changed_key).await.unwrap();
    assert_eq!(devices.list().await.1[0].scopes, Vec::<String>::new(), "another key inherits nothing");
}

#[tokio::test]
async fn requests_of_one_address_do_not_crowd_out_others() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, clock) = open(&folder);
    let from = |name: &str, address: &str| Claim { remote_ip: Some(address.to_owned()), ..claim(name, &[]) };
    devices.ask(&from("quiet", "192.0.2.1")).await.unwrap();
    for number in 0..3 * PENDING_PER_ADDRESS_MAX {
        clock.advance(1);
        devices.ask(&from(&format!("loud-{number}"), "192.0.2.2")).await.unwrap();
    }
    let pending = devices.list().await.0;
    assert_eq!(pending.len(), PENDING_PER_ADDRESS_MAX + 1);
    assert!(pending.iter().any(|request| request.device_id == "quiet"));
}

#[tokio::test]
async fn a_device_keeps_its_new_name_and_when_it_was_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, _) = open(&folder);
    devices.pair(&claim("phone", &[])).await.unwrap();
    devices.saw("phone", "connect");
    devices.rename("phone", "Kitchen").await.unwrap();
    assert!(matches!(devices.rename("tv", "Tv").await, Err(Error::UnknownDevice)));
    let (devices, _) = open(&folder);
    let phone = devices.list().await.1.remove(0);
    assert_eq!((phone.display_name.as_deref(), phone.approved_via.as_deref()), (Some("Kitchen"), Some("silent")));
    assert_eq!((phone.last_seen_at_ms, phone.last_seen_reason.as_deref()), (Some(1_000_000), Some("connect")));
}
