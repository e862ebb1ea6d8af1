//! The log.
//!
//! kube logs whole answers of the API server when it cannot parse them, and those hold Secrets: below errors that target is
//! never heard, whatever filter the user sets.

use std::io::IsTerminal as _;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, ParseError, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

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

/// Starts logging to standard error.
pub fn init(format: LogFormat, directives: &str) -> Result<(), ParseError> {
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry();
    match format {
        LogFormat::Json => registry.with(filtered(lines.json().flatten_event(true), directives)?).init(),
        LogFormat::Text => registry.with(filtered(lines, directives)?).init(),
    }
    Ok(())
}

/// A layer that hears what the user's directives let through, and never a body.
///
/// The second filter is apart from the directives: one of those with a span could open the target again.
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
    event.target() != PRINTS_BODIES || *event.level() == Level::ERROR
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Hears everything that gets through.
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
