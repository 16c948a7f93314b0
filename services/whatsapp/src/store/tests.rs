//! The database against the library's own storage in memory, which it must not be told apart from.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use bytes::Bytes;
use whatsapp_rust::traits::{
    Backend, DeviceListRecord, LidPnMappingEntry, MsgSecretEntry, PendingInboundKey, PendingInboundRow, SignalStore as _, TcTokenEntry,
};
use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::store::{Device, InMemoryBackend};

use super::*;

async fn opened() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("keys.sqlite")).await.unwrap();
    (folder, store)
}

fn secret(expires_at: i64, message_ts: i64) -> MsgSecretEntry {
    MsgSecretEntry { chat: "c".into(), sender: "s".into(), msg_id: "m".into(), secret: [7; 32], expires_at, message_ts }
}

fn mapping(lid: &str, phone_number: &str) -> LidPnMappingEntry {
    let (lid, phone_number) = (lid.to_owned(), phone_number.to_owned());
    LidPnMappingEntry { lid, phone_number, created_at: 1, updated_at: 2, learning_source: "usync".to_owned() }
}

/// Does everything that the library may do, and returns all that it hears.
#[allow(clippy::too_many_lines, reason = "one list of all that is asked")]
async fn everything(store: &dyn Backend) -> Vec<String> {
    let mut heard = Vec::new();
    let mut hear = |what: &str, value: &dyn std::fmt::Debug| heard.push(format!("{what}: {value:?}"));

    store.put_identities_batch(&[("a@s".into(), [1; 32]), ("b:2@s".into(), [2; 32])]).await.unwrap();
    store.put_sessions_batch(&[("a@s".into(), Bytes::from_static(b"one")), ("a@s".into(), Bytes::from_static(b"two"))]).await.unwrap();
    hear("identity", &(store.load_identity("a@s").await.unwrap(), store.load_identity("x").await.unwrap()));
    hear("session", &(store.get_session("a@s").await.unwrap(), store.has_session("x").await.unwrap()));
    for user in ["a", "b", "ab", "@", "2"] {
        hear("knows", &(user, store.has_signal_state_for_user(user).await.unwrap()));
    }
    store.delete_session("a@s").await.unwrap();
    store.delete_identity("a@s").await.unwrap();
    hear("gone", &(store.get_session("a@s").await.unwrap(), store.has_signal_state_for_user("a").await.unwrap()));
    store.store_prekeys_batch(&[(2, Bytes::from_static(b"k2")), (300, Bytes::from_static(b"k300"))], false).await.unwrap();
    store.mark_prekeys_uploaded(&[2, 9]).await.unwrap();
    hear("prekeys", &(store.load_prekeys_batch(&[300, 9, 2]).await.unwrap(), store.get_max_prekey_id().await.unwrap()));
    store.remove_prekey(300).await.unwrap();
    hear("left", &(store.load_prekey(300).await.unwrap(), store.get_max_prekey_id().await.unwrap()));
    store.store_signed_prekey(5, b"s5").await.unwrap();
    hear("signed", &(store.load_all_signed_prekeys().await.unwrap(), store.load_signed_prekey(6).await.unwrap()));
    store.remove_signed_prekey(5).await.unwrap();
    store.put_sender_keys_batch(&[("g::a".into(), Bytes::from_static(b"key"))]).await.unwrap();
    hear("sender key", &(store.get_sender_key("g::a").await.unwrap(), store.load_signed_prekey(5).await.unwrap()));
    store.delete_sender_key("g::a").await.unwrap();

    store
        .set_sync_key(b"id\0x", whatsapp_rust::traits::AppStateSyncKey { key_data: vec![1], fingerprint: vec![2], timestamp: 3 })
        .await
        .unwrap();
    hear("sync key", &(store.get_sync_key(b"id\0x").await.unwrap(), store.get_latest_sync_key_id().await.unwrap()));
    store.set_version("regular", HashState { version: 9, ..HashState::default() }).await.unwrap();
    hear("versions", &(store.get_version("regular").await.unwrap().version, store.get_version("other").await.unwrap().version));
    let macs = [3_u8, 4].map(|at| AppStateMutationMAC { index_mac: vec![at; 32], value_mac: vec![at, 0] });
    store.put_mutation_macs("regular", 9, &macs).await.unwrap();
    store.put_mutation_macs("regular_low", 9, &macs).await.unwrap();
    store.delete_mutation_macs("regular", &[vec![3; 32]]).await.unwrap();
    let mut found: Vec<_> = store.get_mutation_macs("regular", &[[3; 32], [4; 32]]).await.unwrap().into_iter().collect();
    found.sort();
    hear("macs", &found);
    store.clear_mutation_macs("regular").await.unwrap();
    hear(
        "cleared",
        &(store.get_mutation_mac("regular", &[4; 32]).await.unwrap(), store.get_mutation_mac("regular_low", &[4; 32]).await.unwrap()),
    );

    store.set_sender_key_status("g1", &[("a:1@s", true), ("b@s", false)]).await.unwrap();
    store.set_sender_key_status("g12", &[("a:1@s", true)]).await.unwrap();
    let mut devices = store.get_sender_key_devices("g1").await.unwrap();
    devices.sort();
    hear("devices of a group", &devices);
    store.delete_sender_key_device_rows(&["a:1@s"]).await.unwrap();
    hear("without one", &(store.get_sender_key_devices("g1").await.unwrap(), store.get_sender_key_devices("g12").await.unwrap()));
    store.clear_sender_key_devices("g1").await.unwrap();
    store.clear_all_sender_key_devices().await.unwrap();
    hear("without any", &store.get_sender_key_devices("g1").await.unwrap());
    store.put_lid_mappings(&[mapping("77", "491"), mapping("78", "492")]).await.unwrap();
    store.put_lid_mapping(&mapping("77", "493")).await.unwrap();
    hear(
        "lid",
        &(store.get_lid_mapping("77").await.unwrap().map(|entry| entry.phone_number), store.get_pn_mapping("491").await.unwrap().is_some()),
    );
    hear("number", &(store.get_pn_mapping("493").await.unwrap().map(|entry| entry.lid), store.get_all_lid_mappings().await.unwrap().len()));
    store.save_base_key("a", "m", b"base").await.unwrap();
    hear("base", &(store.has_same_base_key("a", "m", b"base").await.unwrap(), store.has_same_base_key("a", "m", b"other").await.unwrap()));
    store.delete_base_key("a", "m").await.unwrap();
    hear("no base", &store.has_same_base_key("a", "m", b"base").await.unwrap());
    let record =
        DeviceListRecord { user: "491".to_owned(), devices: Vec::new(), timestamp: 5, phash: Some("p".to_owned()), raw_id: Some(1) };
    store.update_device_list(record).await.unwrap();
    hear("device list", &store.get_devices("491").await.unwrap());
    store.delete_devices("491").await.unwrap();
    hear("no device list", &store.get_devices("491").await.unwrap().is_none());
    store.put_group_metadata("g", b"blob").await.unwrap();
    hear("group", &store.get_group_metadata("g").await.unwrap());
    store.delete_group_metadata("g").await.unwrap();

    store.touch_tc_token_sender_timestamp("t", 50).await.unwrap();
    store.store_received_tc_token("t", b"new", 40).await.unwrap();
    store.store_received_tc_token("t", b"old", 30).await.unwrap();
    store.touch_tc_token_sender_timestamp("t", 45).await.unwrap();
    store.put_tc_token("u", &TcTokenEntry { token: vec![1], token_timestamp: 5, sender_timestamp: None }).await.unwrap();
    let token = |entry: Option<TcTokenEntry>| entry.map(|entry| (entry.token, entry.token_timestamp, entry.sender_timestamp));
    hear("token", &(token(store.get_tc_token("t").await.unwrap()), token(store.get_tc_token("u").await.unwrap())));
    hear("expired", &(store.delete_expired_tc_tokens(41, 50).await.unwrap(), store.get_all_tc_token_jids().await.unwrap()));
    store.delete_tc_token("t").await.unwrap();
    hear("no token", &store.get_tc_token("t").await.unwrap().is_none());

    store.store_sent_message("c", "m", b"payload").await.unwrap();
    hear("none is so old", &store.delete_expired_sent_messages(1).await.unwrap());
    hear("sent", &(store.take_sent_message("c", "m").await.unwrap(), store.take_sent_message("c", "m").await.unwrap()));
    let row = |id| PendingInboundRow { chat: "c", sender: "s", id, message: b"message" };
    store.store_pending_inbound_batch(&[row("1"), row("2")]).await.unwrap();
    store.delete_pending_inbound_batch(&[PendingInboundKey { chat: "c", sender: "s", id: "1" }]).await.unwrap();
    hear("pending", &(store.get_pending_inbound("c", "s", "1").await.unwrap(), store.get_pending_inbound("c", "s", "2").await.unwrap()));
    hear("all of them are old", &store.delete_expired_pending_inbound(i64::MAX).await.unwrap());

    hear("secrets", &store.put_msg_secrets(vec![secret(100, 10)]).await.unwrap());
    store.put_msg_secrets(vec![secret(90, 0)]).await.unwrap();
    hear("secret", &store.get_msg_secret_with_ts("c", "s", "m").await.unwrap());
    hear("not yet", &(store.delete_expired_msg_secrets(99).await.unwrap(), store.delete_expired_msg_secrets(100).await.unwrap()));
    store.put_msg_secrets(vec![secret(5, 1)]).await.unwrap();
    store.put_msg_secrets(vec![secret(0, 1)]).await.unwrap();
    hear("never", &(store.delete_expired_msg_secrets(i64::MAX - 1).await.unwrap(), store.get_msg_secret("c", "x", "m").await.unwrap()));

    hear("no device", &(store.exists().await.unwrap(), store.create().await.unwrap(), store.exists().await.unwrap()));
    let device = Device::new();
    store.save(&device).await.unwrap();
    let same = store.load().await.unwrap().unwrap();
    let keys = |device: &Device| (device.registration_id, device.adv_secret_key, device.noise_key.private_key.serialize().to_vec());
    hear("same device", &(keys(&same) == keys(&device)));
    heard
}

