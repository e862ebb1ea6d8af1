//! The requests to the API server, from its own counter `apiserver_request_total`.
//!
//! The counter does not identify the client. Only the operator's kinds are counted, and during a measurement no other
//! client requests them: the bench itself watches, and a watch is counted when it ends.

use std::collections::BTreeMap;

use anyhow::Context as _;
use kube::Client;

/// The counter.
const COUNTER: &str = "apiserver_request_total{";
/// Kinds that the operator uses.
const KINDS: [&str; 4] = ["secrets", "qlikcontexts", "events", "leases"];

/// Requests by verb and resource, such as `apply qlikcontexts/status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests(BTreeMap<String, u64>);

impl Requests {
    /// All since the API server started.
    pub async fn read(client: &Client) -> anyhow::Result<Self> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = client.request_text(request).await.context("the API server does not return its metrics")?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut requests = BTreeMap::new();
        for line in text.lines() {
            let Some((labels, value)) = line.strip_prefix(COUNTER).and_then(|rest| rest.split_once("} ")) else {
                continue;
            };
            let label = |name: &str| {
                let (_, rest) = labels.split_once(&format!("{name}=\""))?;
                rest.split('"').next()
            };
            let (Some(resource), Some(verb)) = (label("resource"), label("verb")) else { continue };
            if !KINDS.contains(&resource) {
                continue;
            }
            let part = label("subresource").filter(|part| !part.is_empty());
            let part = part.map(|part| format!("/{part}")).unwrap_or_default();
            let name = format!("{} {resource}{part}", verb.to_lowercase());
            *requests.entry(name).or_default() += value.parse::<f64>().map_or(0, whole);
        }
        Self(requests)
    }

    /// The requests since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |name: &String| earlier.0.get(name).copied().unwrap_or_default();
        let changed = self.0.iter().map(|(name, count)| (name.clone(), count.saturating_sub(before(name))));
        Self(changed.filter(|(_, count)| *count > 0).collect())
    }

    /// Reads and writes of objects, without events, the Lease, and the lists and watches of a start.
    pub fn of_objects(&self) -> impl Iterator<Item = (&str, u64)> {
        let of_object = |name: &str| {
            let (verb, resource) = name.split_once(' ').unwrap_or_default();
            !matches!(verb, "list" | "watch") && !matches!(resource, "events" | "leases")
        };
        self.0.iter().map(|(name, count)| (name.as_str(), *count)).filter(move |(name, _)| of_object(name))
    }

    /// The sum of [`Self::of_objects`].
    pub fn objects(&self) -> u64 {
        self.of_objects().map(|(_, count)| count).sum()
    }

    /// Events written.
    pub fn events(&self) -> u64 {
        self.sum(|verb, resource| resource == "events" && !matches!(verb, "list" | "watch"))
    }

    /// All requests except watches and those for the Lease.
    pub fn all(&self) -> u64 {
        self.sum(|verb, resource| resource != "leases" && verb != "watch")
    }

    fn sum(&self, counts: impl Fn(&str, &str) -> bool) -> u64 {
        let counts = |name: &str| name.split_once(' ').is_some_and(|(verb, resource)| counts(verb, resource));
        self.0.iter().filter(|(name, _)| counts(name)).map(|(_, count)| count).sum()
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter is a whole number")]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# TYPE apiserver_request_total counter
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="secrets",scope="resource",subresource="",verb="GET",version="v1"} 3
apiserver_request_total{code="404",component="apiserver",dry_run="",group="",resource="secrets",scope="resource",subresource="",verb="GET",version="v1"} 4
apiserver_request_total{code="200",component="apiserver",dry_run="",group="qlikcontext.dev",resource="qlikcontexts",scope="resource",subresource="status",verb="APPLY",version="v1alpha1"} 5
apiserver_request_total{code="201",component="apiserver",dry_run="",group="events.k8s.io",resource="events",scope="resource",subresource="",verb="POST",version="v1"} 6
apiserver_request_total{code="200",component="apiserver",dry_run="",group="coordination.k8s.io",resource="leases",scope="resource",subresource="",verb="PUT",version="v1"} 7
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="secrets",scope="cluster",subresource="",verb="LIST",version="v1"} 1
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="cluster",subresource="",verb="LIST",version="v1"} 1
apiserver_request_duration_seconds_count{resource="secrets",verb="GET"} 9
"#;

    #[test]
    fn requests_are_counted_by_verb_and_resource_for_any_response() {
        let requests = Requests::parse(TEXT);
        let objects: Vec<_> = requests.of_objects().collect();
        assert_eq!(objects, [("apply qlikcontexts/status", 5), ("get secrets", 7)]);
        assert_eq!((requests.objects(), requests.events(), requests.all()), (12, 6, 19));
    }

    #[test]
    fn only_requests_since_the_earlier_count_are_left() {
        let before = Requests::parse(TEXT);
        let after = Requests::parse(&TEXT.replace("verb=\"GET\",version=\"v1\"} 4", "verb=\"GET\",version=\"v1\"} 10"));
        assert_eq!(after.since(&before), Requests(BTreeMap::from([("get secrets".to_owned(), 6)])));
    }
}
