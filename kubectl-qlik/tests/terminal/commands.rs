//! The small commands: list, whoami, token, refresh, suspend, resume.

use serde_json::Value;
use support::tenant::{Fault, FaultBody, Route, Script};

use crate::golden;
use crate::world::{CLIENT_ID, CLIENT_SECRET, Case, world};

#[test]
fn the_list_shows_readiness_and_every_output_format_parses() {
    let case = Case::new("listed");
    let empty = case.shows(&["list"]);
    assert!(empty.status == 0 && empty.screen.contains("`kubectl qlik init NAME`"), "{}", empty.screen);
    case.ready("acme");
    let (status, ..) = case.pipes(&case.init("broken"), "planted-but-wrong");
    assert_eq!(status, 1);
    case.kubectl(&["label", "qctx/acme", "team=bi"]);
    let shown = case.shows(&["list"]);
    assert_eq!(shown.status, 0);
    golden::compare("list", &shown.screen);
    let wide = case.pipes(&["list", "-o", "wide"], "").1;
    let header = wide.lines().next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(header, "NAME READY REASON TENANT EXPIRES AGE USER SECRET RENEWS MESSAGE");
    assert!(
        wide.lines().nth(1).unwrap().contains("qlik-cli m2m") && wide.contains("Invalid client credentials"),
        "{wide}"
    );

    let items = |args: &[&str]| -> Vec<String> {
        let (status, out, err) = case.pipes(&[&["list"], args].concat(), "");
        assert_eq!(status, 0, "{err}");
        let list: Value = serde_json::from_str(&out).unwrap();
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(items(&["-o", "json"]), ["acme", "broken"]);
    assert_eq!(items(&["-o", "json", "-l", "team=bi"]), ["acme"]);
    assert!(items(&["-o", "json", "-A"]).len() >= 2);
    assert_eq!(case.pipes(&["list", "-o", "name", "-l", "team=bi"], "").1, "qlikcontext.qlikcontext.dev/acme\n");
    assert!(case.pipes(&["list", "-o", "yaml"], "").1.contains("kind: QlikContext"));
    assert!(case.pipes(&["list", "-A"], "").1.lines().next().unwrap().starts_with("NAMESPACE "));
    let plain = case.pipes(&["list"], "").1;
    assert_eq!(plain.lines().count(), 3, "one line for each context, for tools such as awk: {plain}");
    assert!(empty.screen.contains("-A looks in every namespace"), "{}", empty.screen);
    let (status, _, err) = case.pipes(&["list", "-l", "not a label!"], "");
    assert!(status == 1 && err.starts_with("error: cannot list QlikContexts"), "{err}");
}

#[test]
fn whoami_names_the_bot_and_live_requests_the_tenant() {
    let case = Case::new("who");
    let (status, _, err) = case.pipes(&["whoami", "nobody"], "");
    assert!(status == 1 && err.contains("\"nobody\" not found"), "{err}");
    assert_eq!(case.pipes(&case.init("wrong"), "planted-but-wrong").0, 1);
    let (status, _, err) = case.pipes(&["whoami", "wrong"], "");
    assert!(status == 1 && err.contains("`kubectl qlik status wrong` says why"), "{err}");
    case.ready("acme");
    let ca = world().ca.to_string_lossy();
    let live = ["whoami", "acme", "--live", "--tenant-ca-file", &ca];
    let shown = case.shows(&live);
    assert_eq!(shown.status, 0, "{}", shown.screen);
    golden::compare_data("whoami-live", &shown.screen);
    let yaml = case.pipes(&["whoami", "acme", "-o", "yaml"], "").1;
    assert!(yaml.contains(&format!("clientId: {CLIENT_ID}")), "{yaml}");

    case.tenant.revoke_all();
    let (status, out, err) = case.pipes(&live, "");
    assert!(status == 1 && out.is_empty() && err.contains("`kubectl qlik refresh acme --wait`"), "{err}");
    let (status, _, err) = case.pipes(&["whoami", "acme", "--live"], "");
    assert!(status == 1 && err.contains("--tenant-ca-file"), "{err}");
}

#[test]
fn the_token_is_printed_to_a_pipe_and_to_a_terminal_only_on_request() {
    let case = Case::new("piped");
    case.ready("acme");
    let (status, token, _) = case.pipes_unsearched(&["token", "acme"], "");
    let secret = case.kubectl(&["get", "secret", "acme-token", "-o", "go-template={{.data.token | base64decode}}"]);
    assert_eq!((status, token), (0, format!("{secret}\n")));
    let refused = case.shows(&["token", "acme"]);
    assert!(refused.status == 1 && refused.screen.contains("--yes"), "{}", refused.screen);
    assert!(case.terminal(&["token", "acme", "--yes"]).ends().bytes.contains(&secret[..20]));

    // A Secret that replaced the operator's Secret does not contain its token.
    case.kubectl(&["patch", "qctx", "acme", "--type=merge", "-p", r#"{"spec":{"suspend":true}}"#]);
    case.kubectl(&["delete", "secret", "acme-token"]);
    let (status, out, err) = case.pipes(&["token", "acme"], "");
    assert!(status == 1 && out.is_empty() && err.contains("has no token yet"), "{err}");
    case.kubectl(&["create", "secret", "generic", "acme-token", "--from-literal=token=planted-by-another"]);
    let (status, out, err) = case.pipes(&["token", "acme"], "");
    assert!(status == 1 && out.is_empty() && err.contains("does not belong to QlikContext acme"), "{err}");
}

#[test]
fn a_refresh_waits_for_the_new_token_and_reports_when_there_is_none() {
    let case = Case::new("fresh");
    case.ready("acme");
    let token = || case.pipes_unsearched(&["token", "acme"], "").1;
    let before = token();
    let shown = case.shows(&["refresh", "acme", "--wait"]);
    assert_eq!(shown.status, 0, "{}", shown.screen);
    golden::compare("refresh", &shown.screen);
    assert_ne!(token(), before);

    let (status, out, err) = case.pipes(&["refresh", "acme", "nobody"], "");
    assert_eq!((status, out.as_str()), (1, "qlikcontext.qlikcontext.dev/acme refresh requested\n"), "{err}");
    assert!(err.contains("\"nobody\" not found"), "{err}");
}

#[test]
fn a_refresh_that_fails_says_why_at_its_timeout() {
    let case = Case::new("stale");
    case.ready("acme");
    let fault = Fault::Answer { status: 503, body: FaultBody::Html };
    world().cloud.script(Script { at: None, ..Script::at(Route::Token, fault) }.host(case.tenant.host()).times(40));
    let (status, _, err) = case.pipes(&["refresh", "acme", "--wait", "--timeout", "3s"], "");
    assert_eq!(status, 1);
    assert!(err.contains("acme has no new token after ") && err.contains("(TenantUnavailable)"), "{err}");
}

#[test]
fn suspend_and_resume_set_the_field_for_names_and_for_labels() {
    let case = Case::new("paused");
    case.ready("acme");
    assert_eq!(case.pipes(&["suspend", "acme"], "").1, "qlikcontext.qlikcontext.dev/acme suspended\n");
    case.wait_until("qctx/acme", |context| context["status"]["conditions"].to_string().contains("\"Suspended\""));
    let (status, _, err) = case.pipes(&["refresh", "acme", "--wait"], "");
    assert!(status == 1 && err.contains("kubectl qlik resume acme"), "{err}");
    case.kubectl(&["label", "qctx/acme", "team=bi"]);
    let (status, out, _) = case.pipes(&["resume", "-l", "team=bi"], "");
    assert_eq!((status, out.as_str()), (0, "qlikcontext.qlikcontext.dev/acme resumed\n"));
    assert_eq!(case.get("qctx/acme")["spec"]["suspend"], false);
    let (status, _, err) = case.pipes(&["resume", "-l", "team=nobody"], "");
    assert!(status == 1 && err.contains("has the labels team=nobody"), "{err}");
    let (status, _, err) = case.pipes(&["suspend"], "");
    assert!(status == 2 && err.contains("give names of QlikContexts") && err.contains("labels with -l"), "{err}");
    assert!(err.contains("Usage: kubectl qlik suspend "), "{err}");
    assert_eq!(case.pipes(&case.init("other"), CLIENT_SECRET).0, 0);
}
