//! Alerts and dashboard: each alert and panel queries only metrics that exist.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use qlik_context_operator::clock::Timestamp;
use qlik_context_operator::metrics::{Metrics, Reconciled, RequestVerb, SecretWrite, Watch};
use qlik_context_operator::oauth::request::Grant;
use qlik_context_operator::tokens::CallObserver;
use serde_json::{Value, json};

use super::helm::{NAMESPACE, Rendered, chart};
use super::values::everything;

/// The metrics in a query.
fn asked(query: &str) -> Vec<&str> {
    let words = query.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    let metrics: Vec<_> = words.filter(|word| word.starts_with("qlik_context_")).collect();
    assert!(!metrics.is_empty(), "{query}");
    metrics
}

/// The response of the operator's endpoint after every kind of event has been recorded.
static METRICS: LazyLock<String> = LazyLock::new(|| {
    let (metrics, now) = (Arc::new(Metrics::new()), Timestamp::UNIX_EPOCH);
    metrics.context("namespace", "name", true, Some((now, now)), now);
    metrics.token_request(&Grant::ClientCredentials, None, Duration::ZERO);
    metrics.verification(None);
    metrics.reconciled(Reconciled::Ready, Duration::ZERO);
    metrics.secret_written(SecretWrite::Create);
    metrics.watch_failed(Watch::Contexts);
    metrics.kubernetes_requested(RequestVerb::get, Some(200), Duration::ZERO);
    metrics.oauth_client("namespace", "name", true, Some(now));
    metrics.stale_pods("namespace", "name", Some(1));
    metrics.render(now).unwrap()
});

/// Whether the operator has the metric.
fn assert_served(metric: &str) {
    let served = METRICS.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let mut names = served.flat_map(|(name, kind)| match kind {
        "counter" => vec![format!("{name}_total")],
        "histogram" => ["bucket", "sum", "count"].map(|end| format!("{name}_{end}")).into(),
        "info" => vec![format!("{name}_info")],
        _ => vec![name.to_owned()],
    });
    assert!(names.any(|name| name == metric), "{metric} is not in\n{}", *METRICS);
}

fn rules(values: &Value) -> Vec<Value> {
    let rendered = Rendered::new(&json!({"prometheusRules": values}));
    let groups = rendered.only("PrometheusRule")["spec"]["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

#[test]
fn every_alert_queries_existing_metrics_and_says_what_is_wrong() {
    let alerts = rules(&json!({"enabled": true}));
    assert!(alerts.len() >= 8);
    for alert in &alerts {
        let name = alert["alert"].as_str().unwrap();
        assert!(name.starts_with("QlikContext"), "{name}");
        asked(alert["expr"].as_str().unwrap()).into_iter().for_each(assert_served);
        assert!(["critical", "warning"].contains(&alert["labels"]["severity"].as_str().unwrap()), "{name}");
        for text in ["summary", "description"] {
            assert!(alert["annotations"][text].as_str().unwrap().ends_with(['.', '}']), "{name}: {text}");
        }
    }
    // Helm's own templates have the same braces.
    assert!(alerts.iter().any(|alert| alert.to_string().contains("{{ $labels.namespace }}")));
}

#[test]
fn the_alert_that_nothing_runs_is_about_the_namespace_of_the_release() {
    let alerts = rules(&json!({"enabled": true}));
    let down = alerts.iter().find(|alert| alert["alert"] == "QlikContextOperatorDown").unwrap();
    assert_eq!(down["expr"], format!("absent(qlik_context_build_info{{namespace=\"{NAMESPACE}\"}})"));
}

#[test]
fn an_alert_can_be_changed_and_disabled() {
    let change = json!({"for": "30m", "labels": {"severity": "info"}});
    let values = json!({
        "enabled": true, "alertLabels": {"team": "a", "severity": "mine"},
        "overrides": {"QlikContextNotReady": change, "QlikContextRateLimited": {"enabled": false}},
    });
    let (before, after) = (rules(&json!({"enabled": true})), rules(&values));
    assert_eq!(after.len(), before.len() - 1);
    for alert in &after {
        assert_ne!(alert["alert"], "QlikContextRateLimited");
        assert_eq!(alert["labels"]["team"], "a");
        assert!(alert["enabled"].is_null());
        let original = before.iter().find(|other| other["alert"] == alert["alert"]).unwrap();
        assert_eq!(alert["expr"], original["expr"]);
        if alert["alert"] == "QlikContextNotReady" {
            assert_eq!((&alert["for"], &alert["labels"]["severity"]), (&json!("30m"), &json!("info")));
        } else {
            assert_eq!(alert["labels"]["severity"], original["labels"]["severity"]);
        }
    }
}

#[test]
fn the_service_monitor_finds_the_service_and_keeps_the_namespaces_of_contexts() {
    let rendered = Rendered::new(&everything());
    let (monitor, service) = (rendered.only("ServiceMonitor"), rendered.only("Service"));
    for (label, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(service["metadata"]["labels"][label], *value);
    }
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert_eq!(endpoint["port"], service["spec"]["ports"][0]["name"]);
    assert_eq!(endpoint["honorLabels"], true);
    assert_eq!((&endpoint["interval"], &endpoint["scrapeTimeout"]), (&json!("30s"), &json!("10s")));
    assert!(endpoint["relabelings"].is_array() && endpoint["metricRelabelings"].is_array());
    assert_eq!(rendered.container()["ports"][0]["name"], service["spec"]["ports"][0]["targetPort"]);
}

#[test]
fn every_panel_of_the_dashboard_queries_existing_metrics() {
    let rendered = Rendered::new(&everything());
    let mut maps = rendered.of_kind("ConfigMap");
    maps.retain(|map| map["metadata"]["labels"]["grafana_dashboard"] == "1");
    let text = maps[0]["data"]["qlik-context-operator.json"].as_str().unwrap();
    let dashboard: Value = serde_json::from_str(text).unwrap();
    assert_eq!(dashboard, serde_json::from_str::<Value>(&chart("files/dashboard.json")).unwrap());
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 10);
    for panel in panels {
        for target in panel["targets"].as_array().unwrap() {
            asked(target["expr"].as_str().unwrap()).into_iter().for_each(assert_served);
        }
    }
}
