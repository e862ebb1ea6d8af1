//! One word for one thing: words that the glossary in CONTRIBUTING.md bans are not used.

use std::path::Path;

use super::pages::{files, read, section};

/// The words of the column "not".
fn banned() -> Vec<String> {
    let page = read("CONTRIBUTING.md");
    let rows = section(&page, "## Glossary").lines().filter(|line| line.starts_with("| ")).skip(2);
    let words = rows.flat_map(|row| row.rsplit(" | ").next().unwrap().split('`').skip(1).step_by(2));
    let banned: Vec<_> = words.map(str::to_lowercase).collect();
    assert!(banned.len() >= 30 && banned.iter().any(|word| word == "whoever"), "{banned:?}");
    banned
}

/// The words of a text in lower case, with one space around each. A phrase ends at a punctuation mark.
fn words(text: &str) -> String {
    let separated = |c: char| match c {
        '’' => '\''.to_string(),
        '.' | ',' | ':' | ';' | '|' | '(' | ')' | '{' | '}' => " | ".to_owned(),
        c if c.is_alphanumeric() || c == '\'' => c.to_string(),
        _ => " ".to_owned(),
    };
    let separated: String = text.chars().map(separated).collect();
    separated.split_whitespace().fold(" ".to_owned(), |text, word| text + &word.to_lowercase() + " ")
}

/// A page without its spans of code. They contain names of tests, fields and flags.
fn without_spans(page: &str) -> String {
    page.lines().map(|line| line.split('`').step_by(2).collect::<Vec<_>>().join(" ") + "\n").collect()
}

/// The banned words in the text of a file.
fn found(text: &str, banned: &[String]) -> Vec<String> {
    let text = words(text);
    banned.iter().filter(|word| text.contains(&words(word))).cloned().collect()
}

#[test]
fn no_page_chart_text_or_example_contains_a_word_that_the_glossary_bans() {
    let banned = banned();
    let mut texts = Vec::new();
    for path in files("", ".md") {
        let mut page = read(&path);
        if path == Path::new("CONTRIBUTING.md") {
            page = page.replace(section(&page, "## Glossary"), "");
        }
        texts.push((path, without_spans(&page)));
    }
    let chart = "charts/qlik-context-operator";
    let templates = format!("{chart}/templates");
    let folders = [("examples", ""), ("deploy", ".yaml"), (templates.as_str(), "")];
    let files = folders.into_iter().flat_map(|(folder, ending)| files(folder, ending));
    let single = ["values.yaml", "values.schema.json", "Chart.yaml", "files/alerts.yaml"];
    let single = single.into_iter().map(|name| Path::new(chart).join(name));
    texts.extend(files.chain(single).map(|path| (path.clone(), read(&path))));
    assert!(texts.len() > 50, "{}", texts.len());
    for (path, text) in texts {
        assert_eq!(found(&text, &banned), Vec::<String>::new(), "{}", path.display());
    }
}

/// The text of every string of a source file, without comments and without its tests.
fn strings(code: &str) -> Vec<String> {
    let code = code.split("#[cfg(test)]\nmod ").next().unwrap();
    let (mut found, mut rest) = (Vec::new(), code);
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let (before, after) = rest.split_at(at);
        rest = if after.starts_with("//") {
            after.split_once('\n').map_or("", |(_, rest)| rest)
        } else if after.starts_with("'\"'") || after.starts_with("'/'") {
            &after[3..]
        } else if let Some(rest) = after.strip_prefix("'\\\"'") {
            rest
        } else if let Some(text) = after.strip_prefix('"') {
            let marks = before.len() - before.trim_end_matches('#').len();
            let raw = before.trim_end_matches('#').ends_with('r');
            let end = if raw { raw_end(text, marks) } else { end(text) };
            found.push(text[..end].replace("\\n", " ").replace("\\\n", " "));
            &text[end + 1..]
        } else {
            &after[1..]
        };
    }
    found
}

/// The end of a string, given the text after its opening quotation mark.
fn end(text: &str) -> usize {
    let mut escaped = false;
    text.find(|c: char| match (escaped, c) {
        (true, _) => {
            escaped = false;
            false
        }
        (false, '\\') => {
            escaped = true;
            false
        }
        (false, c) => c == '"',
    })
    .unwrap()
}

fn raw_end(text: &str, marks: usize) -> usize {
    text.find(&format!("\"{}", "#".repeat(marks))).unwrap()
}

#[test]
fn no_message_of_the_programs_contains_a_word_that_the_glossary_bans() {
    let banned = banned();
    assert_eq!(strings(r#"f("one \" two", '"', r"three"); // "four""#), ["one \\\" two", "three"]);
    let mut seen = 0;
    for path in ["src", "kubectl-qlik/src"].iter().flat_map(|folder| files(folder, ".rs")) {
        if path.ends_with("tests.rs") {
            continue;
        }
        for text in strings(&read(&path)) {
            assert_eq!(found(&text, &banned), Vec::<String>::new(), "{}: {text}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 500, "{seen}");
    for path in files("crds", ".yaml") {
        assert_eq!(found(&read(&path), &banned), Vec::<String>::new(), "{}", path.display());
    }
}
