//! Each mistake gets a message that says what to do, and can be corrected at a terminal.

use std::time::Duration;

use serde_json::json;
use support::tenant::{Fault, Pacing, Route, Script};

use crate::golden;
use crate::terminal::{CTRL_C, DOWN, ENTER, ESCAPE};
use crate::tutorial::answer_all;
use crate::world::{CLIENT_ID, CLIENT_SECRET, Case, PROGRAM, kubeconfig_without_permissions, read, world};

#[test]
fn a_wrong_client_secret_shows_the_message_of_the_condition_and_can_be_corrected() {
    let case = Case::new("wrong");
    let mut terminal = case.terminal(&["init", "acme"]);
    answer_all(&mut terminal, &case.tenant.url(), "planted-but-wrong");
    terminal.answers("Write it?", "y");
    terminal.answers("What now?", "");
    terminal.answers("Client ID:", "");
    terminal.answers("Client Secret (Enter keeps the present one):", CLIENT_SECRET);
    let ended = case.ended(terminal);
    assert_eq!(ended.status, 0, "{}", ended.screen);
    golden::compare("wrong-secret", &ended.screen);
}

#[test]
fn a_missing_tenant_can_be_corrected_and_a_pasted_url_is_normalized() {
    let case = Case::new("nowhere");
    let mut terminal = case.terminal(&["init", "acme"]);
    terminal.answers("Enter tenant url:", "acme");
    terminal.sees("not a whole host name").types(&"\x7f".repeat(4));
    let pasted = format!("HTTPS://{}.evil.example/hub/home?x=1", case.tenant.host());
    answer_all(&mut terminal, &pasted, CLIENT_SECRET);
    terminal.answers("Write it?", "y");
    terminal.answers("What now?", "");
    terminal.answers("Enter tenant url:", &format!("https://{}/console/users", case.tenant.host()));
    let ended = case.ended(terminal);
    assert_eq!(ended.status, 0, "{}", ended.screen);
    golden::compare("wrong-tenant", &ended.screen);
}

#[test]
fn leaving_a_failure_prints_the_command_to_continue() {
    let case = Case::new("left");
    let mut terminal = case.terminal(&["init", "acme"]);
    answer_all(&mut terminal, &case.tenant.url(), "planted-but-wrong");
    terminal.answers("Write it?", "y");
    terminal.sees("Leave it as it is").types(DOWN).types(DOWN).types(DOWN).types(ENTER);
    let ended = case.ended(terminal);
    assert_eq!(ended.status, 1, "{}", ended.screen);
    assert!(ended.screen.contains("run `kubectl qlik init acme -n left` again"), "{}", ended.screen);
}

#[test]
fn ctrl_c_before_anything_is_written_says_so() {
    let case = Case::new("early");
    let mut terminal = case.terminal(&["init", "acme"]);
    terminal.answers("Enter tenant url:", case.tenant.host());
    terminal.sees("O/P/A?:").types(CTRL_C);
    let ended = case.ended(terminal);
    assert_eq!(ended.status, 130, "{}", ended.screen);
    assert!(ended.screen.ends_with("Interrupted: nothing was written."), "{}", ended.screen);
    let mut terminal = case.terminal(&["init", "acme"]);
    terminal.sees("Enter tenant url:").types(ESCAPE);
    assert_eq!(case.ended(terminal).status, 130);
    let mut terminal = case.terminal(&["init", "acme"]);
    answer_all(&mut terminal, &case.tenant.url(), CLIENT_SECRET);
    terminal.answers("Write it?", "n");
    assert_eq!(case.ended(terminal).status, 130);
    assert!(case.kubectl(&["get", "qctx,secrets", "-o", "name"]).is_empty());
}

#[test]
fn ctrl_c_while_it_waits_lists_the_objects_written_and_how_to_remove_them() {
    let case = Case::new("late");
    let slow = Fault::Delivery(Pacing::Late { millis: 12_000 });
    world().cloud.script(Script::at(Route::Token, slow).host(case.tenant.host()).once());
    let mut terminal = case.terminal(&["init", "acme"]);
    answer_all(&mut terminal, &case.tenant.url(), CLIENT_SECRET);
    terminal.answers("Write it?", "y");
    terminal.sees("waiting for the operator").types(CTRL_C);
    let ended = case.ended(terminal);
    assert_eq!(ended.status, 130, "{}", ended.screen);
    // The last frame of the spinner stays on the screen, with the ^C of the terminal.
    let lines: Vec<_> = ended.screen.lines().filter(|line| !line.contains("waiting for the operator")).collect();
    golden::compare("interrupted", &lines.join("\n"));
    case.kubectl(&["delete", "secret/acme-oauth", "qlikcontext/acme"]);
}

