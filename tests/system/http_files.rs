//! Files that callers bring.

use std::fmt::Write as _;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
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

/// One page, whose content is this stream.
fn page(content: String) -> Vec<u8> {
    pdf(&[
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        "<</Type/Pages/Kids[4 0 R]/Count 1>>".to_owned(),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>".to_owned(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F1 3 0 R>>>>/Contents 5 0 R>>".to_owned(),
        content,
    ])
}

fn page_that_says(words: &str) -> Vec<u8> {
    let content = format!("BT /F1 12 Tf 72 720 Td ({words}) Tj ET");
    page(format!("<</Length {}>>stream\n{content}\nendstream", content.len()))
}

/// Pages that are their own children.
fn pages_without_end() -> Vec<u8> {
    pdf(&["<</Type/Catalog/Pages 2 0 R>>".to_owned(), "<</Type/Pages/Kids[2 0 R 2 0 R 2 0 R]/Count 1000000000>>".to_owned()])
}

/// Lists in lists in lists.
fn lists_without_end() -> Vec<u8> {
    pdf(&[format!("<</Type/Catalog/Pages {}", "[".repeat(500_000)), "<<>>".to_owned()])
}

/// What one gibibyte of zeros packs to, as zlib's format (RFC 1950) by hand: one literal, then the longest match over and over.
fn a_gibibyte_of_zeros() -> Vec<u8> {
    const MATCH_BYTES: usize = 258;
    let mut packed = vec![0x78, 0x01];
    let (mut bits, mut held) = (0_u64, 0);
    let mut put = |value: u64, count: u32, packed: &mut Vec<u8>| {
        bits |= value << held;
        held += count;
        while held >= 8 {
            packed.push(bits.to_le_bytes()[0]);
            bits >>= 8;
            held -= 8;
        }
    };
    // The last block, with the fixed codes; the literal 0, whose code begins with its highest bit.
    put(0b011, 3, &mut packed);
    put(0b0000_1100, 8, &mut packed);
    for _ in 0..(1_usize << 30) / MATCH_BYTES {
        // Length 258 is symbol 285; a distance of 1 is symbol 0.
        put(0b1010_0011, 8, &mut packed);
        put(0, 5, &mut packed);
    }
    // The end of the block, and what is left of the last byte. No checksum: nobody gets that far.
    put(0, 15, &mut packed);
    packed
}

/// A page whose content is packed twice, so that some kilobytes become a gibibyte.
fn page_that_unfolds() -> Vec<u8> {
    let mut outer = ZlibEncoder::new(Vec::new(), Compression::best());
    outer.write_all(&a_gibibyte_of_zeros()).expect("a vector grows");
    let content = outer.finish().expect("a vector grows");
    assert!(content.len() < 256 << 10, "{} bytes", content.len());
    let hex: String = content.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    page(format!("<</Filter[/ASCIIHexDecode/FlateDecode/FlateDecode]/Length {}>>stream\n{hex}\nendstream", hex.len()))
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
    let (status, body) = ask(&gateway, &page_that_unfolds()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    assert_eq!(gateway.service("edge").await.pid, Some(edge), "the edge has not noticed");
    assert!(process::rss_kib(edge) < before + 64 * 1_024, "{before} KiB before, {} KiB after", process::rss_kib(edge));
    let (status, _) = ask(&gateway, &page_that_says("and again")).await;
    assert_eq!(status, StatusCode::OK);
}
