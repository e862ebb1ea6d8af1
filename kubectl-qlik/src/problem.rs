//! Errors as sentences that say what to do, and the exit status of the program.

use std::error::Error as StdError;
use std::fmt;
use std::process::ExitCode;

use anyhow::anyhow;
use kube::core::Status;

use crate::screen;

/// Exit status of a command that failed, or found something not ready.
const FAILED: u8 = 1;
/// Exit status after Ctrl-C, as in shells: 128 plus the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// The command failed and has already printed the message.
#[derive(Debug)]
pub struct AlreadySaid;

/// The user ended it with Ctrl-C or Escape.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for AlreadySaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not ready")
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl StdError for AlreadySaid {}
impl StdError for Interrupted {}

/// Prints the error, unless it was printed already.
pub fn exit_code(done: anyhow::Result<()>) -> ExitCode {
    match done.and_then(|()| screen::everything_written()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => ExitCode::from(INTERRUPTED),
        Err(error) if error.is::<AlreadySaid>() => ExitCode::from(FAILED),
        Err(error) => {
            screen::error(&format!("{error:#}"));
            ExitCode::from(FAILED)
        }
    }
}

/// Turns an error of the Kubernetes API into one that says what to do.
pub trait Explain<T> {
    /// `doing`: what was attempted, as in "cannot read Secret x".
    fn explain(self, doing: impl fmt::Display) -> anyhow::Result<T>;
}

impl<T> Explain<T> for Result<T, kube::Error> {
    fn explain(self, doing: impl fmt::Display) -> anyhow::Result<T> {
        self.map_err(|error| anyhow!("{doing}: {}", sentence(&error)))
    }
}

/// True when the object does not exist. (If the cluster does not have the kind, that is a different error.)
pub fn is_not_there(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 && !names_no_object(status))
}

/// True when the user lacks the permission.
pub fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// True when the cluster does not know the kind.
pub fn is_kind_unknown(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 && names_no_object(status))
}

/// The error of a call of the Kubernetes API as a sentence, with advice.
pub fn sentence(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => refusal(status),
        kube::Error::Service(_) | kube::Error::HyperError(_) => format!(
            "the cluster does not answer ({}). Check that it is running and that you can reach it, or choose another one \
             with --context",
            innermost(error)
        ),
        kube::Error::Auth(_) => format!(
            "the credentials of your kubeconfig cannot be had ({}). Log in to the cluster again",
            innermost(error)
        ),
        other => other.to_string(),
    }
}

fn refusal(status: &Status) -> String {
    match status.code {
        401 => "the cluster does not accept your credentials. Log in to it again, or choose another one with --context"
            .into(),
        403 => forbidden(&screen::harmless(&status.message)),
        404 if names_no_object(status) => {
            "this cluster has no QlikContexts, so the operator is not installed. Install it as \
             docs/install.md says, or choose another cluster with --context"
                .into()
        }
        404 => format!("{}. `{}` shows what there is", screen::harmless(&status.message), list_of(status)),
        _ => screen::harmless(&status.message),
    }
}

fn list_of(status: &Status) -> &'static str {
    match status.details.as_ref().map(|details| details.kind.as_str()) {
        Some("qlikoauthclients") => "kubectl qlik list oauthclients -A",
        _ => "kubectl qlik list -A",
    }
}

/// True when the API server does not know the path: the kind is missing, not only an object of it.
fn names_no_object(status: &Status) -> bool {
    status.details.as_ref().is_none_or(|details| details.name.is_empty())
}

/// The missing permission, from the sentence of the API server's authorizer; the message of an admission webhook stays as it is.
fn forbidden(message: &str) -> String {
    let between = |from: &str, to: &str| {
        let rest = message.split_once(from)?.1;
        Some(rest.split_once(to)?.0)
    };
    let parts = (between("User \"", "\""), between("\" cannot ", " resource \""), between(" resource \"", "\""));
    let (Some(user), Some(verb), Some(resource)) = parts else {
        return message.to_owned();
    };
    let place = between("in the namespace \"", "\"")
        .map_or("in the whole cluster".into(), |namespace| format!("in the namespace {namespace}"));
    format!("{user} may not {verb} {resource} {place}. Ask an administrator of the cluster for a role that allows it")
}

/// The last cause in a chain, which has the readable text.
fn innermost(error: &dyn StdError) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, "Reason").with_code(code).boxed())
    }

    #[test]
    fn a_missing_permission_names_the_verb_and_the_resource() {
        let error = status(
            403,
            "secrets is forbidden: User \"jane\" cannot create resource \"secrets\" in API group \"\" in the namespace \"demo\"",
        );
        assert_eq!(
            sentence(&error),
            "jane may not create secrets in the namespace demo. Ask an administrator of the cluster for a role that allows it"
        );
        let error =
            status(403, "nodes is forbidden: User \"jane\" cannot list resource \"nodes\" at the cluster scope");
        assert!(sentence(&error).starts_with("jane may not list nodes in the whole cluster."));
    }

    #[test]
    fn an_admission_webhook_keeps_its_own_words() {
        let message = "admission webhook \"x\" denied the request: no";
        assert_eq!(sentence(&status(403, message)), message);
        let moves_the_cursor = "admission webhook \"x\" denied the request: \u{1b}[2Jno";
        assert!(!sentence(&status(403, moves_the_cursor)).contains('\u{1b}'));
    }

    #[test]
    fn a_kind_that_does_not_exist_differs_from_an_object_that_does_not() {
        assert!(sentence(&status(404, "404 page not found")).contains("not installed"));
        let missing =
            r#"{"kind":"Status","code":404,"message":"qlikcontexts \"acme\" not found","details":{"name":"acme"}}"#;
        let missing = kube::Error::Api(Box::new(serde_json::from_str(missing).expect("a status")));
        assert!(is_not_there(&missing) && sentence(&missing).starts_with("qlikcontexts \"acme\" not found."));
    }
}
