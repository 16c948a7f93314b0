//! Text frames straight to the socket: a header, and the bytes that are there already.
//!
//! The WebSocket library would copy every payload into a buffer of its own, and keep that as large as the largest frame ever was. Servers
//! send unmasked (RFC 6455, 5.2), so nothing but the header has to be made.

use std::io::{self, IoSlice};
use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use verso_protocol::frames::EventPrefix;

use crate::outlet::Numbered;

/// A whole text message in one frame.
const TEXT_FRAME: u8 = 0x81;

/// The longest payload whose length stands in the second byte.
const LENGTH_SHORT_MAX: usize = 125;

/// In the second byte: the length follows in two bytes, or in eight.
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// Parts that the system takes at once.
const SLICES_MAX: usize = 1_024;

/// One text frame, in the parts that it exists in.
#[derive(Debug)]
pub(crate) struct TextFrame {
    header: Header,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Text(Utf8Bytes),
    /// The shared part of an event, and what is this connection's own.
    Event(Arc<EventPrefix>, String),
}

impl TextFrame {
    pub(crate) fn text(text: Utf8Bytes) -> Self {
        Self { header: Header::of(text.len()), body: Body::Text(text) }
    }

    pub(crate) fn event(event: Numbered) -> Self {
        let tail = event.prefix.tail(event.seq, event.state_version);
        let header = Header::of(event.prefix.len() + tail.len());
        Self { header, body: Body::Event(event.prefix, tail) }
    }

    fn add_to<'a>(&'a self, slices: &mut Vec<IoSlice<'a>>) {
        slices.push(IoSlice::new(self.header.bytes()));
        match &self.body {
            Body::Text(text) => slices.push(IoSlice::new(text.as_bytes())),
            Body::Event(prefix, tail) => {
                slices.push(IoSlice::new(prefix.as_bytes()));
                slices.push(IoSlice::new(tail.as_bytes()));
            }
        }
    }
}

/// Writes the frames, whole and in order. A write that is given up leaves half a frame: nothing may be sent after it.
pub(crate) async fn write_all<W: AsyncWrite + Unpin>(stream: &mut W, frames: &[TextFrame]) -> io::Result<()> {
    for some in frames.chunks(SLICES_MAX / 3) {
        let mut slices = Vec::with_capacity(some.len() * 3);
        for frame in some {
            frame.add_to(&mut slices);
        }
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            let written = stream.write_vectored(rest).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut rest, written);
        }
    }
    stream.flush().await
}

/// The bytes before a payload.
#[derive(Debug)]
struct Header {
    bytes: [u8; 10],
    length: usize,
}

impl Header {
    fn of(payload_bytes: usize) -> Self {
        let mut bytes = [0; 10];
        bytes[0] = TEXT_FRAME;
        let length = if let (true, Ok(short)) = (payload_bytes <= LENGTH_SHORT_MAX, u8::try_from(payload_bytes)) {
            bytes[1] = short;
            2
        } else if let Ok(medium) = u16::try_from(payload_bytes) {
            bytes[1] = LENGTH_16;
            bytes[2..4].copy_from_slice(&medium.to_be_bytes());
            4
        } else {
            bytes[1] = LENGTH_64;
            bytes[2..10].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
            10
        };
        Self { bytes, length }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use verso_protocol::Version;

    use super::*;
    use crate::event::Rendered;

    #[tokio::test]
    async fn a_client_reads_frames_of_every_length() {
        let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 200_000];
        let (mut server, client) = tokio::io::duplex(1 << 12);
        let frames: Vec<_> = lengths.iter().map(|length| TextFrame::text("x".repeat(*length).into())).collect();
        let writing = async { write_all(&mut server, &frames).await.unwrap() };
        let reading = async {
            let mut socket = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
            for length in lengths {
                assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap().len(), length);
            }
        };
        tokio::join!(writing, reading);
    }

    #[tokio::test]
    async fn an_event_is_one_frame_with_its_own_number() {
        let kind = verso_proto::methods::EVENTS.iter().find(|kind| kind.name == "tick").unwrap();
        let event = Rendered::new(kind, "{\"ts\":1}".to_owned());
        let (mut server, client) = tokio::io::duplex(1 << 12);
        for seq in [7, 8] {
            let prefix = event.prefix(Version::V3, None).unwrap();
            let frame = TextFrame::event(Numbered { prefix, seq: Some(seq), state_version: None });
            write_all(&mut server, &[frame]).await.unwrap();
        }
        let mut socket = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        for seq in [7, 8] {
            let text = socket.next().await.unwrap().unwrap().into_text().unwrap();
            assert_eq!(text.as_str(), format!("{{\"type\":\"event\",\"event\":\"tick\",\"payload\":{{\"ts\":1}},\"seq\":{seq}}}"));
        }
    }
}
