//! The programs that have a completion script.

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error, ValueEnum};

/// The program that runs a completion script.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Shell {
    Kubectl,
    Bash,
    Zsh,
    Fish,
    Powershell,
    Elvish,
}

/// As the usual parser of such an enum, without its tip: no shell is "similar" to another.
#[derive(Clone)]
pub struct Parser;

impl TypedValueParser for Parser {
    type Value = Shell;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &std::ffi::OsStr) -> Result<Shell, Error> {
        let text = value.to_string_lossy();
        Shell::from_str(&text, false).map_err(|_| {
            let names: Vec<_> = possible().map(|value| value.get_name().to_owned()).collect();
            let problem = format!("there is no completion for {text:?}, only for {}", names.join(", "));
            Error::raw(ErrorKind::InvalidValue, format!("{problem}\n")).with_cmd(command)
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(possible()))
    }
}

fn possible() -> impl Iterator<Item = PossibleValue> {
    Shell::value_variants().iter().filter_map(ValueEnum::to_possible_value)
}