#[test]
fn a_context_or_a_secret_that_init_did_not_create_is_not_changed() {
    let case = Case::new("taken");
    case.apply(&json!({
        "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext", "metadata": {"name": "acme"},
        "spec": {"tenantUrl": case.tenant.url(), "auth": {"clientSecret": {"secretRef": {"name": "of-git"}}}},
    }));
    let (status, _, err) = case.pipes(&case.init("acme"), CLIENT_SECRET);
    assert_eq!(status, 1);
    assert!(err.contains("the name acme is taken") && err.contains("kubectl qlik status acme -n taken"), "{err}");

    case.kubectl(&["create", "secret", "generic", "other-oauth", "--from-literal=a=b"]);
    let (status, _, err) = case.pipes(&case.init("other"), CLIENT_SECRET);
    assert_eq!(status, 1);
    assert!(err.contains("--existing-secret other-oauth"), "{err}");

    case.kubectl(&["create", "secret", "generic", "third-token", "--from-literal=a=b"]);
    let (status, _, err) = case.pipes(&case.init("third"), CLIENT_SECRET);
    assert_eq!(status, 1);
    assert!(err.contains("--token-secret"), "{err}");
    let with_another = [&case.init("third")[..], &["--token-secret", "third-tokens"]].concat();
    let (status, _, err) = case.pipes(&with_another, CLIENT_SECRET);
    assert_eq!(status, 0, "{err}");
    assert_eq!(case.get("secret/third-token")["data"], json!({"a": "Yg=="}));

    let from_existing =
        ["init", "fourth", "--tenant-url", case.tenant.host(), "--existing-secret", "third-oauth", "--yes"];
    let (status, _, err) = case.pipes(&from_existing, "");
    assert_eq!(status, 0, "{err}");
    let (status, _, err) = case.pipes(&["init", "fourth", "--tenant-url", case.tenant.host(), "--yes"], "");
    assert!(status == 0 && err.contains("qlikcontext/fourth unchanged"), "{err}");
}

#[test]
fn a_missing_permission_is_reported_before_any_question() {
    let case = Case::new("forbidden");
    let kubeconfig = kubeconfig_without_permissions("forbidden");
    let kubeconfig = ["--kubeconfig", kubeconfig.to_str().unwrap()];
    let (status, _, err) = case.pipes(&[&["list"], &kubeconfig[..]].concat(), "");
    assert_eq!(status, 1);
    assert!(
        err.contains("system:serviceaccount:forbidden:default may not list qlikcontexts in the namespace forbidden"),
        "{err}"
    );
    let ended = case.shows(&[&["init", "acme"], &kubeconfig[..]].concat());
    assert_eq!(ended.status, 1);
    golden::compare("forbidden", &ended.screen);
}

#[test]
fn an_unreachable_cluster_or_a_bad_kubeconfig_gets_a_clear_error() {
    let case = Case::new("nobody");
    let kubeconfig = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n\
                      clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: u, user: {}}]\n";
    let file = case.file("kubeconfig", kubeconfig);
    for command in [&["list"][..], &["init", "acme"], &["doctor"]] {
        let (status, out, err) = case.pipes(&[command, &["--kubeconfig", &file]].concat(), "");
        let said = format!("{out}{err}");
        assert_eq!(status, 1, "{command:?}");
        assert!(said.contains("the cluster does not answer") && said.contains("--context"), "{said}");
    }
    for (kubeconfig, expected) in [
        ("apiVersion: v1\nusers: planted-token: [", "cannot be understood (see line 2 column "),
        ("apiVersion: v1\nkind: Config\n", "no current context"),
    ] {
        let file = case.file("broken", kubeconfig);
        let (status, _, err) = case.pipes(&["list", "--kubeconfig", &file], "");
        assert!(status == 1 && err.contains(expected), "{err}");
    }
    for args in [&["list", "--kubeconfig", "/nowhere"][..], &["doctor", "--kubeconfig", "/nowhere"]] {
        let (status, out, err) = case.pipes(args, "");
        let said = format!("{out}{err}");
        assert!(
            status == 1 && said.contains("there is no kubeconfig /nowhere: name another file with --kubeconfig"),
            "{said}"
        );
    }
    // As in kubectl, a file of the list in KUBECONFIG can be missing.
    let list = format!("/nowhere:{}", world().control_plane.admin_kubeconfig().display());
    let (status, _, err) = case.pipes_with(&["list"], "", &[("KUBECONFIG", &list)]);
    assert_eq!(status, 0, "{err}");
    let (status, _, err) = case.pipes_with(&["list"], "", &[("KUBECONFIG", "")]);
    assert!(status == 1 && err.contains("there is no kubeconfig"), "{err}");
    let (status, _, err) = case.pipes(&["list", "--context", "nobody"], "");
    assert!(status == 1 && err.contains("has no context \"nobody\": choose one of these with --context: "), "{err}");
}

