//! The log.
//!
//! kube logs whole answers of the API server when it cannot parse them, and those hold Secrets: that target is cut to
//! errors whatever filter the user sets.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::{Directive, EnvFilter, ParseError};

use crate::args::LogFormat;

/// Targets whose lower levels can print bodies.
const QUIET: [&str; 1] = ["kube_client::client=error"];

/// Starts logging to standard error.
pub fn init(format: LogFormat, filter: &str) -> Result<(), ParseError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(self::filter(filter)?)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.init(),
    }
    Ok(())
}

/// The user's directives, with the quiet targets added last so that they win.
pub fn filter(directives: &str) -> Result<EnvFilter, ParseError> {
    let user = EnvFilter::builder().parse(directives)?;
    QUIET.iter().try_fold(user, |filter, quiet| Ok(filter.add_directive(quiet.parse::<Directive>()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_printing_target_stays_quiet_at_every_level() {
        for directives in ["trace", "kube_client=trace", "kube_client::client=trace"] {
            assert!(filter(directives).unwrap().to_string().contains("kube_client::client=error"), "{directives}");
            assert!(!filter(directives).unwrap().to_string().contains("kube_client::client=trace"), "{directives}");
        }
        assert!(filter("a=b=c").is_err());
    }
}
