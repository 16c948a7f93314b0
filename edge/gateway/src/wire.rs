//! Text frames straight to the socket: a header, and the bytes that are there already.
//!
//! The WebSocket library would copy every payload into a buffer of its own, and keep that as large as the largest frame ever was. Servers
//! send unmasked (RFC 6455, 5.2), so nothing but the header has to be made.

use std::io::{self, IoSlice};
use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};
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
    /// What somebody else has framed.
    Raw(Bytes),
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

    /// What somebody else has framed; only as the first of all.
    pub(crate) fn raw(bytes: Bytes) -> Self {
        Self { header: Header::NONE, body: Body::Raw(bytes) }
    }

    fn parts(&self) -> [&[u8]; 3] {
        match &self.body {
            Body::Text(text) => [self.header.bytes(), text.as_bytes(), &[]],
            Body::Event(prefix, tail) => [self.header.bytes(), prefix.as_bytes(), tail.as_bytes()],
            Body::Raw(bytes) => [&[], bytes, &[]],
        }
    }
}

/// Frames on their way out. What of them has left is known at any moment, also when the writing is given up.
#[derive(Debug)]
pub(crate) struct Batch {
    frames: Vec<TextFrame>,
    written_bytes: usize,
}

impl Batch {
    pub(crate) fn new(frames: Vec<TextFrame>) -> Self {
        Self { frames, written_bytes: 0 }
    }

    /// Writes the frames, whole and in order. Goes on where it was when it was given up before.
    pub(crate) async fn write<W: AsyncWrite + Unpin>(&mut self, stream: &mut W) -> io::Result<()> {
        loop {
            let slices = self.slices();
            if slices.is_empty() {
                break;
            }
            let written = stream.write_vectored(&slices).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.written_bytes += written;
        }
        stream.flush().await
    }

    /// Whether anything has left.
    pub(crate) fn has_begun(&self) -> bool {
        self.written_bytes > 0
    }

    /// What has not left.
    pub(crate) fn rest(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for part in self.frames.iter().flat_map(TextFrame::parts) {
            all.extend_from_slice(part);
        }
        all.split_off(self.written_bytes.min(all.len()))
    }

    fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut skip = self.written_bytes;
        let mut slices = Vec::with_capacity((self.frames.len() * 3).min(SLICES_MAX));
        for part in self.frames.iter().flat_map(TextFrame::parts) {
            let skipped = skip.min(part.len());
            skip -= skipped;
            if skipped < part.len() && slices.len() < SLICES_MAX {
                slices.push(IoSlice::new(&part[skipped..]));
            }
        }
        slices
    }
}

/// The bytes before a payload.
#[derive(Debug)]
struct Header {
    bytes: [u8; 10],
    length: usize,
}

impl Header {
    const NONE: Self = Self { bytes: [0; 10], length: 0 };

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
        let writing = async { Batch::new(frames).write(&mut server).await.unwrap() };
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
        let event = Rendered::new(kind, "{\"ts\":1}");
        let (mut server, client) = tokio::io::duplex(1 << 12);
        for seq in [7, 8] {
            let prefix = event.prefix(Version::V3, None).unwrap();
            let frame = TextFrame::event(Numbered { prefix, seq: Some(seq), state_version: None });
            Batch::new(vec![frame]).write(&mut server).await.unwrap();
        }
        let mut socket = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        for seq in [7, 8] {
            let text = socket.next().await.unwrap().unwrap().into_text().unwrap();
            assert_eq!(text.as_str(), format!("{{\"type\":\"event\",\"event\":\"tick\",\"payload\":{{\"ts\":1}},\"seq\":{seq}}}"));
        }
    }

    #[tokio::test]
    async fn what_has_not_left_when_writing_is_given_up_follows_without_a_gap() {
        let texts = ["x".repeat(300), "y".repeat(5_000), "z".to_owned()];
        let frames = || texts.iter().map(|text| TextFrame::text(text.clone().into())).collect();
        let (mut server, client) = tokio::io::duplex(1 << 10);
        let mut batch = Batch::new(frames());
        let given_up = futures_util::FutureExt::now_or_never(batch.write(&mut server));
        assert!(given_up.is_none() && batch.has_begun(), "the pipe is full");
        let mut rest = Batch::new(vec![TextFrame::raw(batch.rest().into())]);
        let writing = async { rest.write(&mut server).await.unwrap() };
        let reading = async {
            let mut socket = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
            for text in &texts {
                assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap().as_str(), text);
            }
        };
        tokio::join!(writing, reading);
    }
}
