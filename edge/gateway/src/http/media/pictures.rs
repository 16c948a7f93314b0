//! Pictures: of a known type and a size that somebody can show.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imagesize::ImageType;
use verso_proto::agent::v1::Attachment;

use super::{Content, Error, Limits};

/// The largest picture, in pixels: few bytes can hold more than fits into anybody's memory.
const PIXELS_MAX: u64 = 50_000_000;

/// Returns a picture as the agent service takes it. Its bytes say what it is, not its sender.
pub(super) fn attachment(content: &Content, limits: &Limits) -> Result<Attachment, Error> {
    let refused = |kind: String| Error::Type { what: "image", kind };
    if let Some(kind) = content.plain_type().filter(|kind| !limits.types.contains(kind)) {
        return Err(refused(kind));
    }
    let kind = match imagesize::image_type(&content.bytes) {
        Ok(ImageType::Png) => "image/png",
        Ok(ImageType::Jpeg) => "image/jpeg",
        Ok(ImageType::Gif) => "image/gif",
        Ok(ImageType::Webp) => "image/webp",
        Ok(_) => return Err(refused("another one".to_owned())),
        Err(_) => return Err(Error::NoPicture),
    };
    if !limits.types.iter().any(|allowed| allowed == kind) {
        return Err(refused(kind.to_owned()));
    }
    let size = imagesize::blob_size(&content.bytes).map_err(|_| Error::NoPicture)?;
    if (size.width as u64).saturating_mul(size.height as u64) > PIXELS_MAX {
        return Err(Error::TooManyPixels(PIXELS_MAX));
    }
    Ok(Attachment { mime_type: Some(kind.to_owned()), content: Some(STANDARD.encode(&content.bytes)), ..Attachment::default() })
}
