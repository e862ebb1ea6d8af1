//! Links of rendered pages.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Pages of mdBook itself: its error page has a `base` of its own, and the page for print has every page's links in one.
const SKIPPED: [&str; 3] = ["404.html", "print.html", "toc.html"];

/// Each link to a file or an anchor below this folder that does not exist, with the page that has it.
///
/// # Errors
/// A page cannot be read.
pub fn broken(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    for page in pages(folder)? {
        let html = read(&page)?;
        for link in attributes(&html, "href").chain(attributes(&html, "src")) {
            if link.contains("://") || link.starts_with("data:") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap_or(folder).join(path) };
            let found = target.is_file() && (anchor.is_empty() || anchors(&read(&target)?).contains(anchor));
            if !found {
                broken.push(format!("{}: {link}", page.strip_prefix(folder).unwrap_or(&page).display()));
            }
        }
    }
    Ok(broken)
}

fn pages(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            found.extend(pages(&path)?);
        } else if name.ends_with(".html") && !SKIPPED.contains(&&*name) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read(page: &Path) -> anyhow::Result<String> {
    fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))
}

fn attributes<'a>(html: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let begin = format!(" {name}=\"");
    let values = html.match_indices(&begin).map(|(at, _)| at + begin.len()).collect::<Vec<_>>();
    values.into_iter().filter_map(|at| html[at..].split('"').next())
}

fn anchors(html: &str) -> BTreeSet<&str> {
    attributes(html, "id").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_a_missing_page_or_anchor_is_found() {
        let folder = std::env::temp_dir().join(format!("book-links-{}", std::process::id()));
        fs::create_dir_all(folder.join("docs")).unwrap();
        let page = r##"<p id="here"><a href="#here"><a href="#there"><a href="../index.html"><img src="picture.svg">"##;
        fs::write(folder.join("docs/page.html"), page).unwrap();
        let first = r#"<a href="docs/page.html#here"><a href="docs/page.html#gone"><a href="https://qlik.dev">"#;
        fs::write(folder.join("index.html"), first).unwrap();
        let expected = ["docs/page.html: #there", "docs/page.html: picture.svg", "index.html: docs/page.html#gone"];
        assert_eq!(broken(&folder).unwrap(), expected);
        fs::remove_dir_all(folder).unwrap();
    }
}
