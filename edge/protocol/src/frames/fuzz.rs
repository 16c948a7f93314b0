//! Text that nobody would send: the parser answers it, without a panic and within bounds. `PROPTEST_CASES` sets how much of it.

use proptest::prelude::*;
use serde_json::value::RawValue;
use verso_proto::edge::v1::ConnectRequest;
use verso_proto::methods::Call as _;

use super::{Rejected, RequestFrame};
use crate::auth::{Challenge, SigningFields, check_shared, verify_device};
use crate::{Version, validation};

/// A text that may be JSON, made of what JSON is made of.
fn almost_json() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\\",
            "null",
            "true",
            "1e999",
            "-0",
            "\"type\"",
            "\"req\"",
            "\"id\"",
            "\"method\"",
            "\"params\"",
            "\"connect\"",
            "\"client\"",
            "\"device\"",
            "\\ud800",
            "\u{0}",
            "\u{feff}",
        ])
        .prop_map(str::to_owned),
        "[a-z0-9]{0,6}",
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// `connect` with any text in the place of one of its members.
fn almost_connect() -> impl Strategy<Value = String> {
    let whole = r#"{"minProtocol":3,"maxProtocol":4,"client":{"id":"cli","version":"1","platform":"linux","mode":"cli"},"role":"operator","scopes":["operator.read"],"device":{"id":"a","publicKey":"b","signature":"c","signedAt":1,"nonce":"n"},"auth":{"token":"t"}}"#;
    let values = prop_oneof![
        almost_json(),
        prop::sample::select(vec!["null", "[]", "{}", "-1", "1e400", "\"\"", "[[[[]]]]"]).prop_map(str::to_owned)
    ];
    let places = vec!["3", "4", "\"cli\"", "\"operator\"", "[\"operator.read\"]", "\"a\"", "\"b\"", "\"c\"", "\"n\"", "\"t\""];
    (prop::sample::select(places), values).prop_map(move |(place, value)| whole.replacen(place, &value, 1))
}

proptest! {
    #[test]
    fn sec_29_any_text_is_a_frame_or_is_told_what_is_wrong(text in prop_oneof![any::<String>(), almost_json()]) {
        for version in [Version::V3, Version::V4] {
            match RequestFrame::parse(&text, version) {
                Ok(frame) => prop_assert!(!frame.id.is_empty() && !frame.method.is_empty()),
                Err(Rejected::NotJson) => prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err()),
                Err(Rejected::NotARequest { id, message }) => {
                    prop_assert!(message.starts_with("invalid request frame") && !id.is_empty());
                    prop_assert!(message.len() <= 1_024 + 32 * text.len(), "{} bytes for {}", message.len(), text.len());
                }
            }
        }
    }

    #[test]
    fn sec_29_any_connect_is_understood_or_refused(text in almost_connect()) {
        let Ok(params) = RawValue::from_string(text) else { return Ok(()) };
        for version in [Version::V3, Version::V4] {
            let checked = validation::check(version, ConnectRequest::METHOD, Some(&params));
            if let Err(message) = &checked {
                prop_assert!(message.starts_with("invalid connect params"));
            }
            let Ok(request) = serde_json::from_str::<ConnectRequest>(params.get()) else { continue };
            let negotiated = Version::negotiate(request.min_protocol, request.max_protocol);
            prop_assert_eq!(negotiated.is_ok(), request.min_protocol <= 4 && request.max_protocol >= 3 && request.min_protocol <= request.max_protocol);
            let server = crate::auth::ServerSecret { mode: crate::auth::Mode::Token, secret: Some("the secret") };
            prop_assert!(check_shared(server, request.auth.as_ref()).is_err());
            if let Some(proof) = &request.device {
                let challenge = Challenge { nonce: "n", now_ms: 1, local: true, version };
                prop_assert!(verify_device(&request, proof, &challenge).is_err(), "nobody signed this");
                prop_assert!(SigningFields::of(&request, proof).payload(crate::auth::PayloadVersion::V3).starts_with("v3|"));
            }
        }
    }
}
