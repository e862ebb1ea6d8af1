//! Names on the pages exist in the code: reasons, tests, flags, labels, values of the chart, steps of a reconciliation.

use std::collections::BTreeSet;

use clap::CommandFactory as _;
use qlik_context_operator::api::condition::Notice;
use qlik_context_operator::api::{self, Reason};
use qlik_context_operator::run::args::CommandLine;
use serde_json::Value;
use strum::IntoEnumIterator as _;

use super::pages::{blocks, code, files, pages, read, rows, section, spans};

#[test]
fn every_failure_reason_has_a_section_in_troubleshooting() {
    let reference = read("docs/reference.md");
    let good: Vec<_> =
        rows(section(&reference, "### Healthy")).into_iter().map(|row| code(row[0]).to_owned()).collect();
    let wanted: BTreeSet<_> =
        Reason::iter().map(|reason| reason.to_string()).filter(|name| !good.contains(name)).collect();
    assert_eq!(good.len() + wanted.len(), Reason::iter().count());

    let page = read("docs/troubleshooting.md");
    let reasons = &page[page.find("\n## Overall\n").unwrap()..];
    let sections: BTreeSet<_> =
        reasons.lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_owned).collect();
    assert_eq!(sections, wanted);
    for name in sections {
        let text = section(reasons, &format!("### {name}"));
        for part in ["Symptom", "Diagnosis", "Cause", "Fix"] {
            assert!(text.contains(&format!("\n- **{part}**: ")), "{name} lacks {part}");
        }
    }
}

/// The names of all tests.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in ["src", "tests"].iter().flat_map(|folder| files(folder, ".rs")) {
        let mut attributed = false;
        for line in read(path).lines().map(str::trim) {
            if line.starts_with("#[") {
                attributed |= line == "#[test]" || line.starts_with("#[tokio::test");
                continue;
            }
            let name = line.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.split('(').next());
            names.extend(name.filter(|_| attributed).map(str::to_owned));
            attributed = false;
        }
    }
    names
}

#[test]
fn every_control_of_the_threat_table_has_a_test_that_exists() {
    let (tests, page) = (tests(), read("docs/security.md"));
    let table: Vec<_> = section(&page, "## Threats").lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert!(table.len() > 20);
    for row in table {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let named: Vec<_> = cell.split(", ").map(code).collect();
        for name in named {
            assert!(tests.contains(name), "no test {name:?} in {row}");
        }
    }
}

#[test]
fn the_page_lists_the_flags_of_the_program() {
    let page = read("docs/reference.md");
    let documented: BTreeSet<_> = rows(section(&page, "## Flags"))
        .into_iter()
        .map(|row| (code(row[0]).to_owned(), code(row[1]).to_owned(), code(row[2]).to_owned()))
        .collect();
    let command = CommandLine::command();
    let run = command.find_subcommand("run").unwrap();
    let flags = run.get_arguments().filter(|flag| flag.get_id() != "help").map(|flag| {
        let default = if flag.get_action().takes_values() { flag.get_default_values().first() } else { None };
        (
            format!("--{}", flag.get_long().unwrap()),
            flag.get_env().unwrap().to_str().unwrap().to_owned(),
            default.map(|text| text.to_str().unwrap().to_owned()).unwrap_or_default(),
        )
    });
    assert_eq!(documented, flags.collect());
}

#[test]
fn the_page_lists_the_events_of_the_program() {
    let page = read("docs/reference.md");
    let documented: BTreeSet<_> =
        rows(section(&page, "## Events")).into_iter().map(|row| code(row[0]).to_owned()).collect();
    assert_eq!(documented, Notice::iter().map(|notice| notice.to_string()).collect());
}

