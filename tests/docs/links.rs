//! Every link has a target, and every page is linked.

use std::collections::BTreeSet;

use super::pages::{files, pages, prose, read, root};

/// The anchors of a page, as GitHub generates them from headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = prose(page).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
    let mut anchors = BTreeSet::new();
    for heading in headings {
        let anchor: String =
            heading.to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect();
        assert!(anchors.insert(anchor), "two headings {heading}");
    }
    anchors
}

#[test]
fn every_link_leads_to_a_file_and_every_anchor_to_a_heading() {
    let mut seen = 0;
    for (path, text) in pages() {
        let prose = prose(&text).collect::<Vec<_>>().join("\n");
        for link in prose.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(root().join(&target).exists(), "{}: {link}", path.display());
            assert!(anchor.is_empty() || anchors(&read(&target)).contains(anchor), "{}: {link}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 80, "{seen}");
}

#[test]
fn the_index_has_every_page_and_the_pages_every_example() {
    let index = read("docs/README.md");
    for path in files("docs", ".md") {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            ["README.md", "SUMMARY.md"].contains(&name) || index.contains(&format!("]({name})")),
            "docs/README.md lacks {name}"
        );
    }
    let pages: String = pages().into_iter().map(|(_, text)| text).collect();
    for path in files("examples", "") {
        assert!(pages.contains(&format!("{})", path.display())), "no page links to {}", path.display());
    }
}
