//! Ctrl-C, and SIGTERM, which is handled the same way.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Receives signals from its creation on. Before that, a signal ends the process.
pub struct Interrupt {
    ctrl_c: Signal,
    term: Signal,
}

impl Interrupt {
    /// Starts to receive signals.
    pub fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { ctrl_c: listen(SignalKind::interrupt())?, term: listen(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub async fn arrives(&mut self) {
        tokio::select! {
            _ = self.ctrl_c.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}
