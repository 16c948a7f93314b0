//! Signatures of an AWS account, version 4.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;

use crate::models::Signing;
use crate::provider::{Failure, Kind};

/// What is called, as signatures name it.
const SERVICE: &str = "bedrock";

/// Returns the headers that prove who sends a request, at `at`.
pub(super) fn headers(signing: &Signing, url: &str, body: &[u8], at: SystemTime) -> Result<Vec<(String, String)>, Failure> {
    let unusable = |error: &dyn std::fmt::Display| Failure::new(Kind::Unusable, format!("the request cannot be signed: {error}"));
    let session = signing.session.as_ref().map(|token| token.expose().clone());
    let identity = Credentials::new(signing.access_key.clone(), signing.secret.expose().clone(), session, None, "verso").into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(&signing.region)
        .name(SERVICE)
        .time(at)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| unusable(&error))?
        .into();
    let signed = std::iter::once(("content-type", "application/json"));
    let request = SignableRequest::new("POST", url, signed, SignableBody::Bytes(body)).map_err(|error| unusable(&error))?;
    let (instructions, _) = sign(request, &parameters).map_err(|error| unusable(&error))?.into_parts();
    Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use verso_kit::config::Secret;

    use super::*;

    #[test]
    fn a_request_is_signed_as_the_official_library_signs_it() {
        let signing = Signing {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
            session: Some(Secret::new("a-session".to_owned())),
            region: "eu-central-1".to_owned(),
        };
        let url = "https://bedrock-runtime.eu-central-1.amazonaws.com/model/vendor.model-1%3A0/converse-stream";
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let headers = headers(&signing, url, br#"{"messages":[]}"#, at).unwrap();
        let value = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).unwrap();
        assert_eq!((value("x-amz-date"), value("x-amz-security-token")), ("20231114T221320Z", "a-session"));
        // Made by the official Python library for the same request.
        assert_eq!(
            value("authorization"),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20231114/eu-central-1/bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=9e305c6a8e696d48caa511e7e61302cf1d5ace2836e6a281e9b77c0ac52622b6"
        );
    }
}
