//! The kinds that are served, and their URLs.

/// A kind that the server knows.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// `v1`.
    Namespace,
    /// `v1`.
    Secret,
    /// `events.k8s.io/v1`.
    Event,
    /// `coordination.k8s.io/v1`.
    Lease,
    /// `qlikcontext.dev/v1alpha1`, with a status subresource.
    QlikContext,
    /// The same.
    QlikOAuthClient,
    /// `v1`, stored unchanged: nothing runs, and the status is written together with the rest.
    Pod,
    /// `apps/v1`, stored unchanged: no controller reads it.
    Deployment,
    /// The same.
    StatefulSet,
    /// The same.
    DaemonSet,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Namespace,
        Self::Secret,
        Self::Event,
        Self::Lease,
        Self::QlikContext,
        Self::QlikOAuthClient,
        Self::Pod,
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
    ];

    /// The value of `kind:`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Secret => "Secret",
            Self::Event => "Event",
            Self::Lease => "Lease",
            Self::QlikContext => "QlikContext",
            Self::QlikOAuthClient => "QlikOAuthClient",
            Self::Pod => "Pod",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }

    /// The API group; empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Self::Namespace | Self::Secret | Self::Pod => "",
            Self::Event => "events.k8s.io",
            Self::Lease => "coordination.k8s.io",
            Self::QlikContext | Self::QlikOAuthClient => "qlikcontext.dev",
            Self::Deployment | Self::StatefulSet | Self::DaemonSet => "apps",
        }
    }

    /// The name in URLs and RBAC rules.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::Secret => "secrets",
            Self::Event => "events",
            Self::Lease => "leases",
            Self::QlikContext => "qlikcontexts",
            Self::QlikOAuthClient => "qlikoauthclients",
            Self::Pod => "pods",
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
        }
    }

    /// The value of `apiVersion:`.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Namespace | Self::Secret | Self::Pod => "v1",
            Self::Event => "events.k8s.io/v1",
            Self::Lease => "coordination.k8s.io/v1",
            Self::QlikContext | Self::QlikOAuthClient => "qlikcontext.dev/v1alpha1",
            Self::Deployment | Self::StatefulSet | Self::DaemonSet => "apps/v1",
        }
    }

    /// True for all kinds except Namespace.
    pub fn is_namespaced(self) -> bool {
        self != Self::Namespace
    }

    /// A kind of a CustomResourceDefinition: it has `/status` and a generation, and no Go type.
    pub(super) fn is_custom(self) -> bool {
        matches!(self, Self::QlikContext | Self::QlikOAuthClient)
    }

    /// Whether a change of the spec increases the generation.
    pub(super) fn has_generation(self) -> bool {
        self.is_custom() || matches!(self, Self::Deployment | Self::StatefulSet | Self::DaemonSet)
    }

    /// The resource in messages: `secrets`, `leases.coordination.k8s.io`.
    pub(super) fn resource(self) -> String {
        self.qualified(self.plural())
    }

    /// `name`, followed by the group if there is one.
    pub(super) fn qualified(self, name: &str) -> String {
        if self.group().is_empty() { name.to_owned() } else { format!("{name}.{}", self.group()) }
    }

    pub(super) fn find(api_version: &str, matches: impl Fn(Self) -> bool) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.api_version() == api_version && matches(*kind))
    }
}
