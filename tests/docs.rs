//! The documentation speaks of what there is: links, names, manifests and tests that a page mentions exist under that name.
//!
//! Reads files alone: no cluster, no network. What Helm makes of the values in `docs/install.md`, `tests/chart` asks; what the
//! API server says of `examples/`, `tests/cluster` asks; what becomes of them at a tenant, `tests/controller`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says no by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::CommandFactory as _;
use qlik_context_operator::api::{self, QlikContext, Reason};
use qlik_context_operator::args::CommandLine;
use qlik_context_operator::clock::Timestamp;
use qlik_context_operator::desired::Desired;
use qlik_context_operator::metrics::{Metrics, Reconciled, SecretWrite, Watch};
use qlik_context_operator::oauth::request::{Grant, UserLookup};
use serde_json::Value;
use strum::IntoEnumIterator as _;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below a folder whose name ends so, by its path in this repository; not what was built or is hidden.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = Path::new(folder).join(&name);
        match entry.file_type().unwrap().is_dir() {
            true if name == "target" || name.starts_with('.') => {}
            true => found.extend(files(path.to_str().unwrap(), ending)),
            false if name.ends_with(ending) => found.push(path),
            false => {}
        }
    }
    found.sort();
    found
}

/// Every page, with its text.
fn pages() -> Vec<(PathBuf, String)> {
    let pages: Vec<_> = files("", ".md").into_iter().map(|path| (path.clone(), read(path))).collect();
    assert!(pages.len() > 15, "{}", pages.len());
    pages
}

/// The lines of a page that are not in a block of code.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// The blocks of a page in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|text| text.split("```").next().unwrap().to_owned()).collect()
}

/// The spans of code in the prose of a page.
fn spans(page: &str) -> Vec<String> {
    let prose = prose(page).collect::<Vec<_>>().join("\n");
    prose.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " ")).collect()
}

/// What stands under a heading, up to the next of its level or above.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let level = heading.split(' ').next().unwrap();
    let text = page.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("no heading {heading}"));
    let ends =
        |end: &usize| (1..=level.len()).any(|marks| text[*end..].starts_with(&format!("\n{} ", "#".repeat(marks))));
    &text[..text.match_indices('\n').map(|(end, _)| end).find(ends).unwrap_or(text.len())]
}

/// The rows of a table, as cells.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.map(|row| row.split(" | ").map(str::trim).collect());
    rows.filter(|cells: &Vec<&str>| cells[0].starts_with('`')).collect()
}

/// The first span of code in a cell.
fn code(cell: &str) -> &str {
    cell.split('`').nth(1).unwrap_or_default()
}

/// The anchors of a page, as GitHub makes them of headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = prose(page).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
    let mut anchors = BTreeSet::new();
    for heading in headings {
        let anchor: String =
            heading.to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect();
        assert!(anchors.insert(anchor), "two headings {heading}");
    }
    anchors
}

#[test]
fn every_link_leads_to_a_file_and_every_anchor_to_a_heading() {
    let mut seen = 0;
    for (path, text) in pages() {
        let prose = prose(&text).collect::<Vec<_>>().join("\n");
        for link in prose.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(root().join(&target).exists(), "{}: {link}", path.display());
            assert!(anchor.is_empty() || anchors(&read(&target)).contains(anchor), "{}: {link}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 80, "{seen}");
}

#[test]
fn the_index_has_every_page_and_the_pages_every_example() {
    let index = read("docs/README.md");
    for path in files("docs", ".md") {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name == "README.md" || index.contains(&format!("]({name})")), "docs/README.md lacks {name}");
    }
    let pages: String = pages().into_iter().map(|(_, text)| text).collect();
    for path in files("examples", "") {
        assert!(pages.contains(&format!("{})", path.display())), "no page links to {}", path.display());
    }
}

#[test]
fn every_reason_that_is_not_good_has_its_section_in_troubleshooting() {
    let readme = read("README.md");
    let good: Vec<_> =
        rows(section(&readme, "### All is well")).into_iter().map(|row| code(row[0]).to_owned()).collect();
    let wanted: BTreeSet<_> =
        Reason::iter().map(|reason| reason.to_string()).filter(|name| !good.contains(name)).collect();
    assert_eq!(good.len() + wanted.len(), Reason::iter().count());

    let page = read("docs/troubleshooting.md");
    let reasons = &page[page.find("\n## The whole\n").unwrap()..];
    let sections: BTreeSet<_> =
        reasons.lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_owned).collect();
    assert_eq!(sections, wanted);
    for name in sections {
        let text = section(reasons, &format!("### {name}"));
        for part in ["Symptom", "Look", "Cause", "Cure"] {
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
fn the_flags_are_those_of_the_program() {
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

/// Every metric once everything has happened, as Prometheus sees it: its name, and the names of its labels.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let (metrics, now) = (Arc::new(Metrics::new()), Timestamp::UNIX_EPOCH);
    metrics.context("namespace", "name", true, Some((now, now)), now);
    metrics.token_request(&Grant::ClientCredentials).done(None);
    metrics.verification(None);
    metrics.reconciled(Reconciled::Ready, Duration::ZERO);
    metrics.secret_written(SecretWrite::Create);
    metrics.watch_failed(Watch::Contexts);
    let text = metrics.render(now).unwrap();
    let mut found = BTreeMap::new();
    for (name, kind) in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
        let (name, series) = match kind {
            "counter" => (format!("{name}_total"), format!("{name}_total")),
            "info" => (format!("{name}_info"), format!("{name}_info")),
            "histogram" => (name.to_owned(), format!("{name}_sum")),
            _ => (name.to_owned(), name.to_owned()),
        };
        let line = text.lines().find_map(|line| line.strip_prefix(&series)).unwrap();
        let labels = line.strip_prefix('{').map(|rest| rest.split('}').next().unwrap()).unwrap_or_default();
        found.insert(name, labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned())).collect());
    }
    assert_eq!(found.len(), read("src/metrics.rs").matches("r.register").count(), "not everything has happened");
    found
}

