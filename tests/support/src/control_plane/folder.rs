//! A temporary folder that goes when its owner goes: on drop at once, and within seconds when
//! this process ends without dropping it (a `static`, `kill -9`).

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use tempfile::TempDir;

/// Waits until our end of the pipe closes. A folder that is still there then has lost its owner;
/// the second gives its writers the time to die. The count ends it where nothing can be removed.
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
            // Not hit by the terminal's Ctrl-C.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start /bin/sh")?;
        let path = folder.keep();
        Ok(Self { path, sweeper })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What this cannot remove, the sweeper tries again; waiting closes our end of its pipe.
        let _ = fs::remove_dir_all(&self.path);
        let _ = self.sweeper.wait();
    }
}
