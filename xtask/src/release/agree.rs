//! The consistency checks before a release. Pure, so that a test can show that each inconsistency is found.

use super::{CHART, Files, MANIFEST};
use crate::image::{NAME, VERSION};

/// One line for each inconsistency; with a tag also for requirements that only a release has.
pub(super) fn disagreements(files: &Files, tag: Option<&str>) -> Vec<String> {
    let mut found = Vec::new();
    versions(files, &mut found);
    toolchain(files, &mut found);
    crds(files, &mut found);
    changelog(files, tag, &mut found);
    documentation(files, &mut found);
    workflows(files, &mut found);
    if let Some(tag) = tag.filter(|tag| *tag != format!("v{VERSION}")) {
        found.push(format!("the tag is {tag}, and the version {VERSION}"));
    }
    found
}

fn text<'a>(files: &'a Files, path: &str) -> &'a str {
    files.get(path).map_or("", String::as_str)
}

/// Every file that names the version.
fn versions(files: &Files, found: &mut Vec<String>) {
    let (chart, flux) = (format!("{CHART}/Chart.yaml"), "deploy/flux/operator.yaml");
    let minor = VERSION.rsplit_once('.').map_or(VERSION, |(minor, _)| minor);
    let wanted = [
        ("Cargo.toml", format!("\nversion = \"{VERSION}\"\n"), "the version of the workspace"),
        (&*chart, format!("\nversion: {VERSION}\n"), "version"),
        (&*chart, format!("\nappVersion: {VERSION}\n"), "appVersion"),
        (&*chart, format!("image: {NAME}:{VERSION}\n"), "the annotation artifacthub.io/images"),
        (MANIFEST, format!("image: {NAME}:{VERSION}\n"), "the image"),
        ("deploy/Dockerfile", format!("\nARG VERSION={VERSION}\n"), "the version"),
        (flux, format!("semver: {minor}.x"), "the range of versions"),
    ];
    for (path, line, what) in wanted {
        if !text(files, path).contains(&line) {
            found.push(format!("{path}: {what} is not {}", line.trim()));
        }
    }
}

/// The compiler of the image is the one that the tests use.
fn toolchain(files: &Files, found: &mut Vec<String>) {
    let channel = between(text(files, "rust-toolchain.toml"), "channel = \"", "\"");
    if !text(files, "deploy/Dockerfile")
        .contains(&format!("FROM docker.io/library/rust:{channel}-slim-bookworm@sha256:"))
    {
        found.push(format!(
            "deploy/Dockerfile: the base is not Rust {channel}, as in rust-toolchain.toml, with a digest"
        ));
    }
}

/// The chart's CRDs are those for `kubectl apply`.
fn crds(files: &Files, found: &mut Vec<String>) {
    let names = |prefix: &str| -> Vec<_> {
        files.keys().filter_map(|path| path.strip_prefix(prefix)).map(ToOwned::to_owned).collect()
    };
    let folder = format!("{CHART}/files/crds/");
    if names("crds/") != names(&folder) {
        found.push(format!("crds/ and {folder} have other files"));
    }
    for name in names("crds/") {
        if files.get(&format!("crds/{name}")) != files.get(&format!("{folder}{name}")) {
            found.push(format!("crds/{name} is not the file of the chart: cargo xtask generate"));
        }
        let kind = between(text(files, &format!("crds/{name}")), "    kind: ", "\n").to_owned();
        if !text(files, &format!("{CHART}/Chart.yaml")).contains(&format!("- kind: {kind}\n")) {
            found.push(format!("{CHART}/Chart.yaml: artifacthub.io/crds lacks {kind}"));
        }
    }
}

/// A release has a section with a date in the changelog; before that, the section has the next version.
fn changelog(files: &Files, tag: Option<&str>, found: &mut Vec<String>) {
    let text = text(files, "CHANGELOG.md");
    let heading = format!("\n## [{VERSION}] - ");
    let date = between(text, &heading, "\n");
    let dated = date.len() == 10 && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if tag.is_some() && !dated {
        found.push(format!("CHANGELOG.md: no dated section for {VERSION}"));
    }
    if !dated && !text.contains(&format!("\n## [Unreleased]\n\nTo become {VERSION}")) {
        found.push(format!(
            "CHANGELOG.md: neither a section for {VERSION} nor an [Unreleased] one that is to become it"
        ));
    }
}

/// The versions that pages name.
fn documentation(files: &Files, found: &mut Vec<String>) {
    for (path, text) in files.iter().filter(|(path, _)| path.starts_with("docs/")) {
        for rest in text
            .split(&format!("{NAME}-"))
            .skip(1)
            .filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        {
            if !rest.starts_with(&format!("{VERSION}.tgz")) {
                found.push(format!("{path}: names a chart of another version than {VERSION}"));
            }
        }
    }
    let oldest = between(text(files, &format!("{CHART}/Chart.yaml")), "kubeVersion: \">=", ".0-0\"");
    for path in ["README.md", "docs/install.md", "docs/versions.md"] {
        if oldest.is_empty() || !text(files, path).contains(&format!("Kubernetes {oldest}")) {
            found.push(format!("{path}: does not name Kubernetes {oldest}, the oldest that the chart takes"));
        }
    }
    let minor = VERSION.rsplit_once('.').map_or(VERSION, |(minor, _)| minor);
    if !text(files, "docs/versions.md").contains(&format!("| {minor} |")) {
        found.push(format!("docs/versions.md: the table has no row for {minor}"));
    }
}

/// Actions of others are pinned to a commit: a tag can be moved.
fn workflows(files: &Files, found: &mut Vec<String>) {
    for (path, text) in files.iter().filter(|(path, _)| path.starts_with(".github/workflows/")) {
        for line in text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: ")) {
            let commit = line.split_once('@').and_then(|(_, rest)| rest.split(' ').next()).unwrap_or_default();
            if !line.starts_with("./") && (commit.len() != 40 || !commit.bytes().all(|byte| byte.is_ascii_hexdigit())) {
                found.push(format!("{path}: {line} is not pinned to a commit"));
            }
        }
    }
}

/// The text between the first occurrence of two texts, or an empty text.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).map_or("", |(_, rest)| rest);
    rest.split_once(after).map_or("", |(inside, _)| inside)
}
