use super::*;

fn key(name: &str) -> SessionKey {
    SessionKey::stored(&format!("agent:main:{name}"))
}

#[test]
fn a_session_runs_one_at_a_time_in_order() {
    let lanes = Lanes::new(4);
    let mut places: Vec<Place> = (0..3).map(|_| lanes.join(&key("a")).unwrap()).collect();
    let mut turn = places[0].try_turn();
    assert!(turn.is_some() && places[1].try_turn().is_none());
    for next in &mut places[1..] {
        drop(turn.take());
        turn = next.try_turn();
        assert!(turn.is_some());
    }
    drop(turn);
    assert_eq!(lanes.load(), (0, 0));
    assert!(lanes.state().lanes.is_empty(), "nothing is left of an idle session");
}

#[test]
fn sessions_run_side_by_side_up_to_the_limit() {
    let lanes = Lanes::new(2);
    let mut places: Vec<Place> = ["a", "b", "c", "d"].iter().map(|name| lanes.join(&key(name)).unwrap()).collect();
    let first = places[0].try_turn();
    let _second = places[1].try_turn().unwrap();
    assert!(places[2].try_turn().is_none());
    assert_eq!(lanes.load(), (2, 2));
    drop(first);
    let _third = places[2].try_turn().unwrap();
    assert!(places[3].try_turn().is_none());
}

#[test]
fn who_gives_up_is_passed_over() {
    let lanes = Lanes::new(1);
    let mut places: Vec<Place> = ["a", "a", "b", "a"].iter().map(|name| lanes.join(&key(name)).unwrap()).collect();
    let first = places.remove(0).try_turn();
    drop(places.drain(..2));
    drop(first);
    let last = places[0].try_turn();
    assert!(last.is_some());
    drop(last);
    assert_eq!(lanes.load(), (0, 0));
}

#[test]
fn a_turn_that_nobody_fetches_is_passed_on() {
    let lanes = Lanes::new(1);
    let abandoned = lanes.join(&key("a")).unwrap();
    let mut next = lanes.join(&key("a")).unwrap();
    drop(abandoned);
    assert!(next.try_turn().is_some());
}

#[test]
fn a_full_queue_says_so_until_there_is_room() {
    let lanes = Lanes::new(1);
    let mut places: Vec<Place> = (0..=SESSION_WAITING_MAX).map(|_| lanes.join(&key("a")).unwrap()).collect();
    assert!(matches!(lanes.join(&key("a")), Err(Error::SessionQueueFull { max: SESSION_WAITING_MAX })));
    lanes.join(&key("b")).unwrap();
    drop(places.pop());
    lanes.join(&key("a")).unwrap();
}
