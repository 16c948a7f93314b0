//! The contract of Verso: every method, message, event, limit and scope, generated from `verso/**/*.proto`.
//!
//! [`METHODS`](methods::METHODS) and [`EVENTS`](methods::EVENTS) let the edge serve a method or pass an event on without knowing it;
//! [`Call`](methods::Call) lets Rust callers name a method by its request type. `README.md` says how to add one.

/// One module a package.
macro_rules! packages {
    ($($name:ident: $package:literal, $doc:literal;)*) => {$(
        #[doc = $doc]
        pub mod $name {
            /// The first version of the package.
            #[allow(
                clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, clippy::disallowed_methods, missing_docs, missing_debug_implementations, unreachable_pub, rust_2018_idioms,
                reason = "generated"
            )]
            pub mod v1 {
                tonic::include_proto!($package);
            }
        }
    )*};
}

packages! {
    wire: "verso.wire.v1", "Shapes and options that every package shares.";
    edge: "verso.edge.v1", "What the edge answers by itself.";
    agent: "verso.agent.v1", "Agents: sessions, runs and models.";
    presence: "verso.presence.v1", "Who and what is connected.";
    node: "verso.node.v1", "Devices that offer capabilities.";
    channel: "verso.channel.v1", "Chat networks.";
    adapter: "verso.adapter.v1", "Chat networks that programs of their own speak.";
    canvas: "verso.canvas.v1", "Pages that an agent can draw on.";
    upkeep: "verso.upkeep.v1", "What agents may see and change of the gateway itself.";
    supervisor: "verso.supervisor.v1", "The processes of one gateway.";
}

pub mod json;
pub mod methods;

pub use wire::v1::Json;

/// The generation of the contract between the processes. Calls across generations are refused: raise it with every change that would make
/// an older or a newer process misread a message, which adding an rpc, a field or an event does not.
pub const GENERATION: &str = "1";

/// The contract of adapters as their authors read it: it needs no other file.
pub const ADAPTER_PROTO: &str = include_str!("../verso/adapter/v1/adapter.proto");

/// The descriptors of every file, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
