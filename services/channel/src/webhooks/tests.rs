use reqwest::{Client, Response};

use super::*;

const HEADER: &str = "x-secret";

fn secret(words: &str) -> Secret<String> {
    Secret::new(words.to_owned())
}

async fn open(webhooks: &Webhooks, port: u16, path: &str, secret: Option<&Secret<String>>) -> Result<Visits, Fault> {
    webhooks.open(Door { host: "127.0.0.1", port, path, header: HEADER, secret }).await
}

async fn post(port: u16, path: &str, secret: Option<&str>, body: Vec<u8>) -> Response {
    let mut request = Client::new().post(format!("http://127.0.0.1:{port}{path}")).body(body);
    if let Some(secret) = secret {
        request = request.header(HEADER, secret);
    }
    request.send().await.unwrap()
}

fn webhooks() -> (Webhooks, Tasks) {
    drop(tokio_rustls::rustls::crypto::ring::default_provider().install_default());
    let tasks = Tasks::new(CancellationToken::new());
    (Webhooks::new(tasks.clone()), tasks)
}

/// Keeps whatever comes and returns it.
async fn kept(visits: &mut Visits) -> Bytes {
    let visit = visits.next().await.unwrap();
    let body = visit.body.clone();
    visit.keep();
    body
}

#[tokio::test]
async fn sec_32_without_the_right_secret_nothing_comes_in() {
    let (webhooks, _tasks) = webhooks();
    for none in [None, Some(secret("")), Some(secret("short"))] {
        assert!(matches!(open(&webhooks, 0, "/in", none.as_ref()).await, Err(Fault::Account(_))), "a door without a secret stays shut");
    }
    let right = secret("right-secret");
    let mut visits = open(&webhooks, 0, "/in", Some(&right)).await.unwrap();
    let port = visits.address.port();
    for wrong in [None, Some(""), Some("right-secre"), Some("right-secret2"), Some("wrong")] {
        assert_eq!(post(port, "/in", wrong, b"x".to_vec()).await.status(), 401, "{wrong:?}");
    }
    assert!(visits.queue.try_recv().is_err(), "nobody without the secret was heard");
    let (answer, body) = tokio::join!(post(port, "/in", Some("right-secret"), b"x".to_vec()), kept(&mut visits));
    assert_eq!((answer.status().as_u16(), body.as_ref()), (200, b"x".as_slice()));
    assert_eq!(post(port, "/other", Some("right-secret"), Vec::new()).await.status(), 404);
    assert_eq!(Client::new().get(format!("http://127.0.0.1:{port}/healthz")).send().await.unwrap().text().await.unwrap(), "ok");
    assert_eq!(Client::new().get(format!("http://127.0.0.1:{port}/in")).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn sec_33_a_shared_path_leads_to_the_account_whose_secret_is_shown() {
    let (webhooks, _tasks) = webhooks();
    let (first, second) = (secret("first-secret"), secret("second-secret"));
    let mut of_first = open(&webhooks, 0, "/in", Some(&first)).await.unwrap();
    let port = of_first.address.port();
    let mut of_second = open(&webhooks, port, "/in", Some(&second)).await.unwrap();
    assert!(matches!(open(&webhooks, port, "/in", Some(&first)).await, Err(Fault::Account(_))), "a secret names one account");
    let (_, body) = tokio::join!(post(port, "/in", Some("second-secret"), b"2".to_vec()), kept(&mut of_second));
    assert_eq!(body.as_ref(), b"2");
    let (_, body) = tokio::join!(post(port, "/in", Some("first-secret"), b"1".to_vec()), kept(&mut of_first));
    assert_eq!(body.as_ref(), b"1");
    assert!(of_first.queue.try_recv().is_err() && of_second.queue.try_recv().is_err());
    drop(of_second);
    assert_eq!(post(port, "/in", Some("second-secret"), Vec::new()).await.status(), 401, "a door that was shut is shut");
}

#[tokio::test]
async fn sec_30_what_is_too_large_is_not_read() {
    let (webhooks, _tasks) = webhooks();
    let right = secret("right-secret");
    let mut visits = open(&webhooks, 0, "/in", Some(&right)).await.unwrap();
    let answer = post(visits.address.port(), "/in", Some("right-secret"), vec![b'x'; BODY_BYTES_MAX + 1]).await;
    assert_eq!(answer.status(), 413);
    assert!(visits.queue.try_recv().is_err());
}

#[tokio::test]
async fn what_was_not_kept_is_to_be_delivered_again() {
    let (webhooks, _tasks) = webhooks();
    let right = secret("right-secret");
    let mut visits = open(&webhooks, 0, "/in", Some(&right)).await.unwrap();
    let port = visits.address.port();
    let failing = async { drop(visits.next().await) };
    let (answer, ()) = tokio::join!(post(port, "/in", Some("right-secret"), b"x".to_vec()), failing);
    assert_eq!(answer.status(), 503);
    drop(visits);
    let again = open(&webhooks, port, "/in", Some(&right)).await;
    assert!(again.is_ok() || matches!(again, Err(Fault::Network(_))), "the address is free again as soon as its listener has gone");
}
