//! The interface alone: everyone waits. The queue follows in the next commits.

use std::time::Duration;

use tokio::time::Instant;

use super::{Caller, Limits, Request, RequestEnd, RequestKey, RequestKind, Urgency, Wait, WaitReason};

pub(super) type Ticket = u64;
pub(super) struct State;
pub(super) struct Effects {
    pub(super) called: Vec<Caller>,
    pub(super) budget_waits: usize,
    pub(super) circuits_open: Option<usize>,
    pub(super) earlier: bool,
}

const WAIT: Wait = Wait { reason: WaitReason::Slot, expected: Duration::ZERO };

#[allow(clippy::unused_self, clippy::needless_pass_by_ref_mut)]
impl State {
    pub(super) fn new(_: Limits, _: Instant) -> Self {
        Self
    }
    pub(super) fn advance(&mut self, now: Instant) -> Instant {
        now
    }
    pub(super) fn enter(
        &mut self,
        _: &Request<'_>,
        _: Option<(RequestKey, RequestKind)>,
        _: Instant,
    ) -> Result<Ticket, Wait> {
        Err(WAIT)
    }
    pub(super) fn sleep(&mut self, _: &Request<'_>, _: (RequestKey, RequestKind), _: Instant) {}
    pub(super) fn leave(&mut self, _: &str, _: Instant) {}
    pub(super) fn forget(&mut self, _: &str, _: RequestKey, _: Instant) {}
    pub(super) fn is_called(&self, _: &str) -> bool {
        false
    }
    pub(super) fn waits(&self, _: &str, _: Instant) -> Option<Wait> {
        None
    }
    pub(super) fn paused(&self, _: &str, _: Instant) -> Option<Duration> {
        None
    }
    pub(super) fn waiting(&self) -> usize {
        0
    }
    pub(super) fn oldest(&self, _: Instant) -> Option<Duration> {
        None
    }
    pub(super) fn arm(&mut self, _: Instant) -> Option<Instant> {
        None
    }
    pub(super) fn serve(&mut self, _: Instant) {}
    pub(super) fn effects(&mut self) -> Effects {
        Effects { called: Vec::new(), budget_waits: 0, circuits_open: None, earlier: false }
    }
    pub(super) fn request(
        &mut self,
        _: Ticket,
        _: (RequestKey, RequestKind),
        _: Urgency,
        _: bool,
        _: Instant,
    ) -> Result<(), Wait> {
        Err(WAIT)
    }
    pub(super) fn ended(&mut self, _: Ticket, _: RequestEnd, _: Instant) {}
    pub(super) fn give_back(&mut self, _: Ticket, _: Instant) {}
}
