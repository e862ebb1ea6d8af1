//! `cargo xtask release`: checks whether a version can be released, and makes the parts of a release besides programs
//! and image. It never publishes anything: `.github/workflows/release.yml` does, and calls this.

mod agree;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use support::operator::repository;

use crate::image::{NAME, VERSION};
use crate::screen::Screen;

const CHART: &str = "charts/qlik-context-operator";
const MANIFEST: &str = "deploy/kubernetes/qlik-context-operator.yaml";

/// Flags of `release`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Check that versions, CRDs, chart, manifests, docs and changelog agree, and write nothing.
    #[arg(long, required_unless_present = "output")]
    dry_run: bool,
    /// The Git tag of the release; then the changelog needs a dated section of this version.
    #[arg(long)]
    tag: Option<String>,
    /// Write the chart and the manifest for `kubectl apply` into this folder, with the image of the release as their
    /// default.
    #[arg(long, value_name = "FOLDER", requires = "registry", conflicts_with = "dry_run")]
    output: Option<PathBuf>,
    /// Registry, with its path, that image and chart are released to, such as ghcr.io/acme.
    #[arg(long)]
    registry: Option<String>,
}

/// Checks, and writes the requested files.
pub fn run(args: &Args, screen: Screen) -> anyhow::Result<()> {
    let files = read(&repository())?;
    let found = agree::disagreements(&files, args.tag.as_deref());
    found.iter().for_each(|line| screen.text(&format!("- {line}")));
    ensure!(found.is_empty(), "{NAME} {VERSION} cannot be released: {} things do not agree", found.len());
    screen.text(&format!("{NAME} {VERSION}: versions, CRDs, chart, manifests, docs and changelog agree"));
    if let (Some(folder), Some(registry)) = (&args.output, &args.registry) {
        write(&files, folder, registry)?;
        screen.text(&format!("written: {}", folder.display()));
    }
    Ok(())
}

/// Files of the repository, by path.
type Files = BTreeMap<String, String>;

/// The checks of a release.
fn read(root: &Path) -> anyhow::Result<Files> {
    let mut files = Files::new();
    for path in ["Cargo.toml", "CHANGELOG.md", "README.md", "SECURITY.md", "rust-toolchain.toml", "deploy/Dockerfile"] {
        add(root, path, &mut files)?;
    }
    for folder in ["crds", "docs", "deploy", CHART, ".github"] {
        add_all(root, folder, &mut files)?;
    }
    Ok(files)
}

fn add_all(root: &Path, folder: &str, files: &mut Files) -> anyhow::Result<()> {
    let entries = fs::read_dir(root.join(folder)).with_context(|| format!("cannot read {folder}"))?;
    for entry in entries {
        let entry = entry?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() { add_all(root, &path, files)? } else { add(root, &path, files)? }
    }
    Ok(())
}

fn add(root: &Path, path: &str, files: &mut Files) -> anyhow::Result<()> {
    let text = fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))?;
    files.insert(path.to_owned(), text);
    Ok(())
}

