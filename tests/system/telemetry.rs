//! What tools see from outside: health, reflection, and one trace through every process.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use serde_json::json;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use verso_kit::peer::Peer;
use verso_tests::{Gateway, eventually};

/// Collects the names of spans by trace and process.
#[derive(Debug, Clone, Default)]
struct Collector {
    spans: Arc<Mutex<BTreeMap<Vec<u8>, BTreeSet<String>>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.spans.lock().expect("no test panics while it holds the lock");
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let service =
                attributes.into_iter().find(|attribute| attribute.key == "service.name").map(|attribute| format!("{:?}", attribute.value));
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.entry(span.trace_id).or_default().insert(format!("{} {}", service.as_deref().unwrap_or_default(), span.name));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    #[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    async fn start() -> (Self, SocketAddr) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (collector, address) = (Self::default(), listener.local_addr().expect("an address"));
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(collector.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (collector, address)
    }
}

#[tokio::test]
async fn one_trace_runs_from_the_frame_through_the_service() {
    let (collector, address) = Collector::start().await;
    let gateway = Gateway::start_with(json!({"diagnostics": {"otel": {"endpoint": format!("http://{address}")}}})).await;
    let client = gateway.client().await;
    let trace_id = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10_u128;
    let (text, trace_id) = (format!("{trace_id:032x}"), trace_id.to_be_bytes().to_vec());
    let frame = json!({"type": "req", "id": "t", "method": "sessions.list", "traceparent": format!("00-{text}-b7ad6b7169203331-01")});
    client.send_raw(frame.to_string()).await.expect("an open socket");
    let spans = eventually("the spans of both processes", async || {
        let spans = collector.spans.lock().expect("no test panics while it holds the lock").get(&trace_id).cloned()?;
        (spans.len() >= 2).then_some(spans)
    })
    .await;
    assert!(spans.iter().any(|span| span.contains("verso-edge") && span.ends_with(" request")), "{spans:?}");
    assert!(spans.iter().any(|span| span.contains("verso-agent") && span.ends_with(" rpc")), "{spans:?}");
}

#[tokio::test]
async fn every_process_says_that_it_serves() {
    let gateway = Gateway::start().await;
    for name in ["supervisor", "edge", "presence", "node", "channel", "agent", "canvas"] {
        let peer = Peer::unix(gateway.state_dir().join(format!("run/{name}.sock")));
        let mut health = HealthClient::new(peer.channel());
        for service in [String::new(), name.to_owned()] {
            let answer = health.check(HealthCheckRequest { service: service.clone() }).await;
            assert_eq!(answer.map(|answer| answer.into_inner().status).ok(), Some(1), "{name}, asked for {service:?}");
        }
    }
}
