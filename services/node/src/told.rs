//! What nodes have told since this process started: when they were last heard of, their tools, skills and load.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::Value;
use verso_kit::clock::Clock;
use verso_proto::Json;
use verso_proto::node::v1::NodeInfo;

use crate::registry::NODES_MAX;

/// How long a name or a reason may be, in characters.
const WORDS_CHARS_MAX: usize = 128;

/// How large the tools of one node may be, in bytes of JSON.
const TOOLS_BYTES_MAX: usize = 256 << 10;

/// What is known of every node that was heard of.
#[derive(Debug)]
pub(crate) struct Told {
    clock: Clock,
    nodes: Mutex<BTreeMap<String, Facts>>,
}

#[derive(Debug, Clone, Default)]
struct Facts {
    connected_at_ms: Option<i64>,
    seen_at_ms: i64,
    seen_reason: String,
    tools: Vec<Json>,
    skills: Vec<String>,
    stats: Option<Json>,
}

/// The load of a node's machine.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HostStats {
    cpu_count: u32,
    memory_total_bytes: u64,
    memory_free_bytes: u64,
    load_average: Option<[f64; 3]>,
    disk_total_bytes: Option<u64>,
    disk_available_bytes: Option<u64>,
}

impl Told {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, nodes: Mutex::default() }
    }

    /// A node's connection came or went.
    pub(crate) fn linked(&self, node: &NodeInfo) {
        let now_ms = self.clock.now_ms();
        self.change(&node.node_id, |facts| {
            if node.connected {
                facts.connected_at_ms = node.connected_at_ms.or(Some(now_ms));
                (facts.tools, facts.skills, facts.stats) = (Vec::new(), Vec::new(), None);
            }
            facts.seen_at_ms = now_ms;
            (if node.connected { "connect" } else { "disconnect" }).clone_into(&mut facts.seen_reason);
        });
    }

    /// A node says that it is alive, and why it woke up.
    pub(crate) fn alive(&self, node_id: &str, reason: &str) {
        let now_ms = self.clock.now_ms();
        self.change(node_id, |facts| {
            facts.seen_at_ms = now_ms;
            facts.seen_reason = reason.chars().take(WORDS_CHARS_MAX).collect();
        });
    }

    /// Keeps a node's load; false when that is not what it says.
    pub(crate) fn load(&self, node_id: &str, stats: &Value) -> bool {
        let Ok(read) = serde_json::from_value::<HostStats>(stats.clone()) else { return false };
        let text = read.shown().to_string();
        self.change(node_id, |facts| facts.stats = Some(Json { text }));
        true
    }

    /// Replaces a node's tools and returns those that were taken.
    pub(crate) fn tools(&self, node_id: &str, tools: Vec<Json>) -> Vec<Json> {
        let mut left_bytes = TOOLS_BYTES_MAX;
        let fits = |tool: &Json| {
            let fits = name(tool).is_some() && tool.text.len() <= left_bytes;
            left_bytes -= if fits { tool.text.len() } else { 0 };
            fits
        };
        let taken: Vec<_> = tools.into_iter().filter(fits).collect();
        self.change(node_id, |facts| facts.tools.clone_from(&taken));
        taken
    }

    /// Replaces a node's skills and returns the names of those that were taken.
    pub(crate) fn skills(&self, node_id: &str, skills: &[Json]) -> Vec<String> {
        let mut taken: Vec<_> = skills.iter().filter_map(name).collect();
        taken.sort_unstable();
        taken.dedup();
        self.change(node_id, |facts| facts.skills.clone_from(&taken));
        taken
    }

    /// Adds what is known to what others see of a node.
    pub(crate) fn add_to(&self, node: &mut NodeInfo) {
        let facts = self.nodes().get(&node.node_id).cloned().unwrap_or_default();
        node.session_host = Some(false);
        let tools = facts.tools.iter().map(|tool| tool.text.as_str()).collect::<Vec<_>>().join(",");
        node.node_plugin_tools = Some(Json { text: format!("[{tools}]") });
        node.approval_state = node.paired.then(|| "approved".to_owned());
        node.last_connected_at_ms = facts.connected_at_ms.or(node.connected_at_ms);
        node.last_seen_at_ms = (facts.seen_at_ms > 0).then_some(facts.seen_at_ms);
        node.last_seen_reason = Some(facts.seen_reason).filter(|reason| !reason.is_empty());
        node.host_stats = facts.stats;
    }

    /// Forgets a node.
    pub(crate) fn forget(&self, node_id: &str) {
        self.nodes().remove(node_id);
    }

    fn change(&self, node_id: &str, edit: impl FnOnce(&mut Facts)) {
        let mut nodes = self.nodes();
        if !nodes.contains_key(node_id) && nodes.len() >= NODES_MAX {
            let oldest = nodes.iter().min_by_key(|(_, facts)| facts.seen_at_ms).map(|(id, _)| id.clone());
            oldest.and_then(|oldest| nodes.remove(&oldest));
        }
        edit(nodes.entry(node_id.to_owned()).or_default());
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Facts>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostStats {
    fn shown(&self) -> Value {
        let mut shown = serde_json::json!({
            "cpuCount": self.cpu_count, "memoryTotalBytes": self.memory_total_bytes, "memoryFreeBytes": self.memory_free_bytes,
        });
        if let Some(load) = self.load_average {
            shown["loadAverage"] = load.to_vec().into();
        }
        for (name, bytes) in [("diskTotalBytes", self.disk_total_bytes), ("diskAvailableBytes", self.disk_available_bytes)] {
            if let Some(bytes) = bytes {
                shown[name] = bytes.into();
            }
        }
        shown
    }
}

fn name(value: &Json) -> Option<String> {
    let value: Value = serde_json::from_str(&value.text).ok()?;
    let name = value.get("name")?.as_str()?.trim();
    (!name.is_empty() && name.chars().count() <= WORDS_CHARS_MAX).then(|| name.to_owned())
}
