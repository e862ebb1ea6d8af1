//! Keeps a fresh, verified Qlik Cloud access token in a Secret for every `QlikContext`.
//!
//! The path of the data, which `reconcile.rs` walks once for every change and every time that something is due:
//!
//! ```text
//! apiserver ──watch──▶ observe ──▶ decide ──▶ act ──▶ status ──▶ apiserver
//!             watch.rs observe.rs  decide.rs  act.rs  status.rs
//!                                  (pure)             (pure)
//! ```
//!
//! - [`reconcile`]: that line as code, with its deadline; the first file to open.
//! - [`watch`]: the three streams that wake it: contexts, credential Secrets, derived Secrets.
//! - [`index`]: which contexts a Secret matters to, and which version of it was seen last.
//! - [`scope`]: which namespaces and objects are this instance's.
//! - [`desired`]: a spec, parsed into what cannot be wrong; defaults live here.
//! - [`observe`]: what is there: the credential, the derived Secret, the token in it.
//! - [`decide`]: what to do about it; values in, a plan out.
//! - [`act`]: doing it: the only requests to tenants and the only writes to Secrets.
//! - [`status`]: what to say; the only place that makes conditions.
//! - [`report`]: writing that, over nothing but what was judged.
//! - [`events`]: what a person who describes an object should not miss.
//! - [`retry`]: when to try again.
//! - [`api`]: what users see: kinds, condition types, reasons, names.
//! - [`secret`]: Secrets, read sealed, and the one constructor of the derived Secret.
//! - [`template`]: placeholders of `target.data`, and qlik-cli's context file.
//! - [`binding`]: which spec and which credential a stored token belongs to.
//! - [`oauth`]: from a credential to a token and whose it is; knows nothing of Kubernetes.
//! - [`context`]: what every run has at hand.
//! - [`gone`]: letting go of contexts that are no more.
//! - [`latest`]: the status that was written and not seen yet.
//! - [`kubeconfig`]: which cluster, and how to reach it.
//! - [`lease`]: leader election.
//! - [`error`]: what can go wrong: a failure of one context, or trouble with the Kubernetes API.
//! - [`clock`]: time and chance, as values that are handed in.
//! - [`args`]: the command line.
//! - [`controller`]: the control loop, from its parts.
//! - [`run`]: the wiring: everything is made, joined and ended here.
//! - [`server`]: `/livez`, `/readyz`, `/metrics`.
//! - [`metrics`]: every metric, declared in one place.
//! - [`telemetry`]: the log.

pub mod act;
pub mod api;
pub mod args;
pub mod binding;
pub mod clock;
pub mod context;
pub mod controller;
pub mod decide;
pub mod desired;
pub mod error;
pub mod events;
pub mod gone;
pub mod kubeconfig;
pub mod index;
pub mod latest;
pub mod lease;
pub mod metrics;
pub mod oauth;
pub mod observe;
pub mod reconcile;
pub mod report;
pub mod retry;
// Needs Unix signals; the kubectl plugin builds the rest on Windows, too.
#[cfg(unix)]
pub mod run;
pub mod scope;
pub mod secret;
pub mod server;
pub mod status;
pub mod telemetry;
pub mod template;
pub mod watch;
