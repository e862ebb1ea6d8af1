//! Suggestions for next steps: commands that work unchanged in another terminal.

use std::env;

use super::manifests::{CLIENT_ID, CLIENT_SECRET, HOST};
use super::stage::Stage;
use crate::screen::Screen;

/// Prints them.
pub fn print(stage: &Stage, screen: Screen) {
    let control_plane = &stage.control_plane;
    let control = stage.cloud.control_url();

    screen.heading("Now you: in another terminal");
    screen.command(&format!("export KUBECONFIG={}", control_plane.admin_kubeconfig().display()));
    if !in_path("kubectl") {
        let kubectl = &control_plane.programs().kubectl;
        screen.command(&format!("alias kubectl={}", kubectl.display()));
    }
    if !in_path("kubectl-qlik") {
        screen.command(&format!("export PATH={}:$PATH", stage.plugin().display()));
    }
    screen.command("kubectl qlik --help");

    let try_out = |what: &str, commands: &[&str]| {
        screen.text(&format!("\n{what}:"));
        commands.iter().for_each(|command| screen.command(command));
    };
    try_out(
        "Go through the dialogue yourself; the client's id and secret are these",
        &[
            "kubectl qlik init mine -n demo",
            &format!("# tenant: https://{HOST}  client id: {CLIENT_ID}"),
            &format!("# client secret: {CLIENT_SECRET}"),
        ],
    );
    try_out(
        "Put the right secret where the wrong one is; it is noticed within seconds",
        &[&format!(
            r#"kubectl patch secret acme-broken-oauth -n demo -p '{{"stringData":{{"client-secret":"{CLIENT_SECRET}"}}}}'"#
        )],
    );
    try_out(
        "Delete the token Secret; it is restored at once, and no new token is requested",
        &["kubectl delete secret acme-token -n demo"],
    );
    try_out(
        "Set the lifetime of new tokens to 30 s instead of 6 h, and request the first of them",
        &[
            &format!("curl -X PUT {control}/clients/{CLIENT_ID}/lifetime -d 30"),
            "kubectl qlik refresh acme -n demo --wait",
        ],
    );
    try_out(
        "Then let the tenant answer the next 2 token requests with 429",
        &[&format!(
            r#"curl {control}/faults -d '{{"at":"token","times":2,"fault":{{"rateLimited":{{"seconds":5}}}}}}'"#
        )],
    );
    try_out(
        "Everything else that the fake Qlik Cloud can do (revoke tokens, which the next check finds within 15 min, …), and its requests",
        &[&format!("curl {control}/"), &format!("curl {control}/requests")],
    );
    try_out("What the operator says", &[&format!("tail -f {}", stage.operator.process.log().display())]);
    screen.text(
        "\nThere is no kubelet here, so the chart's Pod stays pending; the same program runs beside the cluster, \
         as the chart's ServiceAccount.",
    );
    screen.heading("Ctrl-C ends everything and leaves nothing behind.");
}

fn in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
