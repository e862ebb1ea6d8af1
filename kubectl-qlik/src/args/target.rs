//! Objects on the command line: a name, or TYPE/NAME with the types that kubectl knows and `-o name` prints.

use std::str::FromStr;

use clap::ValueEnum;
use qlik_context_operator::api::GROUP;

/// The kinds that commands work with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Kind {
    #[default]
    #[value(aliases = ["context", "qlikcontexts", "qlikcontext", "qctx"])]
    Contexts,
    #[value(name = "oauthclients", aliases = ["oauthclient", "qlikoauthclients", "qlikoauthclient", "qoauth"])]
    OAuthClients,
}

impl Kind {
    /// The kind that a word names, as kubectl has it: short, singular, plural, or with the group behind.
    pub fn named(word: &str) -> Result<Self, String> {
        let bare = word.strip_suffix(GROUP).and_then(|word| word.strip_suffix('.')).unwrap_or(word);
        Self::from_str(bare, true)
            .map_err(|_| format!("{word:?} is not a type: use contexts (qctx) or oauthclients (qoauth)"))
    }

    /// As the API calls it.
    pub fn api_name(self) -> &'static str {
        match self {
            Self::Contexts => "QlikContext",
            Self::OAuthClients => "QlikOAuthClient",
        }
    }
}

/// An object of a namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    pub kind: Kind,
    pub name: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (Kind::named(kind)?, name),
            None => (Kind::default(), text),
        };
        if name.is_empty() || name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()) {
            return Err(format!("{text:?} is neither NAME nor TYPE/NAME"));
        }
        Ok(Self { kind, name: name.to_owned() })
    }
}

/// The name of a QlikContext, for the commands that are about a token.
pub fn context(text: &str) -> Result<String, String> {
    let target: Target = text.parse()?;
    match target.kind {
        Kind::Contexts => Ok(target.name),
        Kind::OAuthClients => Err("this command is about the token of a QlikContext: name one".into()),
    }
}

/// The name of a QlikOAuthClient, for the command that is about its credential.
pub fn oauth_client(text: &str) -> Result<String, String> {
    let target: Target = text.parse()?;
    match target.kind {
        _ if !text.contains('/') => Ok(target.name),
        Kind::OAuthClients => Ok(target.name),
        Kind::Contexts => {
            Err("this command is about the credential of a QlikOAuthClient: name one, or use refresh for a token"
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_as_kubectl_prints_or_takes_it() {
        for (text, expected) in [
            ("acme", Some((Kind::Contexts, "acme"))),
            ("qctx/acme", Some((Kind::Contexts, "acme"))),
            ("qlikcontext.qlikcontext.dev/acme", Some((Kind::Contexts, "acme"))),
            ("qlikcontexts/acme", Some((Kind::Contexts, "acme"))),
            ("oauthclient/reporting", Some((Kind::OAuthClients, "reporting"))),
            ("QOAUTH/reporting", Some((Kind::OAuthClients, "reporting"))),
            ("qlikoauthclient.qlikcontext.dev/reporting", Some((Kind::OAuthClients, "reporting"))),
            ("pod/acme", None),
            ("", None),
            ("qctx/", None),
            ("/acme", None),
            ("qctx/acme/more", None),
            ("two words", None),
        ] {
            let target = text.parse::<Target>().ok();
            assert_eq!(target.as_ref().map(|target| (target.kind, target.name.as_str())), expected, "{text:?}");
        }
    }

    #[test]
    fn a_command_for_one_kind_refuses_the_other() {
        assert_eq!(context("qctx/acme").as_deref(), Ok("acme"));
        assert!(context("qoauth/reporting").is_err_and(|problem| problem.contains("QlikContext")));
        assert_eq!(oauth_client("reporting").as_deref(), Ok("reporting"));
        assert_eq!(oauth_client("oauthclient/reporting").as_deref(), Ok("reporting"));
        assert!(oauth_client("qctx/acme").is_err_and(|problem| problem.contains("refresh")));
    }
}
