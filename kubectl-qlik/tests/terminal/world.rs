//! The setup of the tests: one control plane, one operator and one fake cloud for all, and a namespace and a tenant for
//! each.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use support::control_plane::{ControlPlane, Options};
use support::operator::{self, Operator};
use support::planted::Planted;
use support::tenant::{self, QlikCloud, Tenant};
use tokio::runtime::Runtime;

use crate::terminal::{Ended, Terminal};

pub const CLIENT_ID: &str = "82e0c353eca9a5d849c74d7e98f13f7e";
pub const CLIENT_SECRET: &str = "planted-client-secret-0123456789abcdef";
/// The prefix of every planted secret and of every token of the fake tenant, and a part of the private key.
pub static PLANTED: LazyLock<Planted> = LazyLock::new(|| {
    Planted::new(&["planted-", "eyJhbGciOiJFUzM4NCIsImtpZCI6", "4fqIKKYMQ6+gBwYFK4EEACKhZANiAAQfV18gn7zV"]).unwrap()
});
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_kubectl-qlik");
const PATIENCE: Duration = Duration::from_mins(1);

pub struct World {
    pub control_plane: &'static ControlPlane,
    pub cloud: QlikCloud,
    pub ca: PathBuf,
    runtime: Runtime,
    _operator: Operator,
}

/// Created once. It ends with the process.
pub fn world() -> &'static World {
    static WORLD: LazyLock<World> = LazyLock::new(|| {
        let runtime = Runtime::new().unwrap();
        let (control_plane, cloud, ca, operator) = runtime.block_on(async {
            let options = Options { helm: vec![operator::install()], ..Options::default() };
            let control_plane = ControlPlane::shared(&options).await.unwrap();
            let cloud = QlikCloud::start().await.unwrap();
            let ca = control_plane.folder().join("tenant-ca.pem");
            cloud.write_ca(&ca).unwrap();
            let log = control_plane.folder().join("operator.log");
            let flags = ["--oauth-clients", "--tenant-ca-file", &ca.to_string_lossy()];
            let environment = [("HTTPS_PROXY", &*cloud.proxy_url())];
            let operator =
                Operator::start(control_plane, &operator_program(), &log, &flags, &environment).await.unwrap();
            (control_plane, cloud, ca, operator)
        });
        World { control_plane, cloud, ca, runtime, _operator: operator }
    });
    &WORLD
}

/// The operator's program is in the same folder as this one. Cargo builds it with the tests of its own package. With
/// only `-p kubectl-qlik` it can be missing or older than its sources.
fn operator_program() -> PathBuf {
    let program = Path::new(PROGRAM).with_file_name("qlik-context-operator");
    let built = fs::metadata(&program).and_then(|metadata| metadata.modified()).ok();
    let fresh = built.is_some() && newest(&operator::repository().join("src")) <= built;
    assert!(
        fresh,
        "{} is missing or out of date: add --workspace --test architecture to cargo test",
        program.display()
    );
    program
}

/// The latest modification time of the operator's sources, without tests.
fn newest(path: &Path) -> Option<SystemTime> {
    if path.ends_with("tests.rs") {
        return None;
    }
    match fs::read_dir(path) {
        Ok(entries) => entries.filter_map(|entry| newest(&entry.ok()?.path())).max(),
        Err(_) => fs::metadata(path).and_then(|metadata| metadata.modified()).ok(),
    }
}

/// One test: its namespace, its tenant, and a home folder.
pub struct Case {
    pub namespace: String,
    pub tenant: Tenant,
    pub home: PathBuf,
    printed: Mutex<String>,
}

impl Case {
    /// The name of the namespace. It appears on the compared screens.
    pub fn new(namespace: &str) -> Self {
        let world = world();
        kubectl(&["create", "namespace", namespace]);
        let tenant = world.cloud.tenant(&format!("{namespace}.eu.qlikcloud.com"));
        let mut client = tenant::Client::new(CLIENT_ID).secret(CLIENT_SECRET);
        "qlik-cli m2m".clone_into(&mut client.name);
        tenant.add_client(client);
        let home = world.control_plane.folder().join(format!("home-{namespace}"));
        fs::create_dir(&home).unwrap();
        Self { namespace: namespace.into(), tenant, home, printed: Mutex::default() }
    }

