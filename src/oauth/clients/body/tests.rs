use secrecy::ExposeSecret;

use super::*;

fn read(body: &SecretString) -> Value {
    serde_json::from_str(body.expose_secret()).unwrap()
}

fn key(kid: &str) -> PublicJwk {
    PublicJwk { kid: kid.into(), kty: "EC".into(), crv: Some("P-384".into()), ..PublicJwk::default() }
}

fn texts(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|&text| text.to_owned()).collect()
}

fn client() -> NewClient {
    NewClient {
        name: "reporting".into(),
        description: "made by \"us\"".into(),
        scopes: texts(&["user_default", "apps:read"]),
        grants: [GrantType::ClientCredentials, GrantType::UserImpersonation].into(),
        auth: ClientAuth::ClientSecret,
        trusted: true,
    }
}

fn stored() -> OAuthClient {
    OAuthClient {
        id: "82e0".parse().unwrap(),
        name: "reporting".into(),
        description: Some(String::new()),
        app_type: "web".into(),
        scopes: texts(&["user_default"]),
        grants: texts(&["client_credentials"]),
        auth_methods: texts(&["client_secret"]),
        public_keys: vec![key("old")],
        secrets: Vec::new(),
        created_at: None,
        disabled: false,
    }
}

#[test]
fn a_client_is_asked_for_as_qlik_documents_it() {
    let expected = json!({
        "appType": "web", "clientName": "reporting", "description": "made by \"us\"",
        "allowedScopes": ["apps:read", "user_default"],
        "allowedGrantTypes": ["client_credentials", "urn:qlik:oauth:user-impersonation"],
        "allowedAuthMethods": ["client_secret"],
        "connectionConfig": {"consentMethod": "trusted"},
    });
    assert_eq!(read(&creation(&client())), expected);
    let with_key = NewClient { auth: ClientAuth::PrivateKeyJwt(key("k")), trusted: false, ..client() };
    let sent = read(&creation(&with_key));
    assert_eq!(sent["allowedAuthMethods"], json!(["private_key_jwt"]));
    assert_eq!(sent["publicKeys"], json!([{"kid": "k", "kty": "EC", "crv": "P-384"}]));
    assert_eq!(sent.get("connectionConfig"), None);
}

#[test]
fn a_change_replaces_what_is_there_and_adds_what_is_not() {
    let changes = [
        Change::Name("new".into()),
        Change::Description("text".into()),
        Change::Scopes(texts(&["b", "a"])),
        Change::Grants([GrantType::ClientCredentials].into()),
        Change::PublicKeys(vec![key("old"), key("new")]),
    ];
    let paths = ["/clientName", "/description", "/allowedScopes", "/allowedGrantTypes", "/publicKeys"];
    let jwk = |kid: &str| json!({"kid": kid, "kty": "EC", "crv": "P-384"});
    let values = [
        json!("new"),
        json!("text"),
        json!(["a", "b"]),
        json!(["client_credentials"]),
        json!([jwk("old"), jwk("new")]),
    ];
    let bare = OAuthClient {
        description: None,
        scopes: BTreeSet::new(),
        grants: BTreeSet::new(),
        public_keys: Vec::new(),
        ..stored()
    };
    for (client, ops) in [(stored(), ["replace"; 5]), (bare, ["replace", "add", "add", "add", "add"])] {
        let operations = ops.iter().zip(&paths).zip(&values);
        let expected: Vec<_> =
            operations.map(|((op, path), value)| json!({"op": op, "path": path, "value": value})).collect();
        assert_eq!(read(&patch(&client, &changes, KeyEncoding::Object)), Value::Array(expected));
    }
}

#[test]
fn a_key_is_written_as_an_object_or_as_a_text_that_holds_it() {
    let change = [Change::PublicKeys(vec![key("k")])];
    let sent = read(&patch(&stored(), &change, KeyEncoding::Text));
    let text = sent[0]["value"][0].as_str().unwrap();
    assert_eq!(serde_json::from_str::<PublicJwk>(text).unwrap(), key("k"));
    assert!(read(&patch(&stored(), &change, KeyEncoding::Object))[0]["value"][0].is_object());
}

#[test]
fn consent_is_replaced() {
    for (method, text) in [(Consent::Trusted, "trusted"), (Consent::Required, "required")] {
        let expected = json!([{"op": "replace", "path": "/consentMethod", "value": text}]);
        assert_eq!(read(&consent(method)), expected);
    }
}
