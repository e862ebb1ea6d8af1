//! `init`: from the id and secret of an OAuth client to a verified token, in one dialogue.
//!
//! It asks the questions of `qlik context init`, shows the objects that it will write, writes them, and follows the operator to
//! the end. It only changes objects that it created. When it ends early, it lists the objects that it has written.

mod manifests;
mod present;
mod questions;
mod write;

use std::fmt;

use anyhow::bail;
use k8s_openapi::api::core::v1::Secret;
use qlik_context_operator::api::{QlikContext, Reason};

use crate::access::{self, Permission};
use crate::args::{ClusterFlags, DryRun, InitArgs};
use crate::cluster::{self, Cluster};
use crate::document::{self, Format};
use crate::follow::{self, Ending, Goal};
use crate::problem::{AlreadySaid, Interrupted};
use crate::screen::{GREEN, RED};
use crate::{prompt, request, screen, whoami};
use manifests::{Answers, CredentialSecret};
use write::{Change, Written};

/// All actions of `init` on the cluster.
const NEEDED: [Permission; 6] = [
    Permission::contexts("get"),
    Permission::contexts("create"),
    Permission::contexts("patch"),
    Permission::secrets("get"),
    Permission::secrets("create"),
    Permission::secrets("patch"),
];

/// Runs the command.
pub async fn run(flags: &ClusterFlags, args: Box<InitArgs>) -> anyhow::Result<()> {
    check_names(&args)?;
    if args.dry_run == DryRun::Client {
        return print(&args, flags);
    }
    if args.output.is_some() {
        bail!("-o goes with --dry-run=client; without it, what init prints at the end is the identity as JSON");
    }
    let written = Written::default();
    let done = tokio::select! {
        done = dialogue(flags, &args, &written) => done,
        _ = tokio::signal::ctrl_c() => Err(Interrupted.into()),
    };
    match &done {
        Err(error) if error.is::<Interrupted>() => written.report("Interrupted", &args.name, &cluster::typed(flags)),
        Err(error) if !error.is::<AlreadySaid>() && !written.is_empty() => {
            screen::error(&format!("{error:#}"));
            written.report("Stopped", &args.name, &cluster::typed(flags));
            return Err(AlreadySaid.into());
        }
        _ => {}
    }
    done
}

/// Checks the names before the first question.
fn check_names(args: &InitArgs) -> anyhow::Result<()> {
    let valid = |name: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        edge(name.chars().next()) && edge(name.chars().last()) && name.chars().all(inner)
    };
    if !valid(&args.name) || args.name.len() > 63 {
        bail!("{:?} is no name for a QlikContext: use lower case letters, digits and hyphens, at most 63", args.name);
    }
    for name in args.token_secret.iter().chain(&args.existing_secret) {
        if !valid(name) || name.len() > 253 {
            bail!("{name:?} is no name for a Secret: use lower case letters, digits, hyphens and dots");
        }
    }
    Ok(())
}

/// The QlikContext for Git.
fn print(args: &InitArgs, flags: &ClusterFlags) -> anyhow::Result<()> {
    let answers = Answers {
        name: args.name.clone(),
        tenant_url: questions::tenant(args.tenant_url.as_deref(), None)?.to_string(),
        method: questions::method(args, None)?,
        secret: CredentialSecret::Ours(Vec::new()),
        scopes: scopes(args),
        token_secret: args.token_secret.clone(),
    };
    let answers = match &args.existing_secret {
        Some(name) => Answers { secret: CredentialSecret::Existing(name.clone()), ..answers },
        None => answers,
    };
    let mut context = answers.context();
    // An object in Git is managed by Git.
    if let Some(metadata) = context["metadata"].as_object_mut() {
        metadata.remove("labels");
        if let Some(namespace) = &flags.namespace {
            metadata.insert("namespace".into(), namespace.as_str().into());
        }
    }
    let keys = manifests::keys(answers.method);
    screen::note(&format!(
        "The Secret {} with the {} {} is left to you: it does not belong in Git as it is.",
        answers.secret_name(),
        if keys.len() == 1 { "key" } else { "keys" },
        keys.join(" and ")
    ));
    document::print(&context, args.output.unwrap_or(Format::Yaml))
}

