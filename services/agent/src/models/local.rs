//! Model servers on this host: Ollama and llama.cpp, where they listen by default.

use std::time::Duration;

use serde::Deserialize;
use verso_kit::config::Env;

use super::server::{Dialect, Endpoint};
use super::{LOCAL_CONTEXT_WINDOW_DEFAULT, Model};
use crate::provider::client::Clients;

/// Set to `off`, nothing is searched for.
const SWITCH_VARIABLE: &str = "VERSO_LOCAL_MODELS";

/// How long one server may take to list its models.
const SEARCH_TIMEOUT: Duration = Duration::from_millis(300);

/// A longer list is not one, in bytes.
const LIST_BYTES_MAX: u64 = 1 << 20;

/// The search for a local model server.
#[derive(Debug)]
pub(super) struct Search {
    servers: Vec<Server>,
    last_ms: Option<i64>,
}

#[derive(Debug, Clone)]
struct Server {
    provider: &'static str,
    base_url: String,
    /// What its models must say about their owner: other programs listen on common ports too.
    owner: Option<&'static str>,
}

impl Server {
    fn endpoint(&self) -> Endpoint {
        super::Server::new(Dialect::Completions, &self.base_url, None).into()
    }
}

impl Search {
    /// Knows where to look.
    pub(super) fn new(env: &Env) -> Self {
        let off = env.get(SWITCH_VARIABLE).is_some_and(|switch| switch.eq_ignore_ascii_case("off"));
        Self { servers: if off { Vec::new() } else { servers(env) }, last_ms: None }
    }

    /// Whether the last search is older than `interval_ms`.
    pub(super) fn due(&self, now_ms: i64, interval_ms: i64) -> bool {
        self.last_ms.is_none_or(|last_ms| now_ms - last_ms >= interval_ms)
    }

    /// Asks every server for its models; the first that has one wins.
    pub(super) async fn run(&mut self, clients: &Clients, now_ms: i64) -> Option<Model> {
        self.last_ms = Some(now_ms);
        let lists = futures_util::future::join_all(self.servers.iter().map(|server| first_model(clients, server))).await;
        lists.into_iter().flatten().next()
    }
}

/// Returns a model of a local server that a configuration names.
pub(super) fn named(env: &Env, provider: &str, id: &str) -> Option<Model> {
    let server = servers(env).into_iter().find(|server| server.provider == provider)?;
    let endpoint = server.endpoint();
    Some(Model { context_window: LOCAL_CONTEXT_WINDOW_DEFAULT, ..Model::named(provider, id, endpoint) })
}

fn servers(env: &Env) -> Vec<Server> {
    let host = env.get("OLLAMA_HOST").unwrap_or("127.0.0.1:11434").trim_end_matches('/');
    let (scheme, place) = host.split_once("://").unwrap_or(("http", host));
    // Ollama's own setting is where it listens; 0.0.0.0 is no place to connect to.
    let place = place.replace("0.0.0.0", "127.0.0.1");
    let port = if place.contains(':') { "" } else { ":11434" };
    vec![
        Server { provider: "ollama", base_url: format!("{scheme}://{place}{port}/v1"), owner: None },
        Server { provider: "llamacpp", base_url: "http://127.0.0.1:8080/v1".to_owned(), owner: Some("llamacpp") },
    ]
}

#[derive(Deserialize)]
struct List {
    data: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    owned_by: Option<String>,
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    n_ctx: Option<u64>,
}

async fn first_model(clients: &Clients, server: &Server) -> Option<Model> {
    let client = clients.plain().await.ok()?;
    let asking = async {
        let answer = client.get(format!("{}/models", server.base_url)).send().await.ok()?;
        if !answer.status().is_success() || answer.content_length().is_some_and(|length| length > LIST_BYTES_MAX) {
            return None;
        }
        answer.json::<List>().await.ok()
    };
    let list = tokio::time::timeout(SEARCH_TIMEOUT, asking).await.ok().flatten()?;
    let row = list.data.into_iter().find(|row| server.owner.is_none() || row.owned_by.as_deref() == server.owner)?;
    let context_window = row.meta.and_then(|meta| meta.n_ctx).unwrap_or(LOCAL_CONTEXT_WINDOW_DEFAULT);
    let endpoint = server.endpoint();
    Some(Model { context_window, ..Model::named(server.provider, &row.id, endpoint) })
}
