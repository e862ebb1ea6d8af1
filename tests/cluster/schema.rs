//! The schema on the real API server: what it accepts, and which message it gives for what it rejects.

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::world::Case;

/// Sets a path such as `spec.target.name` in a manifest; `null` removes it.
fn set(manifest: &mut Value, path: &str, value: Value) {
    let mut place = manifest;
    for step in path.split('.') {
        place = &mut place[step];
    }
    *place = value;
}

fn dynamic(case: &Case) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("qlikcontext.dev", "v1alpha1", "QlikContext");
    Api::namespaced_with(
        case.client.clone(),
        &case.namespace,
        &ApiResource::from_gvk_with_plural(&kind, "qlikcontexts"),
    )
}

/// The API server's response to a manifest, as a dry run.
async fn validate(case: &Case, manifest: &Value) -> Result<(), String> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let object: DynamicObject = serde_json::from_value(manifest.clone()).unwrap();
    match dynamic(case).create(&params, &object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message),
        Err(error) => panic!("{error}"),
    }
}

fn full(case: &Case) -> Value {
    case.manifest(
        "full",
        &json!({
            "auth": {"privateKeyJwt": {
                "clientId": "82e0", "keyId": "my-key", "algorithm": "RS256",
                "secretRef": {"name": "acme-key", "keys": {"privateKey": "private-key"}},
            }},
            "scopes": ["user_default", "admin.apps:read"],
            "impersonate": {"userId": "63ea"},
            "expectedIdentity": {"tenantId": "t", "userId": "u", "subject": "qlikbot\\82e0"},
            "target": {
                "name": "acme-token", "labels": {"team": "bi", "example.com/a": ""}, "annotations": {"note": "free text"},
                "data": {"QLIK_API_KEY": "$(token)", "all.txt": "$(tenantUrl) $(host) $(expiresAt) $(issuedAt)\n$(clientId) $(userId) $(tenantId) $(contextName) $(namespace) $(contextsYml) $$(x) 5$ ${y} $"},
            },
            "renewBeforePercentage": 33, "verifyInterval": "1h30m", "suspend": true,
            "workloads": {
                "refreshVolumes": true,
                "restart": {
                    "selector": {"matchLabels": {"app": "reports"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]},
                    "minInterval": "90m", "maxConcurrent": 10,
                },
            },
        }),
    )
}

#[tokio::test]
async fn valid_manifests_are_accepted() {
    let case = Case::new("accepted").await;
    validate(&case, &full(&case)).await.unwrap();
    validate(&case, &case.manifest("minimal", &json!({}))).await.unwrap();
    for workloads in [json!({}), json!({"restart": {}}), json!({"refreshVolumes": false, "restart": {}})] {
        validate(&case, &case.manifest("workloads", &json!({ "workloads": workloads }))).await.unwrap();
    }
    validate(&case, &case.manifest("key", &json!({"auth": {"apiKey": {"secretRef": {"name": "key"}}}}))).await.unwrap();
    let many: Vec<_> = (0..64).map(|n| format!("{n:0>128}")).collect();
    validate(&case, &case.manifest("scopes", &json!({"scopes": many}))).await.unwrap();
    for url in [
        "https://acme.eu.qlikcloud.com",
        "https://acme.eu.qlikcloud.com/",
        "https://acme.eu.qlikcloud.com:8443",
        "https://192.0.2.1",
        "https://127.0.0.1:8443/",
        "https://[2001:db8::1]:8443",
        "https://a-b.example",
        "https://1a.2b",
    ] {
        let accepted = validate(&case, &case.manifest("url", &json!({"tenantUrl": url}))).await;
        accepted.unwrap_or_else(|error| panic!("{url}: {error}"));
    }
    for interval in ["0s", "10s", "15m", "1h30m", "24h", "90.5s"] {
        let accepted = validate(&case, &case.manifest("interval", &json!({"verifyInterval": interval}))).await;
        accepted.unwrap_or_else(|error| panic!("{interval}: {error}"));
    }
}

