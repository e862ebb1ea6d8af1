//! Keeps a fresh, verified Qlik Cloud access token in a Secret for every `QlikContext`.
//!
//! The path of the data, which `reconcile.rs` follows once for every change and every time that something is due:
//!
//! ```text
//! apiserver ──watch──▶ recall ──▶ decide ──▶ status ──▶ apiserver
//!                        one step ▲    │ what came of it
//!          Read: observe · Call: tokens · Publish: publish
//! ```
//!
//! - [`reconcile`]: that picture as code, with its deadline; the first file to open. Under it, one file each:
//!   `context` (what every run has at hand), `decide` (what to do, and nowhere else), `observe` (`recall`, and reading both
//!   Secrets), `publish` (the only writes to Secrets), `status` (the only place that makes conditions), `write_status`, `events`,
//!   `record`, and `memory` (what is remembered of each context).
//! - [`values`]: what travels between these steps.
//! - [`tokens`]: what is known of each token request.
//! - [`scheduler`]: whose turn it is at a tenant.
//! - [`oauth`]: from a credential to a token and its identity; knows nothing of Kubernetes, and nothing of the modules here
//!   but [`clock`].
//! - [`tenant_failure`]: from what a tenant did to a reason and a message, and nowhere else.
//! - [`secret`]: Secrets, read sealed; the one constructor of the derived Secret, with the placeholders of `target.data`; the write
//!   that both kinds share.
//! - [`desired`]: a spec, parsed into what cannot be wrong; defaults live here.
//! - [`binding`]: which spec and which credential a stored token belongs to.
//! - [`retry`]: when to try again.
//! - [`oauth_client`]: the same picture for the second kind, `QlikOAuthClient`; one file for each step, as above.
//! - [`conditions`]: what the conditions of both kinds have in common.
//! - [`error`]: what can go wrong: a failure of one context, or trouble with the Kubernetes API.
//! - [`api`]: what users see: kinds, condition types, reasons, names.
//! - [`controller`]: the control loops, one for each kind: `watch` says what wakes them, `scope` what is this instance's.
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
pub mod tenant_failure;
pub mod tokens;
pub mod values;
