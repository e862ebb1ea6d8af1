//! What somebody else keeps changing: counted, and reported once.

use super::act::Run;
use super::facts::Facts;
use super::memory::Memory;
use crate::api::condition::Notice;
use crate::reconcile::events::EventDraft;
use crate::reconcile::repairs::CONTESTED;

impl Run<'_> {
    /// The client was repaired in this. True: somebody else keeps changing the same, which is reported once.
    pub(super) fn repaired_client(&self, facts: &Facts, what: &str) -> bool {
        let repaired = |memory: &mut Memory| {
            if !facts.is_observed() {
                return false;
            }
            let same = memory.repaired.0 == what;
            memory.repaired = (what.to_owned(), if same { memory.repaired.1.saturating_add(1) } else { 1 });
            // Whatever is changed, repairs back off; changes of different kinds are the work of people.
            memory.client_repairs.made() && memory.repaired.1 >= CONTESTED
        };
        let contested = self.cx.memories.with(&self.caller.uid, repaired).unwrap_or_default();
        if contested {
            let note = "Another program changes the OAuth client in the tenant again and again after the operator has repaired it. \
                        Find out in the tenant what else manages this OAuth client, and let one of them manage it; until then the \
                        operator repairs it less and less often.";
            self.cx.emit(&facts.object, EventDraft::once(true, Notice::ClientContested, note.into()));
        }
        contested
    }

    /// The Secret was written because somebody else had changed or deleted it.
    pub(super) fn repaired_secret(&self, facts: &mut Facts) {
        let repairs = |memory: &mut Memory| (memory.secret_repairs.made(), memory.secret_repairs.wait());
        let (contested, wait) = self.cx.memories.with(&self.caller.uid, repairs).unwrap_or_default();
        facts.brakes.secret = wait.map(|wait| facts.after(wait));
        if contested {
            let fix = "Stop the other program from writing to this Secret";
            let managers = facts.secret.other_managers();
            self.cx.emit(&facts.object, EventDraft::contested(&facts.desired.secret_name, &managers, fix));
        }
    }
}