#[tokio::test]
async fn invalid_manifests_are_rejected_with_a_clear_message() {
    let case = Case::new("refused").await;
    let secret_ref = || json!({"name": "acme-oauth"});
    let key = || json!({"secretRef": {"name": "key"}});
    for (path, value, says) in [
        (
            "spec.auth",
            json!({}),
            "spec.auth: Invalid value: set exactly one of auth.clientSecret, auth.privateKeyJwt, auth.apiKey",
        ),
        ("spec.auth", json!({"clientSecret": {"secretRef": secret_ref()}, "apiKey": key()}), "set exactly one of"),
        (
            "spec.auth",
            json!({"apiKey": key()}),
            "spec.scopes: Invalid value: scopes cannot be combined with auth.apiKey",
        ),
        (
            "spec.auth",
            json!({"apiKey": key()}),
            "spec.impersonate: Invalid value: impersonate cannot be combined with auth.apiKey",
        ),
        ("spec.auth.privateKeyJwt.secretRef.keys", json!({"clientId": "id"}), "name the client id once"),
        ("spec.auth.privateKeyJwt.secretRef.keys", json!({"keyId": "id"}), "name the key id once"),
        ("spec.auth.privateKeyJwt.algorithm", json!("HS256"), "supported values: \"RS256\", \"RS512\", \"ES384\""),
        ("spec.auth.privateKeyJwt.clientId", json!("two words"), "without whitespace"),
        ("spec.auth.privateKeyJwt.secretRef.name", json!("Not_A_Name"), "must be the name of a Secret"),
        ("spec.auth.privateKeyJwt.secretRef.name", json!("acme-token"), "spec.target: Invalid value: the token Secret"),
        ("spec.auth.privateKeyJwt.secretRef.keys.privateKey", json!("a/b"), "must be a key of a Secret"),
        ("spec.impersonate", json!({}), "set exactly one of impersonate.userId, impersonate.subject"),
        ("spec.impersonate", json!({"userId": "a", "subject": "b"}), "set exactly one of impersonate.userId"),
        ("spec.expectedIdentity", json!({}), "at least one of tenantId, userId, subject"),
        ("spec.scopes", json!([]), "must name at least one scope"),
        ("spec.scopes", json!(["two words"]), "without whitespace"),
        ("spec.scopes", json!(["a", "a"]), "Duplicate value"),
        ("spec.scopes", json!((0..65).map(|n| n.to_string()).collect::<Vec<_>>()), "must have at most 64 items"),
        ("spec.target.name", json!("Mine"), "must be the name of a Secret"),
        ("spec.target.labels", json!({"app.kubernetes.io/managed-by": "me"}), "belong to the operator"),
        ("spec.target.labels", json!({"qlikcontext.dev/x": "me"}), "belong to the operator"),
        ("spec.target.labels", json!({"team": "not a label"}), "valid Kubernetes label"),
        ("spec.target.annotations", json!({"qlikcontext.dev/x": "me"}), "belong to the operator"),
        ("spec.target.annotations", json!({"a b": "x"}), "valid Kubernetes annotation"),
        ("spec.target.data", json!({}), "at least one key"),
        ("spec.target.data", json!({"token": "mine"}), "the key token always holds the token"),
        ("spec.target.data", json!({"a/b": "x"}), "valid key of a Secret"),
        ("spec.target.data", json!({"a": "$(secret)"}), "knows only the placeholders $(token)"),
        ("spec.target.data", json!({"a": "$(token"}), "knows only the placeholders $(token)"),
        ("spec.target.data", json!({"a": "x".repeat(8193)}), "8192"),
        ("spec.target.data", Value::Object((0..33).map(|n| (n.to_string(), json!("x"))).collect()), "at most 32"),
        ("spec.renewBeforePercentage", json!(4), "greater than or equal to 5"),
        ("spec.renewBeforePercentage", json!(81), "less than or equal to 80"),
        ("spec.verifyInterval", json!("5s"), "from 10s to 24h"),
        ("spec.verifyInterval", json!("25h"), "from 10s to 24h"),
        ("spec.verifyInterval", json!("soon"), "from 10s to 24h"),
        ("spec.workloads", json!({"refreshVolumes": false}), "set workloads.restart, or leave out workloads"),
        ("spec.workloads.restart.minInterval", json!("9m"), "must be a duration from 10m to 24h"),
        ("spec.workloads.restart.minInterval", json!("25h"), "must be a duration from 10m to 24h"),
        ("spec.workloads.restart.minInterval", json!("often"), "must be a duration from 10m to 24h"),
        ("spec.workloads.restart.maxConcurrent", json!(0), "greater than or equal to 1"),
        ("spec.workloads.restart.maxConcurrent", json!(11), "less than or equal to 10"),
        ("spec.tenantUrl", json!("http://acme.eu.qlikcloud.com"), "must start with https://"),
        ("spec.tenantUrl", json!("acme.eu.qlikcloud.com"), "must start with https://"),
        ("spec.tenantUrl", json!("https://ACME.eu.qlikcloud.com"), "in lower case"),
        ("spec.tenantUrl", json!("https://user:pw@acme.eu.qlikcloud.com"), "no user name"),
        ("spec.tenantUrl", json!("https://acme.eu.qlikcloud.com?x=1"), "no query"),
        ("spec.tenantUrl", json!("https://acme.eu.qlikcloud.com/hub"), "without a path"),
        ("spec.tenantUrl", json!("https://acme.eu.qlikcloud.com:0"), "port from 1 to 65535"),
        ("spec.tenantUrl", json!("https://acme.eu.qlikcloud.com:65536"), "port from 1 to 65535"),
        ("spec.tenantUrl", json!("https://acme..qlikcloud.com"), "must be a host name"),
        ("spec.tenantUrl", json!("https://"), "must be a host name"),
        ("spec.tenantUrl", json!("https://2130706433"), "four decimal numbers"),
        ("spec.tenantUrl", json!("https://127.1"), "four decimal numbers"),
        ("spec.tenantUrl", json!("https://0177.0.0.1"), "four decimal numbers"),
        ("spec.tenantUrl", json!("https://0x7f.0.0.0x1"), "four decimal numbers"),
        ("spec.tenantUrl", Value::Null, "spec.tenantUrl: Required value"),
        ("metadata.name", json!("a".repeat(64)), "at most 63 characters"),
    ] {
        let mut manifest = full(&case);
        set(&mut manifest, path, value.clone());
        let refused = validate(&case, &manifest).await;
        assert!(
            refused.as_ref().is_err_and(|words| words.contains(says)),
            "{path}: {value}\nsays {refused:?}\nnot  {says}"
        );
    }
}

