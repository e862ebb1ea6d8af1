//! The program of the image: a static one, with the list of its crates inside.

use std::env::consts::{ARCH, OS};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use support::operator::repository;

use super::{Architecture, Binary, NAME};
use crate::screen::Screen;
use crate::{cargo, tools};

/// A static glibc. Rather than musl: it needs no target beside the installed one, and its allocator is the one that
/// tests and benchmarks run with, while musl's takes one lock for all threads. What a static glibc cannot do is load
/// plugins for name resolution; `files` and `dns`, all that a Pod has, are part of it since glibc 2.34, and the tests
/// on a real node resolve names.
const STATIC: &str = "-Ctarget-feature=+crt-static";

/// The reason why this machine cannot build the program; `None` if it can.
pub(super) fn obstacle() -> Option<String> {
    if OS != "linux" {
        return Some(format!(
            "the image needs a Linux program, and this is {OS}: use `docker build --file deploy/Dockerfile --tag {NAME}:{} .`, \
             or give a program with --binary",
            super::VERSION
        ));
    }
    if architecture().is_none() {
        return Some(format!("no image for the processor {ARCH}: amd64 and arm64 only"));
    }
    // What rustc links with. It prints a path for a file that it finds, else the bare name.
    let found = Command::new("cc").arg("-print-file-name=libc.a").output();
    let found = found.is_ok_and(|output| output.stdout.contains(&b'/'));
    (!found).then(|| "the static C library is missing (Debian: libc6-dev, Fedora: glibc-static)".to_owned())
}

fn architecture() -> Option<Architecture> {
    match ARCH {
        "x86_64" => Some(Architecture::Amd64),
        "aarch64" => Some(Architecture::Arm64),
        _ => None,
    }
}

/// Builds the program for this machine's processor.
pub(super) fn build(screen: Screen) -> anyhow::Result<Binary> {
    if let Some(reason) = obstacle() {
        bail!(reason);
    }
    let architecture = architecture().context("no processor")?;
    let auditable = tools::cargo_auditable(screen)?;
    screen.progress("building the program of the image …");
    let target = format!("{ARCH}-unknown-linux-gnu");
    let home = std::env::home_dir().context("no home folder")?;
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), Into::into);
    let flags = [
        STATIC.to_owned(),
        format!("--remap-path-prefix={}=/cargo", cargo_home.display()),
        format!("--remap-path-prefix={}=/src", repository().canonicalize()?.display()),
    ];
    let output = cargo::cargo_with(&auditable, &["auditable", "build", "--locked", "--release", "--target", &target])
        .args(["--package", NAME, "--bin", NAME, "--message-format", "json-render-diagnostics"])
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo auditable")?;
    ensure!(output.status.success(), "the program of the image does not compile");
    let path = cargo::executable(&output.stdout, NAME).context("cargo does not say where the program is")?;
    Ok(Binary { architecture, path })
}

/// Fails unless this is a 64-bit little-endian ELF program for that processor that asks for no dynamic loader.
pub(super) fn check(bytes: &[u8], architecture: Architecture) -> anyhow::Result<()> {
    // Offsets and numbers: elf(5).
    const INTERPRETER: u32 = 3;
    let machine: u16 = match architecture {
        Architecture::Amd64 => 62,
        Architecture::Arm64 => 183,
    };
    ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "not a 64-bit ELF program");
    let half = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    ensure!(half(18) == Some(machine), "not a program for {architecture}");
    let offset = bytes.get(32..40).and_then(|field| field.try_into().ok()).map(u64::from_le_bytes);
    let start = usize::try_from(offset.context("a short header")?)?;
    let (size, count) = (half(54).context("a short header")?, half(56).context("a short header")?);
    for index in 0..usize::from(count) {
        let kind = word(start + index * usize::from(size)).context("a short program header")?;
        ensure!(kind != INTERPRETER, "needs a dynamic loader, which the image does not have: link it statically");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_for_another_processor_or_with_a_dynamic_loader_is_refused() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let (right, wrong) = match ARCH {
            "aarch64" => (Architecture::Arm64, Architecture::Amd64),
            _ => (Architecture::Amd64, Architecture::Arm64),
        };
        if OS == "linux" {
            // This test's own program is linked as usual.
            assert!(check(&own, right).unwrap_err().to_string().contains("dynamic loader"));
            assert!(check(&own, wrong).unwrap_err().to_string().contains("not a program for"));
        }
        assert!(check(b"#!/bin/sh", right).unwrap_err().to_string().contains("not a 64-bit ELF"));
        assert!(check(b"\x7fELF\x02\x01", right).is_err());
    }
}
