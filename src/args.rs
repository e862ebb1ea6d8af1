//! The command line: flags and environment, parsed once into real types.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kube::core::Selector;

use crate::api::OPERATOR_NAME;
use crate::oauth::address::AddressPolicy;
use crate::oauth::tenant::AllowedHosts;
use crate::oauth::traffic::Limits;
use crate::scope::{Namespaces, Scope, selector};
use crate::telemetry;

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
pub struct RunArgs {
    /// Namespaces in which QlikContexts are worked on, separated by commas. Empty: all. With a list nothing is asked of the
    /// cluster as a whole; a Role in each namespace is enough.
    #[arg(long, env = "QLIK_CONTEXT_WATCH_NAMESPACES", default_value = "", value_name = "NAMESPACES")]
    pub watch_namespaces: Namespaces,

    /// Label selector: only these QlikContexts are worked on, others are left alone. Shards a fleet.
    #[arg(
        long,
        env = "QLIK_CONTEXT_CONTEXT_SELECTOR",
        default_value = "",
        value_name = "SELECTOR",
        value_parser = selector::parse
    )]
    context_selector: Selector,

    /// Label selector: only these Secrets are watched. The rotation of another one is seen at the next run only.
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

    /// PEM file with authorities that are trusted beside the system's, for tenants and their proxy.
    #[arg(long, env = "QLIK_CONTEXT_TENANT_CA_FILE", value_name = "FILE")]
    pub tenant_ca_file: Option<PathBuf>,

    /// Token requests that one host gets in a minute; a minute's worth may come at once. 0: no limit.
    #[arg(long, env = "QLIK_CONTEXT_HOST_TOKEN_REQUESTS_PER_MINUTE", default_value = "100", value_name = "N")]
    host_token_requests_per_minute: u32,

    /// Requests to its API that one host gets in a minute; checking a token is two. 0: no limit.
    #[arg(long, env = "QLIK_CONTEXT_HOST_API_REQUESTS_PER_MINUTE", default_value = "600", value_name = "N")]
    host_api_requests_per_minute: u32,

    /// Token requests for one credential, with equal scopes and user, in a minute. 0: no limit.
    #[arg(long, env = "QLIK_CONTEXT_KEY_TOKEN_REQUESTS_PER_MINUTE", default_value = "10", value_name = "N")]
    key_token_requests_per_minute: u32,

    /// Requests to tenants that are under way at the same time.
    #[arg(long, env = "QLIK_CONTEXT_CONCURRENCY", default_value = "32", value_name = "N")]
    concurrency: NonZeroU16,

    /// Let only one of several instances work, the one that holds a Lease.
    #[arg(long, env = "QLIK_CONTEXT_LEADER_ELECT")]
    pub leader_elect: bool,

    /// Name of the Lease.
    #[arg(long, env = "QLIK_CONTEXT_LEASE_NAME", default_value = OPERATOR_NAME, value_name = "NAME")]
    pub lease_name: String,

    /// Namespace of the Lease. Default: the operator's own.
    #[arg(long, env = "QLIK_CONTEXT_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "QLIK_CONTEXT_LISTEN", default_value = "[::]:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,

    /// Form of the log.
    #[arg(long, env = "QLIK_CONTEXT_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,

    /// What is logged, as tracing directives such as `debug` or `qlik_context_operator=debug,info`.
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
    /// What tenants are spared.
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

/// Form of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// A filter that does not parse is a mistake on the command line.
fn log_filter(directives: &str) -> Result<String, String> {
    telemetry::parse(directives).map(|_| directives.to_owned()).map_err(|problem| problem.to_string())
}

impl CommandLine {
    /// Reads the command line; a mistake in it is one line.
    pub fn read() -> Result<Self, clap::Error> {
        Self::try_parse()
    }
}

/// A mistake in the command line as one line; help and version are not mistakes.
pub fn one_line(error: &clap::Error) -> Option<String> {
    if !error.use_stderr() {
        return None;
    }
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default();
    Some(format!("{first} (qlik-context-operator --help shows what there is)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

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

    #[test]
    fn a_mistake_is_one_line_that_names_the_flag() {
        for words in [
            &["op", "run", "--allowed-tenant-hosts", "https://x"][..],
            &["op", "run", "--concurrency", "0"],
            &["op", "run", "--watch-namespaces", "a,B"],
            &["op", "run", "--context-selector", "a b"],
            &["op", "run", "--credential-selector", "a in b"],
            &["op", "run", "--nonsense"],
            &["op", "walk"],
        ] {
            let error = CommandLine::try_parse_from(words).unwrap_err();
            let line = one_line(&error).unwrap();
            assert!(!line.contains('\n') && line.starts_with("error: "), "{line}");
        }
        assert!(one_line(&CommandLine::try_parse_from(["op", "--help"]).unwrap_err()).is_none());
    }
}
