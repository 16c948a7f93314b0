//! What comes along with a message: pictures, checked before anything is written down.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use verso_proto::agent::v1::Attachment;

use crate::error::Error;
use crate::messages::Image;

/// Pictures with one message.
const IMAGES_MAX: usize = 10;

/// The largest picture of most callers, in bytes.
pub(crate) const IMAGE_BYTES_MAX: usize = 5_000_000;

/// What a picture is taken for that does not say.
const MIME_TYPE_DEFAULT: &str = "image/png";

/// The largest picture of an HTTP caller, in bytes.
pub(crate) const HTTP_IMAGE_BYTES_MAX: usize = 10 << 20;

/// Reads the pictures of a request, each of at most `bytes_max` bytes.
pub(crate) fn read(attachments: Vec<Attachment>, bytes_max: usize) -> Result<Vec<Image>, Error> {
    if attachments.len() > IMAGES_MAX {
        return Err(Error::Attachment { name: "list".to_owned(), reason: format!("more than {IMAGES_MAX} attachments") });
    }
    attachments.into_iter().enumerate().map(|(place, attachment)| image(place, attachment, bytes_max)).collect()
}

fn image(place: usize, attachment: Attachment, bytes_max: usize) -> Result<Image, Error> {
    let name = attachment.file_name.unwrap_or_else(|| format!("attachment-{}", place + 1));
    let refuse = |reason: String| Err(Error::Attachment { name: name.clone(), reason });
    let content = attachment.content.unwrap_or_default();
    let (declared, data) = match content.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
        Some((mime_type, data)) => (Some(mime_type.to_owned()), data),
        None => (attachment.mime_type, content.as_str()),
    };
    let mime_type = declared.map(|mime_type| mime_type.trim().to_lowercase()).filter(|mime_type| !mime_type.is_empty());
    let mime_type = mime_type.unwrap_or_else(|| MIME_TYPE_DEFAULT.to_owned());
    if !mime_type.starts_with("image/") {
        return refuse(format!("only images are supported, not {mime_type}"));
    }
    // Refused before it is decoded: four characters hold three bytes.
    if data.len() / 4 * 3 > bytes_max + 3 {
        return refuse(format!("larger than {bytes_max} bytes"));
    }
    match STANDARD.decode(data.trim()) {
        Ok(bytes) if bytes.is_empty() => refuse("empty".to_owned()),
        Ok(bytes) if bytes.len() > bytes_max => refuse(format!("larger than {bytes_max} bytes")),
        Ok(_) => Ok(Image { mime_type, data: data.trim().to_owned() }),
        Err(_) => refuse("invalid base64 content".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(mime_type: Option<&str>, content: &str) -> Attachment {
        Attachment {
            mime_type: mime_type.map(str::to_owned),
            file_name: Some("a.png".to_owned()),
            content: Some(content.to_owned()),
            r#type: None,
        }
    }

    #[test]
    fn reads_plain_base64_and_data_urls() {
        for content in ["aGk=", "data:image/jpeg;base64,aGk="] {
            assert_eq!(read(vec![attachment(None, content)], IMAGE_BYTES_MAX).unwrap()[0].data, "aGk=");
        }
    }

    #[test]
    fn refuses_what_is_no_picture() {
        let large = "A".repeat(IMAGE_BYTES_MAX / 3 * 4 + 12);
        for (mime_type, content, words) in [
            (Some("image/png"), "***", "attachment a.png: invalid base64 content"),
            (Some("image/png"), "", "attachment a.png: empty"),
            (Some("text/html"), "aGk=", "attachment a.png: only images are supported, not text/html"),
            (Some("image/png"), large.as_str(), "attachment a.png: larger than 5000000 bytes"),
        ] {
            assert_eq!(read(vec![attachment(mime_type, content)], IMAGE_BYTES_MAX).unwrap_err().to_string(), words);
        }
        assert!(read(vec![attachment(None, "aGk="); IMAGES_MAX + 1], IMAGE_BYTES_MAX).is_err());
    }
}
