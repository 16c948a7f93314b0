//! The canvas host over its port and its rpcs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod a2ui;
mod fixture;
mod pages;

use std::fs;
use std::os::unix::fs::symlink;

use fixture::{Host, host};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use verso_kit::CancellationToken;
use verso_kit::peer::Caller;
use verso_kit::service::Context;
use verso_proto::canvas::v1::StatusRequest;

const SECRET: &str = "nobody may read this";

/// A folder with pages, and secrets around it.
async fn drawn() -> Host {
    let host = host(json!({}), &[]).await;
    let root = host.root();
    fs::create_dir_all(root.join("deep/er")).unwrap();
    fs::create_dir_all(root.join("empty")).unwrap();
    fs::create_dir_all(root.join(".git")).unwrap();
    fs::write(root.join("index.html"), "<p>front").unwrap();
    fs::write(root.join("deep/index.html"), "<p>deep").unwrap();
    fs::write(root.join("deep/er/style.css"), "p {}").unwrap();
    fs::write(root.join("digits.bin"), "0123456789").unwrap();
    fs::write(root.join(".env"), SECRET).unwrap();
    fs::write(root.join(".git/config"), SECRET).unwrap();
    fs::write(host.state().join("secret.txt"), SECRET).unwrap();
    fs::create_dir_all(host.state().join("outside")).unwrap();
    fs::write(host.state().join("outside/index.html"), SECRET).unwrap();
    host
}

#[tokio::test]
async fn serves_files_under_each_name_of_the_canvas() {
    let host = drawn().await;
    for prefix in ["/__verso__/canvas", "/__openclaw__/canvas", ""] {
        let css = host.get(&format!("{prefix}/deep/er/style.css")).await;
        assert_eq!((css.status, css.body.as_str(), css.header("content-type")), (200, "p {}", "text/css; charset=utf-8"));
        assert!(host.get(&format!("{prefix}/")).await.body.starts_with("<p>front"));
        for folder in ["/deep", "/deep/"] {
            let page = host.get(&format!("{prefix}{folder}")).await;
            assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
            assert!(page.body.starts_with("<p>deep<script>"), "{}", page.body);
        }
    }
    assert!(host.get("/__verso__/canvas").await.body.starts_with("<p>front"), "without a redirect");
    assert!(host.get("/?v=2#x").await.body.starts_with("<p>front"));
}

#[tokio::test]
async fn sec_35_no_path_leaves_the_root() {
    let host = drawn().await;
    let steps = [
        "../secret.txt",
        "..%2fsecret.txt",
        "..%2Fsecret.txt",
        "%2e%2e/secret.txt",
        "%2e%2e%2fsecret.txt",
        ".%2e/secret.txt",
        "%252e%252e/secret.txt",
        "%252e%252e%252fsecret.txt",
        "..%252fsecret.txt",
        "..\\secret.txt",
        "..%5csecret.txt",
        "..%5Csecret.txt",
        "deep/../../secret.txt",
        "deep/%2e%2e/%2e%2e/secret.txt",
        "./../secret.txt",
        "....//secret.txt",
        "..;/secret.txt",
        "%c0%ae%c0%ae/secret.txt",
        "%uff0e%uff0e/secret.txt",
        "..%00/secret.txt",
        "..%c0%afsecret.txt",
        "C:%5csecret.txt",
        "C:/secret.txt",
        ".env",
        "%2eenv",
        ".git/config",
        "deep/../.env",
        "secret.txt%00.html",
        "%00",
        "/etc/passwd",
        "//etc/passwd",
        "%2fetc%2fpasswd",
        "file:///etc/passwd",
        "deep/er/style.css/../../../secret.txt",
        "empty/../../outside/index.html",
        "~/secret.txt",
    ];
    for prefix in ["/", "/__verso__/canvas/", "/__openclaw__/canvas/"] {
        for step in steps {
            let answer = host.get(&format!("{prefix}{step}")).await;
            assert!(matches!(answer.status, 400 | 404), "{prefix}{step}: {}", answer.status);
            assert!(!answer.body.contains(SECRET) && !answer.body.contains("root:"), "{prefix}{step}");
        }
    }
    let absolute = format!("/__verso__/canvas/{}", host.state().join("secret.txt").display());
    assert_eq!(host.get(&absolute).await.status, 404);
    assert_eq!(host.get("http://127.0.0.1/../secret.txt").await.status, 404);
}

