//! Output for programs: JSON and YAML.

use clap::ValueEnum;
use serde::Serialize;

use crate::screen;

/// Formats of a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Format {
    Json,
    Yaml,
}

/// Prints a value as a document on standard output.
pub fn print(value: &impl Serialize, format: Format) -> anyhow::Result<()> {
    screen::result(text(value, format)?.trim_end());
    Ok(())
}

/// A value as a document.
pub fn text(value: &impl Serialize, format: Format) -> anyhow::Result<String> {
    Ok(match format {
        Format::Json => serde_json::to_string_pretty(value)?,
        Format::Yaml => serde_saphyr::to_string(value)?,
    })
}
