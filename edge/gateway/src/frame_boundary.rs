//! Where the last whole message of a peer ended, in the bytes that it has sent.
//!
//! The WebSocket library reads ahead and does not give back what it holds. A connection that moves to another process has to take that
//! along, so what follows the last whole message is kept here too. For a peer that sends whole messages that is nothing.

/// The longest header of a client's frame: two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;

/// What is kept of a message that has begun, in bytes. A connection in the middle of a longer one moves when that is over.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// Follows what a peer sends.
#[derive(Debug, Default)]
pub(crate) struct Boundary {
    /// The header of the next frame, as far as it is there.
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    /// What the frame's payload still lacks, in bytes.
    payload_left: u64,
    /// A message in parts has begun and not ended.
    in_message: bool,
    /// What came after the last whole message.
    kept: Vec<u8>,
    /// More came than is kept.
    overflown: bool,
}

impl Boundary {
    /// Takes note of what has arrived.
    pub(crate) fn saw(&mut self, bytes: &[u8]) {
        let mut whole = None;
        let mut at = 0;
        while at < bytes.len() {
            if self.payload_left > 0 {
                let left = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.payload_left -= left as u64;
                at += left;
            } else {
                self.header[self.header_bytes] = bytes[at];
                self.header_bytes += 1;
                at += 1;
                let Some(payload_bytes) = payload_length(&self.header[..self.header_bytes]) else { continue };
                self.header_bytes = 0;
                self.payload_left = payload_bytes;
                let (control, last) = (self.header[0] & 0x08 != 0, self.header[0] & 0x80 != 0);
                if !control {
                    self.in_message = !last;
                }
            }
            if self.payload_left == 0 && self.header_bytes == 0 && !self.in_message {
                whole = Some(at);
            }
        }
        self.keep(bytes, whole);
    }

    /// What came after the last whole message; none when that was too much to keep.
    pub(crate) fn rest(&self) -> Option<&[u8]> {
        (!self.overflown).then_some(self.kept.as_slice())
    }

    fn keep(&mut self, bytes: &[u8], whole: Option<usize>) {
        let mut rest = bytes;
        if let Some(end) = whole {
            rest = &bytes[end..];
            self.kept = Vec::new();
            self.overflown = false;
        }
        if self.overflown || self.kept.len() + rest.len() > KEPT_BYTES_MAX {
            self.kept = Vec::new();
            self.overflown = true;
        } else if !rest.is_empty() {
            self.kept.extend_from_slice(rest);
        }
    }
}

/// Reads the length of a frame's payload; none while its header is not whole.
fn payload_length(header: &[u8]) -> Option<u64> {
    let second = *header.get(1)?;
    let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
    let (length_bytes, payload_bytes) = match second & 0x7f {
        126 => (2, u64::from(u16::from_be_bytes(header.get(2..4)?.try_into().ok()?))),
        127 => (8, u64::from_be_bytes(header.get(2..10)?.try_into().ok()?)),
        short => (0, u64::from(short)),
    };
    (header.len() == 2 + length_bytes + mask_bytes).then_some(payload_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked frame of a client.
    fn frame(first: u8, payload_bytes: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
            (Ok(short @ 0..=125), _) => frame.push(0x80 | short),
            (_, Ok(medium)) => {
                frame.push(0x80 | 0x7e);
                frame.extend(medium.to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend((payload_bytes as u64).to_be_bytes());
            }
        }
        frame.extend([1, 2, 3, 4]);
        frame.resize(frame.len() + payload_bytes, 0x55);
        frame
    }

    #[test]
    fn keeps_what_follows_the_last_whole_message_however_it_arrives() {
        let whole = [frame(0x81, 0), frame(0x81, 5), frame(0x81, 300), frame(0x89, 3), frame(0x82, 70_000)].concat();
        let begun = [frame(0x01, 10), frame(0x89, 2), frame(0x00, 200)].concat();
        for piece_bytes in [1, 2, 3, 7, 64, 1_000, 200_000] {
            let mut boundary = Boundary::default();
            for piece in whole.chunks(piece_bytes) {
                boundary.saw(piece);
            }
            assert_eq!(boundary.rest(), Some(&[][..]), "whole, by {piece_bytes}");
            for piece in begun.chunks(piece_bytes) {
                boundary.saw(piece);
            }
            assert_eq!(boundary.rest(), Some(begun.as_slice()), "begun, by {piece_bytes}");
            boundary.saw(&frame(0x80, 1));
            assert_eq!(boundary.rest(), Some(&[][..]), "ended, by {piece_bytes}");
        }
    }

    #[test]
    fn half_a_header_is_kept_too() {
        let mut boundary = Boundary::default();
        let frame = frame(0x81, 400);
        boundary.saw(&[&frame[..], &frame[..3]].concat());
        assert_eq!(boundary.rest(), Some(&frame[..3]));
        boundary.saw(&frame[3..]);
        assert_eq!(boundary.rest(), Some(&[][..]));
    }

    #[test]
    fn too_much_to_keep_is_said_until_the_message_is_over() {
        let mut boundary = Boundary::default();
        let frame = frame(0x81, KEPT_BYTES_MAX * 2);
        let (first, second) = frame.split_at(KEPT_BYTES_MAX + 100);
        boundary.saw(first);
        assert_eq!(boundary.rest(), None);
        boundary.saw(second);
        assert_eq!(boundary.rest(), Some(&[][..]));
    }
}
