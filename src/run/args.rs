//! The command line: flags and environment, parsed once into real types.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use kube::core::Selector;

use crate::api::OPERATOR_NAME;
use crate::controller::scope::{Namespaces, Scope, selector};
use crate::oauth::address::AddressPolicy;
use crate::oauth::tenant::AllowedHosts;
use crate::run::telemetry::{self, LogFormat};
use crate::scheduler::Limits;

/// Keeps a fresh, verified Qlik Cloud access token in a Secret for every QlikContext.
#[derive(Debug, Parser)]
#[command(name = "qlik-context-operator", version, about, disable_help_subcommand = true)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(Box<RunArgs>),
    /// Print every CustomResourceDefinition as YAML.
    Crd,
}

/// Flags of `run`. Each can be set in the environment too.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct RunArgs {
    /// Namespaces to watch, separated by commas. Empty: all. With a list the operator needs no cluster-wide permissions; a Role
    /// in each namespace is enough.
    #[arg(long, env = "QLIK_CONTEXT_WATCH_NAMESPACES", default_value = "", value_name = "NAMESPACES")]
    pub watch_namespaces: Namespaces,

    /// Label selector: only these QlikContexts and QlikOAuthClients are reconciled, others are ignored. Shards a fleet.
    #[arg(
        long,
        env = "QLIK_CONTEXT_CONTEXT_SELECTOR",
        default_value = "",
        value_name = "SELECTOR",
        value_parser = selector::parse
    )]
    context_selector: Selector,

    /// Label selector: only these Secrets are watched. The rotation of another one is seen at the next reconciliation only.
    #[arg(
        long,
        env = "QLIK_CONTEXT_CREDENTIAL_SELECTOR",
        default_value = "",
        value_name = "SELECTOR",
        value_parser = selector::parse
    )]
    credential_selector: Selector,

    /// Hosts that credentials may be sent to, separated by commas. `*.` stands for one or more labels, `*` alone for every
    /// host name. Port 443 unless one is named. Addresses count only when written out.
    #[arg(
        long,
        env = "QLIK_CONTEXT_ALLOWED_TENANT_HOSTS",
        default_value = "*.qlikcloud.com,*.qlikcloudgov.com",
        value_name = "HOSTS"
    )]
    pub allowed_tenant_hosts: AllowedHosts,

    /// Also connect to private addresses. Never to link-local, metadata, unspecified or multicast ones.
    #[arg(long, env = "QLIK_CONTEXT_ALLOW_PRIVATE_ADDRESSES")]
    allow_private_addresses: bool,

    /// PEM file with additional trusted CA certificates, for tenants and their proxy.
    #[arg(long, env = "QLIK_CONTEXT_TENANT_CA_FILE", value_name = "FILE")]
    pub tenant_ca_file: Option<PathBuf>,

    /// Token requests per minute to one host; a minute's worth may be sent at once. 0: no limit.
    #[arg(long, env = "QLIK_CONTEXT_HOST_TOKEN_REQUESTS_PER_MINUTE", default_value = "100", value_name = "N")]
    host_token_requests_per_minute: u32,

    /// Other requests per minute to one host; verifying a token takes two. 0: no limit.
    #[arg(long, env = "QLIK_CONTEXT_HOST_API_REQUESTS_PER_MINUTE", default_value = "600", value_name = "N")]
    host_api_requests_per_minute: u32,

    /// Token requests per minute for one credential, with equal scopes and user. 0: no limit.
    #[arg(long, env = "QLIK_CONTEXT_KEY_TOKEN_REQUESTS_PER_MINUTE", default_value = "10", value_name = "N")]
    key_token_requests_per_minute: u32,

    /// Maximum concurrent requests to tenants.
    #[arg(long, env = "QLIK_CONTEXT_CONCURRENCY", default_value = "32", value_name = "N")]
    concurrency: NonZeroU16,

    /// Reconcile QlikOAuthClients as well, if the cluster has their CRD.
    #[arg(long, env = "QLIK_CONTEXT_OAUTH_CLIENTS")]
    pub oauth_clients: bool,

    /// Refresh and restart the workloads that read a token, where spec.workloads says so. Needs permissions for Pods and workloads.
    #[arg(long, env = "QLIK_CONTEXT_WORKLOADS")]
    pub workloads: bool,

    /// Enable leader election: of several instances only the one that holds the Lease is active.
    #[arg(long, env = "QLIK_CONTEXT_LEADER_ELECT")]
    pub leader_elect: bool,

    /// Name of the Lease.
    #[arg(long, env = "QLIK_CONTEXT_LEASE_NAME", default_value = OPERATOR_NAME, value_name = "NAME")]
    pub lease_name: String,

    /// Namespace of the Lease. Default: the operator's own.
    #[arg(long, env = "QLIK_CONTEXT_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "QLIK_CONTEXT_LISTEN", default_value = "[::]:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,

    /// Log format.
    #[arg(long, env = "QLIK_CONTEXT_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,

    /// Log filter: directives of `tracing`, such as `debug` or `qlik_context_operator=debug,info`.
    #[arg(
        long,
        env = "QLIK_CONTEXT_LOG_FILTER",
        default_value = "info,kube_runtime=warn",
        value_name = "DIRECTIVES",
        value_parser = log_filter
    )]
    pub log_filter: String,
}

