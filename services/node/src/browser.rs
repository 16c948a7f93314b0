//! The browser of a node, as a client of the gateway asks for it.

use serde::Deserialize;
use serde_json::{Value, json};
use verso_proto::Json;
use verso_proto::node::v1::{BrowserRequestRequest, InvokeRequest, InvokeResponse, NodeInfo};

use crate::error::Error;

/// The command that passes a request to a node's browser.
const PROXY: &str = "browser.proxy";

/// What a browser is asked.
const METHODS: [&str; 3] = ["GET", "POST", "DELETE"];

/// Which node's browser is used: the configuration's `gateway.nodes.browser`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    /// `auto`, `manual` (only `node`) or `off`. Default: `auto`.
    mode: Mode,
    /// The id or the name of a node.
    node: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Auto,
    Manual,
    Off,
}

/// A request that has what it needs.
#[derive(Debug)]
pub(crate) struct Asked {
    params: Value,
    timeout_ms: Option<i64>,
}

impl Asked {
    /// Checks a request in the words that clients know.
    pub(crate) fn parse(request: BrowserRequestRequest) -> Result<Self, Error> {
        let value = |json: Option<Json>| json.and_then(|json| serde_json::from_str::<Value>(&json.text).ok()).unwrap_or_default();
        let text = |json| value(json).as_str().map(str::trim).unwrap_or_default().to_owned();
        let (method, path) = (text(request.method).to_uppercase(), text(request.path));
        if method.is_empty() || path.is_empty() {
            return Err(Error::BrowserRequestIncomplete);
        }
        if !METHODS.contains(&method.as_str()) {
            return Err(Error::BrowserMethod);
        }
        let mut params = json!({"method": method, "path": path});
        for (name, value) in [("query", value(request.query)), ("body", value(request.body))] {
            if !value.is_null() {
                params[name] = value;
            }
        }
        if let Some(timeout_ms) = request.timeout_ms {
            params["timeoutMs"] = timeout_ms.into();
        }
        Ok(Self { params, timeout_ms: request.timeout_ms })
    }

    /// The command to the node whose browser it is.
    pub(crate) fn invocation(self, node_id: String) -> InvokeRequest {
        InvokeRequest {
            node_id,
            command: PROXY.to_owned(),
            params: Some(Json { text: self.params.to_string() }),
            timeout_ms: self.timeout_ms,
            idempotency_key: uuid::Uuid::new_v4().to_string(),
            ..InvokeRequest::default()
        }
    }
}

impl Config {
    /// Chooses among the connected nodes the one whose browser answers.
    pub(crate) fn choose(&self, nodes: &[NodeInfo]) -> Result<String, Error> {
        let offers = |node: &&NodeInfo| node.connected && node.commands.iter().any(|command| command == PROXY);
        let named = self.node.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let chosen = match (self.mode, named) {
            (Mode::Off, _) | (Mode::Manual, None) => None,
            (Mode::Auto | Mode::Manual, Some(name)) => {
                nodes.iter().filter(offers).find(|node| node.node_id == name || node.display_name.as_deref() == Some(name))
            }
            (Mode::Auto, None) => nodes.iter().find(offers),
        };
        chosen.map(|node| node.node_id.clone()).ok_or(Error::NoBrowser)
    }
}

/// What the browser answered, out of the node's answer.
pub(crate) fn answer(response: InvokeResponse) -> Result<Json, Error> {
    let payload: Value = response.payload.and_then(|payload| serde_json::from_str(&payload.text).ok()).unwrap_or_default();
    let result = payload.get("result").ok_or(Error::BrowserFailed)?;
    Ok(Json { text: result.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, connected: bool, commands: &[&str]) -> NodeInfo {
        let commands = commands.iter().map(|&command| command.to_owned()).collect();
        NodeInfo { node_id: id.to_owned(), display_name: Some(format!("{id}'s")), connected, commands, ..NodeInfo::default() }
    }

    #[test]
    fn chooses_a_connected_node_with_a_browser() {
        let nodes = [node("a", true, &["system.run"]), node("b", false, &[PROXY]), node("c", true, &[PROXY]), node("d", true, &[PROXY])];
        let choose = |config: Value| serde_json::from_value::<Config>(config).unwrap().choose(&nodes).ok();
        assert_eq!(choose(json!({})).as_deref(), Some("c"));
        assert_eq!(choose(json!({"node": "d's"})).as_deref(), Some("d"));
        assert_eq!(choose(json!({"node": "b"})), None);
        assert_eq!(choose(json!({"mode": "manual"})), None);
        assert_eq!(choose(json!({"mode": "off", "node": "d"})), None);
    }

    #[test]
    fn a_request_needs_a_method_and_a_path() {
        let json = |text: &str| Some(Json { text: text.to_owned() });
        let parse =
            |method, path| Asked::parse(BrowserRequestRequest { method, path, ..Default::default() }).map_err(|error| error.to_string());
        assert_eq!(parse(None, None).unwrap_err(), "method and path are required");
        assert_eq!(parse(json("5"), json("\"/\"")).unwrap_err(), "method and path are required");
        assert_eq!(parse(json("\"PUT\""), json("\"/\"")).unwrap_err(), "method must be GET, POST, or DELETE");
        assert_eq!(parse(json("\"get\""), json("\"/tabs\"")).unwrap().params, json!({"method": "GET", "path": "/tabs"}));
    }
}
