use super::*;

const NOW_MS: i64 = 1_700_000_000_000;

fn listed(roster: &mut Roster) -> Vec<Entry> {
    serde_json::from_str(&roster.list().text).unwrap()
}

fn roster(clock: &Clock) -> Roster {
    let own = Entry { mode: Some("gateway".into()), reason: Some("self".into()), ..Entry::default() };
    Roster::new(clock.clone(), own, 1)
}

fn named(instance: &str, reason: &str) -> Entry {
    Entry {
        host: Some("desk".into()),
        mode: Some("ui".into()),
        instance_id: Some(instance.into()),
        reason: Some(reason.into()),
        ..Entry::default()
    }
}

fn said(text: &str) -> Entry {
    Entry { text: Some(text.into()), ..Entry::default() }
}

fn others(roster: &mut Roster) -> Vec<Entry> {
    listed(roster).split_off(1)
}

#[test]
fn forgets_after_five_minutes_but_never_itself() {
    let clock = Clock::fixed(NOW_MS);
    let mut roster = roster(&clock);
    roster.announce("c1".into(), named("a", "connect")).unwrap();
    clock.advance(TTL_MS);
    assert_eq!(others(&mut roster).len(), 1);
    clock.advance(1);
    let list = listed(&mut roster);
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].mode.as_deref(), list[0].ts_ms), (Some("gateway"), NOW_MS + TTL_MS + 1));
}

#[test]
fn lists_the_newest_first() {
    let clock = Clock::fixed(NOW_MS);
    let mut roster = roster(&clock);
    for name in ["a", "b", "c"] {
        roster.announce(name.into(), named(name, "connect")).unwrap();
        clock.advance(1);
    }
    roster.beacon(Entry { instance_id: Some("A".into()), ..said("still here") }).unwrap();
    let names: Vec<_> = others(&mut roster).into_iter().filter_map(|entry| entry.instance_id).collect();
    assert_eq!(names, ["A", "c", "b"]);
    let times: Vec<_> = listed(&mut roster).iter().map(|entry| entry.ts_ms).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
}

#[test]
fn the_clock_may_be_set_back() {
    let clock = Clock::fixed(NOW_MS);
    let mut roster = roster(&clock);
    roster.announce("c1".into(), named("a", "connect")).unwrap();
    clock.advance(-60_000);
    roster.announce("c1".into(), named("a", "disconnect")).unwrap();
    let times: Vec<_> = listed(&mut roster).iter().map(|entry| entry.ts_ms).collect();
    assert_eq!(times, [NOW_MS, NOW_MS]);
}

#[test]
fn keeps_the_newest_when_it_is_full() {
    let clock = Clock::fixed(NOW_MS);
    let mut roster = roster(&clock);
    for number in 0..10_000 {
        roster.announce(format!("c{number}"), named(&format!("i{number}"), "connect")).unwrap();
    }
    let list = listed(&mut roster);
    assert_eq!(list.len(), ENTRIES_MAX);
    assert_eq!(list[0].reason.as_deref(), Some("self"));
    assert_eq!(list[1].instance_id.as_deref(), Some("i9999"));
    assert_eq!(list[199].instance_id.as_deref(), Some("i9801"));
    assert_eq!((roster.records.len(), roster.by_age.len()), (199, 199));
}

#[test]
fn announcing_twice_changes_nothing() {
    let clock = Clock::fixed(NOW_MS);
    let mut roster = roster(&clock);
    assert!(roster.announce("c1".into(), named("a", "connect")).unwrap());
    let (before, version) = (listed(&mut roster), roster.version());
    assert!(!roster.announce("c1".into(), named("a", "connect")).unwrap());
    assert_eq!((listed(&mut roster), roster.version()), (before, version));
}

#[test]
fn a_late_disconnect_of_an_older_connection_is_ignored() {
    let clock = Clock::fixed(NOW_MS);
    let mut roster = roster(&clock);
    roster.announce("c1".into(), named("a", "connect")).unwrap();
    roster.announce("c2".into(), named("a", "connect")).unwrap();
    assert!(!roster.announce("c1".into(), named("a", "disconnect")).unwrap());
    assert_eq!(others(&mut roster)[0].reason.as_deref(), Some("connect"));
    assert!(roster.announce("c2".into(), named("a", "disconnect")).unwrap());
    assert_eq!(others(&mut roster)[0].reason.as_deref(), Some("disconnect"));
}

