//! Files that are generated from the chart and committed: the table of its values, and manifests for use without Helm.
//! They are written if `WRITE_GENERATED` is set, as `cargo xtask generate` does, and compared otherwise.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::helm::{NAMESPACE, RELEASE, Rendered, chart, path};

const README: &str = "charts/qlik-context-operator/README.md";
const MANIFEST: &str = "deploy/kubernetes/qlik-context-operator.yaml";
const BEGIN: &str = "<!-- From the comments of values.yaml, by `cargo xtask generate`. -->\n\n";

/// A value of values.yaml.
#[derive(Debug)]
pub struct Row {
    pub path: String,
    default: Value,
    text: String,
}

/// The values of values.yaml, in order: each key with a comment that starts with two dashes.
///
/// Keys and comments are found by their position in the line, which is sufficient for our own file. A YAML parser reads
/// the values.
pub fn rows() -> Vec<Row> {
    let yaml = chart("values.yaml");
    let values: Value = serde_saphyr::from_str(&yaml).unwrap();
    let (mut rows, mut parents) = (Vec::new(), Vec::<&str>::new());
    let mut text: Option<String> = None;
    for line in yaml.lines() {
        let word = line.trim_start();
        if let Some(begin) = word.strip_prefix("# -- ") {
            text = Some(begin.to_owned());
        } else if let (Some(text), Some(more)) = (&mut text, word.strip_prefix("# ")) {
            *text = format!("{text} {more}");
        } else if let Some((key, _)) = word.split_once(':').filter(|_| !word.starts_with('#')) {
            parents.truncate((line.len() - word.len()) / 2);
            parents.push(key);
            if let Some(text) = text.take() {
                let default = parents.iter().fold(&values, |value, key| &value[key]).clone();
                rows.push(Row { path: parents.join("."), default, text });
            }
        }
    }
    undocumented(&values, "", &rows);
    rows
}

/// Checks that every value has its own comment or is part of a value that has one.
fn undocumented(value: &Value, path: &str, rows: &[Row]) {
    for (key, value) in value.as_object().unwrap_or_else(|| panic!("values.yaml: {path} has no comment")) {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if !rows.iter().any(|row| row.path == path) {
            undocumented(value, &path, rows);
        }
    }
}

fn table() -> String {
    let mut table = String::from("| value | default | what it is |\n| --- | --- | --- |\n");
    for Row { path, default, text } in rows() {
        // The text goes into one cell of a table. `|` would end the cell.
        let default = match default {
            Value::Null => String::new(),
            value => format!("`{value}`").replace('|', "\\|"),
        };
        writeln!(table, "| `{path}` | {default} | {} |", text.replace('|', "\\|")).unwrap();
    }
    table
}

fn compare(file: &str, wanted: &str) {
    let file_path = path(file);
    if std::env::var_os("WRITE_GENERATED").is_some() {
        std::fs::create_dir_all(file_path.parent().unwrap()).unwrap();
        std::fs::write(&file_path, wanted).unwrap();
    }
    assert!(
        std::fs::read_to_string(&file_path).unwrap_or_default() == wanted,
        "{file} is out of date: run cargo xtask generate"
    );
}

#[test]
fn the_table_of_values_in_the_charts_readme_is_that_of_values_yaml() {
    let readme = chart("README.md");
    let (before, _) = readme.split_once(BEGIN).unwrap();
    compare(README, &format!("{before}{BEGIN}{}", table()));
}

/// Removes labels and annotations that only Helm uses.
fn plain(mut object: Value) -> Value {
    fn strip(value: &mut Value) {
        let Some(fields) = value.as_object_mut() else { return };
        for part in ["labels", "annotations"] {
            if let Some(entries) = fields.get_mut(part).and_then(Value::as_object_mut) {
                entries.retain(|key, _| !key.starts_with("helm.sh/") && key != "app.kubernetes.io/managed-by");
                if entries.is_empty() {
                    fields.remove(part);
                }
            }
        }
    }
    strip(&mut object["metadata"]);
    if object["spec"]["template"].is_object() {
        strip(&mut object["spec"]["template"]["metadata"]);
    }
    object
}

#[test]
fn the_manifest_for_kubectl_is_what_the_chart_renders() {
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {
            "app.kubernetes.io/part-of": RELEASE,
            "pod-security.kubernetes.io/enforce": "restricted",
        }},
    });
    let mut manifest = String::from(
        "# The operator with the chart's defaults, for `kubectl apply`. Made by `cargo xtask generate`; README.md says how to use it.\n",
    );
    let rendered = Rendered::new(&json!({})).0;
    for object in [namespace].into_iter().chain(rendered.into_iter().map(plain)) {
        write!(manifest, "---\n{}", serde_saphyr::to_string(&object).unwrap()).unwrap();
    }
    compare(MANIFEST, &manifest);
}
