//! Specs, parsed or refused.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn context(spec: &serde_json::Value) -> QlikContext {
    let context = json!({
        "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext", "metadata": {"name": "acme"}, "spec": spec
    });
    serde_json::from_value(context).unwrap()
}

fn parse(spec: &serde_json::Value) -> Result<Desired, Failure> {
    Desired::parse(&context(spec))
}

fn minimal() -> serde_json::Value {
    json!({"tenantUrl": "https://acme.eu.qlikcloud.com", "auth": {"clientSecret": {"secretRef": {"name": "acme-oauth"}}}})
}

#[test]
fn the_smallest_spec_has_the_documented_defaults() {
    let desired = parse(&minimal()).unwrap();
    assert_eq!(desired.target_name, "acme-token");
    assert_eq!(desired.renew_before_percentage, 33);
    assert_eq!(desired.verify_interval, Some(Duration::from_mins(15)));
    assert_eq!(
        desired.method,
        Method::ClientSecret { client_id: Source::Key("client-id".into()), client_secret_key: "client-secret".into() }
    );
    assert!(!desired.suspend && desired.scopes.is_empty() && desired.grant == Grant::ClientCredentials);
}

#[test]
fn workloads_are_refreshed_and_restarted_only_where_the_spec_says_so() {
    let workloads = |workloads: &serde_json::Value| {
        let mut spec = minimal();
        spec["workloads"] = workloads.clone();
        parse(&spec)
    };
    assert!(parse(&minimal()).unwrap().workloads.is_none());
    let refreshed = workloads(&json!({})).unwrap().workloads.unwrap();
    assert!(refreshed.refresh_volumes && refreshed.restart.is_none());
    let restarted = workloads(&json!({"refreshVolumes": false, "restart": {}})).unwrap().workloads.unwrap();
    let restart = restarted.restart.unwrap();
    assert!(!restarted.refresh_volumes && restart.selector.selects_all());
    assert_eq!((restart.min_interval, restart.max_concurrent), (Duration::from_hours(1), 1));
    for (text, minutes) in [("10m", 10), ("1m", 10), ("90m", 90), ("48h", 24 * 60)] {
        let parsed =
            workloads(&json!({"restart": {"minInterval": text, "maxConcurrent": 3}})).unwrap().workloads.unwrap();
        assert_eq!(parsed.restart.unwrap().min_interval, Duration::from_mins(minutes), "{text}");
    }
    for wrong in
        [json!({"minInterval": "often"}), json!({"selector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}})]
    {
        assert_eq!(workloads(&json!({ "restart": wrong })).unwrap_err().reason, Reason::SpecInvalid);
    }
}

#[test]
fn zero_as_interval_means_only_when_new() {
    let mut spec = minimal();
    for (text, expected) in [("0s", None), ("1h30m", Some(5400)), ("10s", Some(10))] {
        spec["verifyInterval"] = text.into();
        assert_eq!(parse(&spec).unwrap().verify_interval, expected.map(Duration::from_secs));
    }
}

#[test]
fn what_is_out_of_bounds_counts_as_the_nearest_bound() {
    let mut spec = minimal();
    for (percentage, expected) in [(-1, 5), (0, 5), (5, 5), (80, 80), (81, 80), (i32::MAX, 80)] {
        spec["renewBeforePercentage"] = percentage.into();
        assert_eq!(parse(&spec).unwrap().renew_before_percentage, expected);
    }
    for (interval, expected) in [("1ms", 10), ("9.9s", 10), ("24h", 86400), ("999999999h", 86400)] {
        spec["verifyInterval"] = interval.into();
        assert_eq!(parse(&spec).unwrap().verify_interval, Some(Duration::from_secs(expected)), "{interval}");
    }
}

#[test]
fn what_an_older_schema_let_through_is_spec_invalid_with_the_field_named() {
    for (field, value) in [
        ("tenantUrl", json!("https://ACME.example/path")),
        ("auth", json!({})),
        ("impersonate", json!({"userId": "a", "subject": "b"})),
        ("verifyInterval", json!("soon")),
        ("verifyInterval", json!("-15m")),
        ("verifyInterval", json!("15m-3s")),
        ("verifyInterval", json!("99999999999999999999h")),
    ] {
        let mut spec = minimal();
        spec[field] = value;
        let failure = parse(&spec).unwrap_err();
        assert_eq!(failure.reason, Reason::SpecInvalid);
        assert!(failure.message.contains(field), "{}", failure.message);
    }
}

#[test]
fn an_api_key_with_scopes_or_with_a_user_is_spec_invalid_with_the_field_named() {
    for (field, value) in [("scopes", json!(["user_default"])), ("impersonate", json!({"userId": "a"}))] {
        let mut spec = minimal();
        spec["auth"] = json!({"apiKey": {"secretRef": {"name": "acme-key"}}});
        assert!(parse(&spec).is_ok());
        spec[field] = value;
        let failure = parse(&spec).unwrap_err();
        assert_eq!(failure.reason, Reason::SpecInvalid);
        assert!(failure.message.contains(&format!("spec.{field}")), "{}", failure.message);
    }
}

#[test]
fn a_pin_that_does_not_hold_is_an_identity_mismatch() {
    let identity = Identity {
        user_id: "u1".into(),
        name: "bot".into(),
        subject: "qlikbot\\id".into(),
        tenant_id: "t1".into(),
        ..Identity::default()
    };
    for (pins, holds) in [
        (json!({"tenantId": "t1", "userId": "u1", "subject": "QLIKBOT\\id"}), true),
        (json!({"tenantId": "t2"}), false),
        (json!({"tenantId": "t1", "userId": "u2"}), false),
        (json!({"subject": "somebody"}), false),
    ] {
        let mut spec = minimal();
        spec["expectedIdentity"] = pins;
        assert_eq!(parse(&spec).unwrap().pins.check(&identity).is_ok(), holds);
    }
    let mut spec = minimal();
    spec["impersonate"] = json!({"userId": "u2"});
    assert_eq!(parse(&spec).unwrap().pins.check(&identity).unwrap_err().reason, Reason::IdentityMismatch);
}

#[test]
fn only_a_bots_subject_may_differ_in_case() {
    let person = |subject: &str| Identity {
        user_id: "u1".into(),
        name: "Ada".into(),
        subject: subject.into(),
        tenant_id: "t1".into(),
        ..Identity::default()
    };
    let mut spec = minimal();
    for (pinned, subject, holds) in [
        ("auth0|ada", "auth0|ada", true),
        ("auth0|ada", "auth0|ADA", false),
        ("qlikbot\\id", "QlikBot\\ID", true),
        ("qlikbot\\id", "qlikbot\\other", false),
    ] {
        spec["expectedIdentity"] = json!({"subject": pinned});
        assert_eq!(parse(&spec).unwrap().pins.check(&person(subject)).is_ok(), holds, "{pinned} {subject}");
    }
}

#[test]
fn a_value_is_inline_or_under_a_key_and_what_is_inline_is_bound() {
    let mut spec = minimal();
    spec["auth"] = json!({"privateKeyJwt": {"keyId": "k", "algorithm": "RS512", "secretRef": {
        "name": "acme-key", "keys": {"privateKey": "pem"}
    }}});
    let desired = parse(&spec).unwrap();
    let Method::PrivateKeyJwt { client_id, private_key_key, key_id, .. } = &desired.method else {
        panic!("another method")
    };
    let stated = (client_id.inline(), client_id.key().map(String::as_str), private_key_key.as_str());
    assert_eq!(stated, (None, Some("client-id"), "pem"));
    assert_eq!((key_id.inline().map(String::as_str), key_id.key()), (Some("k"), None));
    let bound = desired.binding_inputs();
    assert_eq!((bound.method, bound.grant_type), ("private_key_jwt", "client_credentials"));
    assert_eq!((bound.client_id, bound.key_id, bound.algorithm), (None, Some("k".into()), Some("RS512".into())));
    spec["auth"] = json!({"apiKey": {"secretRef": {"name": "acme-api-key"}}});
    let desired = parse(&spec).unwrap();
    assert_eq!(desired.method, Method::ApiKey { api_key_key: "api-key".into() });
    assert_eq!((desired.credential_secret.as_str(), desired.binding_inputs().method), ("acme-api-key", "api_key"));
}

proptest! {
    #[test]
    fn no_text_of_an_interval_panics_and_none_is_out_of_bounds(
        text in "[-+]{0,2}([0-9]{0,25}[.]?[0-9]{0,12}[nmµhs-]{0,2}){0,4}"
    ) {
        if let Ok(Some(interval)) = interval(&text) {
            prop_assert!(interval >= SHORTEST_INTERVAL && interval <= LONGEST_INTERVAL);
        }
    }
}

#[test]
fn a_pin_is_compared_with_text_that_repeats_a_secret_and_does_not_show_it() {
    let identity = |subject: &str| Identity {
        user_id: "u1".into(),
        subject: subject.into(),
        tenant_id: "t1".into(),
        withheld: [Field::Subject].into(),
        ..Identity::default()
    };
    let mut spec = minimal();
    spec["expectedIdentity"] = json!({"subject": "auth0|ada"});
    let pins = parse(&spec).unwrap().pins;
    assert!(pins.check(&identity("auth0|ada")).is_ok());
    let failure = pins.check(&identity("auth0|eve-planted")).unwrap_err();
    assert!(
        !failure.message.contains("planted")
            && failure.message.contains("identity does not match spec.expectedIdentity.subject;"),
        "{}",
        failure.message
    );
}
