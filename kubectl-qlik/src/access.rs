//! The permissions of the user, as the API server reports them (`kubectl auth can-i`).

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use qlik_context_operator::api::GROUP;

use crate::cluster::Cluster;
use crate::problem::Explain as _;

/// One permission: a verb on a resource of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Permission {
    pub verb: &'static str,
    pub group: &'static str,
    pub resource: &'static str,
}

impl Permission {
    pub const fn contexts(verb: &'static str) -> Self {
        Self { verb, group: GROUP, resource: "qlikcontexts" }
    }

    pub const fn oauth_clients(verb: &'static str) -> Self {
        Self { verb, group: GROUP, resource: "qlikoauthclients" }
    }

    pub const fn secrets(verb: &'static str) -> Self {
        Self { verb, group: "", resource: "secrets" }
    }

    pub const fn pods(verb: &'static str) -> Self {
        Self { verb, group: "", resource: "pods" }
    }
}

/// The permissions among these that are missing in the cluster's namespace.
pub async fn missing(cluster: &Cluster, wanted: &[Permission]) -> anyhow::Result<Vec<Permission>> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let mut missing = Vec::new();
    for permission in wanted {
        let attributes = ResourceAttributes {
            namespace: Some(cluster.namespace.clone()),
            verb: Some(permission.verb.into()),
            group: Some(permission.group.into()),
            resource: Some(permission.resource.into()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), non_resource_attributes: None };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let answer = reviews.create(&PostParams::default(), &review).await.explain("cannot read your permissions")?;
        if !answer.status.is_some_and(|status| status.allowed) {
            missing.push(*permission);
        }
    }
    Ok(missing)
}

/// "get and patch qlikcontexts; create secrets".
pub fn list(permissions: &[Permission]) -> String {
    let mut resources: Vec<(&str, Vec<&str>)> = Vec::new();
    for permission in permissions {
        match resources.iter_mut().find(|(resource, _)| *resource == permission.resource) {
            Some((_, verbs)) => verbs.push(permission.verb),
            None => resources.push((permission.resource, vec![permission.verb])),
        }
    }
    let parts = resources.into_iter().map(|(resource, verbs)| match verbs.split_last() {
        Some((last, [])) => format!("{last} {resource}"),
        Some((last, others)) => format!("{} and {last} {resource}", others.join(", ")),
        None => resource.to_owned(),
    });
    parts.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_listed_by_resource() {
        let all = [Permission::contexts("get"), Permission::contexts("patch"), Permission::secrets("create")];
        assert_eq!(list(&all), "get and patch qlikcontexts; create secrets");
    }
}
