//! Snippets of program code compile and do what the page says.
//!
//! Each snippet is copied from the page, with `/qlik` replaced by another directory, and run by a program in
//! `snippets/`. If a toolchain or a package is not available, the test prints a line that starts with SKIPPED.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::skipped::skipped;

use super::pages::{blocks, pages, read, root};

/// The only snippet of a language on the page, with another directory in place of `/qlik`.
fn snippet(language: &str, directory: &Path) -> String {
    let found = blocks(&read("docs/using-the-token.md"), language);
    let [snippet] = found.as_slice() else { panic!("{} snippets in {language}", found.len()) };
    assert!(snippet.contains("/qlik"), "{snippet}");
    snippet.replace("\"/qlik\"", &format!("{:?}", directory.display().to_string()))
}

/// A folder below `target` with the files for the snippet. Packages installed by an earlier run are kept.
fn workshop(language: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("snippets").join(language);
    fs::create_dir_all(folder.join("qlik")).unwrap();
    for file in fs::read_dir(root().join("tests/docs/snippets").join(language)).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    folder
}

fn there_is(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    there || Command::new(program).arg("version").output().is_ok()
}

fn run(folder: &Path, program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).current_dir(folder).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn succeeds(folder: &Path, program: &str, args: &[&str]) {
    let output = run(folder, program, args);
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{program} {args:?}:\n{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_go_snippet_sends_the_token_only_to_the_tenant_and_repeats_a_request_with_its_body() {
    if !there_is("go") {
        return skipped("the Go snippet", "no go on this machine");
    }
    let folder = workshop("go");
    let code = blocks(&read("docs/using-the-token.md"), "go");
    let [code] = code.as_slice() else { panic!("{} snippets in Go", code.len()) };
    fs::write(folder.join("go.mod"), "module mounted\n\ngo 1.22\n").unwrap();
    fs::write(folder.join("mounted.go"), format!("package mounted\n\n{code}")).unwrap();
    succeeds(&folder, "gofmt", &["-l", "-e", "mounted.go"]);
    assert!(run(&folder, "gofmt", &["-l", "mounted.go"]).stdout.is_empty(), "the snippet is not formatted by gofmt");
    succeeds(&folder, "go", &["vet", "."]);
    succeeds(&folder, "go", &["test", "-count=1", "."]);
}

#[test]
fn the_typescript_snippet_compiles_and_reads_the_file_again_after_a_401() {
    if !there_is("node") || !there_is("npm") {
        return skipped("the TypeScript snippet", "no node or npm on this machine");
    }
    let folder = workshop("typescript");
    let directory = folder.join("qlik");
    fs::write(folder.join("snippet.ts"), snippet("ts", &directory)).unwrap();
    let lock = fs::read(folder.join("package-lock.json")).unwrap();
    if fs::read(folder.join("installed")).ok().as_ref() != Some(&lock) {
        let output = run(&folder, "npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]);
        if !output.status.success() {
            return skipped("the TypeScript snippet", "npm cannot install @qlik/api and typescript");
        }
        fs::write(folder.join("installed"), lock).unwrap();
    }
    succeeds(&folder, "node", &["node_modules/typescript/bin/tsc"]);
    succeeds(&folder, "node", &["run.mjs", directory.to_str().unwrap()]);
}

#[test]
fn the_python_snippet_reads_the_current_token() {
    if !there_is("python3") {
        return skipped("the Python snippet", "no python3 on this machine");
    }
    let folder = workshop("python");
    let directory = folder.join("qlik");
    fs::write(folder.join("snippet.py"), snippet("python", &directory)).unwrap();
    let wanted = fs::read(folder.join("requirements.txt")).unwrap();
    if fs::read(folder.join("installed")).ok().as_ref() != Some(&wanted) {
        let made = run(&folder, "python3", &["-m", "venv", "venv"]).status.success();
        if !made || !run(&folder, "venv/bin/pip", &["install", "-q", "-r", "requirements.txt"]).status.success() {
            return skipped("the Python snippet", "pip cannot install qlik-sdk");
        }
        fs::write(folder.join("installed"), wanted).unwrap();
    }
    succeeds(&folder, "venv/bin/python", &["run.py", directory.to_str().unwrap()]);
}

#[test]
fn the_shell_snippet_sends_the_token_and_fails_when_the_tenant_fails() {
    if !there_is("curl") {
        return skipped("the curl snippet", "no curl on this machine");
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("snippets").join("shell");
    fs::create_dir_all(&folder).unwrap();
    let page = read("docs/using-the-token.md");
    let snippet = blocks(&page, "sh").into_iter().find(|block| block.contains("curl")).unwrap();
    let snippet = snippet.replace("/qlik/", &format!("{}/", folder.display()));
    for (status, code) in [("200 OK", 0), ("401 Unauthorized", 22), ("503 Service Unavailable", 22)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        fs::write(folder.join("tenant-url"), format!("http://{}", listener.local_addr().unwrap())).unwrap();
        fs::write(folder.join("authorization"), "Bearer t0ken").unwrap();
        let tenant = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = vec![0; 4096];
            let length = stream.read(&mut heard).unwrap();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&heard[..length]).to_lowercase()
        });
        let output = Command::new("sh").args(["-c", &snippet]).env("no_proxy", "127.0.0.1").output().unwrap();
        let heard = tenant.join().unwrap();
        assert_eq!(output.status.code(), Some(code), "{status}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stdout, b"{}", "{status}: the tenant's response is printed");
        assert!(
            heard.contains("get /api/v1/users/me http/1.1\r\n") && heard.contains("authorization: bearer t0ken\r\n"),
            "{heard}"
        );
    }
}

#[test]
fn every_shell_command_on_a_page_parses() {
    let mut seen = 0;
    for (path, text) in pages() {
        for block in blocks(&text, "sh") {
            let output = Command::new("sh").args(["-n", "-c", &block]).output().unwrap();
            assert!(
                output.status.success(),
                "{}: {}\n{block}",
                path.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen}");
}
