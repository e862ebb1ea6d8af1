//! `cargo xtask bench` at its small sizes: every scenario, with counts compared with their bounds. Times are not
//! checked.

use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_qlik-context-operator");

#[test]
fn every_count_of_a_quick_run_is_within_its_bounds() {
    let out = std::env::temp_dir().join(format!("qlik-context-bench-{}", std::process::id()));
    let run = Command::new(env!("CARGO"))
        .args([
            "run",
            "--quiet",
            "--package",
            "xtask",
            "--",
            "bench",
            "--quick",
            "--debug",
            "--operator",
            PROGRAM,
            "--out",
        ])
        .arg(out.join("result.json"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    let _ = std::fs::remove_dir_all(&out);
    assert!(run.status.success(), "{said}");
}
