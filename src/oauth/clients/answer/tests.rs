use secrecy::SecretSlice;
use serde_json::json;

use super::*;

const TOKEN: &str = "planted-admin-token-0123456789";

fn answer(body: &str) -> Answer {
    Answer { status: 200, date: None, retry_after: None, body: SecretSlice::from(body.as_bytes().to_vec()) }
}

fn of(body: &Value) -> Answer {
    answer(&body.to_string())
}

fn secrets() -> Secrets {
    Secrets::new().and(TOKEN)
}

fn minimal() -> Value {
    json!({"clientId": "82e0", "clientName": "reporting", "appType": "web"})
}

fn with(field: &str, value: Value) -> Value {
    let mut client = minimal();
    client[field] = value;
    client
}

#[test]
fn a_client_is_read_with_all_that_is_used() {
    let read = client(
        &of(&json!({
            "clientId": "82e0", "clientName": "reporting", "appType": "web", "description": "d", "notYetInvented": [1.5],
            "allowedScopes": ["b", "a"], "allowedGrantTypes": ["client_credentials", "new"],
            "allowedAuthMethods": ["private_key_jwt"],
            "publicKeys": [
                {"kid": "k1", "kty": "EC", "crv": "P-384", "x": "x", "y": "y", "d": "private", "new": 1},
                r#"{"kid":"k2","kty":"RSA","n":"n","e":"AQAB"}"#, "no key", 7,
            ],
            "clientSecrets": [{"hint": "e6815", "createdAt": "2026-11-22T00:00:00Z", "createdBy": "x"}, {"hint": "00000"}],
            "createdAt": "2026-11-22T00:00:00.000Z", "createdByType": "service",
        })),
        &secrets(),
    )
    .unwrap();
    assert_eq!((read.id.as_str(), &*read.name, read.description.as_deref()), ("82e0", "reporting", Some("d")));
    assert_eq!(read.scopes.iter().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(read.grants.iter().collect::<Vec<_>>(), ["client_credentials", "new"]);
    assert_eq!(read.public_keys.iter().map(|key| &*key.kid).collect::<Vec<_>>(), ["k1", "k2"]);
    assert!(!format!("{:?}", read.public_keys).contains("private"), "nothing but what is public is kept");
    let hints: Vec<_> = read.secrets.iter().map(|secret| secret.hint.as_str()).collect();
    assert_eq!((hints, read.secrets[1].created_at), (vec!["e6815", "00000"], None));
    assert_eq!((read.created_at, read.secrets[0].created_at), ("2026-11-22T00:00:00Z".parse().ok(), read.created_at));
    assert!(!read.disabled);
    assert_eq!(format!("{read:?}"), r#"OAuthClient { id: "82e0", .. }"#);
}

#[test]
fn what_is_not_used_or_not_there_is_passed_over() {
    for (field, value) in [
        ("allowedScopes", Value::Null),
        ("allowedGrantTypes", Value::Null),
        ("publicKeys", Value::Null),
        ("clientSecrets", Value::Null),
        ("description", Value::Null),
        ("createdAt", json!(7)),
        ("createdAt", json!("yesterday")),
        ("disableTag", json!("")),
        ("disableTag", Value::Null),
        ("ownerId", json!({"deep": [null]})),
    ] {
        let read = client(&of(&with(field, value.clone())), &secrets()).unwrap();
        assert_eq!(read, client(&of(&minimal()), &secrets()).unwrap(), "{field} {value}");
    }
    assert!(client(&of(&with("disableTag", json!("abuse"))), &secrets()).unwrap().disabled);
}

#[test]
fn what_is_no_client_is_refused() {
    let rows = [
        String::new(),
        "null".into(),
        "[]".into(),
        "<html>".into(),
        r#"["82e0","reporting",null,"web"]"#.into(),
        json!({"clientName": "reporting", "appType": "web"}).to_string(),
        json!({"clientId": "82e0", "appType": "web"}).to_string(),
        with("clientId", json!(7)).to_string(),
        with("clientId", json!("")).to_string(),
        with("clientId", json!("../users")).to_string(),
        with("clientId", json!(TOKEN)).to_string(),
        with("clientId", json!("planted-admin")).to_string(),
        with("clientName", json!(null)).to_string(),
        with("allowedScopes", json!("user_default")).to_string(),
        with("allowedScopes", json!([7])).to_string(),
        with("clientSecrets", json!([{"createdAt": "x"}])).to_string(),
        with("clientSecrets", json!([{"hint": "a/b"}])).to_string(),
        with("clientSecrets", json!([{"hint": "dG9rZW4tMDEyMzQ1Njc4OQ"}])).to_string(),
        minimal().to_string()[..20].to_owned(),
    ];
    for body in rows {
        let error = client(&answer(&body), &secrets()).err();
        assert!(matches!(error, Some(ClientsError::NotTheContract(_))), "{body}: {error:?}");
        assert!(!format!("{error:?}").contains("planted"), "{body}");
    }
}

#[test]
fn a_page_says_where_the_next_one_begins() {
    let next = |link: Value| {
        let links = json!({"data": [minimal()], "links": {"self": {"href": "x"}, "next": link}, "totalResults": 7});
        page(&of(&links), &secrets()).map(|(clients, next)| (clients.len(), next))
    };
    for (link, mark) in [
        (json!({"href": "https://acme.eu.qlikcloud.com/api/v1/oauth-clients?limit=20&next=abc%3D#x"}), Some("abc=")),
        (json!("/api/v1/oauth-clients?next=MTAw"), Some("MTAw")),
        (json!({"href": "https://evil.example/?next=abc"}), Some("abc")),
        (json!({"href": ""}), None),
        (json!(""), None),
        (json!(null), None),
    ] {
        assert_eq!(next(link.clone()), Ok((1, mark.map(str::to_owned))), "{link}");
    }
    for link in
        [json!({"href": "/api"}), json!({"href": "/api?next="}), json!({"url": "x"}), json!(7), json!({"href": 7})]
    {
        assert!(matches!(next(link.clone()), Err(ClientsError::NotTheContract(_))), "{link}");
    }
    for body in [json!({"data": []}), json!({"data": [], "links": null}), json!({"data": [], "links": {}})] {
        assert_eq!(page(&of(&body), &secrets()), Ok((Vec::new(), None)), "{body}");
    }
    for body in [json!({}), json!([]), json!({"data": null}), json!({"data": [{}]}), json!({"data": [minimal(), 7]})] {
        assert!(matches!(page(&of(&body), &secrets()), Err(ClientsError::NotTheContract(_))), "{body}");
    }
}

#[test]
fn a_new_secret_is_read_and_its_hint_is_dropped_when_it_tells_of_it() {
    let made = |fields: Value| {
        let mut body = json!({"clientId": "82e0", "clientSecret": "planted-secret-abcdef"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        new_secret(&of(&body), &secrets())
    };
    for (fields, hint) in [
        (json!({"hint": "e6815"}), Some("e6815")),
        (json!({"clientSecretHint": "e6815"}), Some("e6815")),
        (json!({}), None),
        (json!({"hint": null}), None),
        (json!({"hint": "secret-abcdef"}), None),
        (json!({"hint": "admin-token"}), None),
        (json!({"hint": "a/b"}), None),
    ] {
        let secret = made(fields.clone()).unwrap();
        assert_eq!(secret.value.expose_secret(), "planted-secret-abcdef");
        assert_eq!(secret.hint.as_ref().map(Hint::as_str), hint, "{fields}");
        assert_eq!(format!("{secret:?}"), "NewSecret");
    }
    for secret in [json!(null), json!(""), json!(7), json!("two words"), json!("ü"), json!("a".repeat(1025))] {
        let error = made(json!({"clientSecret": secret})).err();
        assert!(matches!(error, Some(ClientsError::NotTheContract(_))), "{secret}");
    }
    for body in [minimal(), with("clientSecret", json!("")), with("clientSecret", json!(null))] {
        assert!(created(&of(&body), &secrets()).unwrap().secret.is_none(), "{body}");
    }
    let both = with("clientSecret", json!("planted-secret-abcdef"));
    assert!(created(&of(&both), &secrets()).unwrap().secret.is_some());
}

#[test]
fn a_patch_may_have_made_a_secret() {
    let patched = |status, body: &str| patched(&Answer { status, ..answer(body) });
    let secret = |body| patched(202, body).unwrap().map(|secret| secret.expose_secret().to_owned());
    assert_eq!(secret(r#"{"clientSecret":"abc"}"#).as_deref(), Some("abc"));
    for body in ["", " \n", "{}", r#"{"clientSecret":""}"#, r#"{"clientSecret":null}"#] {
        assert_eq!(secret(body), None, "{body}");
    }
    assert!(patched(204, "").unwrap().is_none());
    for body in ["<html>", "[]", r#"{"clientSecret":7}"#, r#"{"clientSecret":"a b"}"#] {
        assert!(matches!(patched(202, body), Err(ClientsError::NotTheContract(_))), "{body}");
    }
}

#[test]
fn consent_is_trusted_only_when_the_tenant_says_so() {
    for (body, expected) in [
        (json!({"consentMethod": "trusted", "status": "x"}), Some(Consent::Trusted)),
        (json!({"consentMethod": "required"}), Some(Consent::Required)),
        (json!({"consentMethod": "TRUSTED"}), Some(Consent::Required)),
        (json!({"consentMethod": null}), None),
        (json!({}), None),
        (json!([]), None),
    ] {
        assert_eq!(consent(&of(&body)).ok(), expected, "{body}");
    }
}