#[test]
fn an_operator_that_does_not_respond_in_time_is_reported() {
    let case = Case::new("silent");
    let slow = Fault::Delivery(Pacing::Late { millis: 12_000 });
    world().cloud.script(Script::at(Route::Token, slow).host(case.tenant.host()).once());
    let args = [&case.init("acme")[..], &["--timeout", "1s"]].concat();
    let (status, _, err) = case.pipes(&args, CLIENT_SECRET);
    assert_eq!(status, 1);
    assert!(
        err.contains("The operator has not processed acme within 1s") && err.contains("kubectl qlik doctor"),
        "{err}"
    );
    case.wait_until("qctx/acme", |context| context["status"]["token"].is_object());
    std::thread::sleep(Duration::from_millis(10));
}

#[test]
fn a_context_that_the_api_server_rejects_leaves_no_secret_behind() {
    let case = Case::new("refused");
    let args = [&case.init("acme")[..], &["--scopes", "two words,"]].concat();
    let (status, _, err) = case.pipes(&args, CLIENT_SECRET);
    assert!(status == 1 && err.contains("each of scopes must be one scope"), "{err}");
    assert!(case.kubectl(&["get", "qctx,secrets", "-o", "name"]).is_empty());

    let mut nowhere = case.init("acme");
    nowhere.extend(["--context", "test", "--namespace", "no-such-namespace"]);
    let mut command = std::process::Command::new(PROGRAM);
    command.args(nowhere).env("KUBECONFIG", world().control_plane.admin_kubeconfig());
    let (status, _, err) = read(&mut command, CLIENT_SECRET);
    assert!(status == 1 && err.contains("kubectl create namespace no-such-namespace"), "{err}");
}

#[test]
fn invalid_values_are_rejected_before_anything_is_written() {
    let case = Case::new("careless");
    let (host, empty) = (case.tenant.host().to_owned(), case.file("empty", " \n"));
    let (folder, two) = (case.home.to_string_lossy().into_owned(), case.file("two", "planted-two planted-words"));
    let public = case.file("public.pem", include_str!("../../../tests/keys/p384-public.pem"));
    let with = |file: &str, path: &str| {
        let words = ["init", "acme", "--yes", "--tenant-url", &host, "--client-id", CLIENT_ID, file, path];
        words.map(str::to_owned).to_vec()
    };
    for (args, expected) in [
        (with("--client-secret-file", &empty), "--client-secret-file: The value is empty"),
        (with("--client-secret-file", &two), "--client-secret-file: There is whitespace inside"),
        (with("--client-secret-file", &folder), "is a folder"),
        (with("--client-secret-file", "/nowhere"), "cannot read /nowhere"),
        (with("--private-key-file", &public), "--private-key-file: This is a public key"),
        (with("--tenant-url", "https://me:planted-password@acme.eu.qlikcloud.com"), "cannot be used multiple times"),
        (vec!["init".into(), "Acme!".into()], "is no name for a QlikContext"),
    ] {
        let (status, _, err) = case.pipes(&args.iter().map(String::as_str).collect::<Vec<_>>(), "");
        assert!(status != 0 && err.contains(expected), "{args:?}: {err}");
    }
    let same = case.file("same", CLIENT_ID);
    let args = with("--client-secret-file", &same);
    let (_, _, err) = case.pipes(&args.iter().map(String::as_str).collect::<Vec<_>>(), "");
    assert!(err.contains("the client secret is the same as the client ID"), "{err}");
    assert!(case.kubectl(&["get", "qctx,secrets", "-o", "name"]).is_empty());
}
