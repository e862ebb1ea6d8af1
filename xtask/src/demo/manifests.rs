//! `examples/client-secret.yaml`, filled in with a wrong secret.

use std::fs;

use anyhow::{Context as _, ensure};
use support::operator::repository;

/// The OAuth client of the demo, and its tenant. They exist in the fake only.
pub const HOST: &str = "acme.eu.qlikcloud.com";
pub const CLIENT_ID: &str = "82e0a4c1f7b94d0d9c6b13a57f02d3e8";
pub const CLIENT_SECRET: &str = "c7d1f0a95be2463f8a04d6b9e371528c4f6a90be13d7425a";
const WRONG_SECRET: &str = "00000000000000000000000000000000";

/// The context that does not become ready, with its own names.
pub fn broken() -> anyhow::Result<String> {
    example(&[
        ("REPLACE-WITH-CLIENT-ID", CLIENT_ID),
        ("REPLACE-WITH-CLIENT-SECRET", WRONG_SECRET),
        ("name: acme-oauth\n", "name: acme-broken-oauth\n"),
        ("name: acme\n", "name: acme-broken\n"),
    ])
}

fn example(replacements: &[(&str, &str)]) -> anyhow::Result<String> {
    let file = repository().join("examples/client-secret.yaml");
    let read = fs::read_to_string(&file);
    let mut manifest = read.with_context(|| format!("cannot read {}", file.display()))?;
    for (placeholder, value) in replacements {
        ensure!(
            manifest.contains(placeholder),
            "{} no longer holds {placeholder:?}, which the demo replaces",
            file.display()
        );
        manifest = manifest.replace(placeholder, value);
    }
    Ok(manifest)
}
