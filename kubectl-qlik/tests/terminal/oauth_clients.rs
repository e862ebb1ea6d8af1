//! The second kind, QlikOAuthClient: `list`, `status`, `suspend`, `resume` and `rotate`.

use serde_json::{Value, json};
use support::tenant::Client;

use crate::golden;
use crate::world::{CLIENT_SECRET, Case};

impl Case {
    /// A QlikContext that can manage OAuth clients, a QlikOAuthClient, and a QlikContext that reads its credential.
    fn with_oauth_client(namespace: &str) -> Self {
        let case = Self::new(namespace);
        let admin = Client::new("admin").secret(CLIENT_SECRET).scopes(&["admin_classic", "user_default"]);
        case.tenant.add_client(admin);
        let init = ["init", "admin", "--tenant-url", case.tenant.host(), "--client-id", "admin"];
        let init = [&init[..], &["--client-secret-file", "-", "--yes"]].concat();
        assert_eq!(case.pipes(&init, CLIENT_SECRET).0, 0);
        case.apply(&json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikOAuthClient",
            "metadata": {"name": "reporting", "labels": {"team": "bi"}},
            "spec": {
                "adminContextRef": {"name": "admin"}, "scopes": ["user_default"],
                "rotation": {"interval": "720h", "overlap": "24h"},
            },
        }));
        case.apply(&json!({
            "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext", "metadata": {"name": "reporting"},
            "spec": {"tenantUrl": case.tenant.url(), "auth": {"clientSecret": {"secretRef": {"name": "reporting-oauth"}}}},
        }));
        for object in ["qoauth/reporting", "qctx/reporting"] {
            case.wait_until(object, |found| {
                let conditions = found["status"]["conditions"].as_array().into_iter().flatten();
                conditions.clone().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
            });
        }
        case
    }

    /// Replaces the ids of this run by zeros of the same length, which keep wrapping and alignment.
    fn without_ids(&self, screen: &str) -> String {
        let status = &self.get("qoauth/reporting")["status"];
        let previous = status["previous"].as_array().into_iter().flatten().map(|old| &old["hint"]);
        let ids = [&status["clientId"], &status["secret"]["hint"]].into_iter().chain(previous);
        ids.filter_map(Value::as_str).fold(screen.to_owned(), |text, id| text.replace(id, &"x".repeat(id.len())))
    }
}

#[test]
fn an_oauth_client_is_listed_shown_and_rotated() {
    let case = Case::with_oauth_client("clients");
    let shown = case.shows(&["list", "oauthclients"]);
    assert_eq!(shown.status, 0, "{}", shown.screen);
    golden::compare("oauth-list", &shown.screen);
    let wide = case.pipes(&["list", "qoauth", "-o", "wide"], "").1;
    let header = wide.lines().next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(header, "NAME READY REASON CONTEXT ROTATES AGE CLIENT-ID SECRET MESSAGE");
    let list: Value = serde_json::from_str(&case.pipes(&["list", "oauthclients", "-o", "json"], "").1).unwrap();
    assert_eq!((&list["kind"], &list["items"][0]["kind"]), (&json!("List"), &json!("QlikOAuthClient")));
    assert!(case.pipes(&["list", "qlikoauthclients", "-A", "-o", "yaml"], "").1.contains("kind: QlikOAuthClient"));
    let name = "qlikoauthclient.qlikcontext.dev/reporting\n";
    assert_eq!(case.pipes(&["list", "oauthclients", "-o", "name", "-l", "team=bi"], "").1, name);

    // Events are written after the status, and in any order.
    let expected = ["ClientCreated", "CredentialIssued", "ClientReady"];
    case.wait_until("events.events.k8s.io", |events| expected.iter().all(|reason| events.to_string().contains(reason)));
    let shown = case.shows(&["status", "oauthclient/reporting"]);
    assert_eq!(shown.status, 0, "{}", shown.screen);
    let (head, events) = shown.screen.split_once("\nEvents\n").unwrap();
    golden::compare("oauth-status", &case.without_ids(head));
    assert!(expected.iter().all(|reason| events.contains(reason)), "{events}");

    let hint = || case.get("qoauth/reporting")["status"]["secret"]["hint"].clone();
    let before = hint();
    let shown = case.shows(&["rotate", "reporting", "--wait"]);
    assert_eq!(shown.status, 0, "{}", shown.screen);
    golden::compare("oauth-rotate", &case.without_ids(&shown.screen));
    assert_ne!(hint(), before);
    let report: Value = serde_json::from_str(&case.pipes(&["status", "qoauth/reporting", "-o", "json"], "").1).unwrap();
    assert_eq!(
        (&report["name"], &report["ready"], &report["reason"]),
        (&json!("reporting"), &json!(true), &json!("ClientReady"))
    );
    assert_eq!(report["previous"][0]["hint"], before);
    assert_eq!(report["contexts"][0]["name"], "reporting");
    assert_eq!(report["adminContext"], "admin");
}

#[test]
fn suspend_and_resume_accept_both_kinds_with_kubectls_names() {
    let case = Case::with_oauth_client("mixed");
    let (status, out, err) = case.pipes(&["suspend", "qctx/admin", "oauthclient/reporting"], "");
    assert_eq!(status, 0, "{err}");
    assert_eq!(
        out,
        "qlikcontext.qlikcontext.dev/admin suspended\nqlikoauthclient.qlikcontext.dev/reporting suspended\n"
    );
    assert_eq!(case.get("qoauth/reporting")["spec"]["suspend"], true);
    let (status, _, err) = case.pipes(&["rotate", "reporting", "--wait"], "");
    assert!(status == 1 && err.contains("kubectl qlik resume oauthclient/reporting -n mixed"), "{err}");
    let (status, out, _) = case.pipes(&["resume", "oauthclients", "-l", "team=bi"], "");
    assert_eq!((status, out.as_str()), (0, "qlikoauthclient.qlikcontext.dev/reporting resumed\n"));
    // A command accepts the names that a list prints.
    let names = case.pipes(&["list", "-o", "name"], "").1;
    let names: Vec<_> = names.lines().collect();
    let (status, out, err) = case.pipes(&[&["resume"], &names[..]].concat(), "");
    assert_eq!((status, out.lines().count()), (0, 2), "{err}");
}

#[test]
fn a_command_for_the_other_kind_names_the_right_one() {
    let case = Case::new("kinds");
    for (args, status, expected) in [
        (&["rotate", "qctx/acme"][..], 2, "use refresh for a token"),
        (&["refresh", "oauthclient/reporting"], 2, "is about the token of a QlikContext"),
        (&["token", "oauthclient/reporting"], 2, "is about the token of a QlikContext"),
        (&["rotate"], 2, "names of QlikOAuthClients, or labels with -l"),
        (&["status", "pod/acme"], 2, "\"pod\" is not a type"),
        (&["status", ""], 2, "neither NAME nor TYPE/NAME"),
        (&["list", "pods"], 2, "contexts, oauthclients"),
        (&["suspend", "acme", "-l", "team=bi"], 2, "names do not go with -l"),
        (&["status", "oauthclient/nobody"], 1, "kubectl qlik list oauthclients"),
        (&["rotate", "nobody"], 1, "cannot annotate QlikOAuthClient nobody"),
    ] {
        let (found, out, err) = case.pipes(args, "");
        assert!(found == status && out.is_empty() && err.contains(expected), "{args:?}: {found} {err}");
    }
    let empty = case.pipes(&["list", "oauthclients"], "").2;
    assert!(empty.contains("No QlikOAuthClients found in namespace kinds."), "{empty}");
}
