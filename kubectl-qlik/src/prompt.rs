//! Questions at a terminal. Without a terminal, an error names the flag for the answer.

use std::io::{IsTerminal as _, stderr, stdin};

use anyhow::{anyhow, bail};
use inquire::validator::Validation;
use inquire::{Confirm, CustomUserError, InquireError, Password, PasswordDisplayMode, Select, Text};
use secrecy::SecretString;

use crate::problem::Interrupted;

/// True on a terminal, where questions are possible.
pub fn possible() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// A question with a visible answer. When `accept` refuses an answer, the question is repeated.
pub fn text<T>(
    question: &str,
    help: Option<&str>,
    flag: &str,
    accept: impl Fn(&str) -> Result<T, String> + Clone + 'static,
) -> anyhow::Result<T> {
    insist(question, flag)?;
    let mut prompt = Text::new(question).with_validator(validator(accept.clone()));
    prompt.help_message = help;
    let answer = prompt.prompt().map_err(|error| failed(&error))?;
    accept(&answer).map_err(|problem| anyhow!(problem))
}

/// A question whose answer is not shown, not even its length.
pub fn secret(
    question: &str,
    flag: &str,
    accept: impl Fn(&str) -> Result<SecretString, String> + Clone + 'static,
) -> anyhow::Result<SecretString> {
    insist(question, flag)?;
    let prompt = Password::new(question)
        .with_display_mode(PasswordDisplayMode::Hidden)
        .without_confirmation()
        .with_validator(validator(accept.clone()))
        .with_formatter(&|_| "(not shown)".into());
    let answer = prompt.prompt().map_err(|error| failed(&error))?;
    accept(&answer).map_err(|problem| anyhow!(problem))
}

/// Yes or no; Enter is yes.
pub fn confirm(question: &str, flag: &str) -> anyhow::Result<bool> {
    insist(question, flag)?;
    Confirm::new(question).with_default(true).prompt().map_err(|error| failed(&error))
}

/// One of several; only on a terminal.
pub fn choose<T: std::fmt::Display>(question: &str, choices: Vec<T>) -> anyhow::Result<T> {
    Select::new(question, choices).without_filtering().prompt().map_err(|error| failed(&error))
}

fn validator<T>(
    accept: impl Fn(&str) -> Result<T, String> + Clone + 'static,
) -> impl Fn(&str) -> Result<Validation, CustomUserError> + Clone + 'static {
    move |answer| {
        Ok(match accept(answer) {
            Ok(_) => Validation::Valid,
            Err(problem) => Validation::Invalid(problem.into()),
        })
    }
}

fn insist(question: &str, flag: &str) -> anyhow::Result<()> {
    if !possible() {
        let question = question.trim_end_matches([':', '?', ' ']);
        bail!("there is no terminal to ask for \"{question}\": give {flag}");
    }
    Ok(())
}

fn failed(error: &InquireError) -> anyhow::Error {
    match error {
        InquireError::OperationCanceled | InquireError::OperationInterrupted => Interrupted.into(),
        other => anyhow!("cannot ask: {other}"),
    }
}
