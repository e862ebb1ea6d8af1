//! Flags of `init`: an answer to each of its questions.

use clap::{Args, ValueEnum};

use super::duration;
use crate::document::Format;

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  kubectl qlik init acme
      asks for everything; run it again to correct an answer and keep the others

  kubectl qlik init acme --tenant-url acme.eu.qlikcloud.com --client-id 82e0… \\
    --client-secret-file ./secret --yes
      asks for nothing, for scripts; `-` as the file is standard input

  kubectl qlik init acme --tenant-url acme.eu.qlikcloud.com --dry-run=client
      prints the QlikContext for Git; the Secret is left to you

A secret is never an argument: it is typed at a prompt that does not show it, or
read from a file or from standard input.")]
pub struct InitArgs {
    /// Name of the QlikContext
    pub name: String,
    /// Address of the tenant, as in a browser
    #[arg(long, value_name = "URL")]
    pub tenant_url: Option<String>,
    /// How to authenticate
    #[arg(long, value_enum, value_name = "METHOD")]
    pub auth: Option<AuthMethod>,
    /// Client ID of the OAuth client
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// File with the client secret; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["private_key_file", "api_key_file"])]
    pub client_secret_file: Option<String>,
    /// File with the private key, PEM or JWK; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "api_key_file")]
    pub private_key_file: Option<String>,
    /// Key ID (kid) under which the public key is registered
    #[arg(long, value_name = "ID")]
    pub key_id: Option<String>,
    /// File with the API key; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "client_id")]
    pub api_key_file: Option<String>,
    /// Use this Secret, which is created elsewhere, and ask for no credential
    #[arg(long, value_name = "NAME", conflicts_with_all = ["client_id", "client_secret_file", "private_key_file", "key_id", "api_key_file"])]
    pub existing_secret: Option<String>,
    /// Scopes to request, comma-separated [default: all that the client allows]
    #[arg(long, value_name = "SCOPES", value_delimiter = ',')]
    pub scopes: Vec<String>,
    /// Name of the Secret that the token is written to [default: NAME-token]
    #[arg(long, value_name = "NAME")]
    pub token_secret: Option<String>,
    /// Write without asking for confirmation
    #[arg(short, long)]
    pub yes: bool,
    /// Print the QlikContext and write nothing; --dry-run alone means --dry-run=client
    #[arg(long, value_enum, value_name = "WHERE", default_value = "none", default_missing_value = "client", num_args = 0..=1, require_equals = true)]
    pub dry_run: DryRun,
    /// Format, with --dry-run
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Format>,
    /// How long to follow the operator
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub timeout: std::time::Duration,
}

/// How to authenticate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum AuthMethod {
    /// Client id and client secret of an OAuth client
    Oauth,
    /// Client id of an OAuth client and a private key
    PrivateKey,
    /// An API key of a user; not renewed
    ApiKey,
}

/// The kind of dry run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum DryRun {
    None,
    Client,
}

impl InitArgs {
    /// True when a flag answers a question about the credential.
    pub fn has_credential(&self) -> bool {
        let given =
            [&self.client_id, &self.client_secret_file, &self.private_key_file, &self.key_id, &self.api_key_file];
        given.into_iter().any(Option::is_some)
    }

    /// The same without any answer about the credential.
    pub fn without_credential(&self) -> Self {
        Self {
            client_id: None,
            client_secret_file: None,
            private_key_file: None,
            key_id: None,
            api_key_file: None,
            existing_secret: None,
            ..self.clone()
        }
    }
}
