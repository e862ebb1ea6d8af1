//! The log at TRACE, including every library.

use std::sync::{LazyLock, Once};

use qlik_context_operator::run::telemetry::filtered;
use support::planted::Searched;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::world::PLANTED;

static LOG: LazyLock<Searched> = LazyLock::new(|| Searched::new(PLANTED.clone()));

pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let lines = tracing_subscriber::fmt::layer().with_writer(|| &*LOG);
        tracing_subscriber::registry().with(filtered(lines, "trace").unwrap()).init();
    });
}

pub fn nothing_leaked() {
    assert_eq!(LOG.leak(), None);
    assert!(LOG.lines() > 10, "the log has too few lines for the search to mean anything");
}
