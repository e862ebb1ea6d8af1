//! A child process that cannot outlive us, on Linux and macOS, without `unsafe`.
//!
//! A small `sh` replaces itself with the program by `exec`, so pid and exit status are the program's
//! own. Before that it starts a keeper in the program's process group. The keeper holds one end of a
//! pipe and kills the group when our end closes: on drop, on a panic, even on `kill -9`. The group is
//! not the terminal's, so Ctrl-C reaches only us and we stop the program gracefully.
//!
//! A program that moves to another process group is not killed. None of ours does that.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, kill_process};

pub use rustix::process::Signal;

/// A background job of a non-interactive `sh` gets /dev/null as its stdin, so descriptor 3 is used.
/// `read` returns when the pipe closes; nothing is ever written to it. `kill -9 0` kills the shell's
/// own group, so it cannot kill another process that got a reused pid.
pub(crate) const KEEPER: &str = r#"
exec 3<&0 </dev/null
(trap '' HUP INT TERM; read -r _; kill -9 0) <&3 3<&- >/dev/null 2>&1 &
exec 3<&-
exec "$@"
"#;

const POLL: Duration = Duration::from_millis(10);

/// A running program. It is killed on drop and when this process ends.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with the arguments, environment and folder that `configure` adds. Its stdout
    /// and stderr are appended to the file `log`. A program that cannot be executed ends at once with
    /// status 126 or 127, with the reason in the log.
    pub fn spawn(program: impl AsRef<OsStr>, log: &Path, configure: impl FnOnce(&mut Command)) -> anyhow::Result<Self> {
        let program = program.as_ref();
        let name = Path::new(program).file_name().unwrap_or(program);
        let name = name.to_string_lossy().into_owned();
        let out = File::options().append(true).create(true).open(log);
        let out = out.with_context(|| format!("cannot write the log {}", log.display()))?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", KEEPER, "sh"]).arg(program);
        configure(&mut command);
        command.process_group(0).stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let log = log.to_owned();
        Ok(Self { child, name, log })
    }

    /// The program's own pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status of the program; `None` while it runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten();
        if status.is_some() {
            // Ends the keeper, which kills what the program left running in its group.
            drop(self.child.stdin.take());
        }
        status
    }

    /// The exit status of the program, if it ends within `limit`.
    pub async fn exits_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let begin = Instant::now();
        loop {
            let status = self.exited();
            if status.is_some() || begin.elapsed() >= limit {
                return status;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends `signal` only to the program. Returns an error if it has ended.
    pub fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        if let Some(status) = self.exited() {
            bail!("{} has already ended with {status}", self.name);
        }
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("cannot send {signal:?} to {}", self.name))
    }

    /// Sends SIGTERM, then SIGKILL if the program still runs after `grace`. Returns the exit status,
    /// even if the program had ended before.
    pub async fn stop(&mut self, grace: Duration) -> anyhow::Result<ExitStatus> {
        if self.exited().is_none() {
            self.signal(Signal::TERM)?;
        }
        match self.exits_within(grace).await {
            Some(status) => Ok(status),
            None => self.kill(),
        }
    }

    /// Sends SIGKILL to the program and everything that it started in its group. Returns the exit
    /// status, even if the program had ended before.
    pub fn kill(&mut self) -> anyhow::Result<ExitStatus> {
        let context = || format!("cannot kill {}", self.name);
        self.child.kill().with_context(context)?;
        // Also closes our end of the pipe.
        self.child.wait().with_context(context)
    }

    /// The file with its stdout and stderr.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The end of its log, for error messages.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    /// Returns an error with the exit status and the end of the log, if the program has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.exited() {
            bail!("{} ended with {status}; its last words:\n{}", self.name, self.log_tail());
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // If this fails, the keeper kills it.
        let _ = self.kill();
    }
}

fn tail(log: &Path) -> String {
    const LINES: usize = 20;
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
