//! Every method, asked by everybody: who may and who may not.

use serde_json::{Value, json};
use verso_client::{Client, Identity};
use verso_proto::methods::{METHODS, Method, Role, Scope};
use verso_tests::Gateway;

use crate::raw::{Raw, request};

/// Refused by every closed schema, so that nothing is done where the caller may.
fn bogus() -> Value {
    json!({"kitBogus": 1})
}

fn methods() -> impl Iterator<Item = &'static Method> {
    METHODS.iter().filter(|method| !method.name.is_empty() && method.name != "connect")
}

/// What each scope stands for, as the protocol has it.
fn holds(granted: &str, needed: Scope) -> bool {
    match needed {
        Scope::Any => true,
        Scope::Read => ["operator.read", "operator.write", "operator.admin"].contains(&granted),
        Scope::Write => ["operator.write", "operator.admin"].contains(&granted),
        Scope::Approvals => ["operator.approvals", "operator.admin"].contains(&granted),
        Scope::Pairing => ["operator.pairing", "operator.admin"].contains(&granted),
        Scope::Rescue => ["operator.rescue", "operator.admin"].contains(&granted),
        Scope::Admin | Scope::Unspecified => granted == "operator.admin",
    }
}

fn wire_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Any => "",
        Scope::Read => "operator.read",
        Scope::Write => "operator.write",
        Scope::Approvals => "operator.approvals",
        Scope::Pairing => "operator.pairing",
        Scope::Rescue => "operator.rescue",
        Scope::Admin | Scope::Unspecified => "operator.admin",
    }
}

async fn refusal(client: &Client, method: &str) -> Option<(String, String)> {
    let error = client.call(method, bogus()).await.err()?;
    let refused = error.message.starts_with("missing scope: ") || error.message.starts_with("unauthorized role: ");
    if error.message.starts_with("unauthorized role: ") {
        // More than ten of these in a row close the connection, as they should.
        client.call("health", json!({})).await.expect("health");
    }
    refused.then_some((error.code, error.message))
}

#[tokio::test]
async fn sec_19_every_method_behaves_as_the_table_says_for_every_operator() {
    let gateway = Gateway::start().await;
    for version in [3, 4] {
        for granted in ["operator.admin", "operator.write", "operator.read", "operator.approvals", "operator.pairing"] {
            let options = gateway.options().with_scopes([granted, "operator.read"]).with_protocol(version..=version);
            let client = gateway.connect(options).await;
            for method in methods() {
                let needed = if version == 3 { method.scope_v3.unwrap_or(method.scope) } else { method.scope };
                let expected = if method.role == Role::Node {
                    Some(("INVALID_REQUEST".to_owned(), "unauthorized role: operator".to_owned()))
                } else if holds(granted, needed) || holds("operator.read", needed) {
                    None
                } else {
                    let code = if version == 3 { "INVALID_REQUEST" } else { "FORBIDDEN" };
                    Some((code.to_owned(), format!("missing scope: {}", wire_name(needed))))
                };
                assert_eq!(refusal(&client, method.name).await, expected, "{version} {granted} {}", method.name);
            }
        }
    }
}

#[tokio::test]
async fn sec_19_a_node_calls_what_is_for_nodes() {
    let gateway = Gateway::start().await;
    for version in [3, 4] {
        let mut options = gateway.options().with_identity(Identity::generate(0)).with_client("node-host", "node");
        options = options.with_protocol(version..=version);
        (options.role, options.scopes) = ("node".to_owned(), Some(Vec::new()));
        let node = gateway.connect(options).await;
        for method in methods() {
            let expected = (method.role == Role::Operator).then(|| ("INVALID_REQUEST".to_owned(), "unauthorized role: node".to_owned()));
            assert_eq!(refusal(&node, method.name).await, expected, "{version} {}", method.name);
        }
    }
}

#[tokio::test]
async fn sec_03_nobody_calls_anything_before_connect() {
    let gateway = Gateway::start().await;
    for method in methods() {
        let mut raw = Raw::open(&gateway).await;
        raw.send(request("1", method.name, bogus())).await;
        let answer = raw.response().await.expect("an answer");
        assert_eq!(answer["error"]["message"], "invalid handshake: first request must be connect", "{}", method.name);
        assert_eq!(raw.closed().await.0, 1008);
    }
}
