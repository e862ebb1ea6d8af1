//! Compares the text of a screen with a committed file, without the times and ports of this run.

use std::path::Path;
use std::{env, fs};

/// Compares with `golden/<name>.txt`, or writes it. Checks that no line is wider than the terminal.
pub fn compare(name: &str, screen: &str) {
    for line in screen.lines() {
        assert!(line.trim_end().chars().count() <= 80, "wider than the terminal: {line}");
    }
    compare_data(name, screen);
}

/// The same for data, which is not wrapped.
pub fn compare_data(name: &str, screen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terminal/golden").join(name).with_extension("txt");
    let text = screen.lines().map(|line| line.trim_end().to_owned() + "\n").collect::<String>();
    let text = without_this_run(text.trim_end()) + "\n";
    if env::var_os("WRITE_GENERATED").is_some() {
        fs::write(&path, &text).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{} differs from the output:\n{text}", path.display());
}

/// Replaces dates by zeros of the same width, durations by one zero for each unit, and ports by a word, so that the
/// columns of a table stay aligned.
fn without_this_run(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|c: char| !(c.is_alphanumeric() || "-:.".contains(c))).unwrap_or(rest.len());
        if length == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (word, after) = rest.split_at(length);
        let steady = steady(word);
        out += &steady;
        if after.starts_with("  ") {
            out += &" ".repeat(word.len().saturating_sub(steady.len()));
        }
        rest = after;
    }
    out
}

fn steady(word: &str) -> String {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    if digits >= 14 && word.contains('T') && word.matches(':').count() == 2 && !word.starts_with("127") {
        return word.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    }
    if let Some(rest) = word.strip_prefix("127.0.0.1:") {
        let port = rest.chars().take_while(char::is_ascii_digit).count();
        return format!("127.0.0.1:<port>{}", &rest[port..]);
    }
    let core = word.trim_end_matches(['.', ':']);
    let is_span = core.starts_with(|c: char| c.is_ascii_digit())
        && core.ends_with(['s', 'm', 'h', 'd'])
        && core.chars().all(|c| c.is_ascii_digit() || "smhd".contains(c));
    if !is_span {
        return word.to_owned();
    }
    let units = core.chars().filter(|c| !c.is_ascii_digit()).flat_map(|unit| ['0', unit]);
    units.chain(word[core.len()..].chars()).collect()
}

#[test]
fn times_and_ports_of_a_run_are_replaced_and_nothing_else() {
    for (word, expected) in [
        ("until 2026-11-25T22:10:55Z.", "until 0000-00-00T00:00:00Z."),
        ("issued 13s ago, in 5h59m", "issued 0s ago, in 0h0m"),
        ("https://127.0.0.1:41234:", "https://127.0.0.1:<port>:"),
        ("EXPIRES   AGE\n5h59m     12s   x", "EXPIRES   AGE\n0h0m      0s    x"),
        ("v1.36.3 10.0.0.1 82e0c353 3d", "v1.36.3 10.0.0.1 82e0c353 0d"),
    ] {
        assert_eq!(without_this_run(word), expected);
    }
}
