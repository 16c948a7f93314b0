//! Services in processes of their own, over TCP with certificates: the promises are those of the Unix sockets.

#![allow(clippy::disallowed_methods, clippy::print_stderr, reason = "a test asks its surroundings, and says what it skips")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use verso_client::{Client, Events};
use verso_tests::apart::{ALL, Apart, Place};
use verso_tests::{PATIENCE, eventually};

/// A call that the service itself answers.
const PROBES: [(&str, &str); 5] = [
    ("presence", "system-presence"),
    ("node", "node.list"),
    ("channel", "channels.status"),
    ("agent", "sessions.list"),
    ("canvas", "canvas.status"),
];

async fn all_answer(client: &Client, but: &[&str]) {
    for (service, method) in PROBES.iter().filter(|(service, _)| !but.contains(service)) {
        client.call(method, json!({})).await.unwrap_or_else(|error| panic!("{service}: {error:?}"));
    }
}

async fn answers_again(client: &Client, service: &str) {
    let method = PROBES.iter().find(|(name, _)| *name == service).expect("a probe").1;
    eventually("the service to answer again", async || client.call(method, json!({})).await.ok()).await;
}

async fn turn(client: &Client, events: &mut Events, run_id: &str) -> Value {
    let params = json!({"sessionKey": "agent:main:apart", "message": "hello", "idempotencyKey": run_id});
    client.call("chat.send", params).await.expect("an accepted message");
    loop {
        let event = timeout(PATIENCE, events.next_named("chat")).await.expect("a chat event in time").expect("an open socket");
        if event.payload["runId"] == run_id && event.payload["state"] != "delta" {
            return event.payload.clone();
        }
    }
}

#[tokio::test]
async fn services_over_tcp_keep_the_promises_when_one_of_them_is_killed() {
    let mut apart = Apart::prepare(&json!({}));
    apart.start_all().await;
    let client = apart.client().await;
    let mut events = client.events();
    all_answer(&client, &[]).await;
    assert_eq!(turn(&client, &mut events, "first").await["state"], "final");
    for (service, _) in PROBES {
        apart.kill(service);
        all_answer(&client, &[service]).await;
        client.call("health", json!({})).await.expect("health is answered whatever is down");
        apart.start(service);
        answers_again(&client, service).await;
    }
    assert_eq!(turn(&client, &mut events, "last").await["state"], "final");
    let text = crate::http::http().get(format!("http://127.0.0.1:{}/metrics", apart.port())).bearer_auth(verso_tests::gateway::TOKEN);
    let text = text.send().await.expect("an answer").text().await.expect("text");
    for service in ALL {
        assert!(text.contains(&format!("verso_service_up{{service=\"{service}\"}} 1\n")), "{text}");
        assert!(text.contains(&format!("process_resident_memory_bytes{{service=\"{service}\"}} ")), "{service}");
    }
}

#[tokio::test]
async fn certificates_and_the_authority_change_while_everything_runs() {
    let mut apart = Apart::prepare(&json!({}));
    apart.start_all().await;
    let client = apart.client().await;
    // Every step is followed by connections that are new: the service comes back and everybody finds it again.
    for arguments in [&[][..], &["--new-authority"], &[], &["--forget-old"]] {
        apart.certify(arguments);
        for service in ["agent", "presence"] {
            apart.kill(service);
            apart.start(service);
            answers_again(&client, service).await;
        }
        all_answer(&client, &[]).await;
    }
    let trusted = std::fs::read_to_string(apart.tls_dir().join("agent/ca.pem")).expect("authorities");
    assert_eq!(trusted.matches("BEGIN CERTIFICATE").count(), 1, "only the present authority is left");
    for name in ALL {
        assert!(!apart.output(name).contains("cannot be used"), "{}", apart.output(name));
    }
}

/// Shakes hands with a service as somebody; the error says how that was refused.
fn shake(address: &str, expected: &str, roots: &std::path::Path, own: Option<&std::path::Path>) -> std::io::Result<()> {
    let mut trusted = RootCertStore::empty();
    let authorities = CertificateDer::pem_file_iter(roots).expect("authorities").collect::<Result<Vec<_>, _>>().expect("PEM");
    trusted.add_parsable_certificates(authorities);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = config.with_root_certificates(trusted);
    let mut config = match own {
        None => config.with_no_client_auth(),
        Some(folder) => {
            let chain = CertificateDer::pem_file_iter(folder.join("cert.pem")).expect("a certificate");
            let chain = chain.collect::<Result<Vec<_>, _>>().expect("PEM");
            let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).expect("a key");
            config.with_client_auth_cert(chain, key).expect("a pair")
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(format!("{expected}.verso.internal")).expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).map_err(std::io::Error::other)?;
    let socket = std::net::TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
    // Whether the certificate was taken is known with the first byte of an answer.
    stream.read_exact(&mut [0])
}