    fn environment(&self) -> Vec<(String, String)> {
        let world = world();
        let path = std::env::var("PATH").unwrap_or_default();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            pair("HOME", &self.home.to_string_lossy()),
            pair("KUBECONFIG", &world.control_plane.admin_kubeconfig().to_string_lossy()),
            pair("HTTPS_PROXY", &world.cloud.proxy_url()),
            pair("NO_PROXY", "127.0.0.1"),
            pair("PATH", &path),
            pair("NO_COLOR", "1"),
        ]
    }

    /// `kubectl qlik …` at a terminal, in the namespace of the case.
    pub fn terminal(&self, args: &[&str]) -> Terminal {
        self.terminal_with(args, &[])
    }

    /// The same with additional environment variables.
    pub fn terminal_with(&self, args: &[&str], changes: &[(&str, &str)]) -> Terminal {
        let environment = self.environment();
        let mut environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        environment.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        environment.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
        let args: Vec<_> = args.iter().copied().chain(["-n", &self.namespace]).collect();
        Terminal::start(PROGRAM, &args, &environment)
    }

    /// A shell command line at a terminal.
    pub fn shell(&self, line: &str) -> Terminal {
        let environment = self.environment();
        let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Terminal::start("/bin/sh", &["-c", line], &environment)
    }

    /// Waits until a program at a terminal ends. Its output is searched for secrets at the end of the case.
    pub fn ended(&self, terminal: Terminal) -> Ended {
        let ended = terminal.ends();
        *self.printed.lock().unwrap() += &ended.bytes;
        ended
    }

    /// A command at a terminal without questions.
    pub fn shows(&self, args: &[&str]) -> Ended {
        self.ended(self.terminal(args))
    }

    /// `kubectl qlik …` without a terminal. Returns its status, standard output and standard error.
    pub fn pipes(&self, args: &[&str], input: &str) -> (i32, String, String) {
        let (status, out, err) = self.pipes_unsearched(args, input);
        self.printed.lock().unwrap().extend([out.as_str(), err.as_str()]);
        (status, out, err)
    }

    /// The same for a command whose purpose is to print a secret.
    pub fn pipes_unsearched(&self, args: &[&str], input: &str) -> (i32, String, String) {
        self.pipes_with(args, input, &[])
    }

    pub fn pipes_with(&self, args: &[&str], input: &str, changes: &[(&str, &str)]) -> (i32, String, String) {
        let mut command = Command::new(PROGRAM);
        command.args(args).args(["-n", &self.namespace]).env_clear().envs(self.environment());
        for (name, value) in changes {
            if value.is_empty() {
                command.env_remove(name)
            } else {
                command.env(name, value)
            };
        }
        read(&mut command, input)
    }

    /// A file in the home folder.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.home.join(name);
        fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    }

    /// A ready context, created with flags.
    pub fn ready(&self, name: &str) {
        let (status, _, err) = self.pipes(&self.init(name), CLIENT_SECRET);
        assert_eq!(status, 0, "{err}");
    }

    /// Arguments of `init` that answer every question. The secret is read from standard input.
    pub fn init<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        let tenant = self.tenant.host();
        vec!["init", name, "--tenant-url", tenant, "--client-id", CLIENT_ID, "--client-secret-file", "-", "--yes"]
    }

    pub fn kubectl(&self, args: &[&str]) -> String {
        kubectl(&[&["-n", &self.namespace], args].concat())
    }

    pub fn apply(&self, manifest: &Value) {
        let args = ["-n", &self.namespace, "apply", "-f", "-"];
        let world = world();
        let manifest = manifest.to_string();
        world.runtime.block_on(world.control_plane.kubectl_with_input(&args, &manifest)).unwrap();
    }

    pub fn get(&self, object: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", object, "-o", "json"])).unwrap()
    }

    /// Waits until a condition holds for an object.
    pub fn wait_until(&self, object: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let found = self.get(object);
            if holds(&found) {
                return found;
            }
            assert!(begin.elapsed() < PATIENCE, "{object} is not as expected: {found:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Case {
    /// Checks that no secret was printed, and that none is in a context, an event, or the metadata of a Secret, where
    /// `kubectl apply` would put a copy of the manifest.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let contexts = self.kubectl(&["get", "qctx,qoauth,events.events.k8s.io", "-o", "json"]);
        let secrets: Value = serde_json::from_str(&self.kubectl(&["get", "secrets", "-o", "json"])).unwrap();
        let metadata: Vec<_> =
            secrets["items"].as_array().unwrap().iter().map(|secret| secret["metadata"].to_string()).collect();
        let printed = self.printed.lock().unwrap();
        for (sink, text) in [
            ("the terminal", &*printed),
            ("contexts or events", &contexts),
            ("Secrets' metadata", &metadata.join("\n")),
        ] {
            if let Some(spelling) = PLANTED.found(text) {
                let line = text.lines().find(|line| line.contains(spelling)).unwrap_or_default();
                panic!("found {spelling} in {sink}: {line}");
            }
        }
    }
}

/// kubectl as a cluster administrator.
pub fn kubectl(args: &[&str]) -> String {
    let world = world();
    world.runtime.block_on(world.control_plane.kubectl(args)).unwrap()
}

/// A kubeconfig of the namespace's default ServiceAccount, which has no permissions.
pub fn kubeconfig_without_permissions(namespace: &str) -> PathBuf {
    let world = world();
    let account = || world.runtime.block_on(world.control_plane.kubeconfig_for_service_account(namespace, "default"));
    let begin = Instant::now();
    loop {
        match account() {
            Ok(path) => return path,
            Err(error) => assert!(begin.elapsed() < PATIENCE, "{error:#}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Runs a program to its end.
pub fn read(command: &mut Command, input: &str) -> (i32, String, String) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that does not read its input closes it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (status.code().unwrap(), out, err)
}