/// The chart and the manifest, with the released image as their default.
fn write(files: &Files, folder: &Path, registry: &str) -> anyhow::Result<()> {
    let registry = registry.trim_end_matches('/');
    let name = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-:".contains(&byte))
    };
    ensure!(registry.split('/').all(name), "{registry} is no registry: write it as ghcr.io/acme, in lower case");
    for (path, text) in files {
        let text = match path.strip_prefix(CHART) {
            Some("/values.yaml") => replaced(text, "  registry: \"\"\n", &format!("  registry: {registry}\n"))?,
            Some("/Chart.yaml") => {
                replaced(text, &format!("image: {NAME}:{VERSION}\n"), &format!("image: {registry}/{NAME}:{VERSION}\n"))?
            }
            Some(_) => text.clone(),
            None if path == MANIFEST => {
                replaced(text, &format!("image: {NAME}:{VERSION}\n"), &format!("image: {registry}/{NAME}:{VERSION}\n"))?
            }
            None => continue,
        };
        let path = folder
            .join(path.strip_prefix("charts/").or_else(|| path.strip_prefix("deploy/kubernetes/")).unwrap_or(path));
        fs::create_dir_all(path.parent().unwrap_or(folder))
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The text with its only occurrence replaced.
fn replaced(text: &str, from: &str, to: &str) -> anyhow::Result<String> {
    match text.matches(from).count() {
        1 => Ok(text.replace(from, to)),
        count => bail!("{from:?} is there {count} times, not once"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_repository_agrees() {
        let found = agree::disagreements(&read(&repository()).unwrap(), None);
        assert!(found.is_empty(), "{found:#?}");
    }

    #[test]
    fn a_released_chart_and_manifest_name_the_released_image_and_are_otherwise_unchanged() {
        let files = read(&repository()).unwrap();
        let folder = support::control_plane::Folder::new().unwrap();
        write(&files, folder.path(), "ghcr.io/acme/").unwrap();
        let changed = |path: &str, original: &str| -> Vec<String> {
            let text = fs::read_to_string(folder.path().join(path)).unwrap();
            let lines = text.lines().zip(files[original].lines());
            lines.filter(|(new, old)| new != old).map(|(new, _)| new.trim().to_owned()).collect()
        };
        let image = format!("image: ghcr.io/acme/{NAME}:{VERSION}");
        let chart = |file: &str| (format!("{NAME}/{file}"), format!("{CHART}/{file}"));
        let (new, old) = chart("values.yaml");
        assert_eq!(changed(&new, &old), ["registry: ghcr.io/acme"]);
        let (new, old) = chart("Chart.yaml");
        assert_eq!(changed(&new, &old), std::slice::from_ref(&image));
        let (new, old) = chart("templates/deployment.yaml");
        assert!(changed(&new, &old).is_empty());
        assert_eq!(changed("qlik-context-operator.yaml", MANIFEST), [image]);
        assert!(write(&files, folder.path(), "https://ghcr.io/acme").is_err());
        assert!(write(&files, folder.path(), "ghcr.io/Acme").is_err());
    }

    #[test]
    fn each_disagreement_is_found_and_named() {
        let files = read(&repository()).unwrap();
        let crd = files.keys().find(|path| path.starts_with("crds/")).unwrap().clone();
        let cases = [
            ("Cargo.toml", "version = \"0.1.0\"", "version = \"0.2.0\"", "Cargo.toml"),
            ("charts/qlik-context-operator/Chart.yaml", "\nversion: 0.1.0", "\nversion: 0.1.1", "version"),
            ("charts/qlik-context-operator/Chart.yaml", "\nappVersion: 0.1.0", "\nappVersion: 0.1.1", "appVersion"),
            ("charts/qlik-context-operator/Chart.yaml", "-operator:0.1.0", "-operator:0.1.1", "artifacthub.io/images"),
            ("charts/qlik-context-operator/Chart.yaml", ">=1.32.0-0", ">=1.33.0-0", "README.md"),
            (MANIFEST, "image: qlik-context-operator:0.1.0", "image: qlik-context-operator:0.0.9", MANIFEST),
            ("deploy/Dockerfile", "VERSION=0.1.0", "VERSION=0.0.9", "deploy/Dockerfile"),
            ("deploy/Dockerfile", "rust:1.95.0-", "rust:1.94.0-", "rust-toolchain.toml"),
            ("deploy/flux/operator.yaml", "semver: 0.1.x", "semver: 0.0.x", "deploy/flux/operator.yaml"),
            ("CHANGELOG.md", "To become 0.1.0", "To become 0.3.0", "CHANGELOG.md"),
            (
                "docs/install.md",
                "qlik-context-operator-0.1.0.tgz",
                "qlik-context-operator-0.0.9.tgz",
                "docs/install.md",
            ),
            (&*crd, "spec:", "spec: ", "is not the file of the chart"),
            (".github/workflows/release.yml", "actions/checkout@", "actions/checkout@v", "is not pinned"),
        ];
        for (path, from, to, named) in cases {
            let mut files = files.clone();
            let text = files.get_mut(path).unwrap();
            assert!(text.contains(from), "{path}: {from}");
            *text = text.replacen(from, to, 1);
            let found = agree::disagreements(&files, None);
            assert!(found.iter().any(|line| line.contains(named)), "{path}: {to}: {found:#?}");
        }
    }

    #[test]
    fn a_tag_needs_its_own_version_and_a_dated_section_of_the_changelog() {
        let mut files = read(&repository()).unwrap();
        let tag = format!("v{VERSION}");
        assert!(agree::disagreements(&files, Some(&tag)).iter().any(|line| line.contains("dated section")));
        let changelog = files.get_mut("CHANGELOG.md").unwrap();
        *changelog =
            changelog.replace("## [Unreleased]\n", &format!("## [Unreleased]\n\n## [{VERSION}] - 2026-12-01\n"));
        let found = agree::disagreements(&files, Some(&tag));
        assert!(found.is_empty(), "{found:#?}");
        assert!(agree::disagreements(&files, Some("v9.9.9")).iter().any(|line| line.contains("tag")));
    }
}
