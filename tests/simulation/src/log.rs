//! The operator's log at TRACE: searched for planted secrets, or printed in a replay.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Once};
use std::time::Duration;

use qlik_context_operator::run::telemetry::filtered;
use support::planted::{Planted, Searched};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::history::Moment;
use crate::world::PLANTED;

/// A part of `tests/keys/p384-pkcs8.pem`.
const PRIVATE_KEY: &str = "QRZ8WL0tmh3w1Ik5DM9SWOT0t+gPixRvHVNS4fqIKKYM";
/// The beginning of every token of the fake tenant.
const TOKEN: &str = "eyJhbGciOiJFUzM4NCIsImtpZCI6";

static SHOWN: AtomicBool = AtomicBool::new(false);
static PLANTED_TEXTS: LazyLock<Option<Planted>> = LazyLock::new(|| Planted::new(&[PLANTED, PRIVATE_KEY, TOKEN]).ok());
static LOG: LazyLock<Option<Searched>> = LazyLock::new(|| PLANTED_TEXTS.clone().map(Searched::new));

/// Searches the log from now on.
pub fn search() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let writer = || LOG.as_ref().map_or_else(|| Box::new(io::sink()) as Box<dyn io::Write>, |log| Box::new(log));
        let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
        if let Ok(lines) = filtered(lines, "trace") {
            tracing_subscriber::registry().with(lines).init();
        }
    });
}

/// Prints the log from now on, with each request and change.
pub fn show() {
    SHOWN.store(true, Ordering::Relaxed);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false).without_time();
    if let Ok(lines) = filtered(lines, "trace") {
        tracing_subscriber::registry().with(lines).init();
    }
}

/// Prints a request, change or event in a replay.
pub fn record(at: Duration, what: &str) {
    if SHOWN.load(Ordering::Relaxed) {
        // A closed pipe is not an error.
        let _ = writeln!(io::stderr(), "{}  {what}", Moment(at));
    }
}

/// The first line of the log with a planted secret.
pub fn leak() -> Option<String> {
    LOG.as_ref().and_then(Searched::leak)
}

/// The planted secret in a text, if any.
pub fn found(text: &str) -> Option<String> {
    PLANTED_TEXTS.as_ref().and_then(|planted| planted.found(text)).map(str::to_owned)
}
