//! Output for programs: JSON and YAML, and the names that kubectl prints with `-o name`.

use clap::ValueEnum;
use kube::ResourceExt as _;
use qlik_context_operator::api::{GROUP, QlikContext};
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

/// As kubectl prints it with `-o name`.
pub fn name(context: &QlikContext) -> String {
    format!("qlikcontext.{GROUP}/{}", context.name_any())
}

/// Without the managed fields, as kubectl shows an object.
pub fn shown(mut context: QlikContext) -> QlikContext {
    context.metadata.managed_fields = None;
    context
}