#[tokio::test]
async fn the_database_cannot_be_told_from_the_library_s_own_storage() {
    let (_folder, store) = opened().await;
    let (ours, theirs) = (everything(&store).await, everything(&InMemoryBackend::new()).await);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

#[tokio::test]
async fn its_owner_alone_reads_the_database_and_another_layout_is_refused() {
    let (folder, store) = opened().await;
    store.put_identity("a", [1; 32]).await.unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", file.path().display());
    }
    drop(store);
    let path = folder.path().join("keys.sqlite");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let refusal = Store::open(&path).await.unwrap_err().to_string();
    assert!(refusal.contains("has the layout 2, and this build knows 1"), "{refusal}");
}

#[tokio::test]
async fn only_the_newest_messages_are_kept_to_be_encrypted_anew() {
    let (_folder, store) = opened().await;
    store
        .write(|entries| {
            (1..=10).try_for_each(|at: i64| entries.put(Kind::Sent, &at.to_be_bytes(), b"m", at))?;
            entries.keep_newest(Kind::Sent, 4)
        })
        .await
        .unwrap();
    let left = store.read(|entries| entries.beginning_with(Kind::Sent, &[])).await.unwrap();
    assert_eq!(left.len(), 5, "the newest and as many as may follow it");
    let shared: Arc<dyn Backend> = Arc::new(store);
    assert_eq!(shared.take_sent_message("c", "none").await.unwrap(), None);
}

