//! Processes that die, hang or never come up.

use rustix::process::Signal;

use crate::gateway::{home, kill, others};

#[tokio::test]
async fn restarts_a_killed_service_and_leaves_the_others_alone() {
    let home = home();
    let gateway = home.start().await;
    for name in ["edge", "presence", "node", "channel", "agent", "canvas"] {
        let before = gateway.list().await;
        kill(before[name].pid.unwrap(), Signal::KILL);
        let after = gateway.until_replaced(&before[name]).await;
        assert!(after.epoch > before[name].epoch, "{name}");
        assert_eq!(after.last_exit.as_deref(), Some("signal 9"), "{name}");
        assert_eq!(others(&gateway.list().await, name), others(&before, name), "{name}");
    }
}

#[tokio::test]
async fn isolates_a_service_that_cannot_stay_up() {
    let home = home();
    home.behave("agent", "crash");
    let mut gateway = home.spawn();
    gateway.listens().await;
    let agent = gateway.until("agent", |agent| agent.state == "failed").await;
    assert_eq!((agent.starts, agent.last_exit.as_deref()), (5, Some("exit status 101")));
    assert!(agent.retry_in_ms.unwrap() > 0, "never given up");
    for name in ["edge", "presence", "node", "channel", "canvas"] {
        assert_eq!(gateway.until(name, |service| service.state == "serving").await.starts, 1);
    }
    home.behave("agent", "");
    assert_eq!(gateway.restart("agent").await.unwrap().service.unwrap().state, "serving", "an operator need not wait");
}

#[tokio::test]
async fn kills_a_hung_service() {
    let home = home();
    let gateway = home.start().await;
    let before = gateway.list().await;
    kill(before["node"].pid.unwrap(), Signal::STOP);
    let after = gateway.until_replaced(&before["node"]).await;
    assert_eq!(after.last_exit.as_deref(), Some("signal 9 (did not answer health checks)"));
    assert_eq!(others(&gateway.list().await, "node"), others(&before, "node"));
}

#[tokio::test]
async fn lets_callers_wait_while_a_service_restarts() {
    let home = home();
    let gateway = home.start().await;
    let before = gateway.list().await.remove("node").unwrap();
    home.behave("node", "wait");
    kill(before.pid.unwrap(), Signal::KILL);
    gateway.until("node", |node| node.state == "starting" && node.pid != before.pid).await;
    let ((), ()) = tokio::join!(gateway.check("node"), async {
        // A second caller while the first one waits; then the service recovers.
        assert_eq!(gateway.list().await["node"].state, "starting");
        std::fs::write(home.state("go"), "").unwrap();
    });
}

#[tokio::test]
async fn leaves_no_orphan_when_it_is_killed() {
    let home = home();
    let mut first = home.start().await;
    let before = first.list().await;
    first.signal(Signal::KILL);
    assert_eq!(first.says().await, None, "every process that held our pipe is gone");

    let second = home.start().await;
    for (name, service) in second.list().await {
        assert!(service.epoch > before[&name].epoch, "{name} goes on counting");
    }
}
