//! A temporary folder that is deleted with its owner: on drop at once, and within seconds if this
//! process ends without dropping it (a `static`, `kill -9`).

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use tempfile::TempDir;

/// Waits until our end of the pipe closes. If the folder still exists then, its owner is gone. The
/// delay of a second gives its writers time to end. The count stops it if the folder cannot be removed.
const SWEEPER: &str = r#"
trap '' HUP INT TERM
read -r _
for _ in 1 2 3 4 5; do
  [ -d "$1" ] || exit 0
  sleep 1
  rm -rf -- "$1"
done
"#;

/// A temporary folder that is never left behind.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    sweeper: Child,
}

impl Folder {
    /// A new empty folder that only this user can read.
    pub fn new() -> anyhow::Result<Self> {
        let folder =
            TempDir::with_prefix("qlik-context-").context("cannot make a temporary folder; is TMPDIR writable?")?;
        let sweeper = Command::new("/bin/sh")
            .args(["-c", SWEEPER, "sh"])
            .arg(folder.path())
            // In its own process group, so that Ctrl-C in the terminal does not stop it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start /bin/sh")?;
        let path = folder.keep();
        Ok(Self { path, sweeper })
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The sweeper retries to remove what this cannot. Waiting closes our end of its pipe.
        let _ = fs::remove_dir_all(&self.path);
        let _ = self.sweeper.wait();
    }
}
