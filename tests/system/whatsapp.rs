//! WhatsApp through the gateway, as far as it goes without WhatsApp: logins that cannot succeed, and what everybody is told meanwhile.

use std::process::Output;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;
use verso_client::Client;
use verso_tests::{Gateway, eventually, process};

/// What the first frame of a device begins with.
const HEADER: [u8; 4] = [b'W', b'A', 6, 3];

/// A server that takes connections and first frames, and says nothing.
#[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
async fn silent_server() -> (u16, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (heard, hearing) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let heard = heard.clone();
            tokio::spawn(async move {
                let Ok(mut socket) = accept_async(stream).await else { return };
                while let Some(Ok(Message::Binary(frame))) = socket.next().await {
                    drop(heard.send(frame.to_vec()).await);
                }
            });
        }
    });
    (port, hearing)
}

async fn linking(port: u16) -> (Gateway, Client) {
    let gateway = Gateway::start_with(json!({"channels": {"whatsapp": {"socketUrl": format!("ws://127.0.0.1:{port}/ws/chat")}}})).await;
    let client = gateway.client().await;
    (gateway, client)
}

async fn account(client: &Client) -> Value {
    let status = client.call("channels.status", json!({"probe": true, "timeoutMs": 1_000})).await.expect("a status");
    status["channelAccounts"]["whatsapp"][0].clone()
}

async fn run(gateway: &Gateway, arguments: &[&str]) -> Output {
    let mut command = gateway.command();
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output().expect("the verso binary starts")).await.expect("no panic")
}

#[tokio::test]
async fn an_account_that_nobody_has_linked_says_so_everywhere() {
    let (gateway, client) = linking(1).await;
    let account = eventually("it waits", async || Some(account(&client).await).filter(|account| account["lastError"].is_string())).await;
    assert_eq!((&account["linked"], &account["running"], &account["configured"]), (&json!(false), &json!(false), &json!(false)));
    assert_eq!(account["lastError"], "link it first, with `verso channels login`");
    let send = json!({"channel": "whatsapp", "to": "+4930123456", "message": "hi", "idempotencyKey": "1"});
    let refusal = client.call("send", send).await.expect_err("refused");
    let words = refusal.to_string();
    assert!(
        words.contains("NOT_LINKED") && words.contains("whatsapp is not linked: link it first, with `verso channels login`"),
        "{words}"
    );
    let shown = run(&gateway, &["channels", "status", "--probe"]).await;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let line = shown.lines().find(|line| line.contains("whatsapp")).expect("a line of the table");
    assert!(line.contains("no") && line.contains("link it first"), "{shown}");
    let processes = process::tree(gateway.pid());
    assert!(!processes.into_iter().any(|pid| process::command_line(pid).contains("channel-account")), "nobody runs it meanwhile");
}

#[tokio::test]
async fn a_login_without_a_network_is_told_why_and_leaves_nothing() {
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address").port();
    let (gateway, client) = linking(closed).await;
    let started = client.call("web.login.start", json!({"timeoutMs": 20_000})).await.expect("an answer");
    let message = started["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("Not linked: WhatsApp is not reached: ") && started["qrDataUrl"].is_null(), "{started}");
    let waited = client.call("web.login.wait", json!({"timeoutMs": 1_000})).await.expect("an answer");
    assert_eq!((&waited["connected"], waited["message"].as_str()), (&json!(false), Some(message)));
    let out = run(&gateway, &["channels", "login", "--channel", "whatsapp"]).await;
    let words = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(!out.status.success() && words.contains("WhatsApp is not reached"), "{words}");
    let out = client.call("channels.logout", json!({"channel": "whatsapp"})).await.expect("an answer");
    assert_eq!((&out["cleared"], &out["accountId"]), (&json!(false), &json!("default")));
    assert_eq!(account(&client).await["linked"], false);
}

#[tokio::test]
async fn a_login_that_gets_no_code_ends_in_time_and_can_be_begun_anew() {
    let (port, mut heard) = silent_server().await;
    let (_gateway, client) = linking(port).await;
    let begun = Instant::now();
    let refusal = client.call("web.login.start", json!({"timeoutMs": 5_000})).await.expect_err("no code");
    assert!(refusal.to_string().contains("could not link whatsapp: no code came in time; try again"), "{refusal}");
    assert!((Duration::from_secs(5)..Duration::from_secs(15)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    let frame = heard.recv().await.expect("a device has called");
    assert_eq!(frame.get(..4), Some(&HEADER[..]), "it speaks the protocol");
    let waited = client.call("web.login.wait", json!({"timeoutMs": 500})).await.expect("an answer");
    assert_eq!(waited["connected"], false);
    let again = client.call("web.login.start", json!({"timeoutMs": 5_000, "force": true})).await.expect_err("no code");
    assert!(again.to_string().contains("no code came in time"), "{again}");
    assert_eq!(heard.recv().await.expect("another call").get(..4), Some(&HEADER[..]));
}

#[tokio::test]
async fn keys_of_another_program_are_not_taken_for_ours() {
    let (port, _heard) = silent_server().await;
    let mut gateway = Gateway::prepare(json!({"channels": {"whatsapp": {"socketUrl": format!("ws://127.0.0.1:{port}/")}}}));
    let folder = gateway.state_dir().join("credentials/whatsapp/default");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("creds.json"), r#"{"me":{"id":"491701:3@s.whatsapp.net"}}"#).expect("a file");
    gateway.launch(&[]);
    gateway.ready().await;
    let client = gateway.client().await;
    let refused = |account: &Value| account["linked"] == false && account["lastError"].is_string();
    let account = eventually("it is looked at", async || Some(account(&client).await).filter(refused)).await;
    assert_eq!(account["lastError"], "the device is not linked; link it with `verso channels login`");
    let out = client.call("channels.logout", json!({"channel": "whatsapp"})).await.expect("an answer");
    assert_eq!((&out["cleared"], folder.exists()), (&json!(true), false));
}
