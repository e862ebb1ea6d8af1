//! Checks the properties of the fuzz targets for every input in `fuzz/corpus/`.
//!
//! `cargo xtask fuzz` checks the same properties with new inputs. These tests need no nightly compiler.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../fuzz/src/lib.rs"]
mod promises;

use std::fs;
use std::panic;
use std::path::Path;

/// Calls a function with the content of every file of a folder.
fn feed(target: &str, holds: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 5, "the corpus has only {} files", files.len());
    for file in files {
        let input = fs::read(&file).unwrap();
        let held = panic::catch_unwind(|| holds(&input));
        assert!(held.is_ok(), "failed for {}, see the error above", file.display());
    }
}

#[test]
fn every_value_is_sent_unchanged_or_rejected_with_a_message_that_does_not_contain_it() {
    feed("credential", promises::credential::holds);
}

#[test]
fn every_key_signs_or_is_rejected_with_a_message() {
    feed("key", promises::key::holds);
}

#[test]
fn every_token_response_gives_a_usable_token_or_a_printable_reason() {
    feed("token", promises::token::holds);
}

#[test]
fn every_users_me_response_gives_an_identity_or_a_printable_reason() {
    feed("identity", promises::identity::holds);
}

#[test]
fn every_oauth_clients_response_gives_a_usable_result_or_a_printable_reason() {
    feed("clients", promises::clients::holds);
}

#[test]
fn every_url_means_one_host_and_is_allowed_only_by_a_list_that_has_it() {
    feed("tenant", promises::tenant::holds);
}

#[test]
fn every_template_is_expanded_once_or_rejected() {
    feed("template", promises::template::holds);
}
