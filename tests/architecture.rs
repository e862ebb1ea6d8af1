//! Who may use whom, read from the `use` lines.

#![expect(clippy::unwrap_used, reason = "a test says no by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        let is_code = path.file_name().is_some_and(|name| name != "tests.rs");
        return is_code.then(|| path.to_owned()).into_iter().collect();
    }
    let Ok(folder) = fs::read_dir(path) else {
        return Vec::new();
    };
    folder.flat_map(|entry| files(&entry.unwrap().path())).collect()
}

/// The code of a module and of what lies under it, without its tests.
fn code(module: &str) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let all = [source.join(format!("{module}.rs")), source.join(module)];
    let texts = all.iter().flat_map(|path| files(path)).map(|path| fs::read_to_string(path).unwrap());
    texts.map(|text| text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()).collect()
}

fn mentions(code: &str, words: &[&str]) -> Vec<String> {
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.filter(|line| words.iter().any(|word| line.contains(word))).map(str::to_owned).collect()
}

#[test]
fn oauth_knows_nothing_of_kubernetes() {
    let words = ["kube", "k8s_openapi", "crate::api", "crate::error", "crate::metrics", "ConditionType", "Reason"];
    assert_eq!(mentions(&code("oauth"), &words), [""; 0]);
}

#[test]
fn decisions_and_status_know_no_client_no_runtime_and_no_clock() {
    for module in ["decide", "status", "api", "retry", "binding", "template", "desired", "oauth/lifetime"] {
        let words = ["kube::Client", "kube::Api", "api::Api", "tokio", "Timestamp::now", "Instant", ".await"];
        assert_eq!(mentions(&code(module), &words), [""; 0], "{module}");
    }
}

#[test]
fn only_the_clock_reads_the_time_and_only_the_wiring_spawns() {
    for module in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap() {
        let module = module.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        if module != "clock" {
            assert_eq!(mentions(&code(&module), &["Timestamp::now"]), [""; 0], "{module}");
        }
        if module != "run" {
            assert_eq!(mentions(&code(&module), &["spawn("]), [""; 0], "{module}");
        }
    }
}
