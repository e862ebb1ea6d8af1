//! The output of the demo: each command as a user would type it, and its real output. Any
//! unexpected output is an error.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::header::AUTHORIZATION;
use serde_json::Value;

use super::manifests::{self, CLIENT_ID, CLIENT_SECRET, HOST};
use super::stage::Stage;
use crate::screen::Screen;

const CONTEXTS_YML: &str = r#"{{index .data "contexts.yml" | base64decode}}"#;
const TOKEN: &str = "{{.data.token | base64decode}}";

/// Shows everything, in order.
pub async fn all(stage: &Stage, screen: Screen) -> anyhow::Result<()> {
    let show = Show { stage, screen };
    show.apply().await?;
    show.contexts().await?;
    show.broken()?;
    let token = show.secret().await?;
    show.use_of(&token).await
}

struct Show<'a> {
    stage: &'a Stage,
    screen: Screen,
}

impl Show<'_> {
    async fn apply(&self) -> anyhow::Result<()> {
        self.screen.heading("kubectl qlik init: from an OAuth client to a verified token");
        self.kubectl(&["create", "namespace", "demo"]).await?;
        let secret = self.stage.write("client-secret", CLIENT_SECRET)?;
        let secret = secret.to_string_lossy();
        let tenant = ["init", "acme", "-n", "demo", "--tenant-url", HOST, "--client-id", CLIENT_ID];
        let printed = self.qlik(&[&tenant[..], &["--client-secret-file", &secret, "--yes"]].concat(), true)?;
        ensure!(printed.contains(CLIENT_ID), "it should end with the identity");
        let seconds = self.screen.elapsed().as_secs_f32();
        self.screen.heading(&format!("Ready after {seconds:.1} s"));

        self.screen.heading("The same as a manifest, examples/client-secret.yaml; here with a wrong secret");
        let file = self.stage.write("acme-broken.yaml", &manifests::broken()?)?;
        self.kubectl(&["apply", "-n", "demo", "-f", &file.to_string_lossy()]).await?;
        Ok(())
    }

    async fn contexts(&self) -> anyhow::Result<()> {
        // `Stalled` is set two minutes later, because a client that never worked may have been created a moment ago.
        let refused = "--for=condition=TokenIssued=False";
        self.kubectl(&["wait", "-n", "demo", refused, "qctx/acme-broken", "--timeout=60s"]).await?;
        let table = self.qlik(&["list", "-n", "demo"], true)?;
        ensure!(
            table.contains("TokenValid") && table.contains("InvalidClient"),
            "one context should be valid, and the other should say that its client is not"
        );
        Ok(())
    }

    fn broken(&self) -> anyhow::Result<()> {
        self.screen.heading("What is wrong, and what to do");
        let status = self.qlik(&["status", "acme-broken", "-n", "demo"], false)?;
        ensure!(status.contains("InvalidClient"), "the status should say what is wrong");
        Ok(())
    }

    /// Returns the token.
    async fn secret(&self) -> anyhow::Result<String> {
        self.screen.heading("The Secret for workloads to mount");
        let secrets = self.kubectl(&["get", "secret", "-n", "demo"]).await?;
        ensure!(!secrets.contains("acme-broken-token"), "nothing should be published for the broken context");
        self.kubectl(&["describe", "secret", "acme-token", "-n", "demo"]).await?;
        let printing = |template| {
            let template = format!("go-template={template}");
            ["get", "secret", "acme-token", "-n", "demo", "-o", &template].map(str::to_owned)
        };
        let token = self.quietly(&printing(TOKEN)).await?;
        let start = token.get(..12).context("the token is too short")?;

        self.screen.heading("Its context file for qlik-cli, mounted at $HOME/.qlik (token shortened here)");
        let command = printing(CONTEXTS_YML);
        self.screen.gap();
        self.screen.command(&as_typed(&command));
        let contexts = self.quietly(&command).await?;
        ensure!(contexts.contains(&token), "contexts.yml holds another token than the key token");
        self.screen.output(&contexts.replace(&token, &format!("{start}…")));
        Ok(token)
    }

    /// Over TLS and by name, as any client of the tenant.
    async fn use_of(&self, token: &str) -> anyhow::Result<()> {
        let url = format!("https://{HOST}/api/v1/users/me");
        self.screen.heading("And the token works");
        self.screen.text(&format!("GET {url}, with the token of that Secret:"));
        let cloud = &self.stage.cloud;
        let client = reqwest::Client::builder()
            .proxy(reqwest::Proxy::all(cloud.proxy_url())?)
            .tls_certs_only([reqwest::Certificate::from_pem(cloud.ca_pem().as_bytes())?])
            .timeout(Duration::from_secs(10))
            .build()?;
        let request = client.get(url).header(AUTHORIZATION, format!("Bearer {token}"));
        let answer = request.send().await?.error_for_status()?;
        let status = answer.status();
        let user: Value = serde_json::from_slice(&answer.bytes().await?)?;
        self.screen.output(&format!("{status}"));
        for field in ["id", "name", "subject", "clientId", "tenantId", "status"] {
            self.screen.output(&format!("  {field}: {}", user[field]));
        }
        ensure!(user["clientId"] == CLIENT_ID, "the token is not the one of the demo's client");
        Ok(())
    }

    async fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.screen.gap();
        self.screen.command(&as_typed(args));
        let output = self.quietly(args).await?;
        self.screen.output(&output);
        Ok(output)
    }

    /// `kubectl qlik`, which ends with status 0 when everything is in order.
    fn qlik(&self, args: &[&str], well: bool) -> anyhow::Result<String> {
        self.screen.gap();
        self.screen.command(&as_typed(&[&["qlik"], args].concat()));
        let (printed, success) = self.stage.qlik(args)?;
        self.screen.output(&printed);
        ensure!(success == well, "kubectl qlik {} should have {}", args[0], if well { "succeeded" } else { "failed" });
        Ok(printed)
    }

    async fn quietly(&self, args: &[impl AsRef<str>]) -> anyhow::Result<String> {
        let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        self.stage.control_plane.kubectl(&args).await
    }
}

/// The command line with the quotes that a shell needs.
fn as_typed(args: &[impl AsRef<str>]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@,".contains(c);
    args.iter().fold("kubectl".to_owned(), |line, arg| {
        let arg = arg.as_ref();
        if arg.chars().all(plain) {
            format!("{line} {arg}")
        } else {
            format!("{line} '{}'", arg.replace('\'', r"'\''"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::as_typed;

    #[test]
    fn arguments_with_special_characters_are_quoted() {
        assert_eq!(as_typed(&["get", "qctx", "-o", "jsonpath={.spec}"]), "kubectl get qctx -o 'jsonpath={.spec}'");
    }
}
