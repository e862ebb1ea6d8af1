//! Committed files that are made from the code are what the code makes of them now.

#![expect(clippy::unwrap_used, reason = "a test says no by panicking")]

use std::path::Path;

use qlik_context_operator::api::Reason;
use qlik_context_operator::api::crd::qlik_contexts;
use strum::IntoEnumIterator;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_committed_crd_is_what_the_types_say() {
    let crd = serde_saphyr::to_string(&qlik_contexts()).unwrap();
    for path in ["crds/qlikcontexts.yaml", "charts/qlik-context-operator/files/crds/qlikcontexts.yaml"] {
        assert!(read(path) == crd, "{path} is old: run `cargo xtask generate`");
    }
}

#[test]
fn the_crd_has_only_formats_that_the_api_server_knows_and_no_nullable_fields() {
    let crd = serde_json::to_string(&qlik_contexts()).unwrap();
    assert!(!crd.contains("nullable") && !crd.contains("uint"));
}

/// The first column of the README's table of reasons, in order.
fn documented() -> Vec<String> {
    let readme = read("README.md");
    let table = readme.split("## Reasons").nth(1).unwrap_or_default();
    let table = table.split("\n## ").next().unwrap_or_default();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    rows.map(str::to_owned).collect()
}

#[test]
fn every_reason_is_in_the_readme_with_cause_and_fix() {
    let mut reasons: Vec<_> = Reason::iter().map(|reason| reason.to_string()).collect();
    let mut rows = documented();
    reasons.sort();
    rows.sort();
    assert_eq!(rows, reasons);
}
