//! Logins against a server on loopback, as far as the network's own certificate lets anybody else be the server.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};
use verso_kit::CancellationToken;
use verso_kit::clock::Clock;
use verso_kit::tasks::Tasks;
use whatsapp_rust::traits::DeviceStore as _;
use whatsapp_rust::wacore::handshake::NoiseHandshake;
use whatsapp_rust::wacore::libsignal::protocol::KeyPair;
use whatsapp_rust::wacore_binary::consts::{NOISE_PATTERN_XX, WA_CONN_HEADER};
use whatsapp_rust::wacore_binary::marshal::{marshal, unmarshal_ref};
use whatsapp_rust::waproto::buffa::{Message as _, MessageField};
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::waproto::whatsapp::cert_chain::{NoiseCertificate, noise_certificate};
use whatsapp_rust::{NodeBuilder, wacore};

use super::*;

fn around() -> Surroundings {
    // Fails only when there is a provider already.
    drop(rustls::crypto::ring::default_provider().install_default());
    Surroundings { tasks: Tasks::new(CancellationToken::new()), clock: Clock::system() }
}

/// Begins a login over the socket at `port`, and returns what it says.
fn login(folder: &std::path::Path, port: u16) -> mpsc::Receiver<Result<LoginResponse, Status>> {
    let settings = serde_json::json!({"authDir": folder, "socketUrl": format!("ws://127.0.0.1:{port}/ws/chat")});
    let (said, saying) = mpsc::channel(8);
    let login = Login { said, settings: Settings::read(&settings.to_string()).unwrap(), around: around() };
    let tasks = login.around.tasks.clone();
    tasks.spawn("login", login.go(LoginRequest { account_id: "default".into(), ..LoginRequest::default() }));
    saying
}

async fn ended(mut saying: mpsc::Receiver<Result<LoginResponse, Status>>) -> Kind {
    saying.recv().await.unwrap().unwrap().kind.unwrap()
}

/// Takes the connection of a device, and returns the first frame that it sends.
async fn first_frame(listener: &TcpListener) -> (WebSocketStream<TcpStream>, Vec<u8>) {
    let (stream, _) = listener.accept().await.unwrap();
    #[allow(clippy::result_large_err, reason = "the signature is the library's")]
    let asked = |request: &Request, response: Response| {
        assert_eq!(request.headers().get("origin").unwrap(), "https://web.whatsapp.com");
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, asked).await.unwrap();
    let Some(Ok(Message::Binary(frame))) = socket.next().await else { panic!("a frame") };
    (socket, frame.to_vec())
}

/// Returns what a frame holds: behind the protocol's header and three bytes of length.
fn payload(frame: &[u8]) -> &[u8] {
    let rest = frame.strip_prefix(&WA_CONN_HEADER[..]).expect("the protocol's header");
    let length = usize::from(rest[0]) << 16 | usize::from(rest[1]) << 8 | usize::from(rest[2]);
    &rest[3..3 + length]
}

fn bare(key: &KeyPair) -> [u8; 32] {
    key.public_key.public_key_bytes().try_into().unwrap()
}

/// Certificates as WhatsApp's look, signed by nobody.
fn made_up_certificates(server: &KeyPair) -> Vec<u8> {
    let certificate = |serial, issuer_serial, key: &[u8]| {
        let details = noise_certificate::Details {
            serial: Some(serial),
            issuer_serial: Some(issuer_serial),
            key: Some(key.to_vec()),
            not_before: Some(1_700_000_000),
            not_after: Some(1_999_000_000),
        };
        NoiseCertificate { details: Some(details.encode_to_vec()), signature: Some(vec![0; 64]) }
    };
    let leaf = MessageField::some(certificate(2, 1, &bare(server)));
    wa::CertChain { leaf, intermediate: MessageField::some(certificate(1, 0, &[7; 32])) }.encode_to_vec()
}

