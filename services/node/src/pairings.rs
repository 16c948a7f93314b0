//! Nodes that ask to be paired by name, and the tokens they get. It admits nobody to the gateway: devices are paired by the edge.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tracing::info;
use verso_kit::clock::Clock;
use verso_kit::events::Hub;
use verso_proto::node::v1::{Event, PairRequestRequest, PairResolved, PairedNode, PendingPairing};

use crate::document::Document;
use crate::error::Error;
use crate::registry::{CAPS_MAX, COMMANDS_MAX, NODES_MAX};
use crate::store::Store;

/// How many requests may wait for approval.
const PENDING_MAX: usize = 256;

/// How long a request waits, in milliseconds: five minutes.
const PENDING_MS: i64 = 300_000;

/// What waits and what is paired.
#[derive(Debug)]
pub(crate) struct Pairings {
    clock: Clock,
    hub: Hub<Event>,
    book: Document<Book>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Book {
    /// By request id.
    pending: BTreeMap<String, PendingPairing>,
    /// By node id.
    paired: BTreeMap<String, Paired>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Paired {
    node: PairedNode,
    /// The token itself is nowhere: who has it was told once.
    token_sha256: String,
}

impl Pairings {
    pub(crate) async fn open(store: &Store, clock: Clock, hub: Hub<Event>) -> Result<Self, Error> {
        Ok(Self { clock, hub, book: Document::open(store, "pairings.json").await? })
    }

    /// Asks for a pairing; the answer also says whether the request is new.
    pub(crate) async fn request(&self, asked: PairRequestRequest) -> Result<(PendingPairing, bool), Error> {
        for (list, what, max) in [(&asked.caps, "caps", CAPS_MAX), (&asked.commands, "commands", COMMANDS_MAX)] {
            if list.len() > max {
                return Err(Error::TooMany { what, max });
            }
        }
        let node_id = asked.node_id.trim().to_owned();
        if node_id.is_empty() {
            return Err(Error::UnknownNode);
        }
        let now_ms = self.clock.now_ms();
        let outcome = self.book.change(|book| {
            book.prune(now_ms);
            if let Some(known) = book.pending.values().find(|pending| pending.node_id == node_id) {
                return Ok((known.clone(), false));
            }
            if book.pending.len() >= PENDING_MAX {
                return Err(Error::Busy { what: "pairings", max: PENDING_MAX });
            }
            let pending = pending(asked, book.paired.contains_key(&node_id), now_ms);
            book.pending.insert(pending.request_id.clone(), pending.clone());
            Ok((pending, true))
        });
        let (pending, created) = outcome.await?;
        if created {
            self.hub.emit(pending.clone());
        }
        Ok((pending, created))
    }

    /// Lists what waits, newest first, and what is paired, by id.
    pub(crate) fn list(&self) -> (Vec<PendingPairing>, Vec<PairedNode>) {
        let mut book = self.book.read(Clone::clone);
        book.prune(self.clock.now_ms());
        let mut pending: Vec<_> = book.pending.into_values().collect();
        pending.sort_by_key(|pending| std::cmp::Reverse(pending.ts_ms));
        (pending, book.paired.into_values().map(|paired| paired.node).collect())
    }

    /// Pairs the node that asked; the answer carries its token.
    pub(crate) async fn approve(&self, request_id: &str) -> Result<PairedNode, Error> {
        let now_ms = self.clock.now_ms();
        let token = uuid::Uuid::new_v4().simple().to_string();
        let outcome = self.book.change(|book| {
            let pending = book.take(request_id, now_ms)?;
            let before = book.paired.get(&pending.node_id);
            if before.is_none() && book.paired.len() >= NODES_MAX {
                return Err(Error::TooMany { what: "nodes", max: NODES_MAX });
            }
            let created_at_ms = before.and_then(|paired| paired.node.created_at_ms).or(Some(now_ms));
            let node = paired(pending, created_at_ms, now_ms);
            book.paired.insert(node.node_id.clone(), Paired { node: node.clone(), token_sha256: hash(&token) });
            Ok(node)
        });
        let node = outcome.await?;
        self.resolved(request_id, &node.node_id, "approved");
        Ok(PairedNode { token: Some(token), ..node })
    }

    /// Turns down the node that asked and returns its id.
    pub(crate) async fn reject(&self, request_id: &str) -> Result<String, Error> {
        let now_ms = self.clock.now_ms();
        let pending = self.book.change(|book| book.take(request_id, now_ms)).await?;
        self.resolved(request_id, &pending.node_id, "rejected");
        Ok(pending.node_id)
    }

    /// Returns the node whose token it is.
    pub(crate) fn verify(&self, node_id: &str, token: &str) -> Option<PairedNode> {
        let paired = self.book.read(|book| book.paired.get(node_id.trim()).cloned())?;
        // Hashes of random tokens tell nothing by how long they take to differ.
        (paired.token_sha256 == hash(token.trim())).then_some(paired.node)
    }

    /// Gives a node that is paired here another name; false when it is not.
    pub(crate) async fn rename(&self, node_id: &str, name: &str) -> Result<bool, Error> {
        let outcome = self.book.change(|book| {
            let Some(paired) = book.paired.get_mut(node_id) else { return Ok(false) };
            paired.node.display_name = Some(name.to_owned());
            Ok(true)
        });
        outcome.await
    }

    /// Forgets a node that is paired here or asks to be; false when there is none.
    pub(crate) async fn remove(&self, node_id: &str) -> Result<bool, Error> {
        let outcome = self.book.change(|book| {
            let known = book.pending.len() + book.paired.len();
            book.pending.retain(|_, pending| pending.node_id != node_id);
            book.paired.remove(node_id);
            Ok(book.pending.len() + book.paired.len() < known)
        });
        outcome.await
    }

    fn resolved(&self, request_id: &str, node_id: &str, decision: &str) {
        info!(node = node_id, decision, "pairing decided");
        self.hub.emit(PairResolved {
            request_id: request_id.to_owned(),
            node_id: node_id.to_owned(),
            decision: decision.to_owned(),
            ts_ms: self.clock.now_ms(),
        });
    }
}

impl Book {
    /// Forgets what has waited too long.
    fn prune(&mut self, now_ms: i64) {
        self.pending.retain(|_, pending| pending.ts_ms.saturating_add(PENDING_MS) > now_ms);
    }

    fn take(&mut self, request_id: &str, now_ms: i64) -> Result<PendingPairing, Error> {
        self.prune(now_ms);
        self.pending.remove(request_id).ok_or(Error::UnknownPairing)
    }
}

fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

fn pending(asked: PairRequestRequest, is_repair: bool, now_ms: i64) -> PendingPairing {
    PendingPairing {
        request_id: uuid::Uuid::new_v4().to_string(),
        node_id: asked.node_id.trim().to_owned(),
        display_name: asked.display_name,
        platform: asked.platform,
        version: asked.version,
        core_version: asked.core_version,
        ui_version: asked.ui_version,
        device_family: asked.device_family,
        model_identifier: asked.model_identifier,
        caps: asked.caps,
        commands: asked.commands,
        remote_ip: asked.remote_ip,
        silent: asked.silent,
        is_repair: is_repair.then_some(true),
        ts_ms: now_ms,
    }
}

fn paired(pending: PendingPairing, created_at_ms: Option<i64>, now_ms: i64) -> PairedNode {
    PairedNode {
        node_id: pending.node_id,
        token: None,
        display_name: pending.display_name,
        platform: pending.platform,
        version: pending.version,
        core_version: pending.core_version,
        ui_version: pending.ui_version,
        device_family: pending.device_family,
        model_identifier: pending.model_identifier,
        caps: pending.caps,
        commands: pending.commands,
        permissions: None,
        remote_ip: pending.remote_ip,
        created_at_ms,
        approved_at_ms: Some(now_ms),
    }
}
