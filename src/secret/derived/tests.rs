//! The token Secret as it is made, compared and read back.

use super::*;
use crate::oauth::identity::Identity;
use serde_json::json;

fn context(target: &Value) -> QlikContext {
    let auth = json!({"clientSecret": {"secretRef": {"name": "oauth"}}});
    let metadata = json!({"name": "acme", "namespace": "analytics", "uid": "u1"});
    let context = json!({
        "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext", "metadata": metadata,
        "spec": {"tenantUrl": "https://acme.eu.qlikcloud.com:8443", "auth": auth, "target": target},
    });
    serde_json::from_value(context).unwrap()
}

fn token(expires_at: Option<i64>) -> VerifiedToken {
    let at = |second| Timestamp::from_second(second).unwrap();
    let access_token = AccessToken::parse("t0ken").unwrap();
    let [user_id, name, subject, tenant_id] = ["u-1", "bot", "qlikbot\\x", "t-1"].map(str::to_owned);
    VerifiedToken {
        token: Token { access_token, issued_at: at(0), expires_at: expires_at.map(at), scopes: None },
        identity: Identity { user_id, name, subject, tenant_id, ..Identity::default() }.into(),
    }
}

fn made(target: &Value, token: &VerifiedToken) -> Result<Secret, Failure> {
    let context = context(target);
    let desired = Desired::parse(&context)?;
    let secret = json!({"metadata": {}, "data": {"client-id": "aWQ=", "client-secret": "czNjcmV0"}});
    let credential = sealed(&secret).credential(&desired)?;
    derived_secret(&context, &desired, &credential, token, None)
}

fn sealed(secret: &Value) -> SealedSecret {
    serde_json::from_value(secret.clone()).unwrap()
}

fn text(secret: &Secret, key: &str) -> String {
    String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap()
}

#[test]
fn the_default_keys_hold_one_token_and_its_own_address() {
    let secret = made(&json!({}), &token(Some(21600))).unwrap();
    for (key, value) in [
        ("token", "t0ken"),
        ("authorization", "Bearer t0ken"),
        ("tenant-url", "https://acme.eu.qlikcloud.com:8443"),
        ("host", "acme.eu.qlikcloud.com:8443"),
        ("expires-at", "1970-01-01T06:00:00Z"),
    ] {
        assert_eq!(text(&secret, key), value);
    }
    assert_eq!(text(&secret, "contexts.yml"), contexts_yml("acme", "https://acme.eu.qlikcloud.com:8443", "t0ken"));
    assert_eq!(secret.data.unwrap().len(), 6);
    assert_eq!(text(&made(&json!({}), &token(None)).unwrap(), "expires-at"), "");
}

#[test]
fn every_placeholder_has_its_value_and_no_value_ends_in_a_line_break() {
    let keys = crate::api::PLACEHOLDERS.map(|name| (name.to_owned(), format!("$({name})\r\n").into()));
    let data: serde_json::Map<_, _> = keys.into_iter().filter(|(name, _)| name != "token").collect();
    let secret = made(&json!({"data": data}), &token(Some(21600))).unwrap();
    for (key, value) in [
        ("token", "t0ken"),
        ("host", "acme.eu.qlikcloud.com:8443"),
        ("issuedAt", "1970-01-01T00:00:00Z"),
        ("expiresAt", "1970-01-01T06:00:00Z"),
        ("clientId", "id"),
        ("userId", "u-1"),
        ("tenantId", "t-1"),
        ("contextName", "acme"),
        ("namespace", "analytics"),
    ] {
        assert_eq!(text(&secret, key), value);
    }
    assert!(text(&secret, "contextsYml").contains("server: \"https://acme.eu.qlikcloud.com:8443\""));
}

#[test]
fn values_that_would_be_too_large_or_make_no_sense_are_refused_before_they_are_made() {
    let repeated = |times| json!({"data": {"token": "", "x": "$(token)".repeat(times)}});
    // The key `token` is always present, too.
    let most = (SIZE_LIMIT - 5) / 5;
    assert_eq!(SIZE_LIMIT, 524_288);
    assert!(made(&repeated(most), &token(None)).is_ok());
    let padded = json!({"data": {"x": format!("{}{}", "$(token)".repeat(most), "abc")}});
    assert!(made(&padded, &token(None)).is_ok(), "exactly as much as there may be");
    let padded = json!({"data": {"x": format!("{}{}", "$(token)".repeat(most), "abcd")}});
    for (target, problem) in [(padded, "512 KiB"), (json!({"data": {"x": "$(secret)"}}), "unknown placeholder")] {
        let failure = made(&target, &token(None)).unwrap_err();
        assert_eq!((failure.condition, failure.reason), (SecretSynced, Reason::TemplateInvalid));
        assert!(failure.message.contains(problem), "{}", failure.message);
    }
}

#[test]
fn it_carries_the_marks_of_its_context_whatever_a_user_adds() {
    let added = json!({"labels": {"team": "a", MANAGED_BY_LABEL: "x"}, "annotations": {EXPIRES_AT_ANNOTATION: "x"}});
    let secret = made(&added, &token(Some(21600))).unwrap();
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    let metadata = secret.metadata;
    assert_eq!((metadata.name.as_deref(), metadata.namespace.as_deref()), (Some("acme-token"), Some("analytics")));
    let labels = metadata.labels.unwrap();
    assert_eq!([&labels[MANAGED_BY_LABEL], &labels[CONTEXT_LABEL], &labels["team"]], [OPERATOR_NAME, "acme", "a"]);
    assert_eq!(metadata.annotations.unwrap()[EXPIRES_AT_ANNOTATION], "1970-01-01T06:00:00Z");
    let [owner] = &metadata.owner_references.unwrap()[..] else { panic!("one owner") };
    assert_eq!((owner.uid.as_str(), owner.controller, owner.block_owner_deletion), ("u1", Some(true), None));
}

