//! Manifests of other projects in the guides have only fields that those projects document.

use serde_json::Value;

/// API version and kind, and the documented fields that the guides use. `*` matches any name.
const KINDS: [(&str, &str, &[&str]); 3] = [
    // https://external-secrets.io/latest/api/externalsecret/
    (
        "external-secrets.io/v1",
        "ExternalSecret",
        &[
            "spec.refreshInterval",
            "spec.secretStoreRef.kind",
            "spec.secretStoreRef.name",
            "spec.target.name",
            "spec.target.template.metadata.annotations.*",
            "spec.data.secretKey",
            "spec.data.remoteRef.key",
            "spec.data.remoteRef.property",
            "spec.dataFrom.extract.key",
        ],
    ),
    // https://github.com/bitnami-labs/sealed-secrets#sealedsecrets-as-templates-for-secrets
    (
        "bitnami.com/v1alpha1",
        "SealedSecret",
        &["spec.encryptedData.*", "spec.template.metadata.annotations.*", "spec.template.type"],
    ),
    // https://fluxcd.io/flux/components/kustomize/kustomizations/
    (
        "kustomize.toolkit.fluxcd.io/v1",
        "Kustomization",
        &[
            "spec.interval",
            "spec.path",
            "spec.prune",
            "spec.sourceRef.kind",
            "spec.sourceRef.name",
            "spec.decryption.provider",
            "spec.decryption.secretRef.name",
        ],
    ),
];

/// The path of every value in a document. Items of a list have the path of the list.
fn paths(value: &Value, path: &[&str], found: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| paths(value, &[path, &[name]].concat(), found)),
        Value::Array(items) => items.iter().for_each(|item| paths(item, path, found)),
        _ => found.push(path.iter().map(|name| (*name).to_owned()).collect()),
    }
}

fn is_known(path: &[String], known: &[&str]) -> bool {
    let head = [&["apiVersion"][..], &["kind"], &["metadata", "name"], &["metadata", "namespace"]];
    let fits = |known: &&str| {
        let names: Vec<_> = known.split('.').collect();
        names.len() == path.len() && names.iter().zip(path).all(|(known, name)| *known == "*" || known == name)
    };
    head.contains(&path.iter().map(String::as_str).collect::<Vec<_>>().as_slice()) || known.iter().any(fits)
}

/// Whether this is a kind of another project. If so, checks that it has only documented fields.
pub fn knows(place: &str, document: &Value) -> bool {
    let kind = KINDS.iter().find(|(version, kind, _)| document["apiVersion"] == *version && document["kind"] == *kind);
    let Some((_, _, known)) = kind else { return false };
    let mut found = Vec::new();
    paths(document, &[], &mut found);
    found.retain(|path| !is_known(path, known));
    assert_eq!(found, Vec::<Vec<String>>::new(), "{place}: fields that are not in the list of documented fields");
    true
}
