use futures_util::FutureExt as _;

use super::*;

fn key(name: &str) -> SessionKey {
    SessionKey::stored(&format!("agent:main:{name}"))
}

#[test]
fn a_session_runs_one_at_a_time_in_order() {
    let lanes = Lanes::new(4);
    let mut places: Vec<Place> = (0..3).map(|_| lanes.join(&key("a"), SESSION_WAITING_MAX).unwrap()).collect();
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
    let mut places: Vec<Place> = ["a", "b", "c", "d"].iter().map(|name| lanes.join(&key(name), SESSION_WAITING_MAX).unwrap()).collect();
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
    let mut places: Vec<Place> = ["a", "a", "b", "a"].iter().map(|name| lanes.join(&key(name), SESSION_WAITING_MAX).unwrap()).collect();
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
    let abandoned = lanes.join(&key("a"), SESSION_WAITING_MAX).unwrap();
    let mut next = lanes.join(&key("a"), SESSION_WAITING_MAX).unwrap();
    drop(abandoned);
    assert!(next.try_turn().is_some());
}

#[test]
fn a_full_queue_says_so_until_there_is_room() {
    let lanes = Lanes::new(1);
    let mut places: Vec<Place> = (0..=SESSION_WAITING_MAX).map(|_| lanes.join(&key("a"), SESSION_WAITING_MAX).unwrap()).collect();
    assert!(matches!(lanes.join(&key("a"), SESSION_WAITING_MAX), Err(Error::SessionQueueFull { max: SESSION_WAITING_MAX })));
    lanes.join(&key("b"), SESSION_WAITING_MAX).unwrap();
    drop(places.pop());
    lanes.join(&key("a"), SESSION_WAITING_MAX).unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_pauses_lets_other_sessions_run_and_keeps_its_own() {
    let lanes = Lanes::new(1);
    let mut turn = lanes.join(&key("a"), SESSION_WAITING_MAX).unwrap().try_turn().unwrap();
    let mut same = lanes.join(&key("a"), SESSION_WAITING_MAX).unwrap();
    let mut other = lanes.join(&key("b"), SESSION_WAITING_MAX).unwrap();
    {
        let paused = turn.pause(Duration::from_secs(1));
        tokio::pin!(paused);
        assert!((&mut paused).now_or_never().is_none());
        let elsewhere = other.try_turn();
        assert!(elsewhere.is_some() && same.try_turn().is_none());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!((&mut paused).now_or_never().is_none(), "the other one still runs");
        drop(elsewhere);
        paused.await.unwrap();
    }
    assert_eq!(lanes.load(), (1, 1));
    let gives_up = Box::pin(turn.pause(Duration::ZERO));
    drop(gives_up);
    drop(turn);
    assert!(same.try_turn().is_some());
    assert_eq!(lanes.load(), (0, 0));
}