#[tokio::test]
async fn sec_71_over_tcp_nobody_is_heard_without_a_certificate_of_ours() {
    let mut apart = Apart::prepare(&json!({}));
    apart.start("agent");
    apart.serves("agent").await;
    let (ours, address) = (apart.tls_dir(), apart.address("agent").to_owned());
    let strangers = Apart::prepare(&json!({})).tls_dir();
    let asked = tokio::task::spawn_blocking(move || {
        let roots = ours.join("ca/ca.pem");
        let edge = ours.join("edge");
        shake(&address, "agent", &roots, Some(&edge)).expect("one of us is heard");
        assert!(shake(&address, "agent", &roots, None).is_err(), "nobody without a certificate");
        assert!(shake(&address, "node", &roots, Some(&edge)).is_err(), "the agent is not taken for the node service");
        let mut plain = std::net::TcpStream::connect(&address).expect("a socket");
        plain.set_read_timeout(Some(Duration::from_secs(12))).expect("a timeout");
        plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("a write");
        let mut answer = Vec::new();
        // An alert of TLS at most, and then the end.
        drop(plain.read_to_end(&mut answer));
        assert!(answer.len() < 16, "{answer:?}");
        (roots, address)
    });
    let (roots, address) = asked.await.expect("no panic");
    // The folder of the other authority is gone with it, so it is made again.
    assert!(!strangers.exists());
    let other = Apart::prepare(&json!({}));
    let foreign = other.tls_dir().join("edge");
    let refused = tokio::task::spawn_blocking(move || shake(&address, "agent", &roots, Some(&foreign))).await.expect("no panic");
    assert!(refused.is_err(), "a certificate of another house");
}

/// What the test runs as inside of the edge's namespace.
const INSIDE: &str = "VERSO_TEST_IN_NAMESPACE";

/// The network of the namespaces; it leads nowhere else.
const NETWORK: &str = "10.213.77";

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split_whitespace()).output().is_ok_and(|output| output.status.success())
}

/// A namespace for each service, tied together by a bridge in one of its own; gone when it is dropped.
struct Namespaces(u32);

impl Namespaces {
    /// None when this machine does not let us.
    fn make() -> Option<Self> {
        let this = Self(std::process::id());
        if !ip(&format!("netns add {}", this.name("bridge"))) {
            return None;
        }
        let bridge = this.name("bridge");
        assert!(ip(&format!("-n {bridge} link add br0 type bridge")) && ip(&format!("-n {bridge} link set br0 up")), "a bridge");
        for (index, service) in ALL.into_iter().enumerate() {
            let name = this.name(service);
            let near = format!("vb{index}");
            for command in [
                format!("netns add {name}"),
                format!("-n {bridge} link add {near} type veth peer name eth0 netns {name}"),
                format!("-n {bridge} link set {near} master br0 up"),
                format!("-n {name} address add {NETWORK}.{}/24 dev eth0", index + 1),
                format!("-n {name} link set eth0 up"),
                format!("-n {name} link set lo up"),
            ] {
                assert!(ip(&command), "ip {command}");
            }
        }
        Some(this)
    }

    fn name(&self, what: &str) -> String {
        format!("verso-{}-{what}", self.0)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in ALL.into_iter().chain(["bridge"]) {
            ip(&format!("netns delete {}", self.name(name)));
        }
    }
}

fn place(index: usize) -> String {
    format!("{NETWORK}.{}", index + 1)
}

/// Lets nothing through between two services, or everything again.
fn part(first: usize, second: usize, owner: &str, parted: bool) {
    let verb = if parted { "add" } else { "delete" };
    for (here, there) in [(first, second), (second, first)] {
        let namespace = format!("verso-{owner}-{}", ALL[here]);
        assert!(ip(&format!("-n {namespace} route {verb} blackhole {}/32", place(there))), "a route");
    }
}

#[test]
fn services_in_namespaces_are_parted_and_heal_pair_by_pair() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(parted());
    }
    let Some(namespaces) = Namespaces::make() else {
        eprintln!("skipped: namespaces need root");
        return;
    };
    // Clients are where the edge is, so that they come from its own machine.
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &namespaces.name("edge")]).arg(std::env::current_exe().expect("this test"));
    command.args(["--exact", "apart::services_in_namespaces_are_parted_and_heal_pair_by_pair", "--nocapture"]);
    let status = command.env(INSIDE, namespaces.0.to_string()).status().expect("the test starts");
    assert!(status.success(), "inside of the namespaces");
}

async fn parted() {
    let owner = std::env::var(INSIDE).expect("who made the namespaces");
    let places: BTreeMap<&'static str, Place> = ALL
        .into_iter()
        .enumerate()
        .map(|(index, name)| (name, Place { address: format!("{}:50051", place(index)), namespace: Some(format!("verso-{owner}-{name}")) }))
        .collect();
    let mut apart = Apart::prepare_at(places, &json!({}));
    apart.start_all().await;
    let client = apart.client().await;
    let mut events = client.events();
    assert_eq!(turn(&client, &mut events, "before").await["state"], "final");
    for (first, second) in (0..ALL.len()).flat_map(|first| (first + 1..ALL.len()).map(move |second| (first, second))) {
        part(first, second, &owner, true);
        // Whoever is not parted from the edge answers it; whoever is does not keep a request for ever.
        let lost: Vec<&str> = if first == 0 { vec![ALL[second]] } else { Vec::new() };
        all_answer(&client, &lost).await;
        for service in &lost {
            let method = PROBES.iter().find(|(name, _)| name == service).expect("a probe").1;
            let begun = Instant::now();
            let answer = timeout(PATIENCE, client.call(method, json!({}))).await.expect("an answer, whatever it is");
            if let Err(error) = answer {
                assert!(error.retryable, "{error:?} after {:?}", begun.elapsed());
            }
        }
        part(first, second, &owner, false);
        for service in lost {
            answers_again(&client, service).await;
        }
    }
    for (service, _) in PROBES {
        apart.kill(service);
        all_answer(&client, &[service]).await;
        apart.start(service);
        answers_again(&client, service).await;
    }
    assert_eq!(turn(&client, &mut events, "after").await["state"], "final");
    client.call("health", json!({})).await.expect("the same connection");
}
