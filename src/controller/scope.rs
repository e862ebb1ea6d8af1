//! The scope of one instance: which namespaces it watches, and which objects in them.
//!
//! Objects outside of the scope are never changed. With a list of namespaces no cluster-wide request is sent, so that a Role in
//! each of them is enough.

pub mod selector;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::core::Selector;
use kube::{Client, Resource};

/// The scope of one instance.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// `--watch-namespaces`.
    pub namespaces: Namespaces,
    /// `--context-selector`: the contexts that it reconciles.
    pub contexts: Selector,
    /// `--credential-selector`: the Secrets that it watches for rotations. It can read any Secret that a context names.
    pub credentials: Selector,
}

/// All namespaces, or some.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Namespaces {
    /// All namespaces of the cluster, also future ones.
    #[default]
    All,
    /// Only these.
    Only(BTreeSet<String>),
}

impl Namespaces {
    /// One view of a kind for each namespace, or one of the whole cluster.
    pub fn apis<K>(&self, client: &Client) -> Vec<Api<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match self {
            Self::All => vec![Api::all(client.clone())],
            Self::Only(names) => names.iter().map(|name| Api::namespaced(client.clone(), name)).collect(),
        }
    }
}

/// The text is not a valid name of a namespace.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no name of a namespace: at most 63 lower case letters, digits and hyphens, no hyphen at an end")]
pub struct NotANamespace(String);

impl FromStr for Namespaces {
    type Err = NotANamespace;

    /// Names separated by commas; an empty text means all namespaces.
    fn from_str(text: &str) -> Result<Self, NotANamespace> {
        if text.trim().is_empty() {
            return Ok(Self::All);
        }
        let names = text.split(',').map(str::trim);
        let valid = |name: &str| if is_label(name) { Ok(name.to_owned()) } else { Err(NotANamespace(name.to_owned())) };
        names.map(valid).collect::<Result<_, _>>().map(Self::Only)
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Only(names) => f.write_str(&names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// A label as defined in RFC 1123.
fn is_label(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('-') && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_namespaces_is_each_of_them_once() {
        let parsed: Namespaces = "b, a-1,b".parse().unwrap();
        assert_eq!(parsed, Namespaces::Only(["a-1".into(), "b".into()].into()));
        assert_eq!(parsed.to_string(), "a-1, b");
        assert_eq!(("".parse(), " ".parse()), (Ok(Namespaces::All), Ok(Namespaces::All)));
        assert_eq!(Namespaces::All.to_string(), "all");
    }

    #[test]
    fn what_cannot_be_a_namespace_is_refused() {
        let long = "x".repeat(64);
        for text in ["a,", ",a", "a,,b", "A", "a.b", "a_b", "-a", "a-", "a b", "ä", "*", &long] {
            assert!(text.parse::<Namespaces>().is_err(), "{text}");
        }
        assert!(long[1..].parse::<Namespaces>().is_ok());
    }
}
