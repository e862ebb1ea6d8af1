//! What the book contains: `README.md`, and everything that can be reached from it by links inside the repository.
//!
//! Files keep their folders, so relative links stay as they are. Only `README.md` is renamed to `index.md`, which mdBook
//! would do by itself, but without the links to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, ensure};
use pulldown_cmark::{Event, Options, Parser, Tag};

/// The page that all others are reached from.
const FIRST: &str = "README.md";
/// The table of contents of `docs/`.
const CONTENTS: &str = "docs/SUMMARY.md";

/// Writes the source of the book to a folder: its pages, the files that they link to, and the table of contents.
///
/// # Errors
/// A page links to something that does not exist or is a folder, or a file cannot be read or written.
pub fn collect(repository: &Path, folder: &Path) -> anyhow::Result<()> {
    let contents = fs::read_to_string(repository.join(CONTENTS)).context("cannot read the table of contents")?;
    let listed = links(&contents).into_iter().map(|link| link.target.to_owned()).collect::<Vec<_>>();
    let mut next: Vec<_> = listed.iter().map(|name| Path::new("docs").join(name)).collect();
    next.push(FIRST.into());
    let (mut seen, mut titles) = (BTreeSet::new(), BTreeMap::new());
    while let Some(path) = next.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let file = repository.join(&path);
        ensure!(file.is_file(), "{} is linked and is not a file", path.display());
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        if !is_page(&path) {
            write(&folder.join(&path), &bytes)?;
            continue;
        }
        let page = String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", path.display()))?;
        let base = path.parent().unwrap_or(Path::new(""));
        let links = links(&page);
        next.extend(links.iter().map(|link| normalized(&base.join(link.target))));
        titles.insert(path.clone(), title(&page).to_owned());
        write(&folder.join(renamed(&path)), with_renamed_links(&page, &links).as_bytes())?;
    }
    let in_docs = |path: &Path| path.starts_with("docs");
    let others = titles.iter().filter(|(path, _)| !in_docs(path) && *path != Path::new(FIRST));
    let mut summary = format!("# Summary\n\n[{}]({})\n", titles[Path::new(FIRST)], renamed(Path::new(FIRST)).display());
    for line in contents.lines().skip_while(|line| line.starts_with("# Summary")) {
        summary.push_str(&line.replace("](", "](docs/").replace(FIRST, "index.md"));
        summary.push('\n');
    }
    summary.push_str("\n# Project\n\n");
    for (path, title) in others {
        writeln!(summary, "- [{title}]({})", renamed(path).display())?;
    }
    write(&folder.join("SUMMARY.md"), summary.as_bytes())
}

/// A link to a file of the repository.
struct Link<'a> {
    /// The path, relative to the page, without the anchor.
    target: &'a str,
    /// Where it is in the text.
    range: Range<usize>,
}

/// The links and pictures of a page that stay inside the repository and leave the page.
fn links(page: &str) -> Vec<Link<'_>> {
    let events = Parser::new_ext(page, Options::ENABLE_TABLES).into_offset_iter();
    let ranges = events.filter_map(|(event, range)| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => Some((dest_url.into_string(), range)),
        _ => None,
    });
    let inside = ranges.filter(|(url, _)| !url.contains("://") && !url.starts_with(['#', '/']));
    let found = inside.filter_map(|(url, range)| {
        // The destination is the last thing in a link, after its text.
        let begin = range.start + page[range.clone()].rfind(&url)?;
        let length = url.find('#').unwrap_or(url.len());
        (length > 0).then(|| Link { target: &page[begin..begin + length], range: begin..begin + length })
    });
    found.collect()
}

fn with_renamed_links(page: &str, links: &[Link<'_>]) -> String {
    let mut links: Vec<_> = links.iter().collect();
    links.sort_by_key(|link| link.range.start);
    let (mut text, mut end) = (String::with_capacity(page.len()), 0);
    for link in links {
        text.push_str(&page[end..link.range.start]);
        text.push_str(&renamed(Path::new(link.target)).to_string_lossy());
        end = link.range.end;
    }
    text.push_str(&page[end..]);
    text
}

fn is_page(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

fn renamed(path: &Path) -> PathBuf {
    if path.file_name().is_some_and(|name| name == FIRST) { path.with_file_name("index.md") } else { path.to_owned() }
}

/// The first heading.
fn title(page: &str) -> &str {
    page.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or("Untitled")
}

/// Without `.` and `..`. A path that leaves the repository becomes one inside it, which does not exist.
fn normalized(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(name) => parts.push(name),
            _ => {}
        }
    }
    parts
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).context("cannot make a folder of the book")?;
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
