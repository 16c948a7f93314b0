//! A collector of OTLP, over gRPC and over HTTP: it keeps what it is sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{MetricsService, MetricsServiceServer};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What was sent, and the attributes of the process that sent it.
#[derive(Debug, Clone)]
pub struct From<T> {
    /// Such as `service.name`.
    pub resource: BTreeMap<String, String>,
    /// A span, a metric or a record.
    pub item: T,
}

impl<T> From<T> {
    /// `verso-edge` and the like.
    pub fn service(&self) -> &str {
        self.resource.get("service.name").map_or("", String::as_str)
    }
}

/// A running collector; it ends with the test's runtime.
#[derive(Debug, Clone, Default)]
pub struct Collector {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    spans: Vec<From<Span>>,
    metrics: Vec<From<Metric>>,
    records: Vec<From<LogRecord>>,
}

/// The attributes of a span or a process as texts.
pub fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Any| match value {
        Any::StringValue(text) => text.clone(),
        Any::IntValue(number) => number.to_string(),
        Any::BoolValue(flag) => flag.to_string(),
        other => format!("{other:?}"),
    };
    let value = |one: &KeyValue| one.value.as_ref().and_then(|value| value.value.as_ref()).map(text).unwrap_or_default();
    all.iter().map(|one| (one.key.clone(), value(one))).collect()
}

fn of<T>(resource: Option<Resource>, items: impl IntoIterator<Item = T>) -> Vec<From<T>> {
    let resource = attributes(&resource.unwrap_or_default().attributes);
    items.into_iter().map(|item| From { resource: resource.clone(), item }).collect()
}

impl Collector {
    /// Starts one that speaks gRPC.
    #[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    pub async fn over_grpc() -> (Self, SocketAddr) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (collector, address) = (Self::default(), listener.local_addr().expect("an address"));
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector.clone()))
            .add_service(LogsServiceServer::new(collector.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (collector, address)
    }

    /// Starts one that speaks HTTP.
    #[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    pub async fn over_http() -> (Self, SocketAddr) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (collector, address) = (Self::default(), listener.local_addr().expect("an address"));
        let router = Router::new().route("/v1/{signal}", post(take)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, address)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().expect("no test panics while it holds the lock")
    }

    fn keep_spans(&self, request: ExportTraceServiceRequest) {
        for one in request.resource_spans {
            self.kept().spans.extend(of(one.resource, one.scope_spans.into_iter().flat_map(|scope| scope.spans)));
        }
    }

    fn keep_metrics(&self, request: ExportMetricsServiceRequest) {
        for one in request.resource_metrics {
            self.kept().metrics.extend(of(one.resource, one.scope_metrics.into_iter().flat_map(|scope| scope.metrics)));
        }
    }

    fn keep_records(&self, request: ExportLogsServiceRequest) {
        for one in request.resource_logs {
            self.kept().records.extend(of(one.resource, one.scope_logs.into_iter().flat_map(|scope| scope.log_records)));
        }
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<From<Span>> {
        self.kept().spans.clone()
    }

    /// The spans of one trace so far.
    pub fn trace(&self, trace_id: &[u8]) -> Vec<From<Span>> {
        self.kept().spans.iter().filter(|span| span.item.trace_id == trace_id).cloned().collect()
    }

    /// All metrics so far.
    pub fn metrics(&self) -> Vec<From<Metric>> {
        self.kept().metrics.clone()
    }

    /// All log records so far.
    pub fn records(&self) -> Vec<From<LogRecord>> {
        self.kept().records.clone()
    }
}

async fn take(State(collector): State<Collector>, Path(signal): Path<String>, body: Bytes) -> StatusCode {
    fn read<T: Message + Default>(body: Bytes, keep: impl FnOnce(T)) -> StatusCode {
        match T::decode(body) {
            Ok(message) => {
                keep(message);
                StatusCode::OK
            }
            Err(_) => StatusCode::BAD_REQUEST,
        }
    }
    match signal.as_str() {
        "traces" => read(body, |request| collector.keep_spans(request)),
        "metrics" => read(body, |request| collector.keep_metrics(request)),
        "logs" => read(body, |request| collector.keep_records(request)),
        _ => StatusCode::NOT_FOUND,
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.keep_spans(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(&self, request: Request<ExportMetricsServiceRequest>) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.keep_metrics(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(&self, request: Request<ExportLogsServiceRequest>) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.keep_records(request.into_inner());
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}
