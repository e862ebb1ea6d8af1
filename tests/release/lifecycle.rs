//! Upgrade from an older release, rollback, uninstallation and re-installation: the objects of users are kept, and no
//! token is requested while the old one is valid.

use std::time::Duration;

use support::operator::{Operator, repository};
use support::tenant::{Algorithm, Client, PublicKey};

use crate::stage::{CLIENT_ID, CLIENT_SECRET, Stage, stop, until};
use crate::{chart, permissions};

const RELEASE: (&str, &str) = ("qlik-system", "qlik-context-operator");
const CONTEXTS: [&str; 8] =
    ["acme", "acme-as-subject", "acme-as-user", "acme-env", "acme-pinned", "acme-signed", "acme-user", "reports"];

impl Stage {
    /// The unchanged examples, with the credentials that they name.
    async fn apply_the_examples(&self) {
        let keys = repository().join("tests/keys");
        let public = std::fs::read_to_string(keys.join("p384-public.pem")).unwrap();
        self.tenant.add_client(Client::new("signing").key(PublicKey::new("my-key", Algorithm::ES384, &public)));
        self.tenant.add_client(Client::new("impersonating").secret(CLIENT_SECRET).impersonating());
        let user = self.tenant.add_user("auth0|jane", "Jane");
        let api_key = self.tenant.api_key(&user.subject, Duration::from_hours(6));
        let private_key = format!("--from-file=private-key={}", keys.join("p384-sec1.pem").display());
        let create = ["create", "secret", "generic", "-n", "team"];
        let with_key = ["acme-key", "--from-literal=client-id=signing", "--from-literal=key-id=my-key", &private_key];
        let secret = format!("--from-literal=client-secret={CLIENT_SECRET}");
        let impersonating = ["acme-impersonation", "--from-literal=client-id=impersonating", &secret];
        let with_api_key = ["acme-api-key", &format!("--from-literal=api-key={api_key}")];
        self.kubectl(&[&create, &with_key[..]].concat()).await;
        self.kubectl(&[&create, &impersonating[..]].concat()).await;
        self.kubectl(&[&create, &with_api_key[..]].concat()).await;
        for entry in std::fs::read_dir(repository().join("examples")).unwrap() {
            let path = entry.unwrap().path();
            // The older chart has no QlikOAuthClient. `tests/cluster` applies these.
            if path.file_name().unwrap().to_string_lossy().starts_with("oauth-client") {
                continue;
            }
            let manifest = std::fs::read_to_string(path).unwrap();
            let filled = manifest
                .replace("REPLACE-WITH-CLIENT-ID", CLIENT_ID)
                .replace("REPLACE-WITH-CLIENT-SECRET", CLIENT_SECRET)
                // Values of the examples for which the fake tenant generates others.
                .replace("6305e7bf50be9f0018c1a2c4", &user.id)
                .replace("xqFQ0k66vSR8f9G7J-vZtHZQkiYrCpct", &self.tenant.id())
                .replace("82e0a4c1f7b94d0d9c6b13a57f02d3e8", CLIENT_ID);
            self.apply("team", &filled).await;
        }
    }

    /// The token Secrets: data and resource version.
    async fn tokens(&self) -> String {
        let ours = "app.kubernetes.io/managed-by=qlik-context-operator";
        self.kubectl(&["get", "secrets", "-n", "team", "-l", ours, "-o", "yaml"]).await
    }

    /// A rollout: the old Pod shuts down gracefully, a new one takes over and reconciles every context.
    async fn roll_out(&self, old: Option<Operator>, release: (&str, &str)) -> Operator {
        if let Some(old) = old {
            stop(old).await;
        }
        let new = self.operator(release).await;
        until("every context was reconciled and is ready", async || {
            let metrics = new.get("/metrics").await.unwrap();
            CONTEXTS.iter().all(|name| metrics.contains(&format!("namespace=\"team\",name=\"{name}\"}} 1\n")))
        })
        .await;
        new
    }

    /// The type of a field that the older CRD lacks.
    async fn newest_field(&self) -> String {
        let path = ".spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.renewBeforePercentage.type";
        self.kubectl(&["get", "crd", "qlikcontexts.qlikcontext.dev", "-o", &format!("jsonpath={{{path}}}")]).await
    }
}

