//! Every QlikContext on a page and in `examples/` is valid, so that readers can copy it.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PodSpec, Secret};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use qlik_context_operator::api::{QlikContext, QlikOAuthClient};
use qlik_context_operator::desired::Desired;
use qlik_context_operator::oauth::request::{Grant, UserLookup};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::foreign;
use super::pages::{blocks, files, pages, read};

/// Fields that are not in the schema. The API server would drop them.
fn unknown(value: &Value, schema: &Value, path: &str) -> Vec<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| {
                let path = format!("{path}.{name}");
                match (&schema["properties"][name], &schema["additionalProperties"]) {
                    (Value::Object(_), _) => unknown(value, &schema["properties"][name], &path),
                    (_, Value::Object(_)) => vec![],
                    _ => vec![path],
                }
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(|item| unknown(item, &schema["items"], path)).collect(),
        _ => vec![],
    }
}

fn documents(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// The contexts of a YAML text, as the operator parses them.
fn contexts(place: &str, yaml: &str) -> Vec<Desired> {
    let crd = &documents(&read("crds/qlikcontexts.yaml"))[0];
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    assert!(schema["properties"]["auth"].is_object());
    let contexts = documents(yaml).into_iter().filter(|document| document["kind"] == "QlikContext");
    let understood = contexts.map(|context| {
        assert_eq!(context["apiVersion"], "qlikcontext.dev/v1alpha1", "{place}");
        assert_eq!(unknown(&context["spec"], schema, "spec"), Vec::<String>::new(), "{place}");
        let context: QlikContext = serde_json::from_value(context).unwrap_or_else(|error| panic!("{place}: {error}"));
        Desired::parse(&context).unwrap_or_else(|failure| panic!("{place}: {}", failure.message))
    });
    understood.collect()
}

#[test]
fn every_context_on_a_page_is_valid_and_every_manifest_is_yaml() {
    let mut seen = 0;
    for (path, text) in pages() {
        for block in blocks(&text, "yaml").into_iter().chain(piped(&text)) {
            seen += contexts(&path.display().to_string(), &block).len();
        }
    }
    assert!(seen >= 7, "{seen}");
}

/// The standard input of a command on a page.
fn piped(page: &str) -> Vec<String> {
    let commands = blocks(page, "sh").into_iter();
    let inputs =
        commands.filter_map(|block| Some(block.split_once("<<'YAML'\n")?.1.split_once("\nYAML")?.0.to_owned()));
    inputs.collect()
}

#[test]
fn the_examples_show_every_method_and_are_consistent() {
    let (mut all, mut mounted) = (Vec::new(), Vec::new());
    for path in files("examples", "") {
        let text = read(&path);
        all.extend(contexts(&path.display().to_string(), &text));
        for document in documents(&text) {
            let volumes = document["spec"]["template"]["spec"]["volumes"].as_array().cloned().unwrap_or_default();
            mounted
                .extend(volumes.into_iter().map(|volume| volume["secret"]["secretName"].as_str().unwrap().to_owned()));
        }
    }
    let methods: BTreeSet<_> = all.iter().map(|desired| format!("{:?}", desired.method)).collect();
    for method in ["ClientSecret", "PrivateKeyJwt", "ApiKey"] {
        assert!(methods.iter().any(|shown| shown.starts_with(method)), "no example of {method}");
    }
    for lookup in [UserLookup::UserId as fn(String) -> _, UserLookup::Subject] {
        let kind = std::mem::discriminant(&lookup(String::new()));
        let shows = |desired: &Desired| match &desired.grant {
            Grant::UserImpersonation(lookup) => std::mem::discriminant(lookup) == kind,
            Grant::ClientCredentials => false,
        };
        assert!(all.iter().any(shows), "impersonation by id or by subject has no example");
    }
    assert!(!mounted.is_empty());
    for name in mounted {
        assert!(all.iter().any(|desired| desired.target_name == name), "no example creates the Secret {name}");
    }
    let names: BTreeSet<_> = all.iter().map(|desired| &desired.target_name).collect();
    assert_eq!(names.len(), all.len(), "two examples write one Secret");
}

/// Unknown fields, which a type of Kubernetes drops.
fn dropped(written: &Value, read: &Value, path: &str) -> Vec<String> {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => written
            .iter()
            .flat_map(|(name, value)| match read.get(name) {
                Some(read) => dropped(value, read, &format!("{path}.{name}")),
                None => vec![format!("{path}.{name}")],
            })
            .collect(),
        (Value::Array(written), Value::Array(read)) => {
            written.iter().zip(read).flat_map(|(written, read)| dropped(written, read, path)).collect()
        }
        _ => vec![],
    }
}

/// kubectl reads `0440` as an octal number; the YAML 1.2 parser of this test reads a number with a fraction.
fn with_whole_numbers(value: &Value) -> Value {
    match value {
        #[expect(clippy::cast_possible_truncation, reason = "file modes are small")]
        Value::Number(number) if number.is_f64() => Value::from(number.as_f64().unwrap() as i64),
        Value::Array(items) => items.iter().map(with_whole_numbers).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), with_whole_numbers(value))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

fn is_known_to_kubernetes<T: DeserializeOwned + Serialize>(place: &str, written: &Value) {
    let read: T = serde_json::from_value(written.clone()).unwrap_or_else(|error| panic!("{place}: {error}\n{written}"));
    assert_eq!(dropped(written, &serde_json::to_value(read).unwrap(), ""), Vec::<String>::new(), "{place}");
}

#[test]
fn every_manifest_or_part_of_one_has_only_fields_of_kubernetes_or_the_chart() {
    let values: Value = serde_saphyr::from_str(&read("charts/qlik-context-operator/values.yaml")).unwrap();
    let examples = files("examples", ".yaml").into_iter().map(|path| (path.clone(), vec![read(&path)]));
    let on_pages = pages().into_iter().map(|(path, text)| (path, blocks(&text, "yaml")));
    let mut seen = BTreeSet::new();
    for (path, texts) in on_pages.chain(examples) {
        let place = path.display().to_string();
        for document in texts.iter().flat_map(|text| documents(text)) {
            let document = with_whole_numbers(&document);
            let kind = document["kind"].as_str().unwrap_or_default();
            seen.insert(kind.to_owned());
            match kind {
                // The schema defines the fields of a context.
                "QlikContext" => {}
                "QlikOAuthClient" => is_known_to_kubernetes::<QlikOAuthClient>(&place, &document),
                // `tests/chart` builds with Kustomize.
                "Kustomization" if document["apiVersion"] == "kustomize.config.k8s.io/v1beta1" => {}
                "" if document["nameReference"].is_array() => {}
                _ if foreign::knows(&place, &document) => {}
                "Deployment" => is_known_to_kubernetes::<Deployment>(&place, &document),
                "Secret" => is_known_to_kubernetes::<Secret>(&place, &document),
                "Role" => is_known_to_kubernetes::<Role>(&place, &document),
                "RoleBinding" => is_known_to_kubernetes::<RoleBinding>(&place, &document),
                "" if document["containers"].is_array() => is_known_to_kubernetes::<PodSpec>(&place, &document),
                "" => {
                    for name in document.as_object().unwrap().keys() {
                        assert!(
                            values.get(name).is_some(),
                            "{place}: {name} is neither a Kubernetes field nor a value of the chart"
                        );
                    }
                }
                other => panic!("{place}: no test checks a {other}"),
            }
        }
    }
    assert!(["", "QlikContext", "Deployment", "Secret", "Role"].iter().all(|kind| seen.contains(*kind)), "{seen:?}");
}
