//! Getting one connection ready to move.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, SinkExt as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::state::{Asked, Moved, Topic};
use crate::connection::{Incoming, Socket, next_message};
use crate::gateway::Gateway;
use crate::outlet::Outlet;
use crate::tls::Stream;

/// How long what is half written may take to leave.
const FLUSH: Duration = Duration::from_secs(1);

/// How long a request that must not be made twice may take, and a long message to arrive.
const FINISH: Duration = Duration::from_secs(2);

/// One connection on its way.
pub(crate) struct Packing<'a> {
    pub(crate) gateway: &'a Arc<Gateway>,
    pub(crate) socket: &'a mut Socket,
    pub(crate) outlet: &'a Arc<Outlet>,
    pub(crate) in_flight: &'a Arc<Semaphore>,
    /// What was not written of the last frames.
    pub(crate) carry: &'a mut Carry,
}

/// What is left of frames that did not leave as a whole.
#[derive(Debug, Default)]
pub(crate) struct Carry {
    pub(crate) bytes: Vec<u8>,
    /// Whether the first frame has begun to leave: nothing may come before the rest of it.
    pub(crate) begun: bool,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Packed {
    Moves(Box<Moved>),
    /// It stays; these messages were read meanwhile.
    Stays(Vec<String>),
    /// The peer is gone.
    Gone,
}

/// Gets a connection ready to move. One that stays goes on as if nothing had been.
pub(crate) async fn pack(mut packing: Packing<'_>) -> Packed {
    let mut inbox = Vec::new();
    match packing.try_to(&mut inbox).await {
        Ok(Some(mut moved)) => {
            moved.inbox = inbox;
            Packed::Moves(Box::new(moved))
        }
        Ok(None) => {
            packing.socket.get_mut().pause(false);
            Packed::Stays(inbox)
        }
        Err(Left) => Packed::Gone,
    }
}

/// The peer is gone.
struct Left;

impl Packing<'_> {
    async fn try_to(&mut self, inbox: &mut Vec<String>) -> Result<Option<Moved>, Left> {
        if !matches!(self.socket.get_ref().get_ref(), Stream::Plain(_)) || self.outlet.is_closed() {
            return Ok(None);
        }
        if !self.carry.begun && !matches!(timeout(FLUSH, self.socket.flush()).await, Ok(Ok(()))) {
            return Ok(None);
        }
        let mut pongs = Vec::new();
        self.socket.get_mut().pause(true);
        self.read_ahead(inbox, &mut pongs)?;
        let begun = tokio::time::Instant::now();
        while self.socket.get_ref().unread().is_none() {
            // A long message is arriving: too much to take along.
            self.socket.get_mut().pause_reading(false);
            let Some(left) = FINISH.checked_sub(begun.elapsed()) else { return Ok(None) };
            let Ok(incoming) = timeout(left, next_message(self.socket)).await else { return Ok(None) };
            self.note(incoming, inbox, &mut pongs)?;
            self.socket.get_mut().pause_reading(true);
            self.read_ahead(inbox, &mut pongs)?;
        }
        // Requests that may be made again have stopped by themselves; the others finish here.
        let all = u32::try_from(self.gateway.limits.requests_per_connection_max).unwrap_or(u32::MAX);
        if !matches!(timeout(FINISH, self.in_flight.acquire_many(all)).await, Ok(Ok(_))) {
            return Ok(None);
        }
        let Some(queued) = self.outlet.seal() else { return Ok(None) };
        let unread = self.socket.get_ref().unread().unwrap_or_default();
        let unsent = [std::mem::take(&mut self.carry.bytes), pongs, queued].concat();
        Ok(Some(self.describe(unread, unsent)))
    }

    /// Reads what the library holds already.
    fn read_ahead(&mut self, inbox: &mut Vec<String>, pongs: &mut Vec<u8>) -> Result<(), Left> {
        while let Some(incoming) = next_message(self.socket).now_or_never() {
            self.note(incoming, inbox, pongs)?;
        }
        Ok(())
    }

    fn note(&self, incoming: Incoming, inbox: &mut Vec<String>, pongs: &mut Vec<u8>) -> Result<(), Left> {
        match incoming {
            Incoming::Text(text) => inbox.push(text.to_string()),
            Incoming::Pong => self.outlet.pong(),
            Incoming::Ping(payload) => pongs.extend(pong(&payload)),
            Incoming::TooBig | Incoming::End => return Err(Left),
        }
        Ok(())
    }

    fn describe(&self, unread: Vec<u8>, unsent: Vec<u8>) -> Moved {
        let outlet = self.outlet;
        let announced = self.gateway.roster.remove(&outlet.conn_id).unwrap_or_default();
        let topics = outlet.following().topics().map(|(name, alias)| Topic { name: name.to_owned(), alias: alias.to_owned() }).collect();
        Moved {
            conn_id: outlet.conn_id.clone(),
            base: outlet.base.as_deref().map(str::to_owned),
            principal: Some((*outlet.principal).clone()),
            method: outlet.method.as_str().to_owned(),
            reads_tools: outlet.reads_tools(),
            seq: outlet.seq(),
            topics,
            address: String::new(),
            unread: unread.into(),
            inbox: Vec::new(),
            unsent: unsent.into(),
            requests: outlet.unanswered().iter().map(|admitted| admitted.describe()).collect::<Vec<Asked>>(),
            presence: announced.presence.map(|presence| *presence),
            node: announced.node.map(|node| *node),
        }
    }
}

/// A pong, as a whole frame.
fn pong(payload: &Bytes) -> Vec<u8> {
    let mut frame = vec![0x8a, u8::try_from(payload.len()).unwrap_or(0)];
    frame.extend_from_slice(&payload[..usize::from(frame[1])]);
    frame
}
