//! Completion: for `kubectl qlik` through kubectl's own protocol, for `kubectl-qlik` through a script for each shell.
//!
//! kubectl runs a program `kubectl_complete-qlik` with the words typed so far. It reads one candidate per line, then a line with
//! a number, the completion directive (<https://github.com/spf13/cobra>).

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _};
use clap_complete::{CompletionCandidate, aot, engine};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use qlik_context_operator::api::{QlikContext, QlikOAuthClient};

use crate::args::{ClusterFlags, CommandLine, Shell};
use crate::cluster::{self, Cluster};
use crate::object::{self, Reconciled};
use crate::screen;

/// The name of the program that kubectl calls.
const COMPLETER: &str = "kubectl_complete-qlik";
/// The hidden command that the program's script calls.
const HIDDEN_COMMAND: &str = "__complete";
/// The directive that offers no files.
const NO_FILES: &str = ":4";
/// Time limit, since the user waits for the completion.
const PATIENCE: Duration = Duration::from_secs(2);

/// The words to complete, if this is a completion: the program has the name that kubectl looks for, or its script runs it.
pub fn asked_by_kubectl() -> Option<Vec<OsString>> {
    let mut words = env::args_os();
    let program = words.next()?;
    if Path::new(&program).file_stem() == Some(OsStr::new(COMPLETER)) {
        return Some(words.collect());
    }
    (words.next()? == HIDDEN_COMMAND).then(|| words.collect())
}

/// Prints the candidates.
pub fn answer(words: Vec<OsString>) -> ExitCode {
    let last = words.len();
    let line = [OsString::from("kubectl-qlik")].into_iter().chain(words).collect();
    let candidates = engine::complete(&mut CommandLine::command(), line, last, None).unwrap_or_default();
    for candidate in candidates.iter().filter(|candidate| !candidate.is_hide_set()) {
        let help = candidate.get_help().map(|help| format!("\t{help}")).unwrap_or_default();
        screen::result(&format!("{}{help}", candidate.get_value().to_string_lossy()));
    }
    screen::result(NO_FILES);
    ExitCode::SUCCESS
}

/// Prints a script.
pub fn script(shell: Shell) -> anyhow::Result<()> {
    let shell = match shell {
        Shell::Kubectl => {
            screen::result(
                "#!/bin/sh\n# Lies in PATH as kubectl_complete-qlik, where kubectl's completion looks for it.",
            );
            screen::result(&format!("exec kubectl qlik {HIDDEN_COMMAND} \"$@\""));
            return Ok(());
        }
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
        Shell::Powershell => aot::Shell::PowerShell,
        Shell::Elvish => aot::Shell::Elvish,
    };
    let mut script = Vec::new();
    aot::generate(shell, &mut CommandLine::command(), "kubectl-qlik", &mut script);
    screen::result(&String::from_utf8(script)?);
    Ok(())
}

/// Names of QlikContexts in the namespace of the words typed so far.
pub fn contexts(current: &OsStr) -> Vec<CompletionCandidate> {
    beginning_with(current, |flags| async move { names::<QlikContext>(&Cluster::connect(&flags).await?).await })
}

/// Names of QlikOAuthClients in the namespace that is typed already.
pub fn oauth_clients(current: &OsStr) -> Vec<CompletionCandidate> {
    beginning_with(current, |flags| async move { names::<QlikOAuthClient>(&Cluster::connect(&flags).await?).await })
}

/// Objects of both kinds, as a command takes them that works with either.
pub fn targets(current: &OsStr) -> Vec<CompletionCandidate> {
    beginning_with(current, |flags| async move {
        let cluster = Cluster::connect(&flags).await?;
        let mut all = names::<QlikContext>(&cluster).await?;
        // A cluster may be without the second kind.
        let clients = names::<QlikOAuthClient>(&cluster).await.unwrap_or_default();
        all.extend(clients.iter().map(|name| object::typed::<QlikOAuthClient>(name)));
        Ok(all)
    })
}

async fn names<K: Reconciled>(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let list = cluster.objects::<K>().list_metadata(&ListParams::default()).await?;
    Ok(list.items.iter().map(ResourceExt::name_any).collect())
}

/// Names of namespaces.
pub fn namespaces(current: &OsStr) -> Vec<CompletionCandidate> {
    beginning_with(current, |flags| async move {
        let cluster = Cluster::connect(&flags).await?;
        let list = Api::<Namespace>::all(cluster.client).list_metadata(&ListParams::default()).await?;
        Ok(list.items.iter().map(ResourceExt::name_any).collect())
    })
}

/// Names of contexts in the kubeconfig.
pub fn kubeconfig_contexts(current: &OsStr) -> Vec<CompletionCandidate> {
    beginning_with(current, |flags| async move {
        let kubeconfig = cluster::kubeconfig(&flags)?.unwrap_or_default();
        Ok(kubeconfig.contexts.into_iter().map(|context| context.name).collect())
    })
}

/// Lists the names that begin with the typed text. On any failure there are no candidates and no message.
fn beginning_with<F>(current: &OsStr, ask: impl FnOnce(ClusterFlags) -> F) -> Vec<CompletionCandidate>
where
    F: Future<Output = anyhow::Result<Vec<String>>>,
{
    let Some(current) = current.to_str() else {
        return Vec::new();
    };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let names = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(typed_flags())).await });
    let names = names.ok().and_then(Result::ok).unwrap_or_default();
    names.into_iter().filter(|name| name.starts_with(current)).map(CompletionCandidate::new).collect()
}

/// The flags that select a cluster, from an unfinished command line.
fn typed_flags() -> ClusterFlags {
    let words = asked_by_kubectl().unwrap_or_default();
    let line = [OsString::from("kubectl-qlik")].into_iter().chain(words);
    let matches = CommandLine::command().ignore_errors(true).try_get_matches_from(line);
    let flags = matches.ok().and_then(|matches| {
        let of_command = matches.subcommand().map_or(&matches, |(_, of_command)| of_command);
        ClusterFlags::from_arg_matches(of_command).ok()
    });
    flags.unwrap_or_default()
}
