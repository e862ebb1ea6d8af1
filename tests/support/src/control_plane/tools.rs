//! kubectl and Helm, as a cluster administrator. They get their own home folder, so they use none of
//! the user's settings and leave no cache.

use std::env;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{ControlPlane, Programs};

impl ControlPlane {
    /// Runs kubectl and returns its stdout. The error contains its stderr.
    pub async fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.run(&self.programs().kubectl, args, "").await
    }

    /// Like [`Self::kubectl`], with `input` as its stdin: `kubectl_with_input(&["apply", "-f", "-"], manifest)`.
    pub async fn kubectl_with_input(&self, args: &[&str], input: &str) -> anyhow::Result<String> {
        self.run(&self.programs().kubectl, args, input).await
    }

    /// Runs Helm and returns its stdout. The error contains its stderr.
    pub async fn helm(&self, args: &[&str]) -> anyhow::Result<String> {
        self.run(&self.programs().helm, args, "").await
    }

    async fn run(&self, program: &Path, args: &[&str], input: &str) -> anyhow::Result<String> {
        run(program, self.folder(), self.admin_kubeconfig(), args, input).await
    }
}

/// Runs Helm while the control plane is still starting.
pub(super) async fn helm(
    programs: &Programs,
    folder: &Path,
    kubeconfig: &Path,
    args: &[String],
) -> anyhow::Result<String> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    run(&programs.helm, folder, kubeconfig, &args, "").await
}

async fn run(program: &Path, folder: &Path, kubeconfig: &Path, args: &[&str], input: &str) -> anyhow::Result<String> {
    let line = || format!("{} {}", program.display(), args.join(" "));
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(line)?;
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read its input closes it. Its own error is more precise.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.with_context(line)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed: {}", line(), errors.trim_end());
    String::from_utf8(output.stdout).with_context(line)
}
