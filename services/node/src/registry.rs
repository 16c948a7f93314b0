//! Which nodes are known, which of them are connected, and through which connection.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;
use verso_kit::clock::Clock;
use verso_proto::node::v1::NodeInfo;

use crate::document::Document;
use crate::error::Error;
use crate::store::{Nodes, Store};

/// How long after the start connections are still being announced: an edge comes back within a second on a busy machine.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(3);

/// Between two looks whether one was.
const LOOK: Duration = Duration::from_millis(20);

/// How many nodes may be known.
pub(crate) const NODES_MAX: usize = 4_096;

/// How many capabilities a node may have.
pub(crate) const CAPS_MAX: usize = 256;

/// How many commands a node may offer.
pub(crate) const COMMANDS_MAX: usize = 512;

/// A node's connection.
#[derive(Debug, Clone, PartialEq)]
struct Link {
    conn_id: String,
    /// What the node says of itself over this connection.
    node: NodeInfo,
    since_ms: i64,
}

/// Connections of one node: the one that counts, and the one that ended last.
#[derive(Debug, Default)]
struct Links {
    live: Option<Link>,
    ended: Option<String>,
}

/// Names by node id.
type Names = BTreeMap<String, String>;

/// All nodes.
#[derive(Debug)]
pub(crate) struct Registry {
    clock: Clock,
    store: Store,
    /// Names that people gave to nodes, by node id; they count more than what nodes call themselves.
    names: Document<Names>,
    /// Held while a change goes to disk and then to memory.
    saving: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    opened: Instant,
}

#[derive(Debug)]
struct State {
    /// As on disk.
    paired: Nodes,
    links: BTreeMap<String, Links>,
}

impl Registry {
    /// Starts with the nodes of `store`; nobody is connected.
    pub(crate) async fn open(clock: Clock, store: Store, paired: Nodes) -> Result<Self, Error> {
        let state = Mutex::new(State { paired, links: BTreeMap::new() });
        let names = Document::open(&store, "names.json").await?;
        Ok(Self { clock, store, names, saving: tokio::sync::Mutex::new(()), state, opened: Instant::now() })
    }

    /// Returns the time in milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Lists paired and connected nodes: connected ones first, then by name, then by id.
    pub(crate) fn list(&self) -> Vec<NodeInfo> {
        let state = self.state();
        let live = state.links.iter().filter(|(_, links)| links.live.is_some()).map(|(id, _)| id);
        let gone = state.paired.keys().filter(|id| !state.connected(id));
        let mut nodes: Vec<_> = live.chain(gone).filter_map(|id| state.get(id)).collect();
        drop(state);
        self.name(&mut nodes);
        nodes.sort_by_cached_key(|node| (!node.connected, display_key(node), node.node_id.clone()));
        nodes
    }

    /// Returns one node.
    pub(crate) fn get(&self, id: &str) -> Result<NodeInfo, Error> {
        let mut node = self.state().get(id.trim()).ok_or(Error::UnknownNode)?;
        self.name(std::slice::from_mut(&mut node));
        Ok(node)
    }

    /// Returns the connection of a node, and what the node says of itself; none when it is not connected.
    pub(crate) fn link(&self, id: &str) -> Option<(String, NodeInfo)> {
        let state = self.state();
        let live = state.links.get(id)?.live.as_ref()?;
        Some((live.conn_id.clone(), live.node.clone()))
    }

    /// The same for one who can wait: right after its start the service knows of no connection yet, although the edges hold them; they
    /// announce them again, and nobody is to notice.
    pub(crate) async fn link_soon(&self, id: &str) -> Option<(String, NodeInfo)> {
        while self.opened.elapsed() < ANNOUNCED_WITHIN && self.link(id).is_none() && self.state().get(id).is_some() {
            tokio::time::sleep(LOOK).await;
        }
        self.link(id)
    }

    /// Whether a connected node is of the kind that `is` tells.
    pub(crate) fn any_connected(&self, is: impl Fn(&NodeInfo) -> bool) -> bool {
        self.state().links.values().filter_map(|links| links.live.as_ref()).any(|live| is(&live.node))
    }

    /// Gives a node a name; false when there is no such node.
    pub(crate) async fn rename(&self, id: &str, name: &str) -> Result<bool, Error> {
        if self.state().get(id).is_none() {
            return Ok(false);
        }
        let outcome = self.names.change(|names| {
            if !names.contains_key(id) && names.len() >= NODES_MAX {
                return Err(Error::TooMany { what: "names", max: NODES_MAX });
            }
            names.insert(id.to_owned(), name.to_owned());
            Ok(true)
        });
        outcome.await
    }

    fn name(&self, nodes: &mut [NodeInfo]) {
        self.names.read(|names| {
            for node in nodes {
                if let Some(name) = names.get(&node.node_id) {
                    node.display_name = Some(name.clone());
                }
            }
        });
    }

    /// Records that a node's connection came or went.
    pub(crate) async fn announce(&self, conn_id: String, node: NodeInfo) -> Result<(), Error> {
        if conn_id.is_empty() || node.node_id.trim().is_empty() {
            return Err(Error::UnnamedNode);
        }
        if node.connected { self.connect(conn_id, tidy(node)?).await } else { self.disconnect(conn_id, tidy(node)?).await }
    }

    async fn connect(&self, conn_id: String, node: NodeInfo) -> Result<(), Error> {
        let _saving = self.saving.lock().await;
        if self.state().outdates(&conn_id, &node) {
            return Ok(());
        }
        self.remember(&node).await?;
        let since_ms = node.connected_at_ms.unwrap_or_else(|| self.clock.now_ms());
        let mut state = self.state();
        let links = state.links.entry(node.node_id.clone()).or_default();
        if links.live.as_ref().is_none_or(|live| live.conn_id != conn_id) {
            info!(node = %node.node_id, conn = %conn_id, "node connected");
        }
        links.live = Some(Link { conn_id, node, since_ms });
        Ok(())
    }

