//! The chart under test, and an older one.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::operator::repository;

pub fn current() -> String {
    repository().join("charts/qlik-context-operator").to_string_lossy().into_owned()
}

/// A chart that stands for an earlier release: an older version, whose CRD lacks `spec.renewBeforePercentage` and has
/// another type for `spec.suspend`. The rest is the current chart, because no version is released yet.
pub fn older(folder: &Path) -> String {
    let chart = folder.join("older");
    copy(Path::new(&current()), &chart);
    edit(&chart.join("Chart.yaml"), |chart| {
        chart["version"] = json!("0.0.9");
        chart["appVersion"] = json!("0.0.9");
    });
    edit(&chart.join("files/crds/qlikcontexts.yaml"), |crd| {
        let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        assert!(spec.as_object_mut().unwrap().remove("renewBeforePercentage").is_some());
        assert_eq!(spec["suspend"]["type"], "boolean");
        spec["suspend"] = json!({"type": "string"});
    });
    chart.to_string_lossy().into_owned()
}

/// A context that only the older schema accepts.
pub fn of_the_older_schema(namespace: &str) -> Value {
    let spec = json!({
        "tenantUrl": "https://acme.eu.qlikcloud.com", "suspend": "yes", "auth": {"clientSecret": {"secretRef": {"name": "none"}}},
    });
    json!({
        "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikContext",
        "metadata": {"name": "of-older-schema", "namespace": namespace}, "spec": spec,
    })
}

/// A chart with only these templates.
pub fn of(folder: &Path, templates: &[(&str, String)]) -> PathBuf {
    fs::create_dir_all(folder.join("templates")).unwrap();
    fs::write(folder.join("Chart.yaml"), "{apiVersion: v2, name: team, version: 1.0.0}").unwrap();
    for (name, text) in templates {
        fs::write(folder.join("templates").join(name), text).unwrap();
    }
    folder.to_owned()
}

/// JSON is valid YAML.
fn edit(file: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value = serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    edit(&mut value);
    fs::write(file, value.to_string()).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}
