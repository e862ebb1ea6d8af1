//! The SBOM, CycloneDX 1.6: the crates that are linked into the program.
//!
//! It is made from two lists. The list that `cargo auditable` linked into the program certainly belongs to the program,
//! but also has crates of macros and disabled optional crates. The list of `cargo tree` for the platform is exact, but
//! is that of this source. A crate that is only in the second list means that the program was not built from this
//! source, which is an error. No date and no serial number: the same program has the same SBOM.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use auditable_info::json_from_slice;
use serde_json::{Value, json};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use super::archive::sha256;
use super::{Architecture, NAME, VERSION};
use crate::cargo;

/// Much more than the list needs, in bytes.
const LONGEST: usize = 8 << 20;

/// The SBOM of an image with this program.
pub(super) fn of(program: &[u8], architecture: Architecture) -> anyhow::Result<String> {
    let list = json_from_slice(program, LONGEST)
        .context("the program holds no list of its crates: build it with cargo auditable")?;
    let list: Value = serde_json::from_str(&list)?;
    let linked = linked(architecture)?;
    let entries = list["packages"].as_array().context("a list without packages")?.iter();
    let packages = entries.map(|entry| Package::read(entry, &linked)).collect::<Option<Vec<_>>>();
    let packages = packages.context("a package without a name")?;
    for (name, version) in &linked {
        let there = packages.iter().any(|package| package.name == *name && package.version == *version);
        ensure!(there, "the program was not built from this source: it lacks {name} {version}");
    }
    let inside = |package: &&Package| package.linked && !package.root;
    let mut components: Vec<Value> = packages.iter().filter(inside).map(Package::component).collect();
    components.push(json!({
        "type": "data", "name": "etc/ssl/certs/ca-certificates.crt",
        "description": format!("{} CA certificates of Mozilla's list, from the crate webpki-root-certs", TLS_SERVER_ROOT_CERTS.len()),
    }));
    let depends = packages.iter().filter(|package| package.linked).map(|package| {
        let on = package.dependencies.iter().filter_map(|index| packages.get(*index)).filter(|other| other.linked);
        json!({"ref": package.reference(), "dependsOn": on.map(Package::reference).collect::<Vec<_>>()})
    });
    let sbom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {
            "type": "container", "bom-ref": reference(NAME, VERSION), "name": NAME, "version": VERSION,
            "licenses": [{"license": {"id": "Apache-2.0"}}],
            "components": [{
                "type": "file", "name": NAME, "hashes": [{"alg": "SHA-256", "content": sha256(program)}],
            }],
        }},
        "components": components,
        "dependencies": depends.collect::<Vec<_>>(),
    });
    Ok(format!("{sbom:#}\n"))
}

/// A crate, as the list has it.
struct Package {
    name: String,
    version: String,
    dependencies: Vec<usize>,
    linked: bool,
    root: bool,
}

/// Names and versions of the crates that are linked into the program on this platform.
fn linked(architecture: Architecture) -> anyhow::Result<BTreeSet<(String, String)>> {
    let target = match architecture {
        Architecture::Amd64 => "x86_64-unknown-linux-gnu",
        Architecture::Arm64 => "aarch64-unknown-linux-gnu",
    };
    let output = cargo::cargo(&["tree", "--locked", "--package", NAME, "--edges", "normal,no-proc-macro"])
        .args(["--prefix", "none", "--format", "{p}", "--target", target])
        .output()
        .context("cannot run cargo tree")?;
    ensure!(output.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    let text = String::from_utf8(output.stdout)?;
    let packages = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
    });
    Ok(packages.collect())
}

impl Package {
    fn read(entry: &Value, linked: &BTreeSet<(String, String)>) -> Option<Self> {
        let indices = entry["dependencies"].as_array().into_iter().flatten();
        let (name, version) = (entry["name"].as_str()?.to_owned(), entry["version"].as_str()?.to_owned());
        let linked = linked.contains(&(name.clone(), version.clone()));
        Some(Self {
            name,
            version,
            dependencies: indices.filter_map(|index| usize::try_from(index.as_u64()?).ok()).collect(),
            linked,
            root: entry["root"].as_bool().unwrap_or_default(),
        })
    }

    fn reference(&self) -> String {
        reference(&self.name, &self.version)
    }

    fn component(&self) -> Value {
        let reference = self.reference();
        json!({"type": "library", "bom-ref": reference, "purl": reference, "name": self.name, "version": self.version})
    }
}

/// A package URL, which also identifies the crate within the file.
fn reference(name: &str, version: &str) -> String {
    // A plus sign in a version is escaped there.
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}
