//! Files that callers bring.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use serde_json::{Value, json};
use verso_tests::gateway::TOKEN;
use verso_tests::{Gateway, Provider, process};

use crate::http::http;

/// A PDF of these objects, the first of which is its root.
fn pdf(objects: &[String]) -> Vec<u8> {
    let (mut text, mut places) = ("%PDF-1.4\n".to_owned(), Vec::new());
    for (index, object) in objects.iter().enumerate() {
        places.push(text.len());
        write!(text, "{} 0 obj\n{object}\nendobj\n", index + 1).expect("a string grows");
    }
    let table = text.len();
    write!(text, "xref\n0 {}\n0000000000 65535 f \n", places.len() + 1).expect("a string grows");
    for place in &places {
        writeln!(text, "{place:010} 00000 n ").expect("a string grows");
    }
    write!(text, "trailer\n<</Size {}/Root 1 0 R>>\nstartxref\n{table}\n%%EOF\n", places.len() + 1).expect("a string grows");
    text.into_bytes()
}

fn page_that_says(words: &str) -> Vec<u8> {
    let content = format!("BT /F1 12 Tf 72 720 Td ({words}) Tj ET");
    pdf(&[
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        "<</Type/Pages/Kids[4 0 R]/Count 1>>".to_owned(),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>".to_owned(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F1 3 0 R>>>>/Contents 5 0 R>>".to_owned(),
        format!("<</Length {}>>stream\n{content}\nendstream", content.len()),
    ])
}

/// Pages that are their own children.
fn pages_without_end() -> Vec<u8> {
    pdf(&["<</Type/Catalog/Pages 2 0 R>>".to_owned(), "<</Type/Pages/Kids[2 0 R 2 0 R 2 0 R]/Count 1000000000>>".to_owned()])
}

/// Lists in lists in lists.
fn lists_without_end() -> Vec<u8> {
    pdf(&[format!("<</Type/Catalog/Pages {}", "[".repeat(500_000)), "<<>>".to_owned()])
}

async fn ask(gateway: &Gateway, file: &[u8]) -> (StatusCode, Value) {
    let data = format!("data:application/pdf;base64,{}", STANDARD.encode(file));
    let content = json!([
        {"type": "input_text", "text": "what does it say? [[tokens=2]]"},
        {"type": "input_file", "filename": "letter.pdf", "file_data": data},
    ]);
    let body = json!({"model": "verso", "input": [{"role": "user", "content": content}]});
    let answer = http().post(gateway.http("/v1/responses")).bearer_auth(TOKEN).json(&body).send().await.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn the_text_of_a_pdf_reaches_the_model_and_a_bad_one_hurts_nobody() {
    let provider = Provider::start().await;
    let mut config = provider.config();
    config["gateway"] = json!({"http": {"endpoints": {"responses": {"enabled": true}}}});
    let gateway = Gateway::start_with(config).await;
    let (status, body) = ask(&gateway, &page_that_says("the kettle boils")).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let asked = provider.calls().last().expect("a call").body["messages"].to_string();
    assert!(asked.contains("letter.pdf") && asked.contains("the kettle boils"), "{asked}");
    let edge = gateway.service("edge").await.pid.expect("a running edge");
    let before = process::rss_kib(edge);
    for bad in [b"no pdf at all".to_vec(), pages_without_end(), lists_without_end()] {
        let (status, body) = ask(&gateway, &bad).await;
        let said = body["error"]["message"].as_str().unwrap_or_default();
        let empty = status == StatusCode::OK;
        assert!(empty || (status == StatusCode::BAD_REQUEST && said.contains("no PDF that can be read")), "{status} {body}");
    }
    assert_eq!(gateway.service("edge").await.pid, Some(edge), "the edge has not noticed");
    assert!(process::rss_kib(edge) < before + 64 * 1_024, "{before} KiB before, {} KiB after", process::rss_kib(edge));
    let (status, _) = ask(&gateway, &page_that_says("and again")).await;
    assert_eq!(status, StatusCode::OK);
}
