//! Which modules can use which others, checked by reading the sources.
//!
//! Fails for a module that does not exist or has no code, so that a renamed module does not escape a rule. Clippy
//! checks method calls (`disallowed-methods` in clippy.toml). This file lists the modules that are exempt from that.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Pure modules: they take values and return values. Time and randomness are arguments.
const PURE: [&str; 23] = [
    "api",
    "binding",
    "conditions",
    "desired",
    "index",
    "oauth/lifetime",
    "oauth_client/admin",
    "oauth_client/decide",
    "oauth_client/desired",
    "oauth_client/facts",
    "oauth_client/findings",
    "oauth_client/mark",
    "oauth_client/status",
    "reconcile/decide",
    "reconcile/status",
    "retry",
    "secret/template",
    "tokens/entry",
    "values",
    "workloads/decide",
    "workloads/findings",
    "workloads/pods",
    "workloads/rollout",
];
/// Words that a pure module does not contain, because it does not call the Kubernetes API, wait or read a clock.
const EFFECTS: [&str; 6] = ["Api", "Client", "Instant", "async", "await", "tokio"];
/// Modules that await other tasks or change something outside of the process.
const EFFECTFUL: [&str; 21] = [
    "controller",
    "health",
    "lease",
    "oauth_client/act",
    "oauth_client/finalizer",
    "oauth_client/memory",
    "oauth_client/observe",
    "oauth_client/prove",
    "oauth_client/publish",
    "reconcile/context",
    "reconcile/memory",
    "reconcile/observe",
    "reconcile/publish",
    "reconcile/repairs",
    "reconcile/write_status",
    "run",
    "secret/write",
    "status_write",
    "workloads/list",
    "workloads/shared",
    "workloads/write",
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The files below a folder, without those that contain only tests.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.file_name().unwrap().to_str().unwrap() {
            "tests" | "tests.rs" => {}
            _ if path.is_dir() => found.extend(files(&path)),
            _ => found.push(path),
        }
    }
    found
}

/// The lines of code of a file, without comments and without `mod tests`, inline or in its own file.
fn code_of(text: &str) -> Vec<String> {
    let mut code = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "mod tests {" {
            // rustfmt indents everything up to the closing brace.
            assert!(lines.any(|line| line == "}"), "`mod tests` has no end");
        } else if line != "mod tests;" && !line.trim_start().starts_with("//") {
            code.push(line.to_owned());
        }
    }
    code
}

/// The code of a module and of the modules below it.
fn code(module: &str) -> Vec<String> {
    let file = source().join(format!("{module}.rs"));
    let below = source().join(module);
    let below = if below.is_dir() { files(&below) } else { Vec::new() };
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let code: Vec<_> = [file].iter().chain(&below).flat_map(|path| code_of(&read(path))).collect();
    assert!(code.iter().any(|line| line.contains("fn ")), "no code in {module}");
    code
}

/// Every top-level module.
fn modules() -> Vec<String> {
    let names = fs::read_dir(source()).unwrap().map(|entry| entry.unwrap().path());
    let names = names.filter(|path| path.is_file()).map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    let modules: Vec<_> = names.filter(|name| name != "lib").collect();
    assert!(modules.len() > 15, "{modules:?}");
    modules
}

/// The lines that contain one of these as a whole word.
fn with_words<'c>(code: &'c [String], words: &[&str]) -> Vec<&'c str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let uses = |line: &&String| line.split(|c| !is_part(c)).any(|word| words.contains(&word));
    code.iter().filter(uses).map(String::as_str).collect()
}

/// The lines that contain one of these texts.
fn with_texts<'c>(code: &'c [String], texts: &[&str]) -> Vec<&'c str> {
    code.iter().filter(|line| texts.iter().any(|text| line.contains(text))).map(String::as_str).collect()
}

const NONE: [&str; 0] = [];

#[test]
fn oauth_does_not_use_kubernetes_or_the_modules_that_use_oauth() {
    let kubernetes = ["kube", "k8s_openapi"];
    assert_eq!(with_words(&code("oauth"), &kubernetes), NONE);
    for module in modules() {
        if !["clock", "oauth"].contains(&module.as_str()) {
            assert_eq!(with_texts(&code("oauth"), &[&format!("crate::{module}::")]), NONE, "{module}");
        }
    }
}

