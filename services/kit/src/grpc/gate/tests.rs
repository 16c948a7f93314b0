//! Every process calls every rpc over a real socket.

use std::path::Path;

use bytes::Bytes;
use prost::Message as _;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::service::Routes;
use verso_proto::methods::{EVENT_SOURCES, METHODS, Method};
use verso_proto::wire::v1::{Principal, PrincipalToken};

use super::{GENERATION_KEY, OVERLAP_MS};
use crate::clock::Clock;
use crate::credential::{Authority, Credential};
use crate::peer::{Caller, Peer};
use crate::principal::Vouched;
use crate::service::Context;

const PROCESSES: [&str; 8] = ["edge", "presence", "node", "channel", "agent", "canvas", "supervisor", "operator"];

const NOW_MS: i64 = 1_700_000_000_000;

/// A process that has a door and nothing behind it: a call that is let in is not implemented.
struct Door {
    name: &'static str,
    authority: Authority,
    clock: Clock,
    stop: CancellationToken,
    folder: TempDir,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Door {
    #[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    fn open(name: &'static str) -> Self {
        let (folder, authority, clock) = (TempDir::new().unwrap(), Authority::generate(), Clock::fixed(NOW_MS));
        let context =
            Context { credential: Some(authority.credential(name, 1)), clock: clock.clone(), ..Context::for_test(name, folder.path()) };
        // Bound before the first call.
        let listener = context.sockets.control().unwrap();
        let context = Context { sockets: context.sockets.with_control(listener), ..context };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move { crate::grpc::serve(&context, Routes::default(), stopped).await });
        Self { name, authority, clock, stop, folder }
    }

    fn socket(&self) -> std::path::PathBuf {
        Path::new(self.folder.path()).join("run").join(format!("{}.sock", self.name))
    }

    /// Calls as the incarnation `epoch` of `process`.
    fn caller(&self, process: &str, epoch: u64) -> Peer {
        self.with(self.authority.credential(process, epoch))
    }

    fn with(&self, credential: Credential) -> Peer {
        Peer::unix(self.socket()).identified(credential, self.name, self.clock.clone())
    }
}

fn method(path: &str) -> &'static Method {
    METHODS.iter().find(|method| method.path == path).unwrap()
}

async fn knock(peer: &Peer, method: &'static Method) -> Code {
    ask(peer, method, None).await
}

async fn ask(peer: &Peer, method: &'static Method, principal: Option<Vouched>) -> Code {
    let caller = Caller { principal, trace: None };
    if method.streaming {
        return peer.open_raw(method, Bytes::new(), None, &caller).await.map_or_else(|status| status.code(), |_| Code::Ok);
    }
    peer.call_raw(method, Bytes::new(), None, &caller).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

fn process_of(service: &str) -> &str {
    match service.split('.').nth(1).unwrap() {
        // The edge has it for the agent.
        "upkeep" => "edge",
        process => process,
    }
}

#[tokio::test]
async fn sec_72_each_process_can_make_the_calls_that_the_contract_names_it_for_and_no_others() {
    for name in ["edge", "presence", "node", "channel", "agent", "canvas", "supervisor"] {
        let door = Door::open(name);
        let callers: Vec<(&str, Peer)> = PROCESSES.iter().map(|process| (*process, door.caller(process, 1))).collect();
        for method in METHODS.iter().filter(|method| process_of(method.service) == name) {
            for (process, peer) in &callers {
                // A configuration is taken by every process that serves at all.
                let let_in = [Code::Unimplemented, Code::Ok].contains(&knock(peer, method).await);
                assert_eq!(let_in, method.callers.contains(process), "{process} calls {}", method.path);
            }
        }
        for source in EVENT_SOURCES.iter().filter(|source| process_of(source.service) == name) {
            for (process, peer) in &callers {
                let code = peer.events(source, None).await.unwrap_err().code();
                let wanted = if source.callers.contains(process) { Code::Unimplemented } else { Code::PermissionDenied };
                assert_eq!(code, wanted, "{process} calls {}", source.path);
            }
        }
    }
}

#[test]
fn sec_72_the_channel_service_can_reach_no_approval_no_configuration_and_no_secret() {
    let of_channel: Vec<&str> = METHODS.iter().filter(|method| method.callers.contains(&"channel")).map(|method| method.path).collect();
    assert_eq!(
        of_channel,
        ["/verso.agent.v1.Inbound/Submit", "/verso.agent.v1.Inbound/Activation", "/verso.agent.v1.Sessions/CommandsList"],
        "whoever adds one says here why it is harmless"
    );
}

#[tokio::test]
async fn sec_72_who_proves_nothing_or_something_else_is_not_let_in() {
    let door = Door::open("node");
    let list = method("/verso.node.v1.Node/List");
    assert_eq!(knock(&door.caller("edge", 1), list).await, Code::Unimplemented);
    assert_eq!(knock(&Peer::unix(door.socket()), list).await, Code::Unauthenticated, "without a credential");
    let strange = Authority::generate().credential("edge", 1);
    assert_eq!(knock(&door.with(strange), list).await, Code::Unauthenticated, "of another gateway");
    let elsewhere = Peer::unix(door.socket()).identified(door.authority.credential("edge", 1), "agent", door.clock.clone());
    assert_eq!(knock(&elsewhere, list).await, Code::Unauthenticated, "a token for the agent is no good at the node service");
    let (early, late) = (Clock::fixed(NOW_MS - 6 * 60_000), Clock::fixed(NOW_MS + 6 * 60_000));
    for clock in [early, late] {
        let stale = Peer::unix(door.socket()).identified(door.authority.credential("edge", 1), "node", clock);
        assert_eq!(knock(&stale, list).await, Code::Unauthenticated, "of another time");
    }
}

#[tokio::test]
async fn sec_77_who_speaks_another_generation_of_the_contract_is_told_so() {
    let door = Door::open("agent");
    let mut client = tonic::client::Grpc::new(Peer::unix(door.socket()).channel());
    for path in ["/verso.agent.v1.Agent/Run", "/verso.agent.v1.Agent/Subscribe", "/verso.wire.v1.Carrier/Carry"] {
        let mut request = tonic::Request::new(Bytes::new());
        request.metadata_mut().insert(GENERATION_KEY, tonic::metadata::MetadataValue::from_static("2"));
        client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static(path);
        let status = client.unary(request, path, crate::peer::BytesCodec).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().starts_with("the agent service speaks generation 1 of the contract and its caller 2"), "{status:?}");
        assert!(crate::error::made_by_service(&status), "it is not tried again");
    }
}