#[tokio::test]
async fn sec_a_server_that_whatsapp_has_not_certified_is_refused_after_a_whole_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let saying = login(folder.path(), listener.local_addr().unwrap().port());
    let (mut socket, frame) = first_frame(&listener).await;
    let hello = wa::HandshakeMessage::decode_from_slice(payload(&frame)).unwrap();
    let device: [u8; 32] = hello.client_hello.into_option().unwrap().ephemeral.unwrap().try_into().unwrap();

    let mut noise = NoiseHandshake::new(NOISE_PATTERN_XX, &WA_CONN_HEADER).unwrap();
    let (server, ephemeral) = (KeyPair::generate(&mut rand::rng()), KeyPair::generate(&mut rand::rng()));
    noise.authenticate(&device);
    noise.authenticate(&bare(&ephemeral));
    noise.mix_shared_secret(ephemeral.private_key.serialize(), &device).unwrap();
    let sealed_key = noise.encrypt(&bare(&server)).unwrap();
    noise.mix_shared_secret(server.private_key.serialize(), &device).unwrap();
    let sealed_certificates = noise.encrypt(&made_up_certificates(&server)).unwrap();
    let answer = wa::handshake_message::ServerHello {
        ephemeral: Some(bare(&ephemeral).to_vec()),
        r#static: Some(sealed_key),
        payload: Some(sealed_certificates),
        ..Default::default()
    };
    let answer = wa::HandshakeMessage { server_hello: MessageField::some(answer), ..Default::default() }.encode_to_vec();
    let framed = wacore::framing::encode_frame(&answer, None).unwrap();
    socket.send(Message::Binary(Bytes::from(framed))).await.unwrap();

    let reason = "WhatsApp is not reached: the server could not show that it is WhatsApp's".to_owned();
    assert_eq!(ended(saying).await, Kind::Failed(reason));
    assert!(!folder.path().join("creds.json").exists() && !folder.path().join("whatsapp.sqlite").exists(), "nothing is left");
    assert!(
        socket.next().await.is_none_or(|said| said.is_err() || said.is_ok_and(|said| !said.is_binary())),
        "the device says nothing more"
    );
}

#[tokio::test]
async fn a_network_that_is_not_there_ends_a_login_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let Kind::Failed(reason) = ended(login(folder.path(), closed)).await else { panic!("failed") };
    assert!(reason.starts_with("WhatsApp is not reached: ") && reason.contains("refused"), "{reason}");
}

#[tokio::test]
async fn codes_to_scan_hold_the_keys_of_the_device_that_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Folder::new(folder.path());
    let store = keys.open().await.unwrap();
    let settings = Settings::read(&serde_json::json!({"authDir": folder.path(), "socketUrl": "ws://127.0.0.1:1/"}).to_string()).unwrap();
    let (session, told) = Session::open(store.clone(), &settings, None, &around()).await.unwrap();
    let reference = |text: &str| NodeBuilder::new("ref").bytes(text.as_bytes().to_vec()).build();
    let offer = NodeBuilder::new("pair-device").children([reference("2@first"), reference("2@second")]).build();
    let offer = NodeBuilder::new("iq").attr("from", "s.whatsapp.net").attr("type", "set").attr("id", "1").children([offer]).build();
    assert!(whatsapp_rust::pair::handle_iq(&session.client, &offer.as_node_ref()).await);

    let (said, mut saying) = mpsc::channel(8);
    let login = Login { said, settings, around: around() };
    let shown = tokio::select! {
        shown = saying.recv() => shown.unwrap().unwrap().kind.unwrap(),
        over = login.follow(&session, told, None) => panic!("{over:?}"),
    };
    let Kind::Qr(ShownCode { content, valid_ms }) = shown else { panic!("a code to scan") };
    session.client.persistence_manager().flush().await.unwrap();
    let device = store.load().await.unwrap().unwrap();
    let encoded = |key: &KeyPair| base64_of(&bare(key));
    let expected =
        format!("2@first,{},{},{},", encoded(&device.noise_key), encoded(&device.identity_key), base64_of(&device.adv_secret_key));
    assert!(content.starts_with(&expected) && (50_000..=60_000).contains(&valid_ms), "{content} {valid_ms}");
    assert!(keys.linked().await.unwrap().is_none(), "a code is no link");
    session.close().await;
}

/// Encodes without another library of ours.
fn base64_of(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().chain(&[0, 0]).take(3).fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        for at in 0..4 {
            text.push(if at <= chunk.len() { char::from(LETTERS[number >> (18 - 6 * at) & 63]) } else { '=' });
        }
    }
    text
}

#[test]
fn stanzas_have_the_bytes_that_other_clients_of_the_network_write() {
    // The dictionary of the protocol: a list of five, `iq`, `type` `result`, `from` `s.whatsapp.net`.
    let node = NodeBuilder::new("iq").attr("type", "result").attr("from", "s.whatsapp.net").build();
    let bytes = marshal(&node).unwrap();
    assert_eq!(bytes, [0, 0xf8, 5, 25, 4, 20, 6, 3]);
    assert_eq!(unmarshal_ref(&bytes[1..]).unwrap().tag, "iq");
}

#[test]
fn codes_to_type_are_written_as_phones_show_them() {
    assert_eq!([dashed("ABCD1234"), dashed("ABC"), dashed("")], ["ABCD-1234", "ABC", ""]);
}
