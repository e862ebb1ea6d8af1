//! `cargo xtask book`: renders the pages as HTML, and fails when a link leads nowhere.

use anyhow::ensure;

use crate::cargo;

/// Renders the book. It is a program of its own, so that the other tasks do not build mdBook.
pub fn run() -> anyhow::Result<()> {
    ensure!(cargo::succeeds(&["run", "--quiet", "--package", "book"])?, "the book is not complete");
    Ok(())
}