/// Set in a process that writes until it is killed.
const WRITER: &str = "VERSO_WHATSAPP_WRITER";

/// Writes keys one after the other, and says of each that it is kept. Only the test below starts it.
#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the test below tells its child process by a variable")]
async fn writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(WRITER) else { return };
    let store = Store::open(Path::new(&path)).await.unwrap();
    for at in 1_u32.. {
        store.put_session("a@s", &at.to_be_bytes()).await.unwrap();
        store.store_prekey(at, &[7; 64], false).await.unwrap();
        writeln!(std::io::stdout(), "kept {at}").unwrap();
    }
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.sqlite");
    drop(Store::open(&path).await.unwrap());
    for _ in 0..3 {
        let killed = path.clone();
        let last: u32 = tokio::task::spawn_blocking(move || {
            let mut child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "store::tests::writes_until_it_is_killed", "--nocapture"])
                .env(WRITER, killed)
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
            let mut kept =
                lines.map_while(std::result::Result::ok).filter_map(|line| line.split("kept ").nth(1)?.trim().parse::<u32>().ok());
            // The pipe stays open, so that nothing but the kill ends it.
            let last = kept.by_ref().take(40).last();
            child.kill().unwrap();
            child.wait().unwrap();
            last.unwrap()
        })
        .await
        .unwrap();
        let store = Store::open(&path).await.unwrap();
        let session = store.get_session("a@s").await.unwrap().unwrap();
        let written = u32::from_be_bytes(session.as_ref().try_into().unwrap());
        assert!(written >= last, "{written} {last}");
        let keys = store.load_prekeys_batch(&(1..=last).collect::<Vec<_>>()).await.unwrap();
        assert_eq!(keys.len(), usize::try_from(last).unwrap());
        let whole: String = store.connection.lock().unwrap().pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
        assert_eq!(whole, "ok");
    }
}
