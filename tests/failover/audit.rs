//! The audit log: each write came from the instance that held the Lease, before the deadline of its last renewal.

use qlik_context_operator::clock::{SignedDuration, Timestamp};
use serde_json::Value;

/// No write starts later than 10 s after the start of a renewal. One more second allows for the latency to the API server.
const DEADLINE: SignedDuration = SignedDuration::from_secs(10 + 1);

/// `known`: the credential ids of the instances, with their names.
pub fn check(log: &str, known: &[(String, String)]) {
    let mut writes: Vec<_> =
        log.lines().filter_map(|line| write(&serde_json::from_str(line).unwrap(), known)).collect();
    writes.sort();
    let mut holder: Option<(Timestamp, &str)> = None;
    let mut checked = 0;
    for (at, instance, resource) in &writes {
        if resource == "leases" {
            holder = Some((*at, instance));
            continue;
        }
        let Some((renewed, leader)) = holder else {
            panic!("{instance} wrote {resource} at {at} before there was a leader")
        };
        assert_eq!(leader, instance, "{instance} wrote {resource} at {at}, and {leader} led since {renewed}");
        assert!(at.duration_since(renewed) < DEADLINE, "{instance} wrote {resource} at {at}, and led until {renewed}");
        checked += 1;
    }
    assert!(checked > 10, "only {checked} writes were checked");
}

/// Time, instance and resource of a write, if the entry is a write and was not rejected.
fn write(event: &Value, known: &[(String, String)]) -> Option<(Timestamp, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let is_write = ["create", "update", "patch", "delete"].contains(&event["verb"].as_str()?);
    if !is_write || event["stage"] != "ResponseComplete" || event["responseStatus"]["code"].as_u64()? >= 300 {
        return None;
    }
    let credential = text(&event["user"]["extra"]["authentication.kubernetes.io/credential-id"][0]);
    let (_, instance) = known.iter().find(|(id, _)| *id == credential)?;
    let at = text(&event["requestReceivedTimestamp"]).parse().unwrap();
    Some((at, instance.clone(), text(&event["objectRef"]["resource"])))
}
