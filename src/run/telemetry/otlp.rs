//! Traces, sent as OTLP: protobuf over HTTP, in batches, from a thread of the exporter's own.
//!
//! Only the spans of [`crate::spans`] are sent, and no event, so no message. Where the environment names no endpoint nothing is
//! sent. A collector that fails delays nothing: spans that find the queue full are dropped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::Key;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter as Otlp, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::api::OPERATOR_NAME;
use crate::spans;

/// Each of them names where traces go.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const DISABLED: &str = "OTEL_SDK_DISABLED";
/// The end of the process waits so long for the collector.
const FLUSH: Duration = Duration::from_secs(5);

/// Sends what is left when it is dropped.
pub struct Traces(SdkTracerProvider);

impl Drop for Traces {
    fn drop(&mut self) {
        // A collector that does not answer is logged by the exporter.
        let _ = self.0.shutdown_with_timeout(FLUSH);
    }
}

/// As the environment says; nothing where it names no endpoint.
pub fn from_env<S>() -> anyhow::Result<Option<(impl Layer<S>, Traces)>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let disabled = std::env::var_os(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if disabled || !ENDPOINTS.iter().any(|name| set(name)) {
        return Ok(None);
    }
    to(None).map(Some)
}

/// To this URL, else as the environment says.
pub fn to<S>(url: Option<&str>) -> anyhow::Result<(impl Layer<S> + use<S>, Traces)>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let exporter = Otlp::builder().with_http().with_protocol(Protocol::HttpBinary);
    let exporter = match url {
        Some(url) => exporter.with_endpoint(url),
        None => exporter,
    };
    // Its own text may repeat the endpoint, which may hold a password.
    let exporter =
        exporter.build().ok().with_context(|| format!("cannot send traces; check {}", ENDPOINTS.join(", ")))?;
    let exporter = LoggedExporter { exporter, failing: AtomicBool::new(false) };
    let provider = SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(OPERATOR_NAME))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false);
    let ours = filter_fn(|metadata| metadata.is_span() && metadata.target() == spans::TARGET);
    Ok((layer.with_filter(ours), Traces(provider)))
}

/// What the environment says of the process; its name where that says none.
fn resource() -> Resource {
    let found = Resource::builder().build();
    let name = found.get(&Key::from_static_str("service.name"));
    let named = name.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    if named { found } else { Resource::builder().with_service_name(OPERATOR_NAME).build() }
}

/// Says when the collector begins to fail and when it answers again, and nothing of what it says.
#[derive(Debug)]
struct LoggedExporter {
    exporter: Otlp,
    failing: AtomicBool,
}

impl SpanExporter for LoggedExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        match (self.failing.swap(result.is_err(), Ordering::Relaxed), result.is_err()) {
            (false, true) => tracing::warn!("traces cannot be sent: the OTLP endpoint refuses them or does not answer"),
            (true, false) => tracing::info!("traces are sent again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
