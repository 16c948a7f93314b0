//! Spans to an OTLP collector over gRPC; nothing of it runs when no endpoint is configured.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use serde::Deserialize;
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use super::sampling::Sampling;
use crate::config::{Env, Error, File};

/// The `diagnostics.otel` section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Otel {
    /// Where spans go, such as `http://127.0.0.1:4317`. Default: `OTEL_EXPORTER_OTLP_ENDPOINT`; without either, spans go nowhere.
    endpoint: Option<String>,
    /// The share of traces that is kept, from 0 to 1. Default 1.
    sample_rate: Option<f64>,
    /// The first part of `service.name`. Default `verso`.
    service_name: Option<String>,
}

/// The exporter of one process.
#[derive(Debug)]
pub(super) struct Traces {
    provider: SdkTracerProvider,
    service: &'static str,
}

impl Traces {
    pub(super) fn start(service: &'static str, config: &File, env: &Env) -> Result<Option<Self>, Error> {
        let otel: Otel = config.section("diagnostics.otel")?;
        let Some(endpoint) = otel.endpoint.as_deref().or_else(|| env.get("OTEL_EXPORTER_OTLP_ENDPOINT")) else { return Ok(None) };
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .build()
            .map_err(|error| Error::Value { key: "diagnostics.otel.endpoint".to_owned(), reason: error.to_string() })?;
        let prefix = otel.service_name.as_deref().or_else(|| env.get("OTEL_SERVICE_NAME")).unwrap_or("verso");
        let sampler = Sampling { share: otel.sample_rate.unwrap_or(1.0), at_the_door: service == "edge" };
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler)
            .with_resource(Resource::builder().with_service_name(format!("{prefix}-{service}")).build())
            .build();
        Ok(Some(Self { provider, service }))
    }

    pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> OpenTelemetryLayer<S, SdkTracer> {
        tracing_opentelemetry::layer().with_tracer(self.provider.tracer(self.service))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(error = &error as &dyn std::error::Error, "could not send the last spans");
        }
    }
}
