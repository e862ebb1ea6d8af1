//! The namespaces of a node: its own network, mounts and processes. A program that needs a node restarts itself inside
//! of them.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context as _;

use crate::control_plane::Folder;
use crate::control_plane::process::KEEPER;

/// Set for the program inside: a folder on the machine's disk that is deleted with the sandbox.
const FOLDER: &str = "QLIK_CONTEXT_NODE_SANDBOX";
/// Required programs of the machine, each with its Debian package.
const NEEDED: [(&str, &str); 7] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("mount", "mount"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
];

/// The reason why a node cannot run on this machine; `None` if it can.
pub fn obstacle() -> Option<String> {
    if env::consts::OS != "linux" {
        return Some(format!("a node needs Linux, and this is {}", env::consts::OS));
    }
    if !rustix::process::geteuid().is_root() {
        return Some("a node needs root".to_owned());
    }
    let mut missing: Vec<_> =
        NEEDED.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    missing.dedup();
    if !missing.is_empty() {
        return Some(format!("programs are missing: apt-get install {}", missing.join(" ")));
    }
    if !unshare().arg("true").output().is_ok_and(|output| output.status.success()) {
        return Some("this machine gives no namespaces (unshare fails)".to_owned());
    }
    if !fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.lines().any(|line| line.ends_with("\toverlay"))) {
        return Some("this kernel has no overlayfs".to_owned());
    }
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if !Path::new("/sys/fs/cgroup/memory").is_dir() && !controllers.split_whitespace().any(|name| name == "memory") {
        return Some("there is no memory cgroup".to_owned());
    }
    // Two kubelets would share the cgroup `kubepods`. If it exists without a kubelet, a killed run left it.
    is_running("kubelet").then(|| "another kubelet runs on this machine".to_owned())
}

/// Whether a process of this name runs.
fn is_running(name: &str) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut names = processes.filter_map(|process| fs::read_to_string(process.path().join("comm")).ok());
    names.any(|found| found.trim_end() == name)
}

/// Whether this process is inside the sandbox.
pub fn entered() -> bool {
    env::var_os(FOLDER).is_some()
}

/// Starts this program again with its arguments inside of new namespaces, and returns its exit code. No process of it
/// remains, even if this process is killed.
pub fn enter() -> anyhow::Result<ExitCode> {
    remove_cgroups();
    // Created outside of the sandbox, so that it is always removed.
    let folder = Folder::new()?;
    let itself = env::current_exe().context("this program has no path")?;
    let mut words = vec!["unshare".into()];
    words.extend(unshare().get_args().map(ToOwned::to_owned));
    let mut child = Command::new("/bin/sh")
        .args(["-c", KEEPER, "sh"])
        .args(words)
        .arg(itself)
        .args(env::args_os().skip(1))
        .env(FOLDER, folder.path())
        .env("TMPDIR", folder.path())
        // The keeper kills its group.
        .process_group(0)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start /bin/sh")?;
    // Kept open until the end, because the keeper reads it.
    let stdin = child.stdin.take();
    let status = child.wait().context("the sandbox is lost")?;
    drop(stdin);
    remove_cgroups();
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `--kill-child`: when unshare is killed, the kernel ends process 1 inside, and with it everything else.
fn unshare() -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    unshare
}

fn is_there(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The kubelet's cgroups: one in each hierarchy of version 1, or a single one in version 2.
fn cgroups() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut all: Vec<_> = hierarchies.chain([root.to_owned()]).map(|folder| folder.join("kubepods")).collect();
    all.retain(|folder| folder.is_dir());
    all
}

/// Removes a cgroup that is empty or will be soon, its children first.
fn remove_cgroups() {
    fn remove(folder: &Path) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).for_each(|path| remove(&path));
        // Fails while a process in it is ending. The next round retries.
        let _ = fs::remove_dir(folder);
    }
    for _ in 0..50 {
        let left = cgroups();
        if left.is_empty() {
            return;
        }
        left.iter().for_each(|folder| remove(folder));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