#[tokio::test]
async fn a_caller_makes_new_tokens_as_time_goes_by() {
    let door = Door::open("node");
    let (peer, list) = (door.caller("edge", 1), method("/verso.node.v1.Node/List"));
    for _ in 0..20 {
        assert_eq!(knock(&peer, list).await, Code::Unimplemented);
        door.clock.advance(90_000);
    }
}

#[tokio::test]
async fn sec_73_nobody_but_edge_and_channel_vouches_for_a_principal_and_none_can_be_widened() {
    let door = Door::open("agent");
    let run = method("/verso.agent.v1.Agent/Run");
    let admin = Principal { role: "operator".to_owned(), scopes: vec!["operator.admin".to_owned()], ..Principal::default() };
    let edge = door.authority.credential("edge", 1);
    let genuine = Vouched::new(admin.clone(), Some(&edge));
    // A service passes on what it was given …
    assert_eq!(ask(&door.caller("node", 1), run, Some(genuine)).await, Code::Unimplemented);
    // … and can neither make one up …
    for process in ["presence", "node", "agent", "canvas", "supervisor", "operator"] {
        let forged = Vouched::new(admin.clone(), Some(&door.authority.credential(process, 1)));
        assert_eq!(ask(&door.caller("node", 1), run, Some(forged)).await, Code::Unauthenticated, "made by {process}");
    }
    let unsigned = Vouched::new(admin.clone(), None);
    assert_eq!(ask(&door.caller("node", 1), run, Some(unsigned)).await, Code::Unauthenticated);
    // … nor put more into it.
    let narrow = Principal { scopes: vec!["operator.read".to_owned()], ..admin.clone() };
    let token = edge.vouch(&narrow);
    let widened = Vouched::received(admin.clone(), &PrincipalToken { principal: admin.encode_to_vec(), ..token });
    assert_eq!(ask(&door.caller("node", 1), run, Some(widened)).await, Code::Unauthenticated);
}

#[tokio::test]
async fn sec_73_what_a_replaced_incarnation_has_signed_is_not_good_any_more() {
    let door = Door::open("agent");
    let run = method("/verso.agent.v1.Agent/Run");
    let (old, new) = (door.authority.credential("edge", 7), door.authority.credential("edge", 8));
    let recorded = Vouched::new(Principal::default(), Some(&old));
    assert_eq!(ask(&door.with(old.clone()), run, Some(recorded.clone())).await, Code::Unimplemented);
    assert_eq!(knock(&door.with(new.clone()), run).await, Code::Unimplemented);
    // The one that hands over ends what it has begun.
    assert_eq!(ask(&door.with(old.clone()), run, Some(recorded.clone())).await, Code::Unimplemented);
    door.clock.advance(OVERLAP_MS);
    assert_eq!(knock(&door.with(old), run).await, Code::Unauthenticated);
    assert_eq!(ask(&door.with(new), run, Some(recorded)).await, Code::Unauthenticated);
    // Others have no time together: what was stopped and goes on later is refused at once.
    let node = |epoch| door.caller("node", epoch);
    assert_eq!(knock(&node(3), run).await, Code::Unimplemented);
    assert_eq!(knock(&node(4), run).await, Code::Unimplemented);
    assert_eq!(knock(&node(3), run).await, Code::Unauthenticated);
}

#[test]
fn a_credential_survives_being_written_down_and_nothing_else_is_one() {
    let text = Authority::generate().credential("node", 5).to_text();
    assert!(Credential::parse(&format!("{text}\n")).is_ok());
    for wrong in ["", "AAAA", "not base64", &text[..text.len() - 8]] {
        assert!(Credential::parse(wrong).is_err(), "{wrong}");
    }
}
