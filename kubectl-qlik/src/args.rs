//! The command line: kubectl's flags under kubectl's names, and a help text with examples for every command.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::ArgValueCompleter;

use crate::completion;
use crate::document::Format;

mod init;
mod selection;
mod shell;
mod target;

pub use init::{AuthMethod, DryRun, InitArgs};
pub use selection::{RefreshArgs, RotateArgs, Selected, Selection};
pub use shell::Shell;
pub use target::{Kind, Target};

/// Qlik Cloud access tokens in Kubernetes Secrets: set up a token, see its state, fix it.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-qlik",
    bin_name = "kubectl qlik",
    version,
    after_help = "\
Begin here:
  kubectl qlik doctor         whether this cluster is ready for it
  kubectl qlik init acme      from an OAuth client to a verified token, by dialogue
  kubectl qlik status acme    what works, what does not, and what to do about it

`kubectl qlik COMMAND --help` has examples.
Exit status: 0 done; 1 failed, or not ready; 2 wrong usage; 130 Ctrl-C."
)]
pub struct CommandLine {
    #[command(flatten)]
    pub cluster: ClusterFlags,
    #[command(subcommand)]
    pub command: Command,
}

/// The cluster and the namespace.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterFlags {
    /// Namespace [default: that of the kubeconfig's context]
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    #[arg(add = ArgValueCompleter::new(completion::namespaces))]
    pub namespace: Option<String>,
    /// Context of the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME")]
    #[arg(add = ArgValueCompleter::new(completion::kubeconfig_contexts))]
    pub context: Option<String>,
    /// Kubeconfig file to use
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Set up a token: ask for tenant and credential, write them, wait for it
    Init(Box<InitArgs>),
    /// List QlikContexts or QlikOAuthClients
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show what works, what is wrong and what to do, and what reads it
    Status(StatusArgs),
    /// Show the identity of a token
    Whoami(WhoamiArgs),
    /// Print the token, for a pipe
    Token(TokenArgs),
    /// Request a new token now
    Refresh(RefreshArgs),
    /// Replace the credential of a QlikOAuthClient now
    Rotate(RotateArgs),
    /// Stop renewals: no request to the tenant, no write to the Secret
    Suspend(Selection),
    /// Resume renewals
    Resume(Selection),
    /// Write the token into qlik-cli's file, so that `qlik` uses it
    Export(ExportArgs),
    /// Check the cluster: CRD, operator, lease, permissions, versions
    Doctor(DoctorArgs),
    /// Print a completion script
    Completion(CompletionArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl qlik list -A
  kubectl qlik list -l team=bi -o wide
  kubectl qlik list oauthclients
  kubectl qlik list -o json | jq -r '.items[].metadata.name'")]
pub struct ListArgs {
    /// What to list
    #[arg(value_enum, value_name = "TYPE", default_value = "contexts", ignore_case = true)]
    pub kind: Kind,
    /// Of every namespace
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Only those with these labels, as in kubectl get
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<String>,
    /// Format
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<ListFormat>,
}

/// Formats of a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum ListFormat {
    Wide,
    Json,
    Yaml,
    Name,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl qlik status acme
  kubectl qlik status acme -o json | jq '.pods[] | select(.state == \"stale\")'
  kubectl qlik status oauthclient/reporting

Exit status 0 when it is ready, else 1.")]
pub struct StatusArgs {
    /// Name of a QlikContext, or oauthclient/NAME
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(completion::targets))]
    pub target: Target,
    /// Format
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Format>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl qlik whoami acme          as the operator saw it last
  kubectl qlik whoami acme --live   ask the tenant now, from this machine")]
pub struct WhoamiArgs {
    /// Name of the QlikContext
    #[arg(value_parser = target::context, add = ArgValueCompleter::new(completion::contexts))]
    pub name: String,
    /// Ask the tenant now, from this machine
    #[arg(long)]
    pub live: bool,
    /// With --live: PEM file of CA certificates to trust in addition to the system's
    #[arg(long, value_name = "FILE", requires = "live")]
    pub tenant_ca_file: Option<PathBuf>,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "json")]
    pub output: Format,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl qlik token acme | tr -d '\\n' | pbcopy
  printf 'header = \"Authorization: Bearer %s\"' \"$(kubectl qlik token acme)\" |
    curl --config - https://acme.eu.qlikcloud.com/api/v1/users/me

