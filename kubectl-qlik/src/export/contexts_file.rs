//! qlik-cli's context file (<https://qlik.dev/toolkits/qlik-cli/qlik-cli-contexts>): adds a context and keeps everything else.
//!
//! Lines are added or replaced in the text, so that comments, order and unknown keys stay. The result is parsed again. If it is
//! not as wanted (a file in another style of YAML), the whole file is written again from its parsed content.

use qlik_context_operator::secret::template::contexts_yml;
use serde_json::{Map, Value, json};

const CURRENT: &str = "current-context";
const CONTEXTS: &str = "contexts";

/// A context for the file.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    pub name: &'a str,
    pub server: &'a str,
    pub token: &'a str,
}

/// The file with the context in it.
pub struct Merged {
    pub text: String,
    /// It is the current context.
    pub current: bool,
    /// Comments could not be kept.
    pub rewritten: bool,
}

/// Puts a context into the text of a file; an empty text stands for a missing file.
pub fn merge(before: &str, entry: &Entry<'_>, make_current: bool, force: bool) -> Result<Merged, String> {
    let ours = contexts_yml(entry.name, entry.server, entry.token) + "\n";
    let read = |text: &str| -> Result<Value, String> {
        serde_saphyr::from_str(text).map_err(|_| "it is not YAML: mend it, or name another file with --to".into())
    };
    let mut wanted = match read(before)? {
        Value::Null => json!({}),
        value @ Value::Object(_) => value,
        _ => return Err("it is no file of qlik-cli: name another one with --to".into()),
    };
    if wanted[CONTEXTS].is_null() {
        wanted[CONTEXTS] = json!({});
    }
    let contexts = wanted[CONTEXTS].as_object_mut().ok_or("it is no file of qlik-cli: `contexts` is no map")?;
    if let Some(problem) = contexts.get(entry.name).filter(|_| !force).and_then(|other| is_another(other, entry)) {
        return Err(format!(
            "its context {:?} {problem}. Choose another name with --name, or give --force to replace it",
            entry.name
        ));
    }
    let parsed = read(&ours)?;
    contexts.insert(entry.name.to_owned(), parsed[CONTEXTS][entry.name].clone());
    if make_current || wanted[CURRENT].is_null() {
        wanted[CURRENT] = entry.name.into();
    }
    let current = wanted[CURRENT] == entry.name;
    let text = edited(before, entry.name, &ours, current);
    if read(&text).as_ref() == Ok(&wanted) {
        return Ok(Merged { text, current, rewritten: false });
    }
    let text = serde_saphyr::to_string(&wanted).map_err(|error| error.to_string())?;
    Ok(Merged { text, current, rewritten: before.contains('#') })
}

/// Why a context must not be replaced without `--force`: it is for another tenant, or has more than a token.
fn is_another(other: &Value, entry: &Entry<'_>) -> Option<String> {
    let same = |server: &str| server.trim_end_matches('/') == entry.server;
    match other["server"].as_str() {
        Some(server) if !same(server) => return Some(format!("is for another server, {server}")),
        _ => {}
    }
    let keys = other.as_object().map(Map::keys).into_iter().flatten();
    let known = ["server", "server-type", "headers", "comment"];
    let mut more = keys.filter(|key| !known.contains(&key.as_str()));
    more.next().map(|key| format!("has a setting {key} of its own"))
}

