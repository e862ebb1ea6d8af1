//! Tests of the fake tenant: it responds as documented, and rejects what it should.

#![expect(clippy::disallowed_methods, reason = "real processes need real time")]

#[path = "tenant/assertions.rs"]
mod assertions;
#[path = "tenant/caller.rs"]
mod caller;
#[path = "tenant/control_interface.rs"]
mod control_interface;
#[path = "tenant/identity.rs"]
mod identity;
#[path = "tenant/misbehaviour.rs"]
mod misbehaviour;
#[path = "tenant/oauth_clients.rs"]
mod oauth_clients;
#[path = "tenant/token_answers.rs"]
mod token_answers;
#[path = "tenant/token_requests.rs"]
mod token_requests;
#[path = "tenant/transport.rs"]
mod transport;
