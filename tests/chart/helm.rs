//! Runs Helm and reads the objects that it renders.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::ensure;
use serde_json::Value;
use support::control_plane::{Programs, to_stderr};

pub const NAMESPACE: &str = "qlik-system";
pub const RELEASE: &str = "qlik-context-operator";

pub static PROGRAMS: LazyLock<Programs> = LazyLock::new(|| Programs::find(&to_stderr).unwrap());

/// A path in this repository.
pub fn path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn read(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap()
}

/// A file of the chart.
pub fn chart(file: &str) -> String {
    read(&format!("charts/qlik-context-operator/{file}"))
}

/// Runs a program with its own home folder and returns its standard output. The error is its standard error.
pub fn run(program: &Path, args: &[&str], input: &str) -> anyhow::Result<String> {
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .current_dir(path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The objects of a release, or Helm's error.
#[derive(Debug)]
pub struct Rendered(pub Vec<Value>);

impl Rendered {
    /// The objects of the default release with these values.
    pub fn new(values: &Value) -> Self {
        Self::try_new(RELEASE, NAMESPACE, values).unwrap_or_else(|error| panic!("{values}: {error}"))
    }

    pub fn try_new(release: &str, namespace: &str, values: &Value) -> anyhow::Result<Self> {
        let args = ["template", release, "charts/qlik-context-operator", "--namespace", namespace, "--values", "-"];
        let yaml = run(&PROGRAMS.helm, &args, &values.to_string())?;
        Ok(Self(documents(&yaml)))
    }

    pub fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|object| object["kind"] == kind).collect()
    }

    /// The only object of its kind.
    pub fn only(&self, kind: &str) -> &Value {
        match self.of_kind(kind)[..] {
            [object] => object,
            ref others => panic!("{} of kind {kind}", others.len()),
        }
    }

    /// The Pod of the Deployment.
    pub fn pod(&self) -> &Value {
        &self.only("Deployment")["spec"]["template"]
    }

    pub fn container(&self) -> &Value {
        &self.pod()["spec"]["containers"][0]
    }

    pub fn args(&self) -> Vec<&str> {
        self.container()["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect()
    }
}

/// The documents of a YAML file that are not empty.
pub fn documents(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}
