//! The table of metrics in docs/reference.md is generated from the code: written if `WRITE_GENERATED` is set, compared
//! otherwise. docs/operations.md has the alerts of the chart.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use qlik_context_operator::clock::Timestamp;
use qlik_context_operator::metrics::{Format, Metrics, RequestVerb};

use serde_json::Value;

use super::pages::{pages, read, root, section};

const PAGE: &str = "docs/reference.md";

/// A metric in the format of Prometheus.
struct Metric {
    name: String,
    kind: String,
    labels: Vec<String>,
    help: String,
}

/// Every metric, in the order of the registry.
fn metrics() -> Vec<Metric> {
    let (metrics, now) = (Arc::new(Metrics::new()), Timestamp::UNIX_EPOCH);
    // The other series exist from the start.
    metrics.context("namespace", "name", true, Some((now, now)), now);
    metrics.oauth_client("namespace", "name", true, Some(now));
    metrics.stale_pods("namespace", "name", Some(0));
    metrics.kubernetes_requested(RequestVerb::get, Some(200), Duration::ZERO);
    let text = metrics.render_as(Format::Text, now).unwrap();
    let mut found = Vec::new();
    for told in text.split("# HELP ").skip(1) {
        let (name, rest) = told.split_once(' ').unwrap();
        let (help, rest) = rest.split_once("\n# TYPE ").unwrap();
        let (kind, samples) = rest.split_once(' ').unwrap().1.split_once('\n').unwrap();
        let sample = samples.lines().next().unwrap_or_else(|| panic!("{name} has no sample"));
        let labels = sample.split_once('{').map_or("", |(_, labels)| labels.split_once('}').unwrap().0);
        let labels = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        found.push(Metric {
            name: name.to_owned(),
            kind: kind.to_owned(),
            labels: labels.collect(),
            help: help.to_owned(),
        });
    }
    found
}

#[test]
fn the_table_of_metrics_is_what_the_registry_says() {
    let mut table = String::from("| metric | type | labels | what it is |\n| --- | --- | --- | --- |\n");
    for Metric { name, kind, labels, help } in metrics() {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(table, "| `{name}` | {kind} | {} | {help} |", labels.join(", ")).unwrap();
    }
    let table = table.replace("|  |", "| |");
    let page = read(PAGE);
    let written = section(&page, "## Metrics");
    let begin = written.find("| metric |").unwrap();
    let old = written[begin..].split("\n\n").next().unwrap();
    if std::env::var_os("WRITE_GENERATED").is_some() {
        std::fs::write(root().join(PAGE), page.replace(old, table.trim_end())).unwrap();
    } else {
        assert!(old == table.trim_end(), "{PAGE} is out of date: run cargo xtask generate");
    }
}

#[test]
fn every_metric_on_a_page_exists() {
    let names: BTreeSet<_> = metrics().into_iter().map(|metric| metric.name).collect();
    assert!(names.len() > 20);
    for (path, text) in pages() {
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let ours = word.starts_with("qlik_context_") && word != "qlik_context_operator" && word != "qlik_context_";
            assert!(!ours || names.contains(word), "{}: {word}", path.display());
        }
    }
}

#[test]
fn every_alert_has_a_section_in_the_operations_guide() {
    let rules: Value = serde_saphyr::from_str(&read("charts/qlik-context-operator/files/alerts.yaml")).unwrap();
    let rules = rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    let alerts: BTreeSet<_> = rules.map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect();
    let page = read("docs/operations.md");
    let text = section(&page, "## Alerts");
    let sections: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_owned).collect();
    assert_eq!(sections, alerts);
    for alert in alerts {
        let text = section(&page, &format!("### {alert}"));
        for part in ["Meaning", "Look at", "Do"] {
            assert!(text.contains(&format!("\n- **{part}**: ")), "{alert} lacks {part}");
        }
    }
}