impl RunArgs {
    /// The request budgets of tenants.
    pub fn limits(&self) -> Limits {
        Limits {
            host_tokens_per_minute: self.host_token_requests_per_minute,
            host_requests_per_minute: self.host_api_requests_per_minute,
            key_tokens_per_minute: self.key_token_requests_per_minute,
            concurrency: self.concurrency.get(),
        }
    }

    /// From `--watch-namespaces`, `--context-selector` and `--credential-selector`.
    pub fn scope(&self) -> Scope {
        Scope {
            namespaces: self.watch_namespaces.clone(),
            contexts: self.context_selector.clone(),
            credentials: self.credential_selector.clone(),
        }
    }

    /// From `--allow-private-addresses`.
    pub fn address_policy(&self) -> AddressPolicy {
        if self.allow_private_addresses { AddressPolicy::PrivateToo } else { AddressPolicy::PublicOnly }
    }
}

/// A filter that does not parse is an error of the command line.
fn log_filter(directives: &str) -> Result<String, String> {
    telemetry::parse(directives).map(|_| directives.to_owned()).map_err(|problem| problem.to_string())
}

impl CommandLine {
    /// Parses the command line, with the program's name first. `Err` is an error, as one line, or the text of help and version.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        let words: Vec<_> = words.into_iter().collect();
        Self::try_parse_from(&words).map_err(|error| Stop::of(&error, &words))
    }
}

/// Why the program ends before it runs.
#[derive(Debug)]
pub enum Stop {
    /// One line that says what is wrong, and where to read on.
    Mistake(String),
    /// The text of help or version.
    Text(String),
}

impl Stop {
    fn of(error: &clap::Error, words: &[OsString]) -> Self {
        let text = error.render().to_string();
        if !error.use_stderr() {
            return Self::Text(text);
        }
        // Help for the subcommand, where one was given: its flags stand only there.
        let command = CommandLine::command();
        let mut given = words.iter().skip(1).filter_map(|word| word.to_str());
        let subcommand = given.next().filter(|word| command.find_subcommand(word).is_some());
        let of = subcommand.map(|name| format!(" {name}")).unwrap_or_default();
        let first = match error.kind() {
            // clap prints the whole help then.
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
                "error: no command is given; the commands are run and crd"
            }
            _ => text.lines().next().unwrap_or_default(),
        };
        Self::Mistake(format!("{first} (see {OPERATOR_NAME}{of} --help)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_of_run_is_also_an_environment_variable_named_after_it() {
        let command = CommandLine::command();
        let run = command.find_subcommand("run").unwrap();
        for arg in run.get_arguments().filter(|arg| arg.get_id() != "help") {
            let long = arg.get_long().unwrap();
            let env = format!("QLIK_CONTEXT_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(env.as_str()));
            assert!(arg.get_help().is_some(), "{long}");
        }
    }

    fn stopped(words: &[&str]) -> Stop {
        CommandLine::read(words.iter().map(OsString::from)).unwrap_err()
    }

    #[test]
    fn a_mistake_is_one_line_that_names_the_flag_and_the_help_that_has_it() {
        for (words, help) in [
            (&["op", "run", "--allowed-tenant-hosts", "https://x"][..], "(see qlik-context-operator run --help)"),
            (&["op", "run", "--concurrency", "0"], "(see qlik-context-operator run --help)"),
            (&["op", "run", "--watch-namespaces", "a,B"], "(see qlik-context-operator run --help)"),
            (&["op", "run", "--context-selector", "a b"], "(see qlik-context-operator run --help)"),
            (&["op", "run", "--credential-selector", "a in b"], "(see qlik-context-operator run --help)"),
            (&["op", "run", "--bogus"], "(see qlik-context-operator run --help)"),
            (&["op", "run", "extra"], "(see qlik-context-operator run --help)"),
            (&["op", "crd", "--bogus"], "(see qlik-context-operator crd --help)"),
            (&["op", "walk"], "(see qlik-context-operator --help)"),
            (&["op", "--bogus", "run"], "(see qlik-context-operator --help)"),
            (&["op"], "no command is given; the commands are run and crd (see qlik-context-operator --help)"),
        ] {
            let Stop::Mistake(line) = stopped(words) else { panic!("{words:?}: no mistake") };
            assert!(!line.contains('\n') && line.starts_with("error: ") && line.ends_with(help), "{line}");
        }
        for words in [["op", "--help"], ["op", "--version"]] {
            assert!(matches!(stopped(&words), Stop::Text(_)), "{words:?}");
        }
        assert!(matches!(stopped(&["op", "run", "--help"]), Stop::Text(text) if text.contains("--concurrency")));
    }
}