#[test]
fn the_metrics_are_those_of_the_registry() {
    let (metrics, page) = (metrics(), read("docs/reference.md"));
    let spans = |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let documented = rows(section(&page, "## Metrics")).into_iter().map(|row| (code(row[0]).to_owned(), spans(row[1])));
    assert_eq!(documented.collect::<BTreeMap<_, _>>(), metrics);
    for (path, text) in pages() {
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let ours = word.starts_with("qlik_context_") && word != "qlik_context_operator" && word != "qlik_context_";
            assert!(!ours || metrics.contains_key(word), "{}: {word}", path.display());
        }
    }
}

#[test]
fn every_label_and_annotation_of_ours_is_one_that_is_used() {
    let known = [
        api::CONTEXT_LABEL,
        api::EXPIRES_AT_ANNOTATION,
        api::ISSUED_AT_ANNOTATION,
        api::TOKEN_BINDING_ANNOTATION,
        api::REFRESHED_FOR_ANNOTATION,
        api::REFRESH_REQUESTED_ANNOTATION,
        api::ALLOWED_HOSTS_ANNOTATION,
        "qlikcontext.dev/v1alpha1",
    ];
    let mut seen = BTreeSet::new();
    for (path, text) in pages() {
        for rest in text.split("qlikcontext.dev/").skip(1) {
            let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().unwrap();
            let name = format!("qlikcontext.dev/{name}");
            // Argo CD's name of the kind, and the group with any name.
            if ["qlikcontext.dev/QlikContext", "qlikcontext.dev/"].contains(&name.as_str()) {
                continue;
            }
            assert!(known.contains(&name.as_str()), "{}: {name}", path.display());
            seen.insert(name);
        }
    }
    assert_eq!(seen.len(), known.len(), "{seen:?}");
}

/// Fields that the schema does not know; the API server would drop them.
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

/// The contexts of a YAML text, as the operator understands them.
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
fn every_context_on_a_page_is_understood_and_every_manifest_is_yaml() {
    let mut seen = 0;
    for (path, text) in pages() {
        for block in blocks(&text, "yaml") {
            seen += contexts(&path.display().to_string(), &block).len();
        }
    }
    assert!(seen >= 3, "{seen}");
}

#[test]
fn the_examples_show_every_method_and_fit_together() {
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
        assert!(all.iter().any(shows), "no example of each way to impersonate");
    }
    assert!(!mounted.is_empty());
    for name in mounted {
        assert!(all.iter().any(|desired| desired.target_name == name), "no example makes the Secret {name}");
    }
    let names: BTreeSet<_> = all.iter().map(|desired| &desired.target_name).collect();
    assert_eq!(names.len(), all.len(), "two examples write one Secret");
}

/// Whether the chart has a value of this path; what is passed on to Kubernetes has any below.
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
        // In prose: `crds.keep=false`, `watchNamespaces: [a]`.
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
fn the_picture_of_the_data_is_that_of_the_code() {
    let words = |line: &str| -> Vec<String> {
        let words = line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.map(|word| if word == "apiserver" { "api".to_owned() } else { word.to_owned() }).collect()
    };
    let (page, code) = (read("docs/architecture.md"), read("src/lib.rs"));
    let shown = page.lines().find(|line| line.trim_start().starts_with("api --> ")).unwrap();
    let drawn = code.lines().find(|line| line.contains("apiserver ──")).unwrap();
    assert_eq!(words(shown), words(drawn));
}