/// The text with the lines of the context replaced or added. `ours` is a complete file with only this context.
fn edited(before: &str, name: &str, ours: &str, current: bool) -> String {
    let block: Vec<&str> = ours.lines().skip(2).collect();
    let mut lines: Vec<&str> = before.lines().collect();
    let key = |line: &str| -> Option<String> {
        let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?.trim_end();
        let name = name.strip_suffix(':')?;
        Some(serde_json::from_str(name).unwrap_or_else(|_| name.trim_matches('\'').to_owned()))
    };
    let inside = |line: &&str| line.starts_with("   ") || line.trim().is_empty();
    if let Some(at) = lines.iter().position(|line| key(line).as_deref() == Some(name)) {
        let length = lines[at + 1..].iter().take_while(|line| inside(line)).count();
        // Empty lines after the block stay where they are.
        let empty = lines[at + 1..at + 1 + length].iter().rev().take_while(|line| line.trim().is_empty()).count();
        lines.splice(at..at + 1 + length - empty, block);
    } else if let Some(at) = lines.iter().position(|line| line.trim_end() == "contexts:") {
        let rest = lines.split_off(at + 1);
        lines.extend(block);
        lines.extend(rest);
    } else {
        lines.push("contexts:");
        lines.extend(block);
    }
    let first = ours.lines().next().unwrap_or_default();
    if current {
        match lines.iter().position(|line| line.starts_with("current-context:")) {
            Some(at) => lines[at] = first,
            None => lines.insert(0, first),
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACME: Entry<'_> = Entry { name: "acme", server: "https://acme.eu.qlikcloud.com", token: "planted-token" };

    fn merged(before: &str) -> Merged {
        merge(before, &ACME, false, false).expect("merged")
    }

    #[test]
    fn a_file_that_is_not_there_begins_with_the_context() {
        let merged = merged("");
        assert_eq!(merged.text, contexts_yml("acme", ACME.server, ACME.token) + "\n");
        assert!(merged.current && !merged.rewritten);
    }

    #[test]
    fn comments_and_other_contexts_stay_and_the_own_one_is_replaced() {
        let before = "# mine\ncurrent-context: other\ncontexts:\n  other: # keep\n    server: https://o\n    headers: {Authorization: Bearer x}\n\n  acme:\n    server: https://acme.eu.qlikcloud.com/\n    headers:\n      Authorization: Bearer old\n\n  last:\n    server: https://l\nmore: true\n";
        let merged = merged(before);
        assert!(!merged.current && !merged.rewritten);
        assert!(!merged.text.contains("Bearer old"));
        for kept in [
            "# mine\ncurrent-context: other\n",
            "  other: # keep\n",
            "\n\n  last:\n    server: https://l\nmore: true\n",
        ] {
            assert!(merged.text.contains(kept), "{}", merged.text);
        }
        let again = merge(&merged.text, &ACME, false, false).expect("merged");
        assert_eq!(again.text, merged.text, "once more changes nothing");
        let used = merge(&merged.text, &ACME, true, false).expect("merged");
        assert!(used.current && used.text.contains("current-context: \"acme\"\n"));
    }

    #[test]
    fn a_file_in_another_style_keeps_what_it_says() {
        let before = "{contexts: {other: {server: 'https://o'}}, x: [1]} # flow\n";
        let merged = merged(before);
        let read: Value = serde_saphyr::from_str(&merged.text).expect("YAML");
        assert_eq!((&read["contexts"]["other"]["server"], &read["x"]), (&json!("https://o"), &json!([1])));
        assert_eq!(read["contexts"]["acme"]["headers"]["Authorization"], "Bearer planted-token");
        assert!(merged.rewritten);
    }

    #[test]
    fn a_context_of_another_tenant_or_with_a_client_secret_is_not_replaced_unasked() {
        for before in [
            "contexts:\n  acme:\n    server: https://other\n",
            "contexts:\n  acme:\n    server: https://acme.eu.qlikcloud.com\n    oauth-client-secret: planted\n",
        ] {
            let problem = merge(before, &ACME, false, false).err().expect("refused");
            assert!(problem.contains("--force") && !problem.contains("planted"), "{problem}");
            assert!(merge(before, &ACME, false, true).is_ok());
        }
    }

    #[test]
    fn what_is_no_file_of_qlik_cli_is_left_alone() {
        for before in ["- a\n", "contexts: [1]\n", "a: [", "text"] {
            let problem = merge(before, &ACME, false, false).err().expect(before);
            assert!(!problem.contains("planted"), "{problem}");
        }
    }
}
