use super::*;

const NOW_MS: i64 = 1_700_000_000_000;

/// A registry on a folder of its own.
struct Fixture {
    folder: tempfile::TempDir,
    registry: Registry,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(&folder, 1).await.unwrap();
    Fixture { folder, registry }
}

async fn open(folder: &tempfile::TempDir, epoch: u64) -> Result<Registry, Error> {
    let (store, paired) = Store::open(folder.path().join("nodes.json"), epoch).await?;
    Registry::open(Clock::fixed(NOW_MS), store, paired).await
}

fn node(id: &str) -> NodeInfo {
    let (caps, commands) = (vec!["canvas".into(), "camera".into()], vec!["b.two".into(), "a.one".into(), "b.two".into()]);
    NodeInfo { node_id: id.into(), caps, commands, paired: true, connected: true, ..NodeInfo::default() }
}

fn gone(id: &str) -> NodeInfo {
    NodeInfo { connected: false, ..node(id) }
}

fn ids(registry: &Registry) -> Vec<String> {
    registry.list().into_iter().map(|node| node.node_id).collect()
}

#[tokio::test]
async fn sorts_commands_and_nodes() {
    let Fixture { registry, folder: _folder } = fixture().await;
    for (id, name) in [("3", "beta"), ("2", "Alpha"), ("1", "beta"), ("0", "Zed")] {
        registry.announce(format!("c{id}"), NodeInfo { display_name: Some(name.into()), ..node(id) }).await.unwrap();
    }
    registry.announce("c2".into(), gone("2")).await.unwrap();
    assert_eq!(ids(&registry), ["1", "3", "0", "2"]);
    let first = registry.get("1").unwrap();
    assert_eq!(first.commands, ["a.one", "b.two"]);
    assert_eq!((first.connected, first.connected_at_ms), (true, Some(NOW_MS)));
    assert_eq!(registry.get("2").unwrap().connected_at_ms, None);
}

#[tokio::test]
async fn forgets_a_device_that_was_never_paired() {
    let Fixture { registry, folder: _folder } = fixture().await;
    registry.announce("c1".into(), NodeInfo { paired: false, ..node("tv") }).await.unwrap();
    assert_eq!(registry.get("tv").map(|node| (node.paired, node.connected)).unwrap(), (false, true));
    registry.announce("c1".into(), NodeInfo { paired: false, ..gone("tv") }).await.unwrap();
    assert!(registry.list().is_empty());
    assert!(registry.state().links.is_empty());
}

#[tokio::test]
async fn once_paired_stays_paired() {
    let Fixture { registry, folder: _folder } = fixture().await;
    registry.announce("c1".into(), node("tv")).await.unwrap();
    registry.announce("c1".into(), gone("tv")).await.unwrap();
    registry.announce("c2".into(), NodeInfo { paired: false, ..node("tv") }).await.unwrap();
    assert!(registry.get("tv").unwrap().paired);
}

#[tokio::test]
async fn a_late_disconnect_of_an_older_connection_is_ignored() {
    let Fixture { registry, folder: _folder } = fixture().await;
    registry.announce("c1".into(), node("tv")).await.unwrap();
    registry.announce("c2".into(), node("tv")).await.unwrap();
    registry.announce("c1".into(), gone("tv")).await.unwrap();
    assert!(registry.get("tv").unwrap().connected);
    registry.announce("c2".into(), gone("tv")).await.unwrap();
    assert!(!registry.get("tv").unwrap().connected);
}

#[tokio::test]
async fn an_older_connection_does_not_replace_a_newer_one() {
    let Fixture { registry, folder: _folder } = fixture().await;
    let at = |connected_at_ms| NodeInfo { connected_at_ms: Some(connected_at_ms), ..node("tv") };
    registry.announce("new".into(), at(NOW_MS)).await.unwrap();
    registry.announce("old".into(), at(NOW_MS - 5)).await.unwrap();
    assert_eq!(registry.get("tv").unwrap().connected_at_ms, Some(NOW_MS));
    registry.announce("newer".into(), at(NOW_MS + 5)).await.unwrap();
    assert_eq!(registry.get("tv").unwrap().connected_at_ms, Some(NOW_MS + 5));
}

