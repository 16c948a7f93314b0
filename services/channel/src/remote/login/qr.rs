//! Codes as pictures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qrcode::{Color, QrCode};

/// Pixels of one square of the code.
const SCALE: usize = 6;

/// Squares of white around it, as readers expect.
const QUIET: usize = 4;

/// Returns the code as a PNG in a `data:` URL. None when the text does not fit into a code.
pub(super) fn data_url(text: &str) -> Option<String> {
    let code = QrCode::new(text).ok()?;
    let squares = code.width();
    let side = (squares + 2 * QUIET) * SCALE;
    let dark = |at: usize| (at / SCALE).checked_sub(QUIET).filter(|at| *at < squares);
    let mut picture = Vec::with_capacity(side * side.div_ceil(8));
    for y in 0..side {
        for x in (0..side).step_by(8) {
            // One bit a pixel, the leftmost first; white is 1.
            let byte = (0..8).fold(0_u8, |byte, bit| {
                let is_dark = dark(x + bit).zip(dark(y)).is_some_and(|at| code[at] == Color::Dark);
                byte << 1 | u8::from(!is_dark)
            });
            picture.push(byte);
        }
    }
    let mut file = Vec::new();
    let side = u32::try_from(side).ok()?;
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(&picture).ok()?;
    writer.finish().ok()?;
    Some(format!("data:image/png;base64,{}", STANDARD.encode(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_small_picture_and_too_much_is_none() {
        let url = data_url(&"2@abcdefghijklmnopqrstuvwxyz0123456789/+=,".repeat(6)).unwrap();
        let bytes = STANDARD.decode(url.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(frame.width, frame.height);
        assert!(url.len() <= 16_384, "clients send it back, and may send no more: {}", url.len());
        assert_eq!(data_url(&"x".repeat(5_000)), None);
    }
}
