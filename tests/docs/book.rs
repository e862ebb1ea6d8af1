//! The structure of the pages: the book contains all of them, each states its purpose, and the README is short.

use std::collections::BTreeSet;

use super::pages::{files, prose, read};

/// The pages of docs/, except the table of contents.
fn pages() -> BTreeSet<String> {
    let names = files("docs", ".md").into_iter().map(|path| path.strip_prefix("docs").unwrap().display().to_string());
    names.filter(|name| name != "SUMMARY.md").collect()
}

#[test]
fn the_book_has_every_page_once_and_nothing_else() {
    let summary = read("docs/SUMMARY.md");
    let listed: Vec<_> = prose(&summary).filter_map(|line| line.split("](").nth(1)?.strip_suffix(')')).collect();
    let distinct: BTreeSet<_> = listed.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(distinct, pages());
    assert_eq!(listed.len(), distinct.len(), "a page is listed twice in docs/SUMMARY.md");
}

#[test]
fn every_page_says_in_its_first_line_what_it_is_for() {
    for name in pages() {
        let page = read(format!("docs/{name}"));
        let lines: Vec<_> = page.lines().collect();
        assert!(lines[0].starts_with("# ") && lines[1].is_empty(), "{name} does not begin with a title");
        let says = ["This page ", "This guide ", "This tutorial "].iter().any(|begin| lines[2].starts_with(begin));
        assert!(says, "{name} begins with {:?}", lines[2]);
    }
}

#[test]
fn the_readme_is_short_and_has_the_first_steps() {
    let readme = read("README.md");
    let lines = readme.lines().count();
    assert!(lines <= 150, "README.md has {lines} lines; move what is not for a new user to docs/");
    for step in
        ["## Install", "## First token in five minutes", "kubectl qlik init", "kind: QlikContext", "docs/README.md"]
    {
        assert!(readme.contains(step), "README.md lacks {step}");
    }
}