The second keeps the token out of the arguments of curl, which every user of the
machine can read.")]
pub struct TokenArgs {
    /// Name of the QlikContext
    #[arg(value_parser = target::context, add = ArgValueCompleter::new(completion::contexts))]
    pub name: String,
    /// Print it even on a terminal
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl qlik export acme
  kubectl qlik export acme --use && qlik user me
  kubectl qlik export acme --to ./contexts.yml --name acme-prod

The file keeps its other contexts and gets mode 0600. The token in it is not
renewed: export it again when it has expired.")]
pub struct ExportArgs {
    /// Name of the QlikContext
    #[arg(value_parser = target::context, add = ArgValueCompleter::new(completion::contexts))]
    pub name: String,
    /// The file [default: ~/.qlik/contexts.yml]
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// Name of the context in the file [default: that of the QlikContext]
    #[arg(long = "name", value_name = "NAME", value_parser = printable)]
    pub called: Option<String>,
    /// Make it the current context of the file, also when there is another
    #[arg(long = "use")]
    pub make_current: bool,
    /// Replace a context of that name that is for another tenant or authenticates otherwise
    #[arg(long)]
    pub force: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl qlik doctor
  kubectl qlik doctor --operator-namespace qlik-system -n demo

Exit status 0 when nothing failed, else 1.")]
pub struct DoctorArgs {
    /// Namespace of the operator, if you may not search for it in the whole cluster
    #[arg(long, value_name = "NAMESPACE", default_value = "qlik-system")]
    pub operator_namespace: String,
    /// Format
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Format>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl qlik completion kubectl > ~/.local/bin/kubectl_complete-qlik
  chmod +x ~/.local/bin/kubectl_complete-qlik
      for kubectl's own completion; the folder must be in PATH

  source <(kubectl qlik completion bash)
      for the program by its own name, kubectl-qlik")]
pub struct CompletionArgs {
    /// `kubectl`, or the shell that completes `kubectl-qlik`
    #[arg(value_parser = shell::Parser)]
    pub shell: Shell,
}

impl CommandLine {
    /// Reads the command line; ends the program with status 2 when it is wrong.
    pub fn read() -> Self {
        let line = Self::parse();
        let (name, problem) = match &line.command {
            Command::Refresh(args) => ("refresh", args.problem()),
            Command::Rotate(args) => ("rotate", args.problem()),
            Command::Suspend(selection) => ("suspend", selection.selected().err()),
            Command::Resume(selection) => ("resume", selection.selected().err()),
            _ => return line,
        };
        if let Some(problem) = problem {
            let mut all = Self::command();
            // So that the usage is that of the command.
            all.build();
            let mut command = all.find_subcommand(name).cloned().unwrap_or(all);
            command.error(ErrorKind::MissingRequiredArgument, problem).exit();
        }
        line
    }
}

/// A name that a file and a terminal can show.
fn printable(text: &str) -> Result<String, String> {
    let wrong = text.trim().is_empty() || text.chars().any(char::is_control);
    if wrong { Err("a name needs at least one character, and no control characters".into()) } else { Ok(text.into()) }
}

/// A duration as Go writes it, as in kubectl: `90s`, `2m`, `1h30m`.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 90s or 2m");
    let duration: kube::core::Duration = text.parse().map_err(|_| wrong())?;
    let duration = std::time::Duration::from(duration);
    if duration.is_zero() || text.starts_with('-') { Err(wrong()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples_and_no_line_of_help_is_wider_than_80_columns() {
        let mut all = CommandLine::command().term_width(80);
        all.build();
        for command in all.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            let (help, given) = (command.render_help().to_string(), command.get_after_help().map(ToString::to_string));
            assert!(help.contains("\nExamples:\n"), "{}", command.get_name());
            for line in help.lines().chain(given.iter().flat_map(|text| text.lines())) {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }

    fn page() -> String {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kubectl-qlik.md");
        std::fs::read_to_string(page).expect("the page")
    }

    #[test]
    fn the_page_has_every_command_and_no_other() {
        let page = page();
        let table = page.split("\n## Commands\n").nth(1).expect("a section");
        let table = table.split("\n## ").next().unwrap_or_default();
        let documented: Vec<_> = table.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
        let command = CommandLine::command();
        let commands: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(documented, commands);
    }

    #[test]
    fn every_flag_on_the_page_exists() {
        let mut all = CommandLine::command();
        all.build();
        let flags: Vec<_> =
            all.get_subcommands().flat_map(clap::Command::get_arguments).filter_map(clap::Arg::get_long).collect();
        let page = page();
        let named = page
            .split("--")
            .skip(1)
            .map(|rest| rest.split(|c: char| !(c.is_ascii_lowercase() || c == '-')).next().unwrap_or_default());
        // Those of cargo and krew.
        let named: Vec<_> = named
            .filter(|name| {
                name.starts_with(|c: char| c.is_ascii_lowercase()) && !["locked", "path", "manifest"].contains(name)
            })
            .collect();
        assert!(named.len() > 15, "{named:?}");
        for name in named {
            assert!(flags.contains(&name.trim_end_matches('-')), "--{name}");
        }
    }

    #[test]
    fn a_secret_is_never_an_argument() {
        for command in CommandLine::command().get_subcommands() {
            let flags = command.get_arguments().filter_map(clap::Arg::get_long);
            let mut values = flags.filter(|flag| ["client-secret", "private-key", "api-key", "token"].contains(flag));
            assert_eq!(values.next(), None, "{}", command.get_name());
        }
    }

    #[test]
    fn a_duration_is_one_of_go() {
        for (text, seconds) in
            [("90s", Some(90)), ("2m", Some(120)), ("1h30m", Some(5400)), ("0s", None), ("-1s", None), ("x", None)]
        {
            assert_eq!(duration(text).ok().map(|duration| duration.as_secs()), seconds, "{text}");
        }
    }
}
