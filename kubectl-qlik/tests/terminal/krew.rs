//! The Krew manifest names the archives that the release workflow makes, with a checksum for each.

use serde_json::{Value, json};

#[test]
fn the_krew_manifest_has_an_archive_for_each_platform() {
    let manifest: Value = serde_saphyr::from_str(include_str!("../../krew.yaml")).unwrap();
    assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!((&manifest["kind"], &manifest["metadata"]["name"]), (&json!("Plugin"), &json!("qlik")));
    let short = manifest["spec"]["shortDescription"].as_str().unwrap();
    assert!(short.len() <= 50 && !short.contains("kubectl"), "Krew requires this: {short}");
    let mut platforms = Vec::new();
    for platform in manifest["spec"]["platforms"].as_array().unwrap() {
        let labels = &platform["selector"]["matchLabels"];
        let name = format!("{}_{}", labels["os"].as_str().unwrap(), labels["arch"].as_str().unwrap());
        let archive = format!("/releases/download/VERSION/kubectl-qlik_VERSION_{name}.tar.gz");
        assert!(platform["uri"].as_str().unwrap().ends_with(&archive), "{name}");
        assert_eq!(platform["sha256"], format!("SHA256_{name}"));
        let program = if name.starts_with("windows") { "kubectl-qlik.exe" } else { "kubectl-qlik" };
        assert_eq!(platform["bin"], program);
        platforms.push(name);
    }
    let expected = ["linux_amd64", "linux_arm64", "darwin_amd64", "darwin_arm64", "windows_amd64", "windows_arm64"];
    assert_eq!(platforms, expected);
}
