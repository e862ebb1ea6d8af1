//! The output of a task on standard output: headings, commands and their output, and long steps
//! with the seconds since the start.
//!
//! Colours only on a terminal that supports them, so that a log stays plain. A reader that closes
//! the pipe (`| head`) is not an error.

use std::env;
use std::fmt;
use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::time::{Duration, Instant};

/// The width at which lines are wrapped.
const WIDTH: usize = 96;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const CYAN: &str = "\x1b[36m";
const RESET: &str = "\x1b[0m";

/// Standard output, since this task began.
#[derive(Clone, Copy)]
pub struct Screen {
    begin: Instant,
    plain: bool,
    width: usize,
}

impl Screen {
    /// Starts now.
    pub fn new() -> Self {
        let wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { begin: Instant::now(), plain: !(wanted && stdout().is_terminal()), width: WIDTH }
    }

    /// The same, with seconds that count from now on.
    pub fn restarted(self) -> Self {
        Self { begin: Instant::now(), ..self }
    }

    /// The time since the task began.
    pub fn elapsed(self) -> Duration {
        self.begin.elapsed()
    }

    /// A heading.
    pub fn heading(self, text: &str) {
        line(format_args!("\n{}", self.styled(BOLD, text)));
    }

    /// A step that has ended and its output, not interleaved with other output.
    pub fn heading_with_output(self, heading: &str, output: &str) {
        let output: String = output.trim_end().lines().flat_map(|output| [output.trim_end(), "\n"]).collect();
        line(format_args!("\n{}\n{}", self.styled(BOLD, heading), output.trim_end()));
    }

    /// Text, wrapped at spaces.
    pub fn text(self, text: &str) {
        text.lines().for_each(|text| line(folded(text, self.width)));
    }

    /// A long step, and when it began.
    pub fn progress(self, text: &str) {
        let seconds = format!("[{:6.1} s]", self.elapsed().as_secs_f32());
        line(format_args!("{} {text}", self.styled(DIM, &seconds)));
    }

    /// A command as a user would type it. Not wrapped, so that it can be copied.
    pub fn command(self, command: &str) {
        line(self.styled(CYAN, &format!("$ {command}")));
    }

    /// An empty line.
    pub fn gap(self) {
        self.text("\n");
    }

    /// The output of a command, without spaces at the ends of lines.
    pub fn output(self, output: &str) {
        let output = output.trim_end().lines();
        output.for_each(|output| line(folded(output.trim_end(), self.width)));
    }

    /// The last line of a task that failed; on the same stream as cargo's output, so that it comes after it.
    pub fn failure(self, text: &str) {
        let plain = self.plain || !stderr().is_terminal();
        let (red, reset) = if plain { ("", "") } else { (RED, RESET) };
        let _ = writeln!(stderr(), "\n{red}error:{reset} {text}");
    }

    fn styled(self, style: &str, text: &str) -> String {
        if self.plain { text.to_owned() } else { format!("{style}{text}{RESET}") }
    }
}

fn line(text: impl fmt::Display) {
    let _ = writeln!(stdout(), "{text}");
}

/// A long line as several, with the indentation of the first; words stay whole.
fn folded(text: &str, width: usize) -> String {
    let (indent, mut rest) = text.split_at(text.len() - text.trim_start().len());
    let room = width.saturating_sub(indent.chars().count());
    let mut lines = String::new();
    while rest.chars().count() > room {
        // The last space that fits, else the first one after a word that is too long.
        let fits = rest.char_indices().take(room + 1).filter(|(_, char)| *char == ' ').last();
        let Some(at) = fits.map(|(at, _)| at).or_else(|| rest.find(' ')) else { break };
        lines += indent;
        lines += rest[..at].trim_end();
        lines.push('\n');
        rest = rest[at..].trim_start();
    }
    lines + indent + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_wrapped_at_spaces_and_keeps_its_indentation() {
        let words = format!("  {}", "word ".repeat(40).trim_end());
        let folded = folded(&words, 30);
        assert!(folded.lines().all(|line| line.len() <= 30 && line.starts_with("  word")));
        assert_eq!(folded.split_whitespace().count(), 40);
    }

    #[test]
    fn a_word_that_is_too_long_stays_whole() {
        let token = "€".repeat(40);
        assert_eq!(folded(&token, 30), token);
        assert_eq!(folded(&format!("  a {token} b"), 30), format!("  a\n  {token}\n  b"));
    }

    #[test]
    fn a_line_that_just_fits_is_not_wrapped() {
        assert_eq!(folded("four and", 8), "four and");
        assert_eq!(folded("four and five", 8), "four and\nfive");
    }
}
