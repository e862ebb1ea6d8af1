//! The lines of the log in docs/reference.md are those of the code: each event, its level and its keys.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use qlik_context_operator::run::telemetry::{LogFormat, log};
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

use super::pages::{code, files, read, section};

/// Message, level and keys.
type Event = (String, String, BTreeSet<String>);

/// Every event in the sources, except in tests.
fn events() -> BTreeSet<Event> {
    let mut found = BTreeSet::new();
    for path in files("src", ".rs") {
        let text = read(path);
        let text = text.split("\nmod tests {").next().unwrap();
        for level in ["error", "warn", "info", "debug", "trace"] {
            for rest in text.split(&format!("tracing::{level}!(")).skip(1) {
                found.insert(event(level, &arguments(rest)));
            }
        }
    }
    found
}

/// The arguments up to the closing parenthesis, split at commas outside of nested brackets and strings.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut parts, mut escaped) = (0, false, vec![String::new()], false);
    for c in text.chars() {
        match c {
            '"' if !escaped => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' if !quoted && depth == 0 => break,
            ')' | ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        parts.last_mut().unwrap().push(c);
    }
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn event(level: &str, arguments: &[String]) -> Event {
    let message = arguments.iter().position(|part| part.starts_with('"')).unwrap_or_else(|| panic!("{arguments:?}"));
    // A string literal that spans several source lines is one line.
    let text = arguments[message].trim_matches('"').replace("\\\n", "");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let keys = arguments[..message].iter().map(|field| {
        let name = field.split('=').next().unwrap().trim();
        name.trim_start_matches(['%', '?']).to_owned()
    });
    (text, level.to_owned(), keys.collect())
}

#[test]
fn every_line_that_the_operator_logs_is_in_the_reference_with_its_level_and_keys() {
    let page = read("docs/reference.md");
    let table = section(&page, "## Log").lines().filter_map(|line| line.strip_prefix("| `"));
    let table: Vec<Vec<_>> = table.map(|row| row.split('|').collect()).collect();
    let documented: BTreeSet<_> = table
        .iter()
        .map(|row| {
            let message = row[0].trim_end().trim_end_matches('`');
            let keys = row[2].split(", ").map(code).filter(|key| !key.is_empty());
            (message.to_owned(), code(row[1]).to_owned(), keys.map(str::to_owned).collect())
        })
        .collect();
    assert_eq!(documented.len(), table.len(), "a line is listed twice");
    let events = events();
    assert!(events.len() > 15, "{events:?}");
    assert_eq!(documented, events);
}

/// A writer that keeps its input in memory.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A line of the log in this format.
fn line(format: LogFormat) -> String {
    let kept = Kept::default();
    let subscriber = tracing_subscriber::registry().with(log(format, "info", false, kept.clone()).unwrap());
    tracing::subscriber::with_default(subscriber, || {
        let _span = tracing::info_span!(target: "qlik_context_operator::spans", "a_span", planted = 1).entered();
        tracing::warn!(namespace = "team", name = %"acme", "a \"message\"\nof two lines");
        tracing::debug!("not heard");
    });
    let text = String::from_utf8(kept.0.lock().clone()).unwrap();
    text.strip_suffix('\n').unwrap_or_else(|| panic!("{text:?}")).to_owned()
}

#[test]
fn a_line_of_json_is_one_object_with_the_keys_beside_time_level_and_message() {
    let line = line(LogFormat::Json);
    let Value::Object(object) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
    let keys: BTreeSet<_> = object.keys().map(String::as_str).collect();
    assert_eq!(keys, BTreeSet::from(["timestamp", "level", "message", "namespace", "name"]));
    assert_eq!(object["level"], "WARN");
    assert_eq!(object["message"], "a \"message\"\nof two lines");
    assert!(!line.contains('\n'), "{line}");
    let time: qlik_context_operator::clock::Timestamp = object["timestamp"].as_str().unwrap().parse().unwrap();
    assert!(time.as_second() > 1_700_000_000);
}

#[test]
fn a_line_of_text_has_time_level_message_and_keys_in_this_order() {
    let line = line(LogFormat::Text);
    let (time, rest) = line.split_once(' ').unwrap();
    assert!(time.ends_with('Z'), "{line}");
    assert!(rest.trim_start().starts_with("WARN a \"message\""), "{line}");
    assert!(rest.ends_with("namespace=\"team\" name=acme"), "{line}");
}