#[tokio::test]
async fn a_late_announcement_does_not_revive_a_connection() {
    let Fixture { registry, folder: _folder } = fixture().await;
    registry.announce("c1".into(), node("tv")).await.unwrap();
    registry.announce("c1".into(), gone("tv")).await.unwrap();
    registry.announce("c1".into(), node("tv")).await.unwrap();
    assert!(!registry.get("tv").unwrap().connected);
}

#[tokio::test]
async fn reconnecting_writes_nothing() {
    let Fixture { registry, folder } = fixture().await;
    registry.announce("c1".into(), node("tv")).await.unwrap();
    std::fs::remove_file(folder.path().join("nodes.json")).unwrap();
    registry.announce("c1".into(), gone("tv")).await.unwrap();
    registry.announce("c2".into(), node("tv")).await.unwrap();
    assert!(!folder.path().join("nodes.json").exists());
    registry.announce("c2".into(), NodeInfo { version: Some("2".into()), ..node("tv") }).await.unwrap();
    assert!(folder.path().join("nodes.json").exists(), "new facts are saved");
}

#[tokio::test]
async fn a_failed_save_changes_nothing() {
    let Fixture { registry, folder } = fixture().await;
    let path = folder.path().join("nodes.json");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir_all(path.join("in the way")).unwrap();
    let error = registry.announce("c1".into(), node("tv")).await.unwrap_err();
    assert!(matches!(error, Error::Load { .. } | Error::Save { .. }), "{error:?}");
    assert!(registry.list().is_empty());
    std::fs::remove_dir_all(&path).unwrap();
    registry.announce("c1".into(), node("tv")).await.unwrap();
    assert_eq!(ids(&registry), ["tv"]);
}

#[tokio::test]
async fn a_replaced_incarnation_cannot_write() {
    let Fixture { registry, folder } = fixture().await;
    registry.announce("c1".into(), node("tv")).await.unwrap();
    let newer = open(&folder, 2).await.unwrap();
    let before = std::fs::read(folder.path().join("nodes.json")).unwrap();
    assert!(matches!(registry.announce("c2".into(), node("radio")).await, Err(Error::Replaced)));
    assert_eq!(std::fs::read(folder.path().join("nodes.json")).unwrap(), before);
    assert_eq!(ids(&registry), ["tv"]);
    newer.announce("c3".into(), node("lamp")).await.unwrap();
    assert_eq!(ids(&newer), ["lamp", "tv"]);
    assert!(matches!(open(&folder, 1).await, Err(Error::Replaced)));
}

#[tokio::test]
async fn a_damaged_file_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nodes.json");
    for text in ["{\"format\":1,\"epoch\":1,\"nodes\":[{", "", "{\"format\":9,\"epoch\":1,\"nodes\":[]}"] {
        std::fs::write(&path, text).unwrap();
        let error = open(&folder, 5).await.unwrap_err();
        assert!(error.to_string().contains("nodes.json is damaged"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[tokio::test]
async fn refuses_what_is_too_much() {
    let Fixture { registry, folder: _folder } = fixture().await;
    let commands = (0..=COMMANDS_MAX).map(|number| number.to_string()).collect();
    let error = registry.announce("c1".into(), NodeInfo { commands, ..node("tv") }).await.unwrap_err();
    assert_eq!(error.to_string(), "too many commands: at most 512");
    for number in 0..NODES_MAX {
        registry.announce(format!("c{number}"), NodeInfo { paired: false, ..node(&format!("n{number}")) }).await.unwrap();
    }
    let error = registry.announce("c1".into(), node("tv")).await.unwrap_err();
    assert_eq!(error.to_string(), "too many nodes: at most 4096");
    registry.announce("c0".into(), NodeInfo { paired: false, ..node("n0") }).await.unwrap();
}

#[tokio::test]
async fn a_name_that_was_given_outlives_connections_and_restarts() {
    let Fixture { registry, folder } = fixture().await;
    let called = |name: &str| NodeInfo { display_name: Some(name.to_owned()), ..node("tv") };
    assert!(!registry.rename("tv", "Den").await.unwrap());
    registry.announce("c1".into(), called("kit")).await.unwrap();
    assert!(registry.rename("tv", "Den").await.unwrap());
    registry.announce("c2".into(), called("kit 2")).await.unwrap();
    assert_eq!(registry.get("tv").unwrap().display_name.as_deref(), Some("Den"));
    let later = open(&folder, 2).await.unwrap();
    assert_eq!(later.list()[0].display_name.as_deref(), Some("Den"));
}
