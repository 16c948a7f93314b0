//! Stopping.

use rustix::process::Signal;

use crate::gateway::home;

#[tokio::test]
async fn leaves_nothing_behind() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = home();
        let mut gateway = home.start().await;
        gateway.signal(signal);
        assert_eq!(gateway.says().await.as_deref(), Some("stopped"));
        assert_eq!(gateway.says().await, None, "every process that held our pipe is gone");
        let left: Vec<_> = std::fs::read_dir(home.state("run")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["epochs.json"]);
    }
}

#[tokio::test]
async fn stops_the_edge_first() {
    let home = home();
    let mut gateway = home.start().await;
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.says().await.as_deref(), Some("stopped"));
    let notes = home.notes();
    assert_eq!((notes.len(), notes[0].as_str()), (6, "edge stopped"));
}

#[tokio::test]
async fn kills_what_does_not_stop_in_time() {
    let mut home = home();
    home.setup.drain_ms = 100;
    home.behave("agent", "deaf");
    let mut gateway = home.start().await;
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.says().await.as_deref(), Some("stopped"));
    assert_eq!(gateway.says().await, None);
    assert!(!home.notes().contains(&"agent stopped".to_owned()));
}

#[tokio::test]
async fn a_second_signal_cuts_the_stop_short() {
    let mut home = home();
    home.setup.drain_ms = 3_600_000;
    home.behave("edge", "deaf");
    let mut gateway = home.start().await;
    gateway.signal(Signal::TERM);
    gateway.until("edge", |edge| edge.state == "stopping").await;
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.says().await.as_deref(), Some("error stopped at once by a second signal"));
    assert_eq!(gateway.says().await, None);
}
