//! Objects by name or by label, and the commands that take several.

use clap::Args;
use clap_complete::ArgValueCompleter;

use super::duration;
use super::target::{self, Kind, Target};
use crate::completion;

/// Objects of either kind.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl qlik suspend acme
  kubectl qlik resume -l team=bi
  kubectl qlik suspend oauthclient/reporting
  kubectl qlik resume oauthclients -l team=bi")]
pub struct Selection {
    /// Names of QlikContexts, or oauthclient/NAME; with -l a type, contexts or oauthclients
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(completion::targets))]
    words: Vec<String>,
    /// Those with these labels, as in kubectl get
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
}

/// What a selection names.
#[derive(Debug, Eq, PartialEq)]
pub enum Selected {
    Named(Vec<Target>),
    Labelled(Kind, String),
}

impl Selection {
    /// What is selected, or what is wrong with it.
    pub fn selected(&self) -> Result<Selected, String> {
        match (&self.selector, &self.words[..]) {
            (None, []) => Err(nothing("QlikContexts or oauthclient/NAME")),
            (None, words) => words.iter().map(|word| word.parse()).collect::<Result<_, _>>().map(Selected::Named),
            (Some(labels), []) => Ok(Selected::Labelled(Kind::default(), labels.clone())),
            (Some(labels), [word]) if !word.contains('/') => {
                let kind = Kind::named(word).map_err(|problem| format!("names do not go with -l: {problem}"))?;
                Ok(Selected::Labelled(kind, labels.clone()))
            }
            (Some(_), _) => Err("names do not go with -l: give either of them".into()),
        }
    }
}

fn nothing(what: &str) -> String {
    format!("nothing is selected: give names of {what}, or labels with -l, as in -l team=bi")
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl qlik refresh acme --wait
  kubectl qlik refresh -l team=bi

The operator requests a new token at most once a minute for each client.")]
pub struct RefreshArgs {
    /// Names of QlikContexts
    #[arg(value_name = "NAME", value_parser = target::context)]
    #[arg(add = ArgValueCompleter::new(completion::contexts))]
    pub names: Vec<String>,
    /// Those with these labels, as in kubectl get
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "names")]
    pub selector: Option<String>,
    /// Wait until the new token is in the Secret
    #[arg(long)]
    pub wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub timeout: std::time::Duration,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl qlik rotate reporting --wait
  kubectl qlik rotate -l team=bi

The old credential stays valid for the time of spec.rotation.overlap. An OAuth
client that was deleted in the tenant is created again.")]
pub struct RotateArgs {
    /// Names of QlikOAuthClients
    #[arg(value_name = "NAME", value_parser = target::oauth_client)]
    #[arg(add = ArgValueCompleter::new(completion::oauth_clients))]
    pub names: Vec<String>,
    /// Those with these labels, as in kubectl get
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "names")]
    pub selector: Option<String>,
    /// Wait until the new credential is in the Secret
    #[arg(long)]
    pub wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub timeout: std::time::Duration,
}

impl RefreshArgs {
    /// What is missing.
    pub fn problem(&self) -> Option<String> {
        (self.names.is_empty() && self.selector.is_none()).then(|| nothing("QlikContexts"))
    }
}

impl RotateArgs {
    /// What is missing.
    pub fn problem(&self) -> Option<String> {
        (self.names.is_empty() && self.selector.is_none()).then(|| nothing("QlikOAuthClients"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_is_by_names_of_any_kind_or_by_labels_of_one() {
        let selection = |words: &[&str], selector: Option<&str>| {
            let words = words.iter().map(|&word| word.to_owned()).collect();
            Selection { words, selector: selector.map(str::to_owned) }.selected()
        };
        let named = selection(&["acme", "qoauth/reporting"], None).expect("names");
        let target = |kind, name: &str| Target { kind, name: name.to_owned() };
        assert_eq!(
            named,
            Selected::Named(vec![target(Kind::Contexts, "acme"), target(Kind::OAuthClients, "reporting")])
        );
        for (words, kind) in
            [(&[][..], Kind::Contexts), (&["qctx"], Kind::Contexts), (&["oauthclients"], Kind::OAuthClients)]
        {
            assert_eq!(selection(words, Some("a=b")), Ok(Selected::Labelled(kind, "a=b".into())));
        }
        for (words, selector, expected) in [
            (&[][..], None, "labels with -l"),
            (&["acme"], Some("a=b"), "names do not go with -l"),
            (&["qctx/acme"], Some("a=b"), "names do not go with -l"),
            (&["pod/acme"], None, "is not a type"),
        ] {
            let problem = selection(words, selector).expect_err("refused");
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
