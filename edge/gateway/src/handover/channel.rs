//! Messages, and a descriptor with some of them, between two edges.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use prost::Message;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Hello = 1,
    Start = 2,
    Connection = 3,
    End = 4,
    Receipt = 5,
}

/// Kind and length.
const HEADER_BYTES: usize = 5;

/// The longest message: what may wait for a slow reader, and as much again.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Both edges' end of the socket between them.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
}

impl Channel {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream }
    }

    /// Sends a message; a descriptor goes with its first byte.
    pub(super) async fn send(&self, kind: Kind, message: &impl Message, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let length = message.encoded_len();
        let prefix = u32::try_from(length).ok().filter(|_| length <= MESSAGE_BYTES_MAX).ok_or(io::ErrorKind::FileTooLarge)?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + length);
        bytes.push(kind as u8);
        bytes.extend(prefix.to_be_bytes());
        message.encode(&mut bytes).map_err(io::Error::other)?;
        let (mut rest, mut descriptor) = (bytes.as_slice(), descriptor);
        while !rest.is_empty() {
            let sent = self.stream.async_io(Interest::WRITABLE, || send_some(&self.stream, rest, descriptor)).await?;
            rest = &rest[sent..];
            descriptor = None;
        }
        Ok(())
    }

    /// Receives the next message and what came with it.
    pub(super) async fn receive(&self) -> io::Result<(Kind, Vec<u8>, Option<OwnedFd>)> {
        let mut header = [0; HEADER_BYTES];
        let mut descriptor = None;
        self.fill(&mut header, &mut descriptor).await?;
        let kind = [Kind::Hello, Kind::Start, Kind::Connection, Kind::End, Kind::Receipt].into_iter().find(|kind| *kind as u8 == header[0]);
        let kind = kind.ok_or(io::ErrorKind::InvalidData)?;
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut body = vec![0; length];
        self.fill(&mut body, &mut descriptor).await?;
        Ok((kind, body, descriptor))
    }

    /// Receives a message of one kind.
    pub(super) async fn expect<M: Message + Default>(&self, expected: Kind) -> io::Result<M> {
        let (kind, body, _) = self.receive().await?;
        if kind != expected {
            return Err(io::ErrorKind::InvalidData.into());
        }
        M::decode(body.as_slice()).map_err(io::Error::other)
    }

    async fn fill(&self, bytes: &mut [u8], descriptor: &mut Option<OwnedFd>) -> io::Result<()> {
        let mut filled = 0;
        while filled < bytes.len() {
            let rest = &mut bytes[filled..];
            let received = self.stream.async_io(Interest::READABLE, || receive_some(&self.stream, rest, descriptor)).await?;
            if received == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += received;
        }
        Ok(())
    }
}

fn send_some(stream: &UnixStream, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = descriptor.into_iter().collect();
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

fn receive_some(stream: &UnixStream, bytes: &mut [u8], descriptor: &mut Option<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(stream, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            // One comes with a connection. Whatever else somebody sends is closed here.
            for received in descriptors {
                *descriptor = Some(received);
            }
        }
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;

    use super::super::state::{Hello, Receipt};
    use super::*;

    #[tokio::test]
    async fn a_descriptor_arrives_with_its_message_and_no_other() {
        let (one, other) = UnixStream::pair().unwrap();
        let (one, other) = (Channel::new(one), Channel::new(other));
        let (mut far, near) = std::os::unix::net::UnixStream::pair().unwrap();
        let hello = Hello { format: 1, epoch: 7, build: "x".repeat(500_000) };
        let sending = async {
            one.send(Kind::Receipt, &Receipt { taken: true }, None).await.unwrap();
            one.send(Kind::Connection, &hello, Some(near.as_fd())).await.unwrap();
            one.send(Kind::End, &Receipt { taken: false }, None).await.unwrap();
        };
        let receiving = async {
            assert!(other.receive().await.unwrap().2.is_none());
            let (kind, body, descriptor) = other.receive().await.unwrap();
            assert_eq!((kind, Hello::decode(body.as_slice()).unwrap()), (Kind::Connection, hello.clone()));
            assert!(other.receive().await.unwrap().2.is_none());
            descriptor.unwrap()
        };
        let ((), descriptor) = tokio::join!(sending, receiving);
        std::os::unix::net::UnixStream::from(descriptor).write_all(b"moved").unwrap();
        let mut text = [0; 5];
        far.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"moved");
    }

    #[tokio::test]
    async fn nonsense_and_silence_are_errors() {
        for bytes in [&b"\x09\0\0\0\0"[..], b"\x01\xff\xff\xff\xff", b"\x01\0", b""] {
            let (mut one, other) = std::os::unix::net::UnixStream::pair().unwrap();
            one.write_all(bytes).unwrap();
            drop(one);
            other.set_nonblocking(true).unwrap();
            Channel::new(UnixStream::from_std(other).unwrap()).receive().await.unwrap_err();
        }
    }
}