#[tokio::test]
async fn one_mistake_in_the_address_gives_one_message() {
    let case = Case::new("once").await;
    for url in
        ["http://acme.eu.qlikcloud.com", "https://Acme.eu.qlikcloud.com/x?y", "https://a.example/x", "https://127.1"]
    {
        let words = validate(&case, &case.manifest("url", &json!({"tenantUrl": url}))).await.unwrap_err();
        assert_eq!(words.matches("Invalid value").count(), 1, "{words}");
    }
}

#[tokio::test]
async fn the_name_of_the_target_cannot_change_and_the_rest_can() {
    let case = Case::new("immutable").await;
    case.apply("acme", &json!({"suspend": true})).await;
    let renamed = case.manifest("acme", &json!({"target": {"name": "other"}}));
    let params = PatchParams::apply("a-user").force();
    let error = dynamic(&case).patch("acme", &params, &Patch::Apply(renamed)).await.unwrap_err();
    assert!(error.to_string().contains("cannot be changed"), "{error}");
    // The default, written out, is the same name.
    case.apply("acme", &json!({"target": {"name": "acme-token"}, "renewBeforePercentage": 50, "suspend": true})).await;
}

#[tokio::test]
async fn a_new_context_says_that_it_is_not_reconciled_yet() {
    let case = Case::new("newborn").await;
    let object: DynamicObject = serde_json::from_value(full(&case)).unwrap();
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let made = dynamic(&case).create(&params, &object).await.unwrap();
    assert_eq!(made.data["status"]["observedGeneration"], -1);
}

#[tokio::test]
async fn kubectl_refuses_a_field_that_does_not_exist() {
    let case = Case::new("typo").await;
    let mut manifest = full(&case);
    manifest["spec"]["tenantURL"] = "https://acme.eu.qlikcloud.com".into();
    let refused = case.world.control_plane.kubectl_with_input(&["apply", "-f", "-"], &manifest.to_string()).await;
    assert!(refused.unwrap_err().to_string().contains("unknown field \"spec.tenantURL\""));
}

#[tokio::test]
async fn every_example_is_accepted_unchanged() {
    let case = Case::new("examples").await;
    let mut seen = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
        let path = entry.unwrap().path();
        case.kubectl(&["apply", "--dry-run=server", "-f", &path.to_string_lossy()]).await;
        seen += 1;
    }
    assert!(seen >= 3);
}

#[tokio::test]
async fn kubectl_explain_reads_like_documentation() {
    let case = Case::new("explain").await;
    let text = case.kubectl(&["explain", "qlikcontext.spec", "--recursive"]).await;
    for field in
        ["tenantUrl", "clientSecret", "privateKeyJwt", "apiKey", "impersonate", "expectedIdentity", "verifyInterval"]
    {
        assert!(text.contains(field), "{field} in\n{text}");
        let path = format!("qlikcontext.spec.{field}");
        if !["clientSecret", "privateKeyJwt", "apiKey"].contains(&field) {
            let words = case.kubectl(&["explain", &path]).await;
            assert!(words.contains("DESCRIPTION") && !words.contains("<empty>"), "{words}");
        }
    }
}
