//! How a batch reaches the collector: over gRPC, or as one HTTP request.

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::time::timeout;
use tonic::Request;
use tonic::metadata::{MetadataKey, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use super::settings::Settings;
use crate::peer::BytesCodec;

/// How long the collector may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    pub(super) const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    const fn rpc(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }
}

/// Why a batch was not taken.
#[derive(Debug)]
pub(super) struct Failure {
    /// One of a few words, for the metrics.
    pub(super) reason: &'static str,
    pub(super) words: String,
}

fn failure(reason: &'static str) -> impl FnOnce(String) -> Failure {
    move |words| Failure { reason, words }
}

/// The way to the collector of each signal.
#[derive(Debug)]
pub(super) struct Transport {
    ways: [Option<Way>; 3],
    headers: Vec<(String, String)>,
}

#[derive(Debug)]
enum Way {
    Grpc(Channel),
    Http(reqwest::Client, reqwest::Url),
}

impl Transport {
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        let way = |url: &String| -> Result<Way, String> {
            let wrong = |error: &dyn std::fmt::Display| format!("{url} is no address of a collector: {error}");
            if settings.is_grpc {
                if !url.starts_with("http://") {
                    return Err(wrong(&"gRPC goes to http:// only; http/protobuf also goes to https://"));
                }
                let endpoint = Endpoint::from_shared(url.clone()).map_err(|error| wrong(&error))?;
                return Ok(Way::Grpc(endpoint.connect_timeout(TIMEOUT).connect_lazy()));
            }
            let target = reqwest::Url::parse(url).map_err(|error| wrong(&error))?;
            let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build();
            Ok(Way::Http(client.map_err(|error| wrong(&error))?, target))
        };
        // Fails only when there is a provider already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let [traces, metrics, logs] = settings.endpoints.each_ref().map(|url| url.as_ref().map(way).transpose());
        Ok(Self { ways: [traces?, metrics?, logs?], headers: settings.headers.clone() })
    }

    /// Sends one batch, once.
    pub(super) async fn send(&self, signal: Signal, message: Vec<u8>) -> Result<(), Failure> {
        match &self.ways[signal as usize] {
            None => Ok(()),
            Some(Way::Grpc(channel)) => {
                let sending = timeout(TIMEOUT, self.over_grpc(channel.clone(), signal, message.into()));
                sending.await.map_err(|_| failure("timeout")("no answer in time".to_owned()))?
            }
            Some(Way::Http(client, url)) => {
                let mut request = client.post(url.clone()).header("content-type", "application/x-protobuf").body(message);
                for (name, value) in &self.headers {
                    request = request.header(name, value);
                }
                let answer = request.send().await.map_err(|error| {
                    let reason = if error.is_timeout() { "timeout" } else { "unreachable" };
                    failure(reason)(error.without_url().to_string())
                })?;
                let status = answer.status();
                if status.is_success() { Ok(()) } else { Err(failure("refused")(status.to_string())) }
            }
        }
    }

    async fn over_grpc(&self, channel: Channel, signal: Signal, message: Bytes) -> Result<(), Failure> {
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.map_err(|error| failure("unreachable")(error.to_string()))?;
        let mut request = Request::new(message);
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) = (MetadataKey::from_bytes(name.to_lowercase().as_bytes()), MetadataValue::try_from(value)) {
                request.metadata_mut().insert(name, value);
            }
        }
        let answer = client.unary(request, PathAndQuery::from_static(signal.rpc()), BytesCodec).await;
        answer.map(drop).map_err(|status| failure("refused")(format!("{:?}: {}", status.code(), status.message())))
    }
}
