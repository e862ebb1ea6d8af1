//! The SBOM, compared with cargo's metadata.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::archive::{Image, sha256};

/// Names and versions of the crates that are linked into the operator, from cargo for the same platform.
fn linked(target: &str) -> BTreeSet<(String, String)> {
    let args = ["tree", "--locked", "--package", "qlik-context-operator", "--edges", "normal,no-proc-macro"];
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(args)
        .args(["--prefix", "none", "--format", "{p}", "--target", target])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("qlik-context-operator "));
    let words = lines.map(|line| line.split(' ').collect::<Vec<_>>());
    words.map(|words| (words[0].to_owned(), words[1].trim_start_matches('v').to_owned())).collect()
}

pub fn complete(image: &Image) {
    let sbom: Value =
        serde_json::from_slice(&image.file("usr/share/sbom/qlik-context-operator.cdx.json").content).unwrap();
    assert_eq!((&sbom["bomFormat"], &sbom["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    let subject = &sbom["metadata"]["component"];
    assert_eq!(subject["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(subject["components"][0]["hashes"][0]["content"], sha256(image.program()));

    let components = sbom["components"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let libraries = components.iter().filter(|component| component["type"] == "library");
    let listed: BTreeSet<_> = libraries.map(|library| (text(&library["name"]), text(&library["version"]))).collect();
    let machine = if image.config["architecture"] == "arm64" { "aarch64" } else { "x86_64" };
    let linked = linked(&format!("{machine}-unknown-linux-gnu"));
    assert_eq!(listed, linked);
    for name in ["kube", "reqwest", "rustls", "aws-lc-rs", "aws-lc-sys", "tokio"] {
        assert!(listed.iter().any(|(listed, _)| listed == name), "{name}");
    }
    // A crate of tests, one of macros, and one that is disabled and banned.
    for name in ["proptest", "support", "tar", "rcgen", "syn", "kube-derive", "ring"] {
        assert!(!listed.iter().any(|(listed, _)| listed == name), "{name}");
    }
    assert!(components.iter().any(|component| component["name"] == "etc/ssl/certs/ca-certificates.crt"));
    // Every reference has a target.
    let mut known: BTreeSet<_> = components.iter().filter_map(|component| component["bom-ref"].as_str()).collect();
    known.insert(subject["bom-ref"].as_str().unwrap());
    for dependency in sbom["dependencies"].as_array().unwrap() {
        assert!(known.contains(dependency["ref"].as_str().unwrap()), "{dependency}");
        for on in dependency["dependsOn"].as_array().unwrap() {
            assert!(known.contains(on.as_str().unwrap()), "{on}");
        }
    }
}