async fn dialogue(flags: &ClusterFlags, args: &InitArgs, written: &Written) -> anyhow::Result<()> {
    let cluster = Cluster::connect(flags).await?;
    let missing = access::missing(&cluster, &NEEDED).await?;
    if !missing.is_empty() {
        bail!(
            "you may not {} in namespace {}. Ask an administrator of the cluster for a role that allows it, or choose another \
             namespace with -n",
            access::list(&missing),
            cluster.namespace
        );
    }
    present::namespace(&cluster).await?;
    let context = present::context(&cluster, &args.name).await?;
    let token_secret = context.as_ref().map(QlikContext::target_name);
    let token_secret = args.token_secret.clone().or(token_secret).unwrap_or_else(|| format!("{}-token", args.name));
    present::token_secret_is_free(&cluster, &token_secret, context.as_ref()).await?;
    if context.is_some() && prompt::possible() {
        screen::note(&format!("{} exists already: correct what is wrong, and keep the rest with Enter.\n", args.name));
    } else if prompt::possible() {
        screen::note("Acquiring access to Qlik Cloud\n");
    }

    let mut answers = ask(&cluster, args, context.as_ref()).await?;
    confirm(&cluster, args, &answers)?;
    loop {
        let goal = match write::write(&cluster, &answers, written).await? {
            Change::Created => Goal::Verified { before: None },
            Change::Changed(before) => Goal::Verified { before },
            Change::None(context) if follow::works(&*context) => Goal::Verified { before: None },
            // The same again, so something was corrected elsewhere.
            Change::None(_) => request::request(&cluster, &args.name).await?,
        };
        let ending = follow::follow(&cluster, &args.name, &goal, args.timeout).await?;
        let next = match ending {
            Ending::Reached(context) => return finish(&cluster, &context),
            Ending::Failed(context) => failed(&cluster, args, &context)?,
            Ending::TimedOut(context) => return Err(timed_out(&cluster, args, &context)),
        };
        answers = again(&cluster, args, answers, next).await?;
    }
}

/// All answers, from flags or questions.
async fn ask(cluster: &Cluster, args: &InitArgs, context: Option<&QlikContext>) -> anyhow::Result<Answers> {
    let tenant_url = questions::tenant(args.tenant_url.as_deref(), context)?.to_string();
    let method = questions::method(args, context)?;
    let mut answers = Answers {
        name: args.name.clone(),
        tenant_url,
        method,
        secret: CredentialSecret::Ours(Vec::new()),
        scopes: scopes(args),
        token_secret: args.token_secret.clone(),
    };
    // A Secret that is managed elsewhere stays in use until a credential is given.
    let kept = context.filter(|context| present::method(context) == Some(method) && !args.has_credential());
    let kept = kept.and_then(QlikContext::credential_name).filter(|name| *name != answers.secret_name());
    answers.secret = match args.existing_secret.as_deref().or(kept) {
        Some(name) => CredentialSecret::Existing(name.to_owned()),
        None => {
            let present = secret(cluster, &answers).await?;
            questions::announce(method, args);
            CredentialSecret::Ours(questions::credential(method, args, present.as_ref())?)
        }
    };
    Ok(answers)
}

/// The scopes, without empty ones from a superfluous comma.
fn scopes(args: &InitArgs) -> Vec<String> {
    args.scopes.iter().map(|scope| scope.trim().to_owned()).filter(|scope| !scope.is_empty()).collect()
}

async fn secret(cluster: &Cluster, answers: &Answers) -> anyhow::Result<Option<Secret>> {
    present::secret(cluster, &answers.secret_name(), &answers.name).await
}

/// Shows the objects to write and asks for confirmation.
fn confirm(cluster: &Cluster, args: &InitArgs, answers: &Answers) -> anyhow::Result<()> {
    if args.yes {
        return Ok(());
    }
    screen::note(&format!("\nThis will be written to namespace {} of {}:\n", cluster.namespace, cluster.url));
    if let Some(secret) = answers.shown_secret() {
        screen::verbatim(&format!("{}---", document::text(&secret, Format::Yaml)?));
    }
    screen::verbatim(&document::text(&answers.context(), Format::Yaml)?);
    if prompt::confirm("Write it?", "--yes")? { Ok(()) } else { Err(Interrupted.into()) }
}