#[test]
fn pure_modules_call_no_api_do_not_wait_and_read_no_clock() {
    for module in PURE {
        assert_eq!(with_words(&code(module), &EFFECTS), NONE, "{module}");
    }
}

#[test]
fn pure_modules_use_no_module_with_side_effects() {
    for module in PURE {
        for effectful in EFFECTFUL {
            let path = effectful.replace('/', "::");
            let paths = [format!("crate::{path}::"), format!("crate::{path};"), format!("super::{path}")];
            assert_eq!(with_texts(&code(module), &paths.each_ref().map(String::as_str)), NONE, "{module}");
        }
    }
}

#[test]
fn every_word_of_a_rule_is_used_in_the_code() {
    let all: Vec<_> = modules().iter().flat_map(|module| code(module)).collect();
    for word in EFFECTS.into_iter().chain(["kube", "k8s_openapi"]) {
        assert_ne!(with_words(&all, &[word]), NONE, "{word}");
    }
    for module in EFFECTFUL {
        assert!(code(module).len() > 10, "{module}");
    }
}

#[test]
fn top_level_modules_have_no_cycle() {
    let modules = modules();
    let used = |module: &str| -> BTreeSet<String> {
        let code = code(module);
        let paths = code.iter().flat_map(|line| line.split("crate::").skip(1));
        let names = paths.map(|path| path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default());
        names
            .filter(|name| *name != module && modules.iter().any(|module| module == name))
            .map(ToOwned::to_owned)
            .collect()
    };
    // Repeatedly removes a module that uses no remaining module. Modules that are left use each other in a cycle.
    let mut left: BTreeMap<_, _> = modules.iter().map(|module| (module.clone(), used(module))).collect();
    assert!(left.values().map(BTreeSet::len).sum::<usize>() > 50, "{left:?}");
    while let Some(leaf) = left.iter().find(|(_, used)| used.is_empty()).map(|(module, _)| module.clone()) {
        left.remove(&leaf);
        for used in left.values_mut() {
            used.remove(&leaf);
        }
    }
    assert_eq!(left, BTreeMap::new());
}

#[test]
fn every_module_in_the_list_of_mutants_exists() {
    let text = fs::read_to_string(source().parent().unwrap().join(".cargo/mutants.toml")).unwrap();
    let globs: Vec<_> =
        text.lines().filter_map(|line| line.trim().strip_prefix("\"src/")?.strip_suffix("\",")).collect();
    assert!(globs.len() > 10, "{globs:?}");
    for glob in globs {
        let path = source().join(glob.trim_end_matches(".rs").trim_end_matches("/*"));
        assert!(path.is_dir() || path.with_extension("rs").is_file(), "{glob}");
    }
}

#[test]
fn only_run_may_spawn_tasks() {
    for file in files(&source()).iter().filter(|file| **file != source().join("run.rs")) {
        let code = code_of(&fs::read_to_string(file).unwrap());
        assert_eq!(with_texts(&code, &["spawn("]), NONE, "{}", file.display());
    }
}

#[test]
fn only_the_clock_may_read_the_wall_clock() {
    let rules = fs::read_to_string(source().parent().unwrap().join("clippy.toml")).unwrap();
    for method in ["std::time::SystemTime::now", "jiff::Timestamp::now", "std::time::Instant::now", "tokio::spawn"] {
        assert!(rules.contains(&format!("path = \"{method}\"")), "{method}");
    }
    let excused = modules().into_iter().filter(|module| !with_words(&code(module), &["disallowed_methods"]).is_empty());
    // `run` is exempt because it spawns tasks. The last check shows that it reads no clock.
    let mut excused: Vec<_> = excused.collect();
    excused.sort();
    assert_eq!(excused, ["clock", "run"]);
    assert_eq!(with_texts(&code("run"), &["Timestamp::now", "SystemTime::now", "Instant::now"]), NONE);
}

#[test]
fn tests_do_not_count_as_code_inline_or_in_their_own_file() {
    let text = "mod a;\n#[cfg(test)]\nmod tests;\nmod b;\n\n// c\n#[cfg(test)]\nmod tests {\n    d\n}\n\nfn e() {}";
    let code = code_of(text);
    assert_eq!(with_words(&code, &["a", "b", "c", "d", "e", "tests"]), ["mod a;", "mod b;", "fn e() {}"]);
}
