//! Reads pages and their parts.

use std::fs;
use std::path::{Path, PathBuf};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The paths, in this repository, of all files below a folder whose name has this ending. Build output and hidden files
/// are skipped.
pub fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = Path::new(folder).join(&name);
        match entry.file_type().unwrap().is_dir() {
            true if name == "target" || name.starts_with('.') => {}
            true => found.extend(files(path.to_str().unwrap(), ending)),
            false if name.ends_with(ending) => found.push(path),
            false => {}
        }
    }
    found.sort();
    found
}

/// Every page, with its text.
pub fn pages() -> Vec<(PathBuf, String)> {
    let pages: Vec<_> = files("", ".md").into_iter().map(|path| (path.clone(), read(path))).collect();
    assert!(pages.len() > 15, "{}", pages.len());
    pages
}

/// The lines of a page that are not in a block of code.
pub fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// The blocks of a page in this language.
pub fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|text| text.split("```").next().unwrap().to_owned()).collect()
}

/// The spans of code in the prose of a page.
pub fn spans(page: &str) -> Vec<String> {
    let prose = prose(page).collect::<Vec<_>>().join("\n");
    prose.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " ")).collect()
}

/// The text under a heading, up to the next heading of the same or a higher level.
pub fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let level = heading.split(' ').next().unwrap();
    let text = page.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("no heading {heading}"));
    let ends =
        |end: &usize| (1..=level.len()).any(|marks| text[*end..].starts_with(&format!("\n{} ", "#".repeat(marks))));
    &text[..text.match_indices('\n').map(|(end, _)| end).find(ends).unwrap_or(text.len())]
}

/// The rows of a table, as cells.
pub fn rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.map(|row| row.split(" | ").map(str::trim).collect());
    rows.filter(|cells: &Vec<&str>| cells[0].starts_with('`')).collect()
}

/// The first span of code in a cell.
pub fn code(cell: &str) -> &str {
    cell.split('`').nth(1).unwrap_or_default()
}
