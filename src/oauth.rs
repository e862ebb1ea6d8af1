//! Getting an access token from a Qlik Cloud tenant, and learning whose it is; managing the tenant's OAuth clients.
//!
//! Knows nothing of Kubernetes, nor of what the operator makes of a failure: errors are values, and hold of an answer only
//! what may be shown. Speaks to tenants through one seam, [`transport::Transport`]; what lies below it
//! ([`https`], [`address`]) opens sockets, what lies above is values and runs on virtual time.

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
