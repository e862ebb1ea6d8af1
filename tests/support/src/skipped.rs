//! Tests that this machine cannot run. They are reported on the terminal, and again at the end of `cargo xtask test`.

use std::fs::OpenOptions;
use std::io::Write as _;

use crate::control_plane::to_stderr;

/// The path of the file that collects these lines. `cargo xtask test` sets it.
pub const LIST: &str = "QLIK_CONTEXT_TEST_SKIPPED";

/// Reports that something is not tested, and why. The line is visible even if the test succeeds, unlike the output of
/// macros.
pub fn skipped(what: &str, why: &str) {
    let line = format!("SKIPPED: {what}: {why}");
    to_stderr(&line);
    let Some(list) = std::env::var_os(LIST) else { return };
    let file = OpenOptions::new().create(true).append(true).open(list);
    if let Err(error) = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())) {
        to_stderr(&format!("cannot add to the list of skipped tests: {error}"));
    }
}
