//! A connection that may send only so much before it is authenticated.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::frame_boundary::Boundary;

/// Counts what is read until the limit is lifted, and knows where the peer's last message ended.
#[derive(Debug)]
pub(crate) struct Metered<S> {
    stream: S,
    /// What arrived together with the upgrade request.
    early: Bytes,
    /// How much more may be read; none once the limit is lifted.
    allowance_bytes: Option<usize>,
    boundary: Boundary,
    /// Nothing is read, or written, while these are set.
    reading_paused: bool,
    writing_paused: bool,
}

impl<S> Metered<S> {
    pub(crate) fn new(stream: S, early: &[u8], allowance_bytes: usize) -> Self {
        // A copy of the few bytes, if any: the original would keep the whole buffer of the HTTP connection alive.
        let (early, allowance_bytes) = (Bytes::copy_from_slice(early), Some(allowance_bytes));
        Self { stream, early, allowance_bytes, boundary: Boundary::default(), reading_paused: false, writing_paused: false }
    }

    /// The stream itself.
    pub(crate) fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Reads and writes nothing more, or goes on. While it is paused nobody who waits is woken.
    pub(crate) fn pause(&mut self, paused: bool) {
        (self.reading_paused, self.writing_paused) = (paused, paused);
    }

    /// The same for reading alone.
    pub(crate) fn pause_reading(&mut self, paused: bool) {
        self.reading_paused = paused;
    }

    /// What was read, or arrived early, and belongs to no whole message; none when that is too much to keep.
    pub(crate) fn unread(&self) -> Option<Vec<u8>> {
        Some([self.boundary.rest()?, &self.early].concat())
    }

    /// Gives the stream back.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    /// From now on the peer may send without limit.
    pub(crate) fn lift(&mut self) {
        self.allowance_bytes = None;
    }

    fn count(&mut self, read_bytes: usize) -> io::Result<()> {
        let Some(allowance) = &mut self.allowance_bytes else { return Ok(()) };
        *allowance = allowance.checked_sub(read_bytes).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.reading_paused {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if self.early.has_remaining() {
            let take = self.early.remaining().min(buffer.remaining());
            buffer.put_slice(&self.early.split_to(take));
        } else {
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        }
        let read = &buffer.filled()[before..];
        self.boundary.saw(read);
        Poll::Ready(self.count(read.len()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.writing_paused {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.writing_paused {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn stops_reading_at_the_limit_until_it_is_lifted() {
        let mut stream = Metered::new(&b"cdef"[..], b"ab", 3);
        let mut text = [0; 2];
        stream.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"ab");
        assert_eq!(stream.read_exact(&mut text).await.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let mut stream = Metered::new(&b"cdef"[..], b"", 3);
        stream.lift();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"cdef");
    }
}
