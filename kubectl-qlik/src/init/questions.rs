//! The questions of `qlik context init`, in its words. A flag can answer a question, and answers of an earlier run are kept.

use anyhow::{anyhow, bail};
use k8s_openapi::api::core::v1::Secret;
use qlik_context_operator::api::QlikContext;
use qlik_context_operator::oauth::tenant::TenantUrl;
use secrecy::{ExposeSecret as _, SecretString};

use super::manifests::{API_KEY, CLIENT_ID, CLIENT_SECRET, KEY_ID, PRIVATE_KEY};
use super::present;
use crate::args::{AuthMethod, InitArgs};
use crate::{credential, prompt, screen, tenant_url};

/// Values of a credential Secret by their keys.
pub type Values = Vec<(&'static str, SecretString)>;

/// The tenant's address.
pub fn tenant(flag: Option<&str>, present: Option<&QlikContext>) -> anyhow::Result<TenantUrl> {
    if let Some(text) = flag {
        let tenant = tenant_url::repaired(text).map_err(|problem| anyhow!("--tenant-url: {problem}"))?;
        said(text, &tenant);
        return Ok(tenant);
    }
    if prompt::possible() {
        screen::note(
            "Specify your tenant URL, usually in the form: https://<tenant>.<region>.qlikcloud.com\nWhere <tenant> is the name \
             of the tenant and <region> is eu, us, ap, and so forth.",
        );
    }
    let kept = present.and_then(|context| tenant_url::repaired(&context.spec.tenant_url).ok());
    let (text, tenant) = match kept {
        Some(kept) => {
            let help = format!("Enter keeps {kept}");
            let answer = prompt::text("Enter tenant url:", Some(&help), "--tenant-url", kept_or(tenant_url::repaired))?;
            answer.map_or_else(|| (kept.to_string(), kept.clone()), |(text, tenant)| (text, tenant))
        }
        None => prompt::text("Enter tenant url:", None, "--tenant-url", with_text(tenant_url::repaired))?,
    };
    said(&text, &tenant);
    Ok(tenant)
}

/// How to authenticate: from its flag, from the other flags, or from a question.
pub fn method(args: &InitArgs, present: Option<&QlikContext>) -> anyhow::Result<AuthMethod> {
    let implied = [
        (args.client_secret_file.is_some(), AuthMethod::Oauth),
        (args.private_key_file.is_some() || args.key_id.is_some(), AuthMethod::PrivateKey),
        (args.api_key_file.is_some(), AuthMethod::ApiKey),
    ];
    let implied = implied.into_iter().find_map(|(given, method)| given.then_some(method));
    match (args.auth, implied) {
        (Some(method), Some(implied)) if method != implied => {
            bail!("the flags do not go together: --auth names another method than the file with the credential is for")
        }
        (Some(AuthMethod::ApiKey), _) if args.client_id.is_some() => {
            bail!("the flags do not go together: an API key has no --client-id")
        }
        (Some(method), _) | (None, Some(method)) => return Ok(method),
        // A script that leaves it out gets the method of the tutorial.
        (None, None) if args.existing_secret.is_some() || !prompt::possible() => {
            return Ok(present.and_then(present::method).unwrap_or(AuthMethod::Oauth));
        }
        (None, None) => {}
    }
    screen::note(
        "Specify what type of authentication should be used, i.e. OAuth (O), OAuth with a private key (P) or API-Key (A).",
    );
    let default = present.and_then(present::method).unwrap_or(AuthMethod::Oauth);
    let help = format!("Enter takes {}", letter(default));
    let answer = prompt::text("O/P/A?:", Some(&help), "--auth", letter_or_nothing)?;
    Ok(answer.unwrap_or(default))
}

/// Lists the values that the next questions ask for.
pub fn announce(method: AuthMethod, args: &InitArgs) {
    let given = [&args.client_secret_file, &args.private_key_file, &args.api_key_file];
    if !prompt::possible() || given.iter().any(|file| file.is_some()) {
        return;
    }
    screen::note(match method {
        AuthMethod::ApiKey => "To complete this setup, you must have an API key of the tenant.",
        AuthMethod::Oauth => {
            "To complete this setup, you must have the Client ID and Client Secret of a machine-to-machine OAuth client. If \
             you're unsure, ask your tenant admin, or see https://qlik.dev/authenticate/oauth/create/create-oauth-client/."
        }
        AuthMethod::PrivateKey => {
            "To complete this setup, you must have the Client ID of a machine-to-machine OAuth client, and the private key \
             whose public part is registered with it."
        }
    });
}

/// The credential of a method. `present`: the Secret of an earlier run, whose values an empty answer keeps.
pub fn credential(method: AuthMethod, args: &InitArgs, present: Option<&Secret>) -> anyhow::Result<Values> {
    let mut values = Values::new();
    let has = |key: &str| present.and_then(|secret| secret.data.as_ref()).is_some_and(|data| data.contains_key(key));
    let mut keep = |key: &'static str, value: Option<SecretString>| values.extend(value.map(|value| (key, value)));
    match method {
        AuthMethod::Oauth => {
            keep(CLIENT_ID, client_id(args, has(CLIENT_ID))?);
            let file = args.client_secret_file.as_deref();
            keep(CLIENT_SECRET, hidden("Client Secret:", file, "--client-secret-file", has(CLIENT_SECRET))?);
        }
        AuthMethod::PrivateKey => {
            keep(CLIENT_ID, client_id(args, has(CLIENT_ID))?);
            keep(PRIVATE_KEY, private_key(args, has(PRIVATE_KEY))?);
            keep(KEY_ID, key_id(args, has(KEY_ID))?);
        }
        AuthMethod::ApiKey => {
            keep(API_KEY, hidden("API key:", args.api_key_file.as_deref(), "--api-key-file", has(API_KEY))?);
        }
    }
    let value = |key: &str| values.iter().find(|(name, _)| *name == key).map(|(_, value)| value.expose_secret());
    if value(CLIENT_ID).is_some() && value(CLIENT_ID) == value(CLIENT_SECRET) {
        bail!("the client secret is the same as the client ID: give the secret, which is shown once when it is made");
    }
    Ok(values)
}

fn client_id(args: &InitArgs, present: bool) -> anyhow::Result<Option<SecretString>> {
    if let Some(id) = &args.client_id {
        return credential::one_piece(id).map(Some).map_err(|problem| anyhow!("--client-id: {problem}"));
    }
    let help = "Enter keeps the present one";
    if !present {
        return prompt::text("Client ID:", None, "--client-id", credential::one_piece).map(Some);
    }
    if !prompt::possible() {
        return Ok(None);
    }
    let answer = prompt::text("Client ID:", Some(help), "--client-id", kept_or(credential::one_piece))?;
    Ok(answer.map(|(_, id)| id))
}

/// A value that is not shown while it is typed.
fn hidden(question: &str, file: Option<&str>, flag: &str, present: bool) -> anyhow::Result<Option<SecretString>> {
    if let Some(path) = file {
        let text = credential::from_file(path, flag)?;
        return credential::one_piece(text.expose_secret()).map(Some).map_err(|problem| anyhow!("{flag}: {problem}"));
    }
    if !present {
        return prompt::secret(question, flag, credential::one_piece).map(Some);
    }
    if !prompt::possible() {
        return Ok(None);
    }
    let kept =
        |text: &str| if text.trim().is_empty() { Ok(SecretString::default()) } else { credential::one_piece(text) };
    let question = format!("{} (Enter keeps the present one):", question.trim_end_matches(':'));
    let answer = prompt::secret(&question, flag, kept)?;
    Ok((!answer.expose_secret().is_empty()).then_some(answer))
}

fn private_key(args: &InitArgs, present: bool) -> anyhow::Result<Option<SecretString>> {
    let flag = "--private-key-file";
    let key = |path: &str| {
        let text = credential::from_file(path, flag).map_err(|error| format!("{error:#}"))?;
        credential::private_key(text.expose_secret())
    };
    if let Some(path) = &args.private_key_file {
        return key(path).map(Some).map_err(|problem| anyhow!("{flag}: {problem}"));
    }
    if present && !prompt::possible() {
        return Ok(None);
    }
    let help = present.then_some("Enter keeps the present one");
    let file: fn(&str) -> Result<String, String> = |path| Ok(path.trim().to_owned());
    loop {
        let path = prompt::text("File with the private key (PEM or JWK):", help, flag, file)?;
        match key(&path) {
            _ if path.is_empty() && present => return Ok(None),
            Ok(key) => return Ok(Some(key)),
            Err(problem) => screen::note(&problem),
        }
    }
}

fn key_id(args: &InitArgs, present: bool) -> anyhow::Result<Option<SecretString>> {
    if let Some(id) = &args.key_id {
        return credential::one_piece(id).map(Some).map_err(|problem| anyhow!("--key-id: {problem}"));
    }
    // Without the flag it is the key's own, so that no script has to give it.
    if !prompt::possible() || args.private_key_file.is_some() {
        return Ok(None);
    }
    let help = if present { "Enter keeps the present one" } else { "Enter takes the one inside of a JWK, or none" };
    let answer = prompt::text("Key ID (kid):", Some(help), "--key-id", kept_or(credential::one_piece))?;
    Ok(answer.map(|(_, id)| id))
}

/// Reports that an address was corrected, or is not at a usual host of tenants.
fn said(text: &str, tenant: &TenantUrl) {
    if text.trim().trim_end_matches('/') != tenant.to_string() {
        screen::note(&format!("The tenant is {tenant}."));
    }
    if !tenant_url::is_usual(tenant) {
        screen::note(&format!(
            "{} is not a host of qlikcloud.com: the operator sends no credential there unless its flag --allowed-tenant-hosts has it.",
            tenant.authority()
        ));
    }
}

/// The typed text and its value; `None` for an empty answer.
type Typed<T> = Option<(String, T)>;

/// Accepts an empty answer, too.
fn kept_or<T>(
    accept: impl Fn(&str) -> Result<T, String> + Clone + 'static,
) -> impl Fn(&str) -> Result<Typed<T>, String> + Clone + 'static {
    move |text| {
        if text.trim().is_empty() {
            return Ok(None);
        }
        accept(text).map(|value| Some((text.to_owned(), value)))
    }
}

/// Keeps what was typed.
fn with_text<T>(
    accept: impl Fn(&str) -> Result<T, String> + Clone + 'static,
) -> impl Fn(&str) -> Result<(String, T), String> + Clone + 'static {
    move |text| accept(text).map(|value| (text.to_owned(), value))
}

fn letter(method: AuthMethod) -> char {
    match method {
        AuthMethod::Oauth => 'O',
        AuthMethod::PrivateKey => 'P',
        AuthMethod::ApiKey => 'A',
    }
}

fn letter_or_nothing(text: &str) -> Result<Option<AuthMethod>, String> {
    match text.trim().to_ascii_uppercase().as_str() {
        "" => Ok(None),
        "O" | "OAUTH" => Ok(Some(AuthMethod::Oauth)),
        "P" => Ok(Some(AuthMethod::PrivateKey)),
        "A" | "API-KEY" => Ok(Some(AuthMethod::ApiKey)),
        // The tutorial has to say the same.
        "0" => Err("That is a zero: enter the letter O for OAuth.".into()),
        _ => Err("Enter O, P or A.".into()),
    }
}
