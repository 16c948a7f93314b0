//! What the client presents, keeps and trusts.

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use verso_client::{Client, DeviceTokens, Error, Fingerprint, Identity, Options, Trust};

use crate::gateway::{Gateway, challenge, error, hello, ok};

#[tokio::test]
async fn a_device_token_is_kept_and_presented_beside_the_shared_one() {
    let state = tempfile::tempdir().unwrap();
    let tokens = DeviceTokens::in_state_dir(state.path());
    let identity = Identity::generate(1);
    for (protocol, issued, expected) in [
        (3..=4, "first", json!({"token": "shared"})),
        (3..=4, "second", json!({"token": "shared", "deviceToken": "first"})),
        (3..=3, "second", json!({"token": "second"})),
    ] {
        let gateway = Gateway::start(async move |mut peer| {
            peer.send(challenge("n", 1)).await;
            let request = peer.request().await;
            assert_eq!(request["params"]["auth"], expected);
            peer.send(ok(&request, &hello(&json!({"deviceToken": issued, "scopes": ["operator.admin"]})))).await;
            peer.end().await;
        })
        .await;
        let options = gateway.options().with_token("shared").with_identity(identity.clone()).with_protocol(protocol);
        Client::connect(options.with_device_tokens(tokens.clone())).await.unwrap().close().await;
        gateway.finished().await;
        assert_eq!(tokens.load(&identity.device_id(), "operator").unwrap().token, issued);
    }
}

#[tokio::test]
async fn a_device_token_that_is_refused_is_forgotten_and_the_shared_one_tried() {
    let state = tempfile::tempdir().unwrap();
    let tokens = DeviceTokens::in_state_dir(state.path());
    let identity = Identity::generate(1);
    tokens.store(&identity.device_id(), "operator", "stale", &[]).unwrap();
    let gateway = Gateway::start_many(2, async |mut peer, turn| {
        peer.send(challenge("n", 1)).await;
        let request = peer.request().await;
        if turn == 0 {
            assert_eq!(request["params"]["auth"]["deviceToken"], "stale");
            let detail = json!({"code": "INVALID_REQUEST", "message": "x", "details": {"code": "AUTH_DEVICE_TOKEN_MISMATCH"}});
            peer.send(error(&request, &detail)).await;
            peer.close(CloseCode::Policy, "x").await;
        } else {
            assert_eq!(request["params"]["auth"], json!({"token": "shared"}));
            peer.send(ok(&request, &hello(&Value::Null))).await;
            peer.end().await;
        }
    })
    .await;
    let options = gateway.options().with_token("shared").with_identity(identity.clone()).with_device_tokens(tokens.clone());
    Client::connect(options).await.unwrap().close().await;
    gateway.finished().await;
    assert_eq!(tokens.load(&identity.device_id(), "operator"), None);
}

/// A gateway of one connection behind a certificate of its own. Returns its address and the certificate's fingerprint.
async fn tls_gateway() -> (String, Fingerprint, JoinSet<()>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["gateway.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://{}", listener.local_addr().unwrap());
    let mut task = JoinSet::new();
    task.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // A client that does not trust us leaves here.
        let Ok(stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return };
        let mut socket = accept_async(stream).await.unwrap();
        socket.send(Message::text(challenge("n", 1).to_string())).await.unwrap();
        let request: Value = serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
        socket.send(Message::text(ok(&request, &hello(&Value::Null)).to_string())).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    });
    (url, Fingerprint::of(cert.der()), task)
}

#[tokio::test]
async fn a_pinned_certificate_is_enough_and_another_one_is_not() {
    let (url, fingerprint, _gateway) = tls_gateway().await;
    let client = Client::connect(Options::new(url).with_token("s").with_trust(Trust::Pinned(fingerprint))).await.unwrap();
    assert_eq!(client.hello().protocol, 4);
    client.close().await;

    let (url, _, _gateway) = tls_gateway().await;
    let other: Fingerprint = "00".repeat(32).parse().unwrap();
    let Err(Error::Unreachable { .. }) = Client::connect(Options::new(url).with_trust(Trust::Pinned(other))).await else {
        panic!("another certificate must be refused");
    };
}

#[tokio::test]
async fn sec_16_a_certificate_that_nobody_vouches_for_gets_no_secret() {
    let (url, _, _gateway) = tls_gateway().await;
    let refused = Client::connect(Options::new(url).with_token("s")).await;
    assert!(matches!(refused, Err(Error::Unreachable { .. } | Error::NoAuthorities)), "{refused:?}");
}