/// The end of the tutorial: the identity of the token, as `qlik user me` prints it.
fn finish(cluster: &Cluster, context: &QlikContext) -> anyhow::Result<()> {
    let name = context.metadata.name.as_deref().unwrap_or_default();
    let (secret, place, flags) = (context.target_name(), &cluster.namespace, &cluster.flags);
    screen::note(&format!(
        "{GREEN}✓{GREEN:#} Secret {secret} in namespace {place} holds a verified token. It acts as:\n"
    ));
    document::print(&whoami::identity(context)?, Format::Json)?;
    screen::note(&format!(
        "\nMount Secret {secret} in your Pods; the operator keeps it fresh. `kubectl qlik status {name}{flags}` shows how it is, \
         `kubectl qlik export {name}{flags}` gives it to qlik-cli."
    ));
    Ok(())
}

/// The next step after a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    Credential,
    Tenant,
    AskAgain,
    Leave,
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Credential => "Enter the credential again",
            Self::Tenant => "Enter the tenant url again",
            Self::AskAgain => "Try again, after a correction elsewhere",
            Self::Leave => "Leave it as it is",
        })
    }
}

/// The likely corrections first.
fn choices(reason: Option<Reason>) -> Vec<Next> {
    use Reason::*;
    match reason {
        Some(TenantNotFound | HostNotAllowedByOperator | AddressNotPublic | TenantUnreachable | UnexpectedResponse) => {
            vec![Next::Tenant, Next::Credential, Next::AskAgain, Next::Leave]
        }
        Some(InvalidScope | UserInactive | AccessDenied) => {
            vec![Next::AskAgain, Next::Credential, Next::Tenant, Next::Leave]
        }
        Some(SecretNotOwned | TemplateInvalid | WriteRejected | Suspended | SpecInvalid | HostNotAllowedBySecret) => {
            vec![Next::AskAgain, Next::Leave]
        }
        _ => vec![Next::Credential, Next::Tenant, Next::AskAgain, Next::Leave],
    }
}

/// Prints the failure, and asks for the next step on a terminal.
fn failed(cluster: &Cluster, args: &InitArgs, context: &QlikContext) -> anyhow::Result<Next> {
    let (name, flags) = (&args.name, &cluster.flags);
    if let Some(condition) = follow::failing(context) {
        let (reason, message) = (screen::harmless(&condition.reason), screen::harmless(&condition.message));
        screen::note(&format!("{RED}✗{RED:#} {} ({reason}): {message}", condition.type_));
    }
    let next =
        if prompt::possible() { prompt::choose("What now?", choices(follow::cause(context)))? } else { Next::Leave };
    if next == Next::Leave {
        screen::note(&format!(
            "To correct it, run `kubectl qlik init {name}{flags}` again: what was right is kept. `kubectl qlik status \
             {name}{flags}` shows more."
        ));
        return Err(AlreadySaid.into());
    }
    Ok(next)
}

fn timed_out(cluster: &Cluster, args: &InitArgs, context: &QlikContext) -> anyhow::Error {
    let name = &args.name;
    match follow::failing(context) {
        Some(condition) => {
            let (reason, message) = (screen::harmless(&condition.reason), screen::harmless(&condition.message));
            screen::note(&format!("{RED}✗{RED:#} {} ({reason}): {message}", condition.type_));
            screen::note(&format!(
                "The operator continues automatically. `kubectl qlik status {name}{}` shows how it is.",
                cluster.flags
            ));
        }
        None => screen::note(&format!(
            "{RED}✗{RED:#} The operator has not processed {name} within {}: it does not run, or does not watch namespace {}. \
             `kubectl qlik doctor` shows which. What was written stays and is picked up when it runs.",
            crate::age::span(args.timeout),
            cluster.namespace
        )),
    }
    AlreadySaid.into()
}

/// The answers after a correction.
async fn again(cluster: &Cluster, args: &InitArgs, mut answers: Answers, next: Next) -> anyhow::Result<Answers> {
    // A file with a wrong value must not be read again.
    let unanswered = InitArgs { tenant_url: None, ..args.without_credential() };
    match next {
        Next::Tenant => {
            answers.tenant_url = questions::tenant(None, None)?.to_string();
        }
        Next::Credential => {
            answers.secret = CredentialSecret::Ours(Vec::new());
            let present = secret(cluster, &answers).await?;
            answers.secret =
                CredentialSecret::Ours(questions::credential(answers.method, &unanswered, present.as_ref())?);
        }
        Next::AskAgain | Next::Leave => {}
    }
    Ok(answers)
}
