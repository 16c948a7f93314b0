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

fn open(folder: &tempfile::TempDir) -> (Devices, Clock) {
    let clock = Clock::fixed(1_000_000);
    (Devices::open(folder.path(), clock.clone()).unwrap(), clock)
}

#[tokio::test]
async fn a_paired_device_is_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, _) = open(&folder);
    let phone = claim("phone", &["operator.read"]);
    assert_eq!(devices.missing(&phone).await, Some(PairingReason::NotPaired));
    devices.pair(&phone).await.unwrap();
    let token = devices.token(&phone).await.unwrap().value;
    let (devices, _) = open(&folder);
    assert_eq!(devices.missing(&phone).await, None);
    assert!(devices.accepts(&phone, &token).await);
    assert_eq!(devices.token(&phone).await.unwrap().value, token, "the token is reused");
}

#[tokio::test]
async fn more_scopes_need_another_approval() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, _) = open(&folder);
    devices.pair(&claim("phone", &["operator.read"])).await.unwrap();
    assert_eq!(devices.missing(&claim("phone", &["operator.admin"])).await, Some(PairingReason::ScopeUpgrade));
    let node = Claim { role: "node".to_owned(), ..claim("phone", &[]) };
    assert_eq!(devices.missing(&node).await, Some(PairingReason::RoleUpgrade));
}

#[tokio::test]
async fn admin_covers_every_other_scope() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, _) = open(&folder);
    devices.pair(&claim("cli", &["operator.admin"])).await.unwrap();
    assert_eq!(devices.missing(&claim("cli", &["operator.admin", "operator.approvals", "operator.pairing"])).await, None);
}

#[tokio::test]
async fn another_key_inherits_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, _) = open(&folder);
    devices.pair(&claim("phone", &["operator.admin"])).await.unwrap();
    let stranger = Claim { public_key: "another key".to_owned(), ..claim("phone", &["operator.read"]) };
    assert_eq!(devices.missing(&stranger).await, Some(PairingReason::NotPaired));
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
    assert!(matches!(devices.approve(&first.request_id).await, Err(Error::UnknownRequest)));
    assert_ne!(devices.ask(&phone).await.unwrap().0.request_id, first.request_id);
}

#[tokio::test]
async fn a_rejected_request_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, _) = open(&folder);
    let phone = claim("phone", &["operator.read"]);
    let (request, _) = devices.ask(&phone).await.unwrap();
    assert_eq!(devices.reject(&request.request_id).await.unwrap(), "phone");
    assert!(matches!(devices.approve(&request.request_id).await, Err(Error::UnknownRequest)));
    assert_eq!(devices.missing(&phone).await, Some(PairingReason::NotPaired));
}

#[tokio::test]
async fn a_revoked_or_rotated_token_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (devices, _) = open(&folder);
    let phone = claim("phone", &["operator.read"]);
    devices.pair(&phone).await.unwrap();
    let old = devices.token(&phone).await.unwrap();
    let wider = Some(vec!["operator.admin".to_owned()]);
    let rotated = devices.rotate("phone", "operator", wider).await.unwrap();
    assert_eq!(rotated.scopes, ["operator.read"], "a rotation does not widen");
    assert!(!devices.accepts(&phone, &old.value).await);
    assert!(devices.accepts(&phone, &rotated.value).await);
    devices.revoke("phone", "operator").await.unwrap();
    assert!(!devices.accepts(&phone, &rotated.value).await);
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
