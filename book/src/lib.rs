//! The pages of this project as a book of static HTML, rendered by mdBook.
//!
//! The book is complete: it contains `docs/`, each other page that they link to, and the linked examples and sources,
//! in the folders of the repository. A reader needs no checkout, and no link of a page is rewritten to another place.
//!
//! - [`pages`]: collects what the book contains.
//! - [`links`]: finds links of the rendered book that lead nowhere.

pub mod links;
pub mod pages;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use mdbook_driver::MDBook;
use mdbook_driver::config::Config;

/// Renders the book below `target`, and returns the folder of its first page, `index.html`.
///
/// # Errors
/// A page cannot be read or written, mdBook refuses one, or a link leads nowhere.
pub fn render(repository: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    let (source, output) = (target.join("pages"), target.join("html"));
    for folder in [&source, &output] {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
    }
    pages::collect(repository, &source)?;
    let mut config = Config::from_disk(repository.join("book.toml"))?;
    config.book.src = source;
    config.build.build_dir.clone_from(&output);
    MDBook::load_with_config(repository, config)?.build()?;
    let broken = links::broken(&output)?;
    ensure!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
    Ok(output)
}
