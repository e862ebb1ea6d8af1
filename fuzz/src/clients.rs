//! Responses of the OAuth clients API: every call returns a usable value or a printable reason.

use futures::FutureExt as _;
use qlik_context_operator::oauth::clients::{
    Change, ClientAuth, ClientId, ClientsError, Consent, Filter, Hint, KeyEncoding, NewClient, NewSecret, OAuthClient,
    OAuthClients,
};
use qlik_context_operator::oauth::token::AccessToken;
use qlik_context_operator::oauth_client::findings;
use qlik_context_operator::oauth_client::mark::Mark;
use secrecy::ExposeSecret as _;

use super::answer::{CLIENT_SECRET, Tenant, is_fit_to_be_shown, repeats_no_part, repeats_nothing, request};

const WAITS: &str = "nothing waits";

/// Makes every call to a tenant that gives this response, with a token that no result may contain.
pub fn holds(input: &[u8]) {
    let tenant = Tenant::read(input);
    let token = AccessToken::parse(CLIENT_SECRET).expect("a header carries it");
    let url = request().tenant;
    let clients = OAuthClients::new(&tenant, &url, &token);
    let id: ClientId = "82e0".parse().expect("it is an id");
    let hint: Hint = "e6815".parse().expect("it is a hint");
    if let Some(listed) = checked(&tenant, clients.list(Filter::All).now_or_never().expect(WAITS)) {
        assert!(listed.len() <= input.len(), "more clients than bytes");
        listed.iter().for_each(is_usable);
    }
    if let Some(created) = checked(&tenant, clients.create(&new()).now_or_never().expect(WAITS)) {
        is_usable(&created.client);
        created.secret.iter().for_each(secret_is_usable);
        repeats_nothing(&format!("{created:?}"));
    }
    if let Some(client) = checked(&tenant, clients.get(&id).now_or_never().expect(WAITS)) {
        assert_eq!(client.id, id);
        is_usable(&client);
        // Any parsed client can be the base of a change.
        let changes = [Change::Name("a/b".into()), Change::PublicKeys(client.public_keys.clone())];
        for keys in [KeyEncoding::Object, KeyEncoding::Text] {
            checked(&tenant, clients.patch(&client, &changes, keys).now_or_never().expect(WAITS));
        }
    }
    checked(&tenant, clients.add_secret(&id).now_or_never().expect(WAITS)).iter().for_each(secret_is_usable);
    checked(&tenant, clients.consent(&id).now_or_never().expect(WAITS));
    checked(&tenant, clients.set_consent(&id, Consent::Trusted).now_or_never().expect(WAITS));
    checked(&tenant, clients.delete_secret(&id, &hint).now_or_never().expect(WAITS));
    checked(&tenant, clients.delete(&id).now_or_never().expect(WAITS));
}

fn new() -> NewClient {
    NewClient {
        name: "a/b".into(),
        description: "[qlikcontext.dev uid=u-1]".into(),
        scopes: ["user_default".to_owned()].into(),
        grants: [].into(),
        auth: ClientAuth::ClientSecret,
        trusted: true,
    }
}

/// The result of the call. For a failure, checks that it can be shown.
fn checked<T>(tenant: &Tenant, answer: Result<T, ClientsError>) -> Option<T> {
    match answer {
        Ok(value) => {
            assert!(matches!(tenant.status, 200 | 201 | 202 | 204), "status {} counts as a success", tenant.status);
            Some(value)
        }
        Err(error) => {
            is_fit_to_be_shown(&findings::of_call("admin", &error));
            repeats_nothing(&format!("{error:?}"));
            None
        }
    }
}

/// Checks that the id and the hints of the secrets are valid in paths, and that the mark is parsed as it was written.
fn is_usable(client: &OAuthClient) {
    for name in client.secrets.iter().map(|secret| secret.hint.as_str()).chain([client.id.as_str()]) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        assert!((1..=128).contains(&name.len()) && name.bytes().all(plain) && ![".", ".."].contains(&name), "{name:?}");
        repeats_nothing(name);
    }
    repeats_nothing(&format!("{client:?}"));
    assert!(client.has_keys(&client.public_keys), "its own keys are registered");
    let keys = client.public_keys.iter().map(|key| key.kid.clone()).filter(|kid| !kid.is_empty());
    let mark = Mark { uid: "u-1".into(), kept: keys.collect() };
    assert_eq!(Mark::read(&mark.write(client.description.as_deref())), Some(mark), "a mark with the names of its keys");
}

fn secret_is_usable(secret: &NewSecret) {
    let value = secret.value.expose_secret();
    assert!((1..=1024).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic()), "{value:?}");
    if let Some(hint) = &secret.hint {
        repeats_no_part(hint.as_str(), value);
        repeats_nothing(hint.as_str());
    }
    repeats_nothing(&format!("{secret:?}"));
}
