//! The labels of the metrics: enums, except for the namespace and name of a context.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};

use strum::{EnumIter, IntoStaticStr};

use crate::api::{Reason, WorkloadKind};

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct ContextLabels {
    pub(super) namespace: String,
    pub(super) name: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct TokenRequestLabels {
    pub(super) grant: GrantLabel,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ClientRequestLabels {
    pub(super) operation: OperationLabel,
    pub(super) outcome: Outcome,
}

/// A request to the OAuth clients API.
#[derive(Clone, Copy, Debug, EncodeLabelValue, EnumIter, Eq, Hash, PartialEq)]
pub(super) enum OperationLabel {
    /// Nothing is changed in the tenant.
    Read,
    /// Something is changed.
    Change,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct OutcomeLabels {
    pub(super) outcome: Outcome,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ReconcileLabels {
    pub(super) outcome: Reconciled,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct WriteLabels {
    pub(super) operation: SecretWrite,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct RefreshLabels {
    pub(super) outcome: WorkloadWrite,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct RestartLabels {
    pub(super) kind: WorkloadKind,
    pub(super) outcome: WorkloadWrite,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct WatchLabels {
    pub(super) watch: Watch,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct RequestLabels {
    pub(super) verb: RequestVerb,
    pub(super) code: Code,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct VerbLabels {
    pub(super) verb: RequestVerb,
}

#[derive(Clone, Copy, Debug, EncodeLabelValue, EnumIter, Eq, Hash, PartialEq)]
pub(super) enum GrantLabel {
    #[allow(non_camel_case_types)]
    client_credentials,
    #[allow(non_camel_case_types)]
    user_impersonation,
}

/// `Success`, or the reason of the failure.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Outcome(pub(super) Option<Reason>);

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder) -> Result<(), std::fmt::Error> {
        match self.0 {
            Some(reason) => reason.encode(encoder),
            None => "Success".encode(encoder),
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, EncodeLabelValue, EnumIter, Eq, Hash, IntoStaticStr, PartialEq)]
pub enum Reconciled {
    /// Ready.
    Ready,
    /// The conditions report a failure.
    NotReady,
    /// It is not yet the context's turn at its tenant.
    Waiting,
    /// The status did not change.
    Unchanged,
    /// The Kubernetes API failed; the run is repeated.
    Error,
}

/// The kind of write to a token Secret.
#[derive(Clone, Copy, Debug, EncodeLabelValue, EnumIter, Eq, Hash, PartialEq)]
pub enum SecretWrite {
    /// Written for the first time.
    Create,
    /// Given a new token, or restored.
    Update,
}

/// How the write to a Pod or a workload ended.
#[derive(Clone, Copy, Debug, EncodeLabelValue, EnumIter, Eq, Hash, PartialEq)]
pub enum WorkloadWrite {
    /// It was written.
    Success,
    /// It was deleted or changed in the meantime.
    Superseded,
    /// The Kubernetes API refused it or did not answer.
    Failed,
}

/// The watches of the operator.
#[derive(Clone, Copy, Debug, EncodeLabelValue, EnumIter, Eq, Hash, PartialEq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Watch {
    /// `QlikContext` objects.
    Contexts,
    /// `QlikOAuthClient` objects.
    OAuthClients,
    /// Metadata of the Secrets that `--credential-selector` selects; without it, of all.
    Credentials,
    /// Metadata of the Secrets that the operator wrote, if the other watch may not show them.
    Derived,
}

/// What is asked of the Kubernetes API, in the words of its authorization and audit.
#[derive(Clone, Copy, Debug, EncodeLabelValue, EnumIter, Eq, Hash, IntoStaticStr, PartialEq)]
#[allow(missing_docs, non_camel_case_types, reason = "the words are the API's own")]
pub enum RequestVerb {
    get,
    list,
    watch,
    create,
    update,
    patch,
    delete,
}

/// The HTTP status code, or `error` without a response.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Code(pub(super) Option<u16>);

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder) -> Result<(), std::fmt::Error> {
        match self.0 {
            Some(code) => u32::from(code).encode(encoder),
            None => "error".encode(encoder),
        }
    }
}
