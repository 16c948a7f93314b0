use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use serde_json::json;

use super::*;

fn checked(section: Value) -> Result<Settings, String> {
    serde_json::from_value::<Settings>(section).map_err(|error| error.to_string()).and_then(Settings::checked)
}

fn servers(folder: &std::path::Path, section: Value) -> Servers {
    // Done twice when tests share a process; the second time changes nothing.
    drop(rustls::crypto::ring::default_provider().install_default());
    let env = Env::from_pairs([("PATH", "/usr/bin:/bin"), ("HOME", "/nowhere"), ("OPENAI_API_KEY", "secret")]);
    let section = serde_json::from_value(section).unwrap();
    Servers::open(section, Tasks::new(CancellationToken::new()), env, folder.to_owned())
}

async fn failed(servers: &Servers) -> Status {
    let all = servers.reports();
    let mut reports = all.into_iter().next().unwrap().1;
    let waiting = reports.wait_for(|state| matches!(state, State::Failed { .. }));
    drop(tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap());
    servers.status().remove(0)
}

#[test]
fn what_cannot_work_is_refused_in_words() {
    for (section, words) in [
        (json!({}), "command is missing"),
        (json!({"transport": "stdio", "url": "http://x/"}), "command is missing"),
        (json!({"transport": "streamable-http", "command": "x"}), "url is missing"),
        (json!({"command": "x", "url": "http://x/"}), "two servers"),
        (json!({"url": "http://x/", "transport": "sse"}), "streamable-http"),
        (json!({"url": "http://x/", "transport": "pigeon"}), "pigeon"),
        (json!({"url": "http://x/", "oauth": true}), "headers.Authorization"),
        (json!({"command": 5}), "invalid type"),
    ] {
        let refused = checked(section.clone()).unwrap_err();
        assert!(refused.contains(words), "{section}: {refused}");
    }
    assert!(checked(json!({"command": "x"})).unwrap().program() && !checked(json!({"url": "http://x/"})).unwrap().program());
    let filtered = checked(json!({"command": "x", "toolFilter": {"include": ["get-*", "echo"], "exclude": ["get-env"]}})).unwrap();
    assert_eq!(["echo", "get-sum", "get-env", "other"].map(|tool| filtered.takes(tool)), [true, true, false, false]);
}

#[test]
fn names_fit_every_provider_and_tell_tools_apart() {
    assert_eq!(tool::name("files", "list.all"), "mcp__files__list_all");
    let long = |last: char| tool::name("a server with a long name", &format!("{}{last}", "x".repeat(80)));
    assert!(long('a').len() == 64 && long('a') != long('b'), "{}", long('a'));
}

#[test]
fn an_answer_of_too_many_parts_says_what_was_left_out() {
    let parts: Vec<Value> = (0..70).map(|number| json!({"type": "text", "text": number.to_string()})).collect();
    let answer = result::answer(serde_json::from_value(json!({"content": parts, "isError": true})).unwrap());
    assert!(answer.is_error && answer.blocks.len() == 65 && answer.words().ends_with("[6 more parts of the answer are left out]"));
    let structured = result::answer(serde_json::from_value(json!({"content": [], "structuredContent": {"a": 1}})).unwrap());
    assert_eq!(structured.words(), r#"{"a":1}"#);
    let sound = json!({"content": [{"type": "audio", "data": "aaaa", "mimeType": "audio/wav"}, {"type": "resource_link", "uri": "x:y", "name": "n"}]});
    assert_eq!(result::answer(serde_json::from_value(sound).unwrap()).words(), "[a sound of about 3 bytes, audio/wav]\n[n x:y]");
}

#[tokio::test]
async fn a_program_that_ends_at_once_says_why_and_sees_no_keys() {
    let folder = tempfile::tempdir().unwrap();
    let script = "echo \"no licence; key=$OPENAI_API_KEY own=$OWN\" >&2; exit 7";
    let servers = servers(folder.path(), json!({"broken": {"command": "sh", "args": ["-c", script], "env": {"OWN": "x"}}}));
    let status = failed(&servers).await;
    let error = status.error.unwrap();
    assert!(error.contains("Exited(7)") && error.contains("no licence; key= own=x"), "{error}");
    assert!(servers.tools().await.is_empty(), "a turn goes on without it");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time_and_its_program_ended() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("echo $$ > {}/pid; exec sleep 1000", folder.path().display());
    let section = json!({"silent": {"command": "sh", "args": ["-c", script], "connectionTimeoutMs": 2_000}});
    let servers = servers(folder.path(), section);
    let error = failed(&servers).await.error.unwrap();
    assert_eq!(error, "it was not ready within 2000 ms");
    let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
    let running = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "));
    tokio::time::timeout(Duration::from_secs(5), async {
        while running() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
async fn sec_41_a_redirect_to_somebody_else_carries_nothing_there() {
    static HEARD: AtomicUsize = AtomicUsize::new(0);
    let bind = async || tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (first, second) = (bind().await, bind().await);
    let (url, target) = (format!("http://{}/mcp", first.local_addr().unwrap()), format!("http://{}/mcp", second.local_addr().unwrap()));
    let stranger = Router::new().fallback(|_: Request| async {
        HEARD.fetch_add(1, Ordering::Relaxed);
        StatusCode::OK
    });
    let redirecting = Router::new().fallback(move |request: Request| async move {
        assert_eq!(request.headers()["x-api-key"], "secret");
        (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, target)])
    });
    tokio::spawn(async move { axum::serve(first, redirecting).await });
    tokio::spawn(async move { axum::serve(second, stranger).await });
    let folder = tempfile::tempdir().unwrap();
    let headers = json!({"Authorization": "Bearer secret", "X-Api-Key": "secret"});
    let servers = servers(folder.path(), json!({"far": {"url": url, "headers": headers}}));
    let error = failed(&servers).await.error.unwrap();
    assert!(error.contains("redirects to somebody else"), "{error}");
    assert_eq!(HEARD.load(Ordering::Relaxed), 0, "not even an empty request goes there");
}
