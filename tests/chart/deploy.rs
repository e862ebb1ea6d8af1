//! Installation without the Helm CLI: the manifest as a base of Kustomize, and the objects for Flux.

use std::fs;

use qlik_context_operator::api::QlikContext;
use qlik_context_operator::desired::Desired;
use serde_json::{Value, json};
use support::control_plane::Folder;

use super::helm::{NAMESPACE, PROGRAMS, RELEASE, Rendered, chart, documents, path, read, run};

fn kustomize(folder: &str) -> Vec<Value> {
    documents(&run(&PROGRAMS.kubectl, &["kustomize", folder], "").unwrap())
}

fn names(objects: &[Value]) -> Vec<String> {
    let mut names: Vec<_> =
        objects.iter().map(|object| format!("{} {}", object["kind"], object["metadata"]["name"])).collect();
    names.sort();
    names
}

#[test]
fn the_base_of_kustomize_is_the_manifest() {
    let manifest = documents(&read("deploy/kubernetes/qlik-context-operator.yaml"));
    assert_eq!(names(&kustomize("deploy/kubernetes")), names(&manifest));
    assert_eq!(manifest[0]["kind"], "Namespace");
    assert_eq!(manifest.len(), Rendered::new(&json!({})).0.len() + 1);
    assert!(!read("deploy/kubernetes/qlik-context-operator.yaml").to_lowercase().contains("helm"));
}

/// A block of YAML in a README.
fn snippet(readme: &str) -> String {
    let text = read(readme);
    text.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
}

#[test]
fn the_overlay_of_the_readme_sets_image_namespace_and_flag() {
    let folder = Folder::new().unwrap();
    let (base, overlay) = (folder.path().join("base"), folder.path().join("overlay"));
    fs::create_dir(&base).unwrap();
    fs::create_dir(&overlay).unwrap();
    for file in ["kustomization.yaml", "qlik-context-operator.yaml"] {
        fs::copy(path("deploy/kubernetes").join(file), base.join(file)).unwrap();
    }
    let text = snippet("deploy/kubernetes/README.md").replace("path/to/deploy/kubernetes", "../base");
    fs::write(overlay.join("kustomization.yaml"), format!("{text}namespace: elsewhere\n")).unwrap();

    let built = Rendered(kustomize(overlay.to_str().unwrap()));
    assert_eq!(built.container()["image"], "REGISTRY/qlik-context-operator:TAG");
    assert!(built.args().contains(&"--allowed-tenant-hosts=acme.eu.qlikcloud.com"));
    // Kustomize changes the namespace everywhere.
    for object in &built.0 {
        assert!(object["metadata"]["namespace"].is_null() || object["metadata"]["namespace"] == "elsewhere");
        for subject in object["subjects"].as_array().into_iter().flatten() {
            assert_eq!(subject["namespace"], "elsewhere");
        }
    }
    assert!(built.args().iter().all(|arg| !arg.contains(NAMESPACE)));
}

#[test]
fn flux_installs_the_chart_first_and_waits_for_operator_and_context() {
    let operator = Rendered(documents(&read("deploy/flux/operator.yaml")));
    let release = operator.only("HelmRelease");
    assert_eq!(release["metadata"]["name"], RELEASE);
    assert_eq!(release["spec"]["chartRef"]["name"], operator.only("OCIRepository")["metadata"]["name"]);
    Rendered::new(&release["spec"]["values"]);

    let context = &documents(&read("deploy/flux/context.yaml"))[0];
    let sync = documents(&read("deploy/flux/sync.yaml"));
    let [first, second] = &sync[..] else { panic!("{} objects", sync.len()) };
    assert_eq!(second["spec"]["dependsOn"], json!([{"name": first["metadata"]["name"]}]));
    for (kustomization, object) in [(first, release), (second, context)] {
        let check = json!({
            "apiVersion": object["apiVersion"], "kind": object["kind"],
            "name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"],
        });
        assert_eq!(kustomization["spec"]["healthChecks"], json!([check]));
    }
}

/// The context as the operator parses it.
fn assert_understood(context: Value) {
    let context: QlikContext = serde_json::from_value(context).unwrap();
    Desired::parse(&context).unwrap();
}

#[test]
fn every_context_for_new_users_is_valid() {
    assert_understood(documents(&read("deploy/flux/context.yaml")).remove(0));
    let metadata: Value = serde_saphyr::from_str(&chart("Chart.yaml")).unwrap();
    let annotations = metadata["annotations"].as_object().unwrap();
    let list = |name: &str| -> Vec<Value> {
        serde_saphyr::from_str(annotations[&format!("artifacthub.io/{name}")].as_str().unwrap()).unwrap()
    };
    list("crdsExamples").into_iter().for_each(assert_understood);
    let notes = chart("templates/NOTES.txt").replace("\n  ", "\n");
    let yaml = notes.split("<<'YAML'\n").nth(1).unwrap().split("YAML\n").next().unwrap().to_owned();
    assert_understood(documents(&yaml).remove(0));
    // The other annotations for Artifact Hub match the chart, too.
    let crd = &documents(&read("crds/qlikcontexts.yaml"))[0];
    assert_eq!(list("crds")[0]["name"], crd["metadata"]["name"]);
    assert_eq!(list("crds")[0]["version"], crd["spec"]["versions"][0]["name"]);
    assert_eq!(list("images")[0]["image"], Rendered::new(&json!({})).container()["image"]);
    assert_eq!(metadata["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(metadata["appVersion"], env!("CARGO_PKG_VERSION"));
}

/// The block of YAML on a page that contains this text.
fn block(page: &str, text: &str) -> String {
    let page = read(page);
    let mut blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.find(|block| block.contains(text)).unwrap().to_owned()
}

#[test]
fn kustomize_gives_a_context_the_generated_name_of_its_secret_as_the_guide_says() {
    let folder = Folder::new().unwrap();
    let page = "docs/credential-sources.md";
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("kustomization.yaml", &block(page, "secretGenerator:"));
    write("qlik-names.yaml", &block(page, "nameReference:"));
    write("client-id", "82e0c353");
    write("client-secret", "not-a-secret");

    for method in ["clientSecret", "privateKeyJwt", "apiKey"] {
        let mut context = documents(&block(page, "kind: QlikContext")).remove(0);
        context["spec"]["auth"] = json!({ method: {"secretRef": {"name": "acme-oauth"}} });
        write("context.yaml", &context.to_string());
        let built = kustomize(folder.path().to_str().unwrap());
        let secret = built.iter().find(|object| object["kind"] == "Secret").unwrap();
        let context = built.iter().find(|object| object["kind"] == "QlikContext").unwrap();
        let name = secret["metadata"]["name"].as_str().unwrap();
        assert!(name.starts_with("acme-oauth-"), "{name}");
        assert_eq!(context["spec"]["auth"][method]["secretRef"]["name"], name, "{method}");
        assert_eq!(context["metadata"]["namespace"], "analytics");
    }
}
