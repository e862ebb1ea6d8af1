//! What is promised for any input from outside holds for every one that is kept in `fuzz/corpus/`.
//!
//! The promises are those that `cargo xtask fuzz` looks for new inputs with; here they need no nightly compiler.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../fuzz/src/lib.rs"]
mod promises;

use std::fs;
use std::panic;
use std::path::Path;

/// Feeds every file of a folder.
fn feed(target: &str, holds: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 5, "a corpus of {} files shows little", files.len());
    for file in files {
        let input = fs::read(&file).unwrap();
        let held = panic::catch_unwind(|| holds(&input));
        assert!(held.is_ok(), "not for {}; the reason stands above", file.display());
    }
}

#[test]
fn every_value_is_sent_as_it_was_written_or_refused_in_a_sentence_without_it() {
    feed("credential", promises::credential::holds);
}

#[test]
fn every_key_signs_or_is_refused_in_a_sentence() {
    feed("key", promises::key::holds);
}

#[test]
fn every_token_answer_gives_a_usable_token_or_a_reason_that_can_be_shown() {
    feed("token", promises::token::holds);
}

#[test]
fn every_users_me_answer_gives_an_identity_or_a_reason_that_can_be_shown() {
    feed("identity", promises::identity::holds);
}

#[test]
fn every_answer_about_oauth_clients_gives_what_can_be_used_or_a_reason_that_can_be_shown() {
    feed("clients", promises::clients::holds);
}

#[test]
fn every_address_means_one_host_and_is_allowed_where_a_list_says_so() {
    feed("tenant", promises::tenant::holds);
}

#[test]
fn every_template_is_filled_once_or_refused() {
    feed("template", promises::template::holds);
}