    async fn disconnect(&self, conn_id: String, node: NodeInfo) -> Result<(), Error> {
        let _saving = self.saving.lock().await;
        {
            let mut state = self.state();
            let paired = state.paired.contains_key(&node.node_id) || node.paired;
            if let Some(links) = state.links.get_mut(&node.node_id) {
                if links.live.as_ref().is_some_and(|live| live.conn_id == conn_id) {
                    info!(node = %node.node_id, conn = %conn_id, "node disconnected");
                    links.live = None;
                    links.ended = Some(conn_id);
                }
                // Nobody asks again for a device that was never paired.
                if links.live.is_none() && !paired {
                    state.links.remove(&node.node_id);
                }
            }
        }
        // The device may have been paired while it was connected.
        if node.paired && !self.state().paired.contains_key(&node.node_id) { self.remember(&node).await } else { Ok(()) }
    }

    /// Puts what is known of a paired node on disk, if that is news, and then into memory. The caller holds `saving`.
    async fn remember(&self, node: &NodeInfo) -> Result<(), Error> {
        let changed = {
            let state = self.state();
            let known = state.paired.get(&node.node_id);
            if known.is_none() && !state.links.contains_key(&node.node_id) && state.count() >= NODES_MAX {
                return Err(Error::TooMany { what: "nodes", max: NODES_MAX });
            }
            let approved_at_ms = known.and_then(|known| known.approved_at_ms).or_else(|| Some(self.clock.now_ms()));
            let lasting = NodeInfo { paired: true, connected: false, connected_at_ms: None, approved_at_ms, ..node.clone() };
            if known.is_some_and(|known| *known == lasting) || (known.is_none() && !node.paired) {
                return Ok(());
            }
            let mut changed = state.paired.clone();
            changed.insert(lasting.node_id.clone(), lasting);
            changed
        };
        self.store.save(&changed).await?;
        self.state().paired = changed; // memory never runs ahead of the disk
        Ok(())
    }

    /// Forgets a node and its name; false when nobody of that id was known. Its connection counts no more.
    pub(crate) async fn forget(&self, id: &str) -> Result<bool, Error> {
        let _saving = self.saving.lock().await;
        let remaining = {
            let state = self.state();
            let mut remaining = state.paired.clone();
            remaining.remove(id).map(|_| remaining)
        };
        let was_paired = remaining.is_some();
        if let Some(remaining) = remaining {
            self.store.save(&remaining).await?;
            self.state().paired = remaining; // memory never runs ahead of the disk
        }
        self.names.change(|names| Ok(names.remove(id))).await?;
        let mut state = self.state();
        let link = state.links.get_mut(id).and_then(|links| {
            let live = links.live.take()?;
            links.ended = Some(live.conn_id.clone());
            Some(live)
        });
        if was_paired || link.is_some() {
            info!(node = id, "node forgotten");
        }
        Ok(was_paired || link.is_some())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether an announced connection is older than what is known of its node.
    fn outdates(&self, conn_id: &str, node: &NodeInfo) -> bool {
        let Some(links) = self.links.get(&node.node_id) else { return false };
        let replaced = links.live.as_ref().is_some_and(|live| {
            live.conn_id != conn_id && node.connected_at_ms.is_some_and(|connected_at_ms| connected_at_ms < live.since_ms)
        });
        replaced || links.ended.as_deref() == Some(conn_id)
    }

    fn connected(&self, id: &str) -> bool {
        self.links.get(id).is_some_and(|links| links.live.is_some())
    }

    fn count(&self) -> usize {
        self.paired.len() + self.links.keys().filter(|id| !self.paired.contains_key(*id)).count()
    }

    /// What is known of a node; what it says now wins over what it said.
    fn get(&self, id: &str) -> Option<NodeInfo> {
        let paired = self.paired.get(id);
        let Some(live) = self.links.get(id).and_then(|links| links.live.as_ref()) else { return paired.cloned() };
        let said = live.node.clone();
        let last = paired.cloned().unwrap_or_default();
        Some(NodeInfo {
            node_id: said.node_id,
            display_name: said.display_name.or(last.display_name),
            platform: said.platform.or(last.platform),
            version: said.version.or(last.version),
            core_version: said.core_version.or(last.core_version),
            ui_version: said.ui_version.or(last.ui_version),
            device_family: said.device_family.or(last.device_family),
            model_identifier: said.model_identifier.or(last.model_identifier),
            remote_ip: said.remote_ip.or(last.remote_ip),
            caps: said.caps,
            commands: said.commands,
            path_env: said.path_env.or(last.path_env),
            permissions: said.permissions.or(last.permissions),
            connected_at_ms: Some(live.since_ms),
            paired: said.paired || paired.is_some(),
            connected: true,
            client_id: said.client_id.or(last.client_id),
            client_mode: said.client_mode.or(last.client_mode),
            approved_at_ms: last.approved_at_ms,
            ..NodeInfo::default()
        })
    }
}

/// Sorts what a node offers and refuses what is too much.
fn tidy(mut node: NodeInfo) -> Result<NodeInfo, Error> {
    node.node_id = node.node_id.trim().to_owned();
    for (list, what, max) in [(&mut node.caps, "caps", CAPS_MAX), (&mut node.commands, "commands", COMMANDS_MAX)] {
        list.sort_unstable();
        list.dedup();
        if list.len() > max {
            return Err(Error::TooMany { what, max });
        }
    }
    Ok(node)
}

fn display_key(node: &NodeInfo) -> String {
    node.display_name.as_deref().unwrap_or(&node.node_id).to_lowercase()
}