#[test]
fn only_the_uid_of_its_controller_says_whose_a_secret_is() {
    let refusal = |labels: &Value, owners: &Value| {
        let secret = sealed(&json!({"metadata": {"labels": labels, "ownerReferences": owners}}));
        match Target::classify(Some(secret), &context(&json!({}))) {
            Target::Ours(_) => "ours".to_owned(),
            target => target.refusal("acme-token").unwrap().message,
        }
    };
    let owner = |kind: &str, group: &str, name: &str, uid: &str, controller: bool| json!([{"kind": kind, "apiVersion": format!("{group}/v1"), "name": name, "uid": uid, "controller": controller}]);
    for (owners, expected) in [
        (owner("QlikContext", GROUP, "acme", "u1", true), "ours"),
        (owner("QlikContext", GROUP, "acme", "u1", false), "exists and is not"),
        (owner("QlikContext", GROUP, "acme", "u0", true), "a deleted QlikContext of the same name"),
        (owner("QlikContext", GROUP, "other", "u0", true), "belongs to QlikContext other"),
        (owner("QlikContext", "other.example", "acme", "u0", true), "exists and is not"),
        (owner("Deployment", GROUP, "acme", "u0", true), "exists and is not"),
        (json!([]), "exists and is not"),
    ] {
        let said = refusal(&json!({}), &owners);
        assert!(said.contains(expected), "{owners}: {said}");
    }
    assert!(refusal(&json!({CONTEXT_LABEL: "acme"}), &json!([])).contains("no longer has this QlikContext"));
    assert!(refusal(&json!({CONTEXT_LABEL: "other"}), &json!([])).contains("exists and is not"));
    assert!(Target::Absent.refusal("acme-token").is_none());
}

#[test]
fn a_secret_is_as_wanted_when_nothing_of_ours_is_changed_missing_or_left_over() {
    let target = json!({"labels": {"team": "a"}, "annotations": {"note": "b"}});
    let wanted = made(&target, &token(Some(21600))).unwrap();
    let whole = serde_json::to_value(&wanted).unwrap();
    assert!(sealed(&whole).is_as(&wanted));
    let applied = |manager: &str, operation: &str, fields: Value| json!([{"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields}]);
    for (pointer, value, is_as) in [
        ("/data/token", json!("eA=="), false),
        ("/data/host", Value::Null, false),
        ("/data/somebodys", json!("eA=="), true),
        ("/metadata/labels/team", json!("x"), false),
        ("/metadata/annotations/note", Value::Null, false),
        ("/metadata/annotations/somebodys", json!("x"), true),
        ("/metadata/managedFields", applied(FIELD_MANAGER, "Apply", json!({"f:data": {"f:old": {}}})), false),
        ("/metadata/managedFields", applied(FIELD_MANAGER, "Apply", json!({"f:data": {"f:token": {}}})), true),
        ("/metadata/managedFields", applied(FIELD_MANAGER, "Update", json!({"f:data": {"f:old": {}}})), true),
        ("/metadata/managedFields", applied("kubectl", "Apply", json!({"f:data": {"f:old": {}}})), true),
        (
            "/metadata/managedFields",
            applied(FIELD_MANAGER, "Apply", json!({"f:metadata": {"f:labels": {"f:old": {}}}})),
            false,
        ),
        (
            "/metadata/managedFields",
            applied(FIELD_MANAGER, "Apply", json!({"f:metadata": {"f:annotations": {"f:old": {}}}})),
            false,
        ),
    ] {
        let mut changed = whole.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = changed.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            parent.remove(key).map(drop)
        } else {
            parent.insert(key.into(), value).map(drop)
        };
        assert_eq!(sealed(&changed).is_as(&wanted), is_as, "{pointer}");
    }
}

#[test]
fn the_token_in_a_secret_is_read_back_when_it_is_whole() {
    let wanted = serde_json::to_value(made(&json!({}), &token(Some(21600))).unwrap()).unwrap();
    let held = sealed(&wanted).held().unwrap();
    assert_eq!((held.token.access_token.expose_secret(), held.token.issued_at.as_second()), ("t0ken", 0));
    assert!(held.token.expires_at.is_some() && held.binding.starts_with("v1."));
    assert!(!stored(&wanted).is_immutable());
    for name in [ISSUED_AT_ANNOTATION, TOKEN_BINDING_ANNOTATION] {
        let mut torn = wanted.clone();
        torn["metadata"]["annotations"].as_object_mut().unwrap().remove(name);
        assert!(sealed(&torn).held().is_none(), "{name}");
    }
    for (immutable, expected) in [(json!(true), true), (json!(false), false), (Value::Null, false)] {
        assert_eq!(stored(&json!({"metadata": {}, "immutable": immutable})).is_immutable(), expected);
    }
}

fn stored(secret: &Value) -> Stored {
    Stored::Read { secret: Box::new(sealed(secret)), orphan: false }
}
