//! Builds programs into the cache. One process builds at a time, and only complete programs are stored.

use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::process::{Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::super::{Process, Progress};
use super::{Program, Sources, pins};

const POLL: Duration = Duration::from_millis(100);
/// The interval of progress messages.
const REPORT: Duration = Duration::from_secs(30);

/// Builds the programs that are neither in the assets nor in the cache.
pub(super) fn missing(sources: &Sources, wanted: &[&'static Program], progress: &Progress) -> anyhow::Result<()> {
    let go = go_version(sources, wanted)?;
    let cache = &sources.cache;
    let in_cache = || format!("cannot write into the cache folder {}", cache.display());
    fs::create_dir_all(cache).with_context(in_cache)?;
    // The lock is released when the file is closed, even if this process is killed.
    let lock = File::create(cache.join("lock")).with_context(in_cache)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress("waiting for another process that builds the control plane …");
            lock.lock().with_context(in_cache)?;
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(in_cache),
    }
    let missing = sources.missing(wanted)?;
    for (index, program) in missing.iter().enumerate() {
        let what = format!("{} ({} of {})", program.name, index + 1, missing.len());
        progress(&format!("building {what}, some minutes on a first run …"));
        let begin = Instant::now();
        build(sources, program, &go, &|seconds| {
            progress(&format!("building {what}, {seconds} s so far …"));
        })?;
        progress(&format!("built {what} in {} s", begin.elapsed().as_secs()));
    }
    Ok(())
}

/// The version that the `go` command reports. Without `go`, the error lists the alternatives.
fn go_version(sources: &Sources, needed: &[&'static Program]) -> anyhow::Result<String> {
    let oldest = pins::ETCD.module.oldest_go()?;
    match Command::new(&sources.go).arg("version").output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        _ => {
            let mut wanted = String::new();
            for program in sources.missing(needed)? {
                write!(wanted, "\n  {}", sources.built(program)?.display())?;
            }
            bail!(
                "the programs of a Kubernetes control plane are missing and there is no Go to build them with. Either\n\
                 - install Go {oldest} or newer (https://go.dev/dl) and run this again, or\n\
                 - set KUBEBUILDER_ASSETS to a folder that has them (as envtest's setup-envtest makes it; \
                 it lacks kube-controller-manager and helm, put them there, too), or\n\
                 - put them into the cache folder (QLIK_CONTEXT_TEST_CACHE moves it):{wanted}"
            )
        }
    }
}

/// Builds into a new folder, then renames it, so that an incomplete program is never found.
fn build(sources: &Sources, program: &Program, go: &str, so_far: &dyn Fn(u64)) -> anyhow::Result<()> {
    let module = program.module;
    let target = sources.built(program)?;
    let workshop = sources.cache.join("building");
    // The folder of a killed build.
    let _ = fs::remove_dir_all(&workshop);
    fs::create_dir_all(&workshop)?;
    let made = workshop.join(program.name);
    let flags = module.linker_flags()?;
    let mut build = Process::spawn(&sources.go, &workshop.join("log"), |go| {
        go.current_dir(module.folder())
            .env("CGO_ENABLED", "0")
            // A Go workspace of a parent folder has other versions.
            .env("GOWORK", "off")
            .args(["build", "-buildvcs=false", "-trimpath", "-tags", module.tags, "-ldflags", &flags, "-o"])
            .args([made.as_os_str(), program.package.as_ref()]);
    })?;
    let status = wait(&mut build, so_far);
    ensure!(
        status.success(),
        "cannot build {} in {} with {go} (it needs Go {} or newer, and the network for its first build): {status}\n{}",
        program.name,
        module.folder().display(),
        module.oldest_go()?,
        build.log_tail(),
    );
    let folder = target.parent().unwrap_or(&sources.cache);
    fs::create_dir_all(folder)?;
    fs::rename(&made, &target).with_context(|| format!("cannot write {}", target.display()))?;
    Ok(fs::remove_dir_all(&workshop)?)
}

fn wait(build: &mut Process, so_far: &dyn Fn(u64)) -> ExitStatus {
    let begin = Instant::now();
    let mut next = REPORT;
    loop {
        if let Some(status) = build.exited() {
            return status;
        }
        if begin.elapsed() >= next {
            so_far(next.as_secs());
            next += REPORT;
        }
        sleep(POLL);
    }
}
