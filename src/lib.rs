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
//!   `decide` (what to do, and nowhere else), `observe` (`recall`, and reading both Secrets), `publish` (the only writes to
//!   Secrets), `status` (the only place that makes conditions), `write_status`, `events`, `record`, and `memory` (what is
//!   remembered of each context).
//! - [`values`]: what travels between these steps.
//! - [`tokens`]: what is known of each token request, and the scheduler that decides whose turn it is at a tenant.
//! - [`oauth`]: from a credential to a token and its identity; knows nothing of Kubernetes, and nothing of the modules here
//!   but [`clock`].
//! - [`tenant_failure`]: from what a tenant did to a reason and a message, and nowhere else.
//! - [`secret`]: Secrets, read sealed, and the one constructor of the derived Secret.
//! - [`desired`]: a spec, parsed into what cannot be wrong; defaults live here.
//! - [`binding`]: which spec and which credential a stored token belongs to.
//! - [`template`]: placeholders of `target.data`, and qlik-cli's context file.
//! - [`retry`]: when to try again.
//! - [`oauth_client`]: the same picture for the second kind, `QlikOAuthClient`; one file for each step, as above.
//! - [`conditions`], [`secret_write`]: what both kinds have in common.
//! - [`error`]: what can go wrong: a failure of one context, or trouble with the Kubernetes API.
//! - [`api`]: what users see: kinds, condition types, reasons, names.
//! - [`controller`]: the control loop, from its parts: [`watch`] and [`index`] say what wakes it, [`scope`] what is this
//!   instance's, [`context`] what every run has at hand.
//! - [`run`]: the process: [`args`], [`kubeconfig`], [`lease`], [`server`], [`metrics`], [`telemetry`], [`panics`], [`clock`].

pub mod api;
pub mod args;
pub mod binding;
pub mod clock;
pub mod conditions;
pub mod context;
pub mod controller;
pub mod desired;
pub mod error;
pub mod index;
pub mod kubeconfig;
pub mod lease;
pub mod metrics;
pub mod oauth;
pub mod oauth_client;
pub mod panics;
pub mod reconcile;
pub mod retry;
// Needs Unix signals; the kubectl plugin builds the rest on Windows, too.
#[cfg(unix)]
pub mod run;
pub mod scope;
pub mod secret;
pub mod secret_write;
pub mod server;
pub mod telemetry;
pub mod template;
pub mod tenant_failure;
pub mod tokens;
pub mod values;
pub mod watch;
