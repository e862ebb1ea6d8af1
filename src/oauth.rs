//! Requests an access token from a Qlik Cloud tenant, verifies its identity, and manages the tenant's OAuth clients.
//!
//! Independent of Kubernetes, and of how the operator reports a failure: errors are values, and hold only those parts of a
//! response that may be shown. All requests go through one trait, [`transport::Transport`]. The modules below it
//! ([`https`], [`address`]) open sockets; the modules above work on values and run on virtual time.

pub mod address;
pub mod assertion;
pub mod clients;
pub mod https;
pub mod identity;
pub mod key;
pub mod leak;
pub mod lifetime;
pub mod pasted;
pub mod refusal;
pub mod request;
pub mod roots;
mod sealed;
pub mod tenant;
pub mod token;
pub mod token_endpoint;
pub mod transport;
