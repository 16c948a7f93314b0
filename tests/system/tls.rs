//! The same protocols behind a certificate.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use verso_client::{Client, Fingerprint, Trust};
use verso_tests::Gateway;
use verso_tests::gateway::TOKEN;

#[tokio::test]
async fn http_and_the_protocol_are_served_over_tls_on_one_port() {
    let gateway = Gateway::start_with(json!({"gateway": {"tls": {"enabled": true}}})).await;
    let pem = std::fs::read(gateway.state_dir().join("gateway/tls/gateway-cert.pem")).expect("a certificate");
    let certificate = reqwest::Certificate::from_pem(&pem).expect("a certificate");
    drop(rustls::crypto::ring::default_provider().install_default());
    let http = reqwest::Client::builder().tls_certs_only([certificate]).build().expect("a client");
    let secure = |path: &str| format!("https://localhost:{}{path}", gateway.port());
    let live = http.get(secure("/healthz")).send().await.expect("an answer over TLS");
    assert_eq!(live.status(), 200);
    let models = http.get(secure("/v1/models")).bearer_auth(TOKEN).send().await.expect("an answer over TLS");
    assert_eq!(models.status(), 200);

    let der = CertificateDer::from_pem_slice(&pem).expect("a certificate");
    let fingerprint = Fingerprint::of(&der);
    let mut options = gateway.options().with_trust(Trust::Pinned(fingerprint));
    options.url = format!("wss://127.0.0.1:{}", gateway.port());
    let client = gateway.connect(options.clone()).await;
    client.call("health", json!({})).await.expect("health over TLS");
    let other = options.with_trust(Trust::Pinned("00".repeat(32).parse().expect("a fingerprint")));
    assert!(Client::connect(other).await.is_err(), "another certificate is somebody else");

    let mut plain = tokio::net::TcpStream::connect(("127.0.0.1", gateway.port())).await.expect("a connection");
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("This port speaks TLS"), "{answer}");
}
