//! Time series as Prometheus would have them, of a controller that lives on virtual time.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use support::control_plane::Folder;

use super::prometheus::{assert_content, promtool};
use super::world::{BEGIN, World, pass};

/// How often is scraped, and how often rules are evaluated.
pub const STEP: Duration = Duration::from_secs(30);

/// The text of a file in this repository.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The rules that are shipped.
pub const RULES: &str = "charts/qlik-context-operator/files/alerts.yaml";

/// Scrapes, one each [`STEP`].
#[derive(Default)]
pub struct Recording {
    series: BTreeMap<String, Vec<String>>,
    scrapes: usize,
}

impl Recording {
    /// Lives on for this long, scraped as `instance`.
    pub async fn scrape(&mut self, world: &World, instance: &str, time: Duration) {
        world.metrics.leads(true);
        let steps = time.as_secs() / STEP.as_secs();
        for _ in 0..steps {
            pass(STEP).await;
            self.add(&world.metrics.render(world.clock.now()).unwrap(), instance);
        }
    }

    /// Nothing answers for this long.
    pub async fn silence(&mut self, time: Duration) {
        for _ in 0..time.as_secs() / STEP.as_secs() {
            pass(STEP).await;
            self.add("", "");
        }
    }

    fn add(&mut self, text: &str, instance: &str) {
        let target = format!("job=\"operator\",instance=\"{instance}\"");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            // No alert looks into a histogram, and the process lives in real time.
            if series.contains("_bucket") || series.starts_with("process_") {
                continue;
            }
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            // As `honor_labels` has it.
            let namespace = if labels.contains("namespace=") { "" } else { "namespace=\"qlik-system\"," };
            let comma = if labels == "}" { "" } else { "," };
            let series = format!("{name}{{{namespace}{target}{comma}{labels}");
            let values = self.series.entry(series).or_default();
            values.resize(self.scrapes, "_".to_owned());
            values.push(value.to_owned());
        }
        self.scrapes += 1;
        for values in self.series.values_mut().filter(|values| values.len() < self.scrapes) {
            let gone = if values.last().is_some_and(|last| last != "_" && last != "stale") { "stale" } else { "_" };
            values.push(gone.to_owned());
        }
    }

    /// How long it is by now.
    pub fn length(&self) -> Duration {
        STEP * u32::try_from(self.scrapes).unwrap()
    }

    /// At these times exactly these alerts fire, each with its labels beside `severity`.
    pub fn fires(&self, expected: &[(Duration, &[(&str, Value)])]) {
        let rules: Value = serde_saphyr::from_str(&read(RULES)).unwrap();
        let (rules, alerts) = without_annotations(rules);
        let mut tests = Vec::new();
        for (time, firing) in expected {
            assert!(*time < self.length(), "nothing was recorded {time:?} after the beginning");
            for (alert, severity) in &alerts {
                let labels = firing.iter().filter(|(name, _)| name == alert).map(|(_, labels)| {
                    let mut labels = labels.clone();
                    labels["severity"] = severity.clone();
                    json!({"exp_labels": labels})
                });
                let labels: Vec<_> = labels.collect();
                tests.push(
                    json!({"eval_time": format!("{}s", time.as_secs()), "alertname": alert, "exp_alerts": labels}),
                );
            }
        }
        // promtool's time begins at 0, with the first scrape: what is a time is counted from there.
        let begin = BEGIN + i64::try_from(STEP.as_secs()).unwrap();
        let series = self.series.iter().map(|(series, values)| {
            let is_time = series.contains("_timestamp_seconds");
            let moved = |value: &String| match value.parse::<i64>() {
                Ok(number) if is_time => (number - begin).to_string(),
                _ => value.clone(),
            };
            json!({"series": series, "values": values.iter().map(moved).collect::<Vec<_>>().join(" ")})
        });
        let file = json!({
            "rule_files": ["rules.yaml"], "evaluation_interval": "30s",
            "tests": [{"interval": "30s", "input_series": series.collect::<Vec<_>>(), "alert_rule_test": tests}],
        });
        let folder = Folder::new().unwrap();
        std::fs::write(folder.path().join("rules.yaml"), rules.to_string()).unwrap();
        std::fs::write(folder.path().join("test.yaml"), file.to_string()).unwrap();
        assert_content(&promtool(&["test", "rules", "test.yaml"], folder.path(), ""));
    }
}

/// The rules without their texts, which other tests hold; the names of the alerts and their severity.
fn without_annotations(mut rules: Value) -> (Value, Vec<(String, Value)>) {
    let mut alerts = Vec::new();
    for group in rules["groups"].as_array_mut().unwrap() {
        for rule in group["rules"].as_array_mut().unwrap() {
            rule.as_object_mut().unwrap().remove("annotations");
            alerts.push((rule["alert"].as_str().unwrap().to_owned(), rule["labels"]["severity"].clone()));
        }
    }
    assert!(alerts.len() >= 8);
    (rules, alerts)
}