#[tokio::test]
async fn upgrade_rollback_uninstall_and_reinstallation_keep_the_objects_of_users_and_request_no_token() {
    let stage = Stage::set(&[]).await;
    let (current, older) = (chart::current(), chart::older(stage.control_plane.folder()));
    let package = ["package", &older, "--destination", &stage.control_plane.folder().to_string_lossy()];
    stage.helm(&package).await;
    let older = stage.control_plane.folder().join("qlik-context-operator-0.0.9.tgz");
    let here = ["qlik-context-operator", "--namespace", "qlik-system"];

    stage.helm(&[&["install"], &here[..], &[&older.to_string_lossy(), "--create-namespace"]].concat()).await;
    stage.kubectl(&["create", "namespace", "team"]).await;
    let operator = stage.operator(RELEASE).await;
    stage.apply_the_examples().await;
    stage.kubectl(&["wait", "-n", "team", "--for=condition=Ready", "qctx", "--all", "--timeout=60s"]).await;
    assert_eq!(stage.newest_field().await, "");
    // One token for a client with a secret, which three contexts share, one for a client with a key, and two for a
    // client that impersonates a user, who is named by id and by subject. An API key is not issued.
    assert_eq!(stage.issued(), 4);
    stage.cloud.clear_ledger();
    let tokens = stage.tokens().await;
    let unchanged = async |step: &str| {
        assert_eq!(stage.issued(), 0, "a token was requested during {step}");
        assert!(stage.tokens().await == tokens, "a Secret changed during {step}");
    };

    stage.helm(&[&["upgrade"], &here[..], &[&*current]].concat()).await;
    let operator = stage.roll_out(Some(operator), RELEASE).await;
    unchanged("the upgrade").await;
    assert_eq!(stage.newest_field().await, "integer", "the CRD is upgraded and rolled back with the release");

    stage.helm(&[&["rollback"], &here[..], &["1"]].concat()).await;
    let operator = stage.roll_out(Some(operator), RELEASE).await;
    unchanged("the rollback").await;
    assert_eq!(stage.newest_field().await, "", "the CRD is upgraded and rolled back with the release");
    stage.kubectl(&["create", "namespace", "rights"]).await;
    stage.apply("rights", &chart::of_the_older_schema("rights").to_string()).await;

    stage.helm(&[&["upgrade"], &here[..], &[&*current]].concat()).await;
    let operator = stage.roll_out(Some(operator), RELEASE).await;
    unchanged("the second upgrade").await;
    permissions::exercise(&stage, "rights").await;
    permissions::are_just_enough(&stage, RELEASE.0, RELEASE.1).await;
    assert_eq!(stage.issued(), 1, "one token for the new context");
    stage.cloud.clear_ledger();

    stage.helm(&[&["uninstall"], &here[..]].concat()).await;
    stop(operator).await;
    let left = stage.kubectl(&["get", "qctx", "-n", "team", "-o", "name"]).await;
    assert_eq!(left.lines().count(), CONTEXTS.len(), "{left}");
    unchanged("uninstalling").await;
    let refused = stage.control_plane.kubectl(&["get", "clusterrole", "qlik-system:qlik-context-operator"]).await;
    assert!(refused.is_err(), "the permissions are deleted with the release");

    stage.helm(&[&["install"], &here[..], &[&*current]].concat()).await;
    let operator = stage.roll_out(None, RELEASE).await;
    unchanged("installing again").await;
    stage.helm(&[&["uninstall"], &here[..]].concat()).await;
    stop(operator).await;

    let elsewhere = ["install", "other", &current, "--namespace", "elsewhere", "--create-namespace"];
    let refused = stage.control_plane.helm(&elsewhere).await.unwrap_err().to_string();
    assert!(refused.contains("--take-ownership") || refused.contains("invalid ownership metadata"), "{refused}");
    stage.helm(&[&elsewhere[..], &["--take-ownership"]].concat()).await;
    let operator = stage.roll_out(None, ("elsewhere", "other")).await;
    unchanged("installing under another name").await;
    stop(operator).await;
}