#[tokio::test]
async fn sec_35_links_are_not_followed() {
    let host = drawn().await;
    let (root, state) = (host.root(), host.state().to_owned());
    symlink(state.join("secret.txt"), root.join("file.txt")).unwrap();
    symlink("../secret.txt", root.join("relative.txt")).unwrap();
    symlink(state.join("outside"), root.join("folder")).unwrap();
    symlink("/", root.join("system")).unwrap();
    fs::create_dir(root.join("page")).unwrap();
    symlink(state.join("secret.txt"), root.join("page/index.html")).unwrap();
    symlink("index.html", root.join("inside.html")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    for path in
        ["/file.txt", "/relative.txt", "/folder/", "/folder/index.html", "/system/etc/passwd", "/page/", "/page", "/inside.html", "/loop"]
    {
        let answer = host.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.body.contains(SECRET), "{path}");
    }
}

#[tokio::test]
async fn only_plain_files_are_served() {
    let host = drawn().await;
    let _socket = std::os::unix::net::UnixListener::bind(host.root().join("socket")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(host.root().join("pipe")).status().unwrap();
    assert!(made.success());
    for path in ["/socket", "/pipe", "/index.html/", "/index.html/x"] {
        assert_eq!(host.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_folder_without_a_page_is_not_listed() {
    let host = drawn().await;
    for path in ["/empty/", "/missing/"] {
        let answer = host.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (404, "text/html; charset=utf-8"), "{path}");
        assert!(!answer.body.contains(host.state().to_str().unwrap()), "the place on disk is nobody's business");
    }
    for path in ["/empty", "/missing.css", "/__verso__/a2ui/missing.js"] {
        let answer = host.get(path).await;
        assert_eq!((answer.status, answer.body.as_str(), answer.header("content-type")), (404, "not found", "text/plain; charset=utf-8"));
    }
    let elsewhere = host.get("/__verso__/elsewhere").await;
    assert_eq!((elsewhere.status, elsewhere.body.as_str()), (404, "Not Found"));
}

#[tokio::test]
async fn sec_36_every_response_says_who_may_frame_it_and_that_its_type_is_not_to_be_guessed() {
    let host = drawn().await;
    for path in ["/", "/missing", "/%zz", "/__verso__/a2ui/", "/__verso__/ws", "/healthz"] {
        let answer = host.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert!(answer.header("content-security-policy").contains("frame-ancestors 'self'"), "{path}");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn ranges_and_conditions_are_answered() {
    let host = drawn().await;
    let whole = host.get("/digits.bin").await;
    assert_eq!((whole.status, whole.header("accept-ranges"), whole.header("content-length")), (200, "bytes", "10"));
    let part = host.send("GET", "/digits.bin", &[("Range", "bytes=2-4")]).await;
    assert_eq!((part.status, part.body.as_str(), part.header("content-range")), (206, "234", "bytes 2-4/10"));
    assert_eq!(host.send("GET", "/digits.bin", &[("Range", "bytes=-3")]).await.body, "789");
    assert_eq!(host.send("GET", "/digits.bin", &[("Range", "bytes=10-")]).await.status, 416);
    assert_eq!(host.send("GET", "/digits.bin", &[("Range", "bytes=0-1,4-5")]).await.status, 200);
    let same = host.send("GET", "/digits.bin", &[("If-Modified-Since", whole.header("last-modified"))]).await;
    assert_eq!((same.status, same.body.as_str()), (304, ""));
    assert_eq!(host.send("GET", "/digits.bin", &[("If-None-Match", whole.header("etag"))]).await.status, 304);
}

#[tokio::test]
async fn head_answers_without_a_body_and_other_methods_are_refused() {
    let host = drawn().await;
    let head = host.send("HEAD", "/digits.bin", &[]).await;
    assert_eq!((head.status, head.body.as_str(), head.header("content-length")), (200, "", "10"));
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
        let answer = host.send(method, "/", &[]).await;
        assert_eq!((answer.status, answer.header("allow"), answer.body.as_str()), (405, "GET, HEAD", "Method Not Allowed"), "{method}");
    }
}

#[tokio::test]
async fn a_foreign_host_and_a_proxy_are_refused() {
    let host = drawn().await;
    assert_eq!(host.send("GET", "/", &[("Host", "evil.example")]).await.status, 403);
    let proxied = host.send("GET", "/", &[("X-Forwarded-For", "127.0.0.1")]).await;
    assert_eq!((proxied.status, proxied.body.as_str()), (401, r#"{"error":{"message":"Unauthorized","type":"unauthorized"}}"#));
    assert_eq!(host.send("GET", "/healthz", &[("Host", "evil.example")]).await.status, 200);
}

#[tokio::test]
async fn everybody_is_served_when_the_configuration_says_so() {
    let host = host(json!({"auth": "none"}), &[]).await;
    assert_eq!(host.send("GET", "/", &[("Host", "den.example"), ("X-Forwarded-For", "198.51.100.7")]).await.status, 200);
}

#[tokio::test]
async fn an_empty_folder_gets_a_first_page_and_a_used_one_does_not() {
    let host = host(json!({}), &[]).await;
    let page = host.get("/").await;
    assert_eq!(page.status, 200);
    for name in ["hello", "time", "photo", "dalek"] {
        assert!(page.body.contains(&format!("data-action=\"{name}\"")), "{name}");
    }
    fs::rename(host.root().join("index.html"), host.root().join("mine.txt")).unwrap();
    let again = host.again().await;
    assert_eq!(again.get("/").await.status, 404);
    assert_eq!(again.get("/mine.txt").await.status, 200);
    fs::remove_dir_all(again.root()).unwrap();
    assert_eq!(again.get("/").await.status, 404, "a folder that went away");
}

#[tokio::test]
async fn counts_what_it_answers() {
    let mut host = drawn().await;
    for path in ["/", "/missing", "/%zz"] {
        host.get(path).await;
    }
    let status = host.client.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.enabled, status.port, status.requests), (true, Some(i32::from(host.port)), 3));
    assert_eq!(status.root, host.root().to_str().unwrap());
}

#[tokio::test]
async fn switched_off_it_still_answers_rpcs() {
    for (config, env) in [(json!({"enabled": false}), vec![]), (json!({}), vec![("VERSO_SKIP_CANVAS_HOST", "1")])] {
        let mut host = host(config, &env).await;
        let status = host.client.status(StatusRequest {}).await.unwrap().into_inner();
        assert_eq!((status.enabled, status.port), (false, None));
        assert!(!host.root().exists());
    }
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_keep_the_service() {
    let host = drawn().await;
    let mut slow = host.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.unwrap();
    let mut large = host.connect().await;
    large.write_all(format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 << 10)).as_bytes()).await.ok();
    let mut answer = Vec::new();
    large.read_to_end(&mut answer).await.ok();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(host.get("/").await.status, 200, "others are served meanwhile");
    host.stop().await;
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.ok();
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn serves_on_its_sockets_until_the_shutdown() {
    let state = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let context = Context::for_test("canvas", state.path());
    let context = Context { sockets: context.sockets.clone().with_tcp("canvas", vec![listener]), ..context };
    let (peer, shutdown) = (context.peer("canvas"), CancellationToken::new());
    let calling = async {
        let status = peer.call(StatusRequest {}, &Caller::default()).await.unwrap();
        assert_eq!(status.port, Some(i32::from(port)));
        shutdown.cancel();
    };
    let (served, ()) = tokio::join!(verso_canvas::serve(context, shutdown.clone()), calling);
    served.unwrap();
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err(), "nobody listens any more");
}
