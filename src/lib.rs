//! Keeps a fresh, verified Qlik Cloud access token in a Secret for every `QlikContext`.
//!
//! The path of the data, which `reconcile.rs` follows for every change and whenever something is due:
//!
//! ```text
//! apiserver ──watch──▶ recall ──▶ decide ──▶ status ──▶ apiserver
//!                        one step ▲    │ what came of it
//!          Read: observe · Call: tokens · Publish: publish
//! ```
//!
//! - [`reconcile`]: that picture as code, with its deadline; the first file to open. Under it, one file each:
//!   `context` (shared by all runs), `decide` (the only place that decides), `observe` (`recall`, and reading both
//!   Secrets), `publish` (the only writes to Secrets), `status` (the only place that makes conditions), `write_status`, `events`,
//!   `record`, `memory` (what is remembered of each context), and `repairs` (back-off of repairs, for both kinds).
//! - [`values`]: the values that these steps exchange.
//! - [`tokens`]: the state of each token request.
//! - [`scheduler`]: when a context may send a request to a tenant.
//! - [`oauth`]: from a credential to a token and its identity; independent of Kubernetes, and of all modules here
//!   except [`clock`].
//! - [`tenant_failure`]: the only place that maps a tenant's failure to a reason and a message.
//! - [`secret`]: Secrets, read sealed; the one constructor of the token Secret, with the placeholders of `target.data`; the write
//!   that both kinds share.
//! - [`desired`]: a spec, parsed into types that cannot be wrong; defaults are defined here.
//! - [`binding`]: the spec and the credential that a stored token belongs to.
//! - [`retry`]: when to retry.
//! - [`oauth_client`]: the same picture for the second kind, `QlikOAuthClient`; one file for each step, as above.
//! - [`workloads`]: the Pods that read a token, refreshed and restarted beside the runs.
//! - [`conditions`]: the rules that the conditions of both kinds share.
//! - [`status_write`]: the write of a status, which both kinds share.
//! - [`error`]: a failure of one context, or of the Kubernetes API.
//! - [`api`]: the public names: kinds, condition types, reasons, labels, annotations.
//! - [`controller`]: the control loops, one for each kind: `watch` wakes them, `scope` selects the objects of this instance.
//! - [`index`]: from a Secret to the objects that use it, and the versions that the watches showed.
//! - [`run`]: the process, from its flags to its end: `args`, `kubeconfig`, `server`, `telemetry`, `panics`.
//! - [`spans`]: every span of a trace.
//! - [`lease`], [`health`], [`metrics`], [`clock`]: what all of it uses.

pub mod api;
pub mod binding;
pub mod clock;
pub mod conditions;
pub mod controller;
pub mod desired;
pub mod error;
pub mod health;
pub mod index;
pub mod lease;
pub mod metrics;
pub mod oauth;
pub mod oauth_client;
pub mod reconcile;
pub mod retry;
// Needs Unix signals; the kubectl plugin builds the rest on Windows, too.
#[cfg(unix)]
pub mod run;
pub mod scheduler;
pub mod secret;
pub mod spans;
pub mod status_write;
pub mod tenant_failure;
pub mod tokens;
pub mod values;
pub mod workloads;
