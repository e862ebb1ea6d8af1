//! Without a terminal: there are no questions, flags give all values, and the output can be parsed.

use std::process::Command;

use serde_json::Value;

use crate::world::{CLIENT_ID, CLIENT_SECRET, Case, PROGRAM, kubectl, read, world};

#[test]
fn without_a_terminal_an_error_names_the_missing_flag() {
    let case = Case::new("script");
    let mut args = vec!["init", "acme"];
    for (flag, value) in
        [("--tenant-url", case.tenant.host()), ("--client-id", CLIENT_ID), ("--client-secret-file", "-"), ("--yes", "")]
    {
        let (status, out, err) = case.pipes(&args, CLIENT_SECRET);
        assert_eq!((status, out.as_str()), (1, ""), "{err}");
        let last = err.lines().last().unwrap();
        assert!(last.contains("there is no terminal to ask") && last.ends_with(&format!("give {flag}")), "{err}");
        args.extend([flag, value].iter().filter(|word| !word.is_empty()));
    }
    let (status, out, err) = case.pipes(&args, &format!("{CLIENT_SECRET}\r\n"));
    assert_eq!(status, 0, "{err}");
    let user: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(user["clientId"], CLIENT_ID);
    assert!(err.contains("✓ Verified: "), "{err}");
}

#[test]
fn a_dry_run_prints_a_context_for_git_and_writes_nothing() {
    let case = Case::new("git");
    let args =
        ["init", "acme", "--tenant-url", case.tenant.host(), "--dry-run=client", "-o", "yaml", "--scopes", "a,b"];
    let (status, out, err) = case.pipes(&args, "");
    assert_eq!(status, 0, "{err}");
    assert!(err.contains("Secret acme-oauth with the keys client-id and client-secret"), "{err}");
    let file = case.file("context.yaml", &out);
    assert!(kubectl(&["apply", "--dry-run=server", "-f", &file]).contains("acme created"));
    let (_, json, _) = case.pipes(&["init", "acme", "--tenant-url", case.tenant.host(), "--dry-run", "-o", "json"], "");
    let context: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(context["metadata"]["namespace"], "git");
    let api_key = ["init", "acme", "--tenant-url", case.tenant.host(), "--auth", "api-key", "--dry-run"];
    let (_, _, err) = case.pipes(&api_key, "");
    assert!(err.contains("with the key api-key is left to you"), "{err}");
    let (_, help, _) = case.pipes_unsearched(&["init", "--help"], "");
    assert!(help.contains("--dry-run alone means --dry-run=client"), "{help}");
    // This needs no cluster.
    let (status, _, _) = case.pipes_with(&args, "", &[("KUBECONFIG", "/nowhere")]);
    assert_eq!(status, 0);
    assert!(case.kubectl(&["get", "qctx,secrets", "-o", "name"]).is_empty());
}

#[test]
fn kubectl_finds_the_plugin_and_completes_it() {
    let case = Case::new("complete");
    case.ready("acme");
    let tools = world().control_plane.programs().kubectl.parent().unwrap();
    let plugin = std::path::Path::new(PROGRAM).parent().unwrap();
    let path = format!("{}:{}:{}", case.home.display(), plugin.display(), std::env::var("PATH").unwrap());
    let script = case.pipes(&["completion", "kubectl"], "").1;
    let completer = case.file("kubectl_complete-qlik", &script);
    Command::new("chmod").args(["+x", &completer]).status().unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(tools.join("kubectl"));
        command.args(args).env_clear().env("HOME", &case.home).env("PATH", format!("{}:{path}", tools.display()));
        command.env("KUBECONFIG", world().control_plane.admin_kubeconfig());
        read(&mut command, "")
    };
    let (status, help, _) = run(&["qlik", "--help"]);
    assert!(status == 0 && help.contains("Usage: kubectl qlik "), "{help}");
    let (_, plugins, _) = run(&["plugin", "list"]);
    assert!(plugins.contains("kubectl-qlik"), "{plugins}");

    let complete = |words: &[&str]| run(&[&["__complete", "qlik"], words].concat()).1;
    assert!(complete(&["s"]).contains("status"), "{}", complete(&["s"]));
    assert!(
        complete(&["status", "-n", "complete", "a"]).starts_with("acme"),
        "{}",
        complete(&["status", "-n", "complete", "a"])
    );
    assert!(complete(&["status", "-n", "comp"]).contains("complete"));
    assert!(complete(&["status", "-n", "no-such", "a"]).starts_with(":4"));
    assert!(complete(&["init", "--auth", ""]).contains("private-key"));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(case.pipes(&["completion", shell], "").1.contains("kubectl-qlik"), "{shell}");
    }
    let (status, _, err) = case.pipes(&["completion", "tcsh"], "");
    assert!(status == 2 && err.contains("only for kubectl, bash, zsh, fish, powershell, elvish"), "{err}");
    assert!(!err.contains("tip:"), "{err}");
    assert!(complete(&["completion", "z"]).starts_with("zsh"));
    assert!(complete(&["list", "o"]).starts_with("oauthclients"));
}

#[test]
fn colours_are_used_only_on_terminals_that_support_them() {
    let case = Case::new("colour");
    case.ready("acme");
    let green = "\u{1b}[32m";
    let wanted = case.ended(case.terminal_with(&["status", "acme"], &[("NO_COLOR", "")]));
    assert!(wanted.bytes.contains(green), "{}", wanted.bytes);
    for changes in [&[("NO_COLOR", "1")][..], &[("NO_COLOR", ""), ("TERM", "dumb")]] {
        let plain = case.ended(case.terminal_with(&["status", "acme"], changes));
        assert!(!plain.bytes.contains(green), "{changes:?}: {}", plain.bytes);
    }
    let (_, out, err) = case.pipes_with(&["status", "acme"], "", &[("NO_COLOR", "")]);
    assert!(!format!("{out}{err}").contains('\u{1b}'));
}

#[test]
fn output_to_a_closed_pipe_is_not_an_error() {
    let case = Case::new("head");
    case.ready("acme");
    let line = format!("{PROGRAM} list -A -o json -n head | head -c 1");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &line]).env("KUBECONFIG", world().control_plane.admin_kubeconfig());
    assert_eq!(read(&mut command, ""), (0, "{".into(), String::new()));
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let case = Case::new("full");
    case.ready("acme");
    for args in ["token acme", "list", "status acme -o json"] {
        let line = format!("{PROGRAM} {args} -n full > /dev/full");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &line]).env("KUBECONFIG", world().control_plane.admin_kubeconfig());
        let (status, _, err) = read(&mut command, "");
        assert!(status == 1 && err.contains("cannot write to standard output: "), "{args}: {err}");
    }
}
