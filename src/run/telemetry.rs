//! The log, and the traces where the program is built with the feature `otlp`.
//!
//! kube logs whole responses of the API server when it cannot parse them, and these contain Secrets. So that target is only
//! logged at the level of errors, whatever filter the user sets.

#[cfg(feature = "otlp")]
pub mod otlp;

use std::io::IsTerminal as _;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::spans;

/// The target whose lower levels print bodies.
const PRINTS_BODIES: &str = "kube_client::client";

/// The format of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// What is to live as long as the process.
#[must_use]
pub struct Telemetry {
    #[cfg(feature = "otlp")]
    _traces: Option<otlp::Traces>,
}

/// Starts logging to standard error, and sending traces where the environment says to.
pub fn init(format: LogFormat, directives: &str) -> anyhow::Result<Telemetry> {
    let log = log(format, directives, std::io::stderr().is_terminal(), std::io::stderr)?;
    let registry = tracing_subscriber::registry().with(log);
    #[cfg(feature = "otlp")]
    {
        let (layer, traces) = otlp::from_env()?.unzip();
        registry.with(layer).init();
        Ok(Telemetry { _traces: traces })
    }
    #[cfg(not(feature = "otlp"))]
    {
        registry.init();
        Ok(Telemetry {})
    }
}

/// The log in one of its formats.
pub fn log<S, W>(
    format: LogFormat,
    directives: &str,
    colours: bool,
    writer: W,
) -> Result<Box<dyn Layer<S> + Send + Sync>, ParseError>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_target(false).with_ansi(colours).with_writer(writer);
    Ok(match format {
        LogFormat::Json => filtered(lines.json().flatten_event(true), directives)?.boxed(),
        LogFormat::Text => filtered(lines, directives)?.boxed(),
    })
}

/// A layer that hears what the user's directives let through, and never a body nor a span of a trace.
///
/// The second filter is separate from the directives, because a directive with a span could enable the target again.
pub fn filtered<S>(layer: impl Layer<S>, directives: &str) -> Result<impl Layer<S>, ParseError>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    Ok(layer.with_filter(parse(directives)?).with_filter(filter_fn(is_safe)))
}

/// Reads directives such as `debug` or `kube=warn,info`.
pub fn parse(directives: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(directives)
}

fn is_safe(event: &Metadata<'_>) -> bool {
    event.target() != spans::TARGET && (event.target() != PRINTS_BODIES || *event.level() == Level::ERROR)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Records everything that passes the filters.
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Heard {
        fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            self.0.lock().unwrap().push(format!("{} {}", event.metadata().level(), event.metadata().target()));
        }
    }

    #[test]
    fn the_body_printing_target_stays_quiet_whatever_the_directives() {
        for directives in ["trace", "kube_client=trace", "kube_client::client=trace", "[a_span]=trace"] {
            let heard = Heard::default();
            let subscriber = tracing_subscriber::registry().with(filtered(heard.clone(), directives).unwrap());
            tracing::subscriber::with_default(subscriber, || {
                let _span = tracing::error_span!("a_span").entered();
                tracing::warn!(target: "kube_client::client", "a body");
                tracing::trace!(target: "kube_client::client", "a body");
                tracing::error!(target: "kube_client::client", "no body");
            });
            let heard = heard.0.lock().unwrap().clone();
            assert!(!heard.iter().any(|line| line == "WARN kube_client::client"), "{directives}: {heard:?}");
            assert!(!heard.iter().any(|line| line == "TRACE kube_client::client"), "{directives}: {heard:?}");
            assert!(heard.iter().any(|line| line == "ERROR kube_client::client"), "{directives}: {heard:?}");
        }
        assert!(parse("a=b=c").is_err());
    }
}