#[test]
fn every_label_and_annotation_on_a_page_is_used_by_the_code() {
    let known = [
        api::CONTEXT_LABEL,
        api::EXPIRES_AT_ANNOTATION,
        api::ISSUED_AT_ANNOTATION,
        api::TOKEN_BINDING_ANNOTATION,
        api::REFRESHED_FOR_ANNOTATION,
        api::REFRESH_REQUESTED_ANNOTATION,
        api::ALLOWED_HOSTS_ANNOTATION,
        api::OAUTH_CLIENT_LABEL,
        api::CREDENTIAL_HINT_ANNOTATION,
        api::CREDENTIAL_BINDING_ANNOTATION,
        api::PREVIOUS_CREDENTIALS_ANNOTATION,
        api::ROTATED_FOR_ANNOTATION,
        api::ROTATE_REQUESTED_ANNOTATION,
        api::TOKEN_ISSUED_AT_ANNOTATION,
        api::RESTARTED_FOR_ANNOTATION,
        "qlikcontext.dev/v1alpha1",
    ];
    let mut seen = BTreeSet::new();
    for (path, text) in pages() {
        for rest in text.split("qlikcontext.dev/").skip(1) {
            let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().unwrap();
            let name = format!("qlikcontext.dev/{name}");
            // Argo CD's name for the kind, and the group with a wildcard.
            if ["qlikcontext.dev/QlikContext", "qlikcontext.dev/QlikOAuthClient", "qlikcontext.dev/"]
                .contains(&name.as_str())
            {
                continue;
            }
            assert!(known.contains(&name.as_str()), "{}: {name}", path.display());
            seen.insert(name);
        }
    }
    assert_eq!(seen.len(), known.len(), "{seen:?}");
}

/// Whether the chart has a value with this path. Below a value that is passed on to Kubernetes, every path exists.
fn is_value(values: &Value, path: &str) -> bool {
    let mut value = values;
    for name in path.split('.') {
        match value {
            Value::Object(fields) if fields.contains_key(name) => value = &value[name],
            Value::Object(fields) => return fields.is_empty() || path.starts_with("podSecurityContext."),
            _ => return false,
        }
    }
    true
}

#[test]
fn every_value_of_the_chart_that_a_page_names_exists() {
    let values: Value = serde_saphyr::from_str(&read("charts/qlik-context-operator/values.yaml")).unwrap();
    let mut seen = 0;
    for (path, text) in pages() {
        let set = text.split("--set ").skip(1).filter_map(|rest| rest.trim_start_matches('\'').split('=').next());
        let set = set.map(str::to_owned);
        // Forms in prose: `crds.keep=false`, `watchNamespaces: [a]`.
        let named = spans(&text).into_iter().filter_map(|span| {
            let name = span.split(['=', ':', ' ']).next()?.to_owned();
            let first = name.split('.').next()?;
            (name.contains('.') && values.get(first).is_some()).then_some(name)
        });
        for name in set.chain(named) {
            assert!(is_value(&values, &name), "{}: {name}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 60, "{seen}");
}

#[test]
fn the_data_flow_diagram_matches_the_code() {
    let words = |line: &str| -> Vec<String> {
        let words = line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.map(|word| if word == "apiserver" { "api".to_owned() } else { word.to_owned() }).collect()
    };
    let (page, code) = (read("docs/architecture.md"), read("src/lib.rs"));
    let shown = page.lines().find(|line| line.trim_start().starts_with("api --> ")).unwrap();
    let drawn = code.lines().find(|line| line.contains("apiserver ──")).unwrap();
    assert_eq!(words(shown), words(drawn));
    // In Mermaid a semicolon ends a statement, even inside a text.
    assert!(blocks(&page, "mermaid").iter().all(|picture| !picture.contains(';')));
}

/// The permissions of a role, one for each verb and resource.
fn allowed(role: &Value) -> BTreeSet<[String; 3]> {
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut allowed = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for (group, resource) in texts(&rule["apiGroups"]).iter().zip(texts(&rule["resources"])) {
            let group = if group.is_empty() { "\"\"" } else { group };
            allowed.extend(texts(&rule["verbs"]).into_iter().map(|verb| [group.to_owned(), resource.clone(), verb]));
        }
    }
    allowed
}

#[test]
fn the_page_lists_the_permissions_of_the_manifest() {
    let page = read("docs/rbac.md");
    let mut documented = BTreeSet::new();
    for row in rows(section(&page, "## What the operator has")) {
        let verbs = row[2].split('`').skip(1).step_by(2);
        documented.extend(verbs.map(|verb| [code(row[0]).to_owned(), code(row[1]).to_owned(), verb.to_owned()]));
    }
    let manifest: Vec<Value> =
        serde_saphyr::from_multiple(&read("deploy/kubernetes/qlik-context-operator.yaml")).unwrap();
    let role = |name: &str| {
        let named = |object: &&Value| object["rules"].is_array() && object["metadata"]["name"] == name;
        allowed(manifest.iter().find(named).unwrap_or_else(|| panic!("no role {name}")))
    };
    let both = &role("qlik-system:qlik-context-operator") | &role("qlik-context-operator-leader-election");
    assert_eq!(documented, both);
}
