//! The steps of the `qlik context init` tutorial in one dialogue, with each authentication method.

use serde_json::Value;
use support::tenant::{Algorithm, Client, PublicKey};

use crate::golden;
use crate::terminal::{ENTER, Terminal};
use crate::world::{CLIENT_ID, CLIENT_SECRET, Case};

/// Answers the questions up to the confirmation as in the tutorial.
pub fn answer_all(terminal: &mut Terminal, tenant: &str, secret: &str) {
    terminal.answers("Enter tenant url:", tenant);
    terminal.answers("O/P/A?:", "O");
    terminal.answers("Client ID:", CLIENT_ID);
    terminal.answers("Client Secret:", secret);
}

#[test]
fn one_dialogue_leads_to_a_verified_token() {
    let case = Case::new("tutorial");
    let mut terminal = case.terminal(&["init", "acme"]);
    answer_all(&mut terminal, &case.tenant.url(), CLIENT_SECRET);
    terminal.answers("Write it?", "y");
    let ended = case.ended(terminal);
    assert_eq!(ended.status, 0, "{}", ended.screen);
    golden::compare("tutorial", &ended.screen);

    let user: Value = serde_json::from_str(&case.pipes(&["whoami", "acme"], "").1).unwrap();
    assert_eq!(user["subject"], format!("qlikbot\\{CLIENT_ID}"));
    assert_eq!(user["tenantId"], case.tenant.id());
    let secret = case.get("secret/acme-oauth");
    assert!(secret["metadata"]["annotations"].is_null(), "no annotation contains a copy");
    assert_eq!(case.get("qctx/acme")["spec"]["auth"]["clientSecret"]["secretRef"]["name"], "acme-oauth");
}

#[test]
fn pasted_values_can_end_with_a_line_break() {
    let case = Case::new("pasted");
    let paste = |text: &str| format!("\u{1b}[200~{text}\u{1b}[201~");
    let mut terminal = case.terminal(&["init", "acme"]);
    terminal.answers("Enter tenant url:", &paste(&format!("{}/\n", case.tenant.url())));
    terminal.answers("O/P/A?:", "o");
    terminal.answers("Client ID:", &paste(&format!(" {CLIENT_ID}\n")));
    terminal.answers("Client Secret:", &paste(&format!("{CLIENT_SECRET} \n")));
    terminal.answers("Write it?", "");
    let ended = case.ended(terminal);
    assert_eq!(ended.status, 0, "{}", ended.screen);
    assert!(ended.screen.contains("✓ Verified: "), "{}", ended.screen);
}

#[test]
fn a_private_key_is_read_from_the_given_file() {
    let case = Case::new("signed");
    let public = include_str!("../../../tests/keys/p384-public.pem");
    case.tenant.add_client(Client::new(CLIENT_ID).key(PublicKey::new("my-key", Algorithm::ES384, public)));
    case.file("key.pem", include_str!("../../../tests/keys/p384-sec1.pem"));
    let mut terminal = case.terminal(&["init", "acme"]);
    terminal.answers("Enter tenant url:", case.tenant.host());
    terminal.answers("O/P/A?:", "p");
    terminal.answers("Client ID:", CLIENT_ID);
    terminal.answers("File with the private key", "~/missing.pem");
    terminal.sees("cannot read ~/missing.pem").answers("File with the private key", "~/key.pem");
    terminal.answers("Key ID (kid):", "my-key");
    terminal.answers("Write it?", "");
    let ended = case.ended(terminal);
    assert_eq!(ended.status, 0, "{}", ended.screen);
    golden::compare("private-key", &ended.screen);
}

#[test]
fn an_api_key_is_verified_as_well() {
    let case = Case::new("apikey");
    let key = case.tenant.api_key("jane", std::time::Duration::from_hours(1));
    let mut terminal = case.terminal(&["init", "acme"]);
    terminal.answers("Enter tenant url:", case.tenant.host());
    terminal.answers("O/P/A?:", "A");
    terminal.answers("API key:", &key);
    terminal.answers("Write it?", "");
    let ended = case.ended(terminal);
    assert_eq!(ended.status, 0, "{}", ended.screen);
    assert!(ended.screen.contains("\"subject\": \"jane\""), "{}", ended.screen);
}

#[test]
fn in_a_second_run_enter_keeps_an_answer_and_others_are_changed() {
    let case = Case::new("again");
    case.ready("acme");
    let before = case.get("secret/acme-oauth");
    case.tenant.edit_client(CLIENT_ID, |client| client.secrets = vec!["planted-second-secret".into()]);
    let mut terminal = case.terminal(&["init", "acme"]);
    terminal.answers("Enter tenant url:", "");
    terminal.answers("O/P/A?:", "");
    terminal.answers("Client ID:", "");
    terminal.answers("Client Secret (Enter keeps the present one):", "planted-second-secret");
    terminal.sees("Write it?").types(ENTER);
    let ended = case.ended(terminal);
    assert_eq!(ended.status, 0, "{}", ended.screen);
    golden::compare("again", &ended.screen);
    let after = case.get("secret/acme-oauth");
    assert_eq!(before["data"]["client-id"], after["data"]["client-id"]);
    assert_ne!(before["data"]["client-secret"], after["data"]["client-secret"]);

    let nothing_new = case.pipes(&["init", "acme", "--yes", "--tenant-url", case.tenant.host()], "");
    assert_eq!(nothing_new.0, 0, "{}", nothing_new.2);
    assert!(nothing_new.2.contains("qlikcontext/acme unchanged"), "{}", nothing_new.2);
}
