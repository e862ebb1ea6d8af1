//! Programs in Go that tests run: the libraries of other tools, each in a folder of this crate with its pinned modules.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

/// `go run` of the program in this folder of the crate. Its modules are downloaded first, because go reports a download
/// on standard error, where tests expect the output of the program only.
///
/// # Errors
///
/// If there is no Go, or the modules cannot be downloaded.
pub fn run(folder: &str) -> anyhow::Result<Command> {
    run_with(folder, &[])
}

fn run_with(folder: &str, variables: &[(&str, OsString)]) -> anyhow::Result<Command> {
    let go = |arguments: &[&str]| {
        let mut go = Command::new("go");
        go.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        go.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
        go
    };
    let listed = go(&["list", "-deps", "."]).output().context("cannot run go")?;
    let said = String::from_utf8_lossy(&listed.stderr);
    ensure!(listed.status.success(), "cannot get the Go modules of {folder} (this needs the network once):\n{said}");
    Ok(go(&["run", "."]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::Folder;

    /// The modules are copied from those of this machine, which are downloaded if necessary.
    #[test]
    fn a_program_whose_modules_are_not_on_the_machine_prints_only_its_own_output() {
        run("otlp").unwrap();
        let modules = Command::new("go").args(["env", "GOMODCACHE"]).output().unwrap();
        let modules = String::from_utf8(modules.stdout).unwrap();
        let empty = Folder::new().unwrap();
        let variables = [
            ("GOMODCACHE", empty.path().into()),
            ("GOPROXY", format!("file://{}/cache/download", modules.trim_end()).into()),
            // Otherwise the folder could not be deleted.
            ("GOFLAGS", "-modcacherw -buildvcs=false".into()),
        ];
        let output = run_with("otlp", &variables).unwrap().output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success() && output.stdout.starts_with(b"127.0.0.1:"), "{output:?}");
    }
}
