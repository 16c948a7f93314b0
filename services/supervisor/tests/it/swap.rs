//! Replacing processes on request.

use rustix::process::Signal;
use tonic::Code;

use crate::gateway::{connect, home, others};

#[tokio::test]
async fn restarts_one_service_on_request() {
    let home = home();
    let gateway = home.start().await;
    let before = gateway.list().await;
    let answer = gateway.restart("channel").await.unwrap();
    let after = answer.service.unwrap();
    assert!(answer.ok);
    assert_eq!((after.state.as_str(), after.starts, after.last_exit.as_deref()), ("serving", 2, Some("exit status 0")));
    assert!(after.epoch > before["channel"].epoch && after.pid != before["channel"].pid);
    assert_eq!(others(&gateway.list().await, "channel"), others(&before, "channel"));
    assert_eq!(home.notes(), ["channel stopped"], "it was asked, not killed");
}

#[tokio::test]
async fn names_the_services_when_asked_for_another() {
    let gateway = home();
    let gateway = gateway.start().await;
    let refusal = gateway.restart("router").await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert_eq!(refusal.message(), "unknown service \"router\" (known: edge, presence, node, channel, agent, canvas)");
}

#[tokio::test]
async fn replaces_the_edge_without_refusing_a_connection() {
    let home = home();
    let gateway = home.start().await;
    let public = gateway.public.unwrap();
    let before = gateway.list().await.remove("edge").unwrap();
    let mut answered = Vec::new();
    let clients = async {
        // The old process must be gone before the last connection, and the new one must have answered.
        while answered.last() != Some(&(before.epoch + 3)) {
            answered.push(connect(public).await);
        }
    };
    let swaps = async {
        for _ in 0..3 {
            gateway.restart("edge").await.unwrap();
            gateway.check("edge").await;
        }
        gateway.until("edge", |_| home.notes().len() == 3).await;
    };
    tokio::join!(clients, swaps);
    let after = gateway.list().await.remove("edge").unwrap();
    assert_eq!((after.starts, after.state.as_str()), (4, "serving"));
    let sockets = std::fs::read_dir(home.state("run")).unwrap();
    let of_edge = sockets.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("edge")).count();
    assert_eq!(of_edge, 1, "the side sockets are gone");
}

#[tokio::test]
async fn keeps_the_old_edge_when_the_new_one_does_not_come_up() {
    let home = home();
    let gateway = home.start().await;
    let before = gateway.list().await.remove("edge").unwrap();
    home.behave("edge", "crash");
    let refusal = gateway.restart("edge").await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (Code::Unavailable, "edge did not come up: exit status 101"));
    let after = gateway.list().await.remove("edge").unwrap();
    assert_eq!((after.pid, after.epoch, after.state), (before.pid, before.epoch, before.state));
    assert_eq!(connect(gateway.public.unwrap()).await, before.epoch);
}

#[tokio::test]
async fn restarts_all_services_on_a_signal_the_edge_last() {
    let home = home();
    let gateway = home.start().await;
    let before = gateway.list().await;
    gateway.signal(Signal::USR1);
    for service in before.values() {
        gateway.until_replaced(service).await;
    }
    gateway.until("edge", |_| home.notes().len() == 6).await;
    assert_eq!(home.notes()[5], "edge stopped");
}

#[tokio::test]
async fn ignores_the_signal_when_that_is_not_allowed() {
    let mut home = home();
    home.setup.restart_on_signal = false;
    let gateway = home.start().await;
    let before = gateway.list().await;
    gateway.signal(Signal::USR1);
    // The next signal is handled after the first one.
    gateway.signal(Signal::HUP);
    gateway.until("edge", |_| home.notes().len() == 6).await;
    assert_eq!(others(&gateway.list().await, ""), others(&before, ""));
}

#[tokio::test]
async fn passes_a_reload_on_to_every_service() {
    let home = home();
    let gateway = home.start().await;
    gateway.signal(Signal::HUP);
    gateway.until("edge", |_| home.notes().len() == 6).await;
    assert!(home.notes().iter().all(|note| note.ends_with(" reloads")));
}
