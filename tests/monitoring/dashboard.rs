//! Every panel of the dashboard shows something, and is what Grafana expects.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use super::formats::{busy, serve};
use super::prometheus::Prometheus;
use super::recording::read;

fn dashboard() -> Value {
    serde_json::from_str(&read("charts/qlik-context-operator/files/dashboard.json")).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A query with its variables filled in, as Grafana would for a range of an hour.
fn filled(query: &str) -> String {
    let query = query.replace("$__rate_interval", "1m").replace("$__range", "1h");
    let query = query.replace("$namespace", ".*").replace("$job", ".*");
    assert!(!query.contains('$'), "a variable that nobody fills in: {query}");
    query
}

#[tokio::test]
async fn every_query_finds_something_in_a_real_prometheus() {
    let prometheus = Prometheus::scraping(serve(busy()).await, &["OpenMetricsText1.0.0"]).await;
    let dashboard = dashboard();
    let mut asked = 0;
    for panel in list(&dashboard["panels"]).iter().filter(|panel| panel["type"] != "row") {
        for target in list(&panel["targets"]) {
            let query = filled(text(&target["expr"]));
            assert!(!prometheus.query(&query).await.is_empty(), "{}: nothing for {query}", panel["title"]);
            asked += 1;
        }
    }
    assert!(asked >= 20, "{asked}");
    for variable in list(&dashboard["templating"]["list"]).iter().filter(|variable| variable["type"] == "query") {
        let query = text(&variable["query"]["query"]);
        let (metric, label) =
            query.strip_prefix("label_values(").unwrap().trim_end_matches(')').split_once(", ").unwrap();
        let found = prometheus.query(&format!("count by ({label}) ({})", filled(metric))).await;
        assert!(found.iter().any(|sample| sample["metric"][label].is_string()), "{query}");
    }
}

/// What Grafana's own library criticises about a dashboard.
fn criticised(dashboard: &Value) -> String {
    let mut child =
        support::go::run("dashboard").unwrap().stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(dashboard.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said
}

#[test]
fn the_schema_of_grafana_knows_every_field() {
    let mut dashboard = dashboard();
    assert_eq!(criticised(&dashboard), "");
    dashboard["panels"][0]["gridpos"] = json!({});
    assert!(criticised(&dashboard).contains("unexpected field 'gridpos'"));
}

#[test]
fn every_panel_is_complete_and_none_covers_another() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    assert!(!text(&dashboard["uid"]).is_empty() && text(&dashboard["uid"]).len() <= 40);
    let variables: BTreeSet<_> =
        list(&dashboard["templating"]["list"]).iter().map(|variable| text(&variable["name"])).collect();
    assert!(variables.contains("datasource"));
    let (mut ids, mut titles, mut covered) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in list(&dashboard["panels"]) {
        let title = text(&panel["title"]);
        assert!(ids.insert(panel["id"].as_u64().unwrap()) && titles.insert(title) && !title.is_empty(), "{title}");
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{title}");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(covered.insert((x, y)), "{title} covers another");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(["stat", "table", "timeseries"].contains(&text(&panel["type"])), "{title}");
        assert!(text(&panel["description"]).ends_with('.'), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let mut names = BTreeSet::new();
        for target in list(&panel["targets"]) {
            assert!(names.insert(text(&target["refId"])), "{title}");
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            let used = text(&target["expr"]).split('$').skip(1);
            for name in used.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()) {
                assert!(name.starts_with("__") || variables.contains(name), "{title}: ${name}");
            }
        }
        let unit = &panel["fieldConfig"]["defaults"]["unit"];
        assert!(panel["type"] != "timeseries" || !text(unit).is_empty(), "{title} has no unit");
    }
}