#[test]
fn names_by_device_then_instance_then_connection() {
    let clock = Clock::fixed(NOW_MS);
    let mut roster = roster(&clock);
    roster.announce("c1".into(), Entry { device_id: Some("DEV".into()), ..named("x", "connect") }).unwrap();
    roster.announce("c2".into(), Entry { device_id: Some("dev".into()), ..named("y", "connect") }).unwrap();
    roster.announce("c3".into(), named("X", "connect")).unwrap();
    roster.announce("c4".into(), Entry::default()).unwrap();
    roster.announce("C4".into(), Entry { mode: Some("ui".into()), ..Entry::default() }).unwrap();
    assert_eq!(others(&mut roster).len(), 3);
    assert!(matches!(roster.announce(" ".into(), Entry::default()), Err(Error::UnnamedConnection)));
}

#[test]
fn reads_missing_fields_from_a_node_line() {
    let clock = Clock::fixed(NOW_MS);
    let mut roster = roster(&clock);
    let line = "Node: den (198.51.100.8) · app 3.4 · last input 12s ago · mode remote · reason periodic";
    roster.beacon(Entry { mode: Some("local".into()), ..said(line) }).unwrap();
    let entry = others(&mut roster).remove(0);
    assert_eq!(entry.mode.as_deref(), Some("local"), "what is given counts more");
    assert_eq!((entry.host.as_deref(), entry.ip.as_deref(), entry.version.as_deref()), (Some("den"), Some("198.51.100.8"), Some("3.4")));
    assert_eq!((entry.last_input_seconds, entry.reason.as_deref(), entry.text.as_deref()), (Some(12), Some("periodic"), Some(line)));
}

#[test]
fn a_given_text_outlives_connections_and_a_written_one_follows_them() {
    let clock = Clock::fixed(NOW_MS);
    let mut roster = roster(&clock);
    roster.announce("c1".into(), named("a", "connect")).unwrap();
    assert_eq!(others(&mut roster)[0].text.as_deref(), Some("Node: desk · mode ui · reason connect"));
    roster.announce("c1".into(), named("a", "disconnect")).unwrap();
    assert_eq!(others(&mut roster)[0].text.as_deref(), Some("Node: desk · mode ui · reason disconnect"));
    roster.beacon(Entry { instance_id: Some("a".into()), ..said("lunch") }).unwrap();
    roster.announce("c2".into(), named("a", "connect")).unwrap();
    assert_eq!(others(&mut roster)[0].text.as_deref(), Some("lunch"));
}

#[test]
fn a_blank_text_is_refused_and_changes_nothing() {
    let clock = Clock::fixed(NOW_MS);
    let mut roster = roster(&clock);
    for text in ["", " \n"] {
        assert!(matches!(roster.beacon(said(text)), Err(Error::TextRequired)));
    }
    assert_eq!((roster.version(), listed(&mut roster).len()), (1, 1));
}

#[test]
fn restoring_makes_nobody_younger() {
    let clock = Clock::fixed(NOW_MS);
    let mut roster = roster(&clock);
    let aged = |name: &str, age_ms: i64| (name.to_owned(), Entry { ts_ms: NOW_MS - age_ms, ..named(name, "connect") });
    let later = ("future".to_owned(), Entry { ts_ms: NOW_MS + 99, ..named("future", "connect") });
    roster.restore(vec![aged("old", 1_000), aged("older", 2_000), aged("gone", TTL_MS + 1), later], 41).unwrap();
    let found: Vec<_> = others(&mut roster).into_iter().map(|entry| (entry.instance_id.unwrap(), NOW_MS - entry.ts_ms)).collect();
    assert_eq!(found, [("future".to_owned(), 0), ("old".to_owned(), 1_000), ("older".to_owned(), 2_000)]);
    assert_eq!(roster.version(), 42);
}

#[test]
fn restores_in_any_order() {
    let clock = Clock::fixed(NOW_MS);
    let mut roster = roster(&clock);
    let at = |conn: &str, age_ms: i64| (conn.to_owned(), Entry { ts_ms: NOW_MS - age_ms, ..named("a", "connect") });
    roster.restore(vec![at("new", 0), at("old", 1_000)], 0).unwrap();
    assert!(!roster.announce("old".into(), named("a", "disconnect")).unwrap(), "the newer connection counts");
    assert!(roster.announce("new".into(), named("a", "disconnect")).unwrap());
}

#[test]
fn versions_never_go_back_over_a_restart() {
    let clock = Clock::fixed(NOW_MS);
    let own = Entry::default();
    let mut first = Roster::new(clock.clone(), own.clone(), 1);
    for number in 0..1_000 {
        first.beacon(said(&format!("note {number}"))).unwrap();
    }
    let mut second = Roster::new(clock.clone(), own.clone(), 2);
    assert!(second.version() > first.version(), "before any edge has said a word");
    second.restore(Vec::new(), u64::from(u32::MAX)).unwrap();
    assert_eq!(second.version(), u64::from(u32::MAX) + 1);
    let numbered_by_seconds = Roster::new(clock, own, 1_900_000_000);
    assert!(numbered_by_seconds.version() < 1 << 53, "a client reads it as a double");
}
