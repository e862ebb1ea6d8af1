//! Committed files that are generated from the code are up to date.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use qlik_context_operator::api::Reason;
use qlik_context_operator::api::crd;
use strum::IntoEnumIterator;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_committed_crds_match_the_types() {
    for (name, crd) in crd::all() {
        let crd = serde_saphyr::to_string(&crd).unwrap();
        for folder in ["crds", "charts/qlik-context-operator/files/crds"] {
            let path = format!("{folder}/{name}");
            assert!(read(&path) == crd, "{path} is out of date: run `cargo xtask generate`");
        }
    }
}

#[test]
fn the_crds_have_only_formats_that_the_api_server_supports_and_no_nullable_fields() {
    for (name, crd) in crd::all() {
        let crd = serde_json::to_string(&crd).unwrap();
        assert!(!crd.contains("nullable") && !crd.contains("uint"), "{name}");
    }
}

/// The rows of the tables of reasons in `docs/reference.md`, as cells.
fn documented(page: &str) -> Vec<Vec<&str>> {
    let tables = page.split("\n## Reasons\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = tables.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").collect()).collect()
}

#[test]
fn every_reason_is_in_the_reference_with_cause_and_fix() {
    let page = read("docs/reference.md");
    let rows = documented(&page);
    for row in &rows {
        let [_, meaning, fix] = row.as_slice() else { panic!("not a reason, its meaning and what to do: {row:?}") };
        assert!(meaning.ends_with('.') && fix.ends_with('.'), "{row:?}");
    }
    let mut names: Vec<_> = rows.iter().map(|row| row[0].trim_end_matches('`').to_owned()).collect();
    let mut reasons: Vec<_> = Reason::iter().map(|reason| reason.to_string()).collect();
    names.sort();
    reasons.sort();
    assert_eq!(names, reasons);
}

#[test]
fn the_reference_marks_exactly_the_stalled_reasons() {
    let page = read("docs/reference.md");
    for row in documented(&page) {
        let reason: Reason = row[0].trim_end_matches('`').parse().unwrap();
        assert_eq!(row[1].starts_with("(stalled"), reason.stalled(), "{reason}");
    }
}
