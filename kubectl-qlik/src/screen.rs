//! Output for people: results on standard output, everything else on standard error.
//!
//! Colours and wrapped lines only on a terminal; `NO_COLOR` and `TERM=dumb` are respected (by `anstream`). A reader that closes
//! the pipe (`| head`) is not an error.

use std::io::{ErrorKind, IsTerminal as _, Write as _, stderr, stdout};
use std::sync::OnceLock;

use anstyle::{AnsiColor, Style};
use anyhow::bail;
use comfy_table::{ContentArrangement, Table, presets};
use textwrap::{Options, WordSeparator, WordSplitter};

pub const GREEN: Style = AnsiColor::Green.on_default();
pub const RED: Style = AnsiColor::Red.on_default();
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
pub const BOLD: Style = Style::new().bold();

/// The space between the columns of a table, as in kubectl.
const GAP: u16 = 3;
/// A narrower terminal gets no table of sentences: their words would be broken.
const NARROW: usize = 60;
/// Beside a label there has to be room for some words.
const ROOM: usize = 24;

/// Why a result did not reach standard output, as on a full disk.
static NOT_WRITTEN: OnceLock<String> = OnceLock::new();

/// A result: to standard output, with a line break.
pub fn result(text: &str) {
    let mut out = anstream::stdout();
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush())
        && error.kind() != ErrorKind::BrokenPipe
    {
        NOT_WRITTEN.get_or_init(|| error.to_string());
    }
}

/// An error when a result was lost.
pub fn everything_written() -> anyhow::Result<()> {
    match NOT_WRITTEN.get() {
        Some(error) => bail!("cannot write to standard output: {error}"),
        None => Ok(()),
    }
}

/// A message: to standard error, wrapped at the terminal's width.
pub fn note(text: &str) {
    let text = match width(stderr().is_terminal()) {
        Some(width) => textwrap::fill(text, options(width)),
        None => text.to_owned(),
    };
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// A message that is not wrapped, so that it can be copied.
pub fn verbatim(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// The error message of a command that failed.
pub fn error(text: &str) {
    let text = text.trim_end_matches('.');
    note(&format!("{RED}error:{RED:#} {text}"));
}

/// Wraps only at spaces: an address, a time or a flag stays in one piece, so that it can be copied.
fn options<'a>(width: usize) -> Options<'a> {
    Options::new(width)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(false)
}

/// The width to wrap at: that of the terminal; `None` without one.
fn width(terminal: bool) -> Option<usize> {
    terminal.then(textwrap::termwidth)
}

/// The width of standard output.
pub fn output_width() -> Option<usize> {
    width(stdout().is_terminal())
}

/// Text after a label, wrapped at the width of standard output and indented to its column.
pub fn labelled(label: &str, text: &str) {
    result(&beside(label, text, output_width()));
}

fn beside(label: &str, text: &str, width: Option<usize>) -> String {
    let indent = textwrap::core::display_width(label);
    match width {
        Some(width) if width < indent + ROOM => {
            let below = options(width).initial_indent("    ").subsequent_indent("    ");
            format!("{}\n{}", label.trim_end(), textwrap::fill(text, below))
        }
        Some(width) => textwrap::fill(&format!("{label}{text}"), options(width).subsequent_indent(&" ".repeat(indent))),
        None => format!("{label}{text}"),
    }
}

/// A heading on standard output.
pub fn heading(text: &str) {
    result(&format!("\n{BOLD}{text}{BOLD:#}"));
}

/// A table without lines, as kubectl prints one: each row is one line, to be cut with awk.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) {
    lines(header, rows, None).iter().for_each(|line| result(line));
}

/// The same for sentences: on a terminal the cells are wrapped; on a narrow one each is below its heading.
pub fn folded_table(header: &[&str], rows: Vec<Vec<String>>) {
    match output_width() {
        Some(width) if width < NARROW => result(&blocks(header, &rows, width)),
        width => lines(header, rows, width).iter().for_each(|line| result(line)),
    }
}

fn blocks(header: &[&str], rows: &[Vec<String>], width: usize) -> String {
    let longest = header.iter().map(|name| name.trim().len()).max().unwrap_or_default();
    let cell =
        |(name, cell): (&&str, &String)| beside(&format!("  {:longest$}  ", name.trim()), cell.trim(), Some(width));
    let block = |row: &Vec<String>| header.iter().zip(row).map(cell).collect::<Vec<_>>().join("\n");
    rows.iter().map(block).collect::<Vec<_>>().join("\n\n")
}

fn lines(header: &[&str], rows: Vec<Vec<String>>, width: Option<usize>) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    match width.and_then(|width| u16::try_from(width).ok()) {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table.set_header(header.iter().copied()).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// A name or message from the cluster, without characters that could move a terminal's cursor.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        vec![vec!["acme".into(), "word ".repeat(30)], vec!["b".into(), String::new()]]
    }

    #[test]
    fn a_table_of_sentences_is_folded_on_a_terminal() {
        let folded = lines(&["NAME", "MESSAGE"], rows(), Some(80));
        assert!(folded.len() > 3 && folded.iter().all(|line| line.chars().count() <= 80), "{folded:#?}");
        let plain = lines(&["NAME", "MESSAGE"], rows(), None);
        assert_eq!(plain.len(), 3);
        assert!(plain[1].starts_with("acme   word word"), "{plain:#?}");
    }

    #[test]
    fn on_a_narrow_terminal_no_word_is_broken() {
        let rows =
            vec![vec!["  Normal".to_owned(), "TokenValid".into(), "Secret acme-token holds a verified token.".into()]];
        for width in [20, 40] {
            let text = blocks(&["  TYPE", "REASON", "MESSAGE"], &rows, width);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
            for word in ["TYPE", "Normal", "TokenValid", "acme-token", "verified"] {
                assert!(text.split_whitespace().any(|found| found == word), "{word}: {text}");
            }
        }
    }

    #[test]
    fn a_terminal_that_is_narrower_than_a_label_is_written_to_all_the_same() {
        assert_eq!(beside("  Stage   ", "word word", Some(5)), "  Stage\n    word\n    word");
        assert_eq!(beside("  Stage   ", "word", Some(80)), "  Stage   word");
        assert!(lines(&["NAME", "MESSAGE"], rows(), Some(4)).len() > 2);
    }

    #[test]
    fn what_comes_from_the_cluster_cannot_move_the_cursor() {
        assert_eq!(harmless("a\x1b[2Jb\r\nc"), "a [2Jb  c");
    }
}
