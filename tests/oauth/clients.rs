//! The OAuth clients API over TLS: a client from its creation to its deletion, with a secret and with a key.

use std::collections::BTreeSet;
use std::sync::Arc;

use qlik_context_operator::clock::Clock;
use qlik_context_operator::error::Failure;
use qlik_context_operator::oauth::assertion::Signer;
use qlik_context_operator::oauth::clients::{
    Change, ClientAuth, ClientId, ClientsError, Consent, Filter, GrantType, Hint, KeyEncoding, NewClient, OAuthClients,
};
use qlik_context_operator::oauth::key::{self, Algorithm, GeneratedKey};
use qlik_context_operator::oauth::request::{Credential, TokenRequest};
use qlik_context_operator::oauth::token::Token;
use secrecy::{ExposeSecret, SecretString};
use support::tenant::{ConsentAtCreation, KeysTaken, Route, SecretBesideKey};

use crate::world::{Row, World, request_token};

pub fn texts(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|&text| text.to_owned()).collect()
}

pub fn wanted(name: &str) -> NewClient {
    NewClient {
        name: name.into(),
        description: "made by a test".into(),
        scopes: texts(&["user_default", "apps:read"]),
        grants: [GrantType::ClientCredentials].into(),
        auth: ClientAuth::ClientSecret,
        trusted: true,
    }
}

fn with_key(pair: &GeneratedKey) -> NewClient {
    NewClient { auth: ClientAuth::PrivateKeyJwt(pair.public_key.clone()), ..wanted("by key") }
}

async fn token(row: &Row<'_>, credential: Credential) -> Result<Token, Failure> {
    let request = TokenRequest { credential, ..row.request() };
    request_token(&row.world.https, &request, Clock::system().now()).await
}

async fn by_secret(row: &Row<'_>, id: &ClientId, client_secret: &SecretString) -> Result<Token, Failure> {
    let client_id = id.as_str().into();
    token(row, Credential::ClientSecret { client_id, client_secret: client_secret.clone() }).await
}

async fn by_key(row: &Row<'_>, id: &ClientId, pair: &GeneratedKey) -> Result<Token, Failure> {
    let found = key::read(pair.private_key.expose_secret()).unwrap();
    let key_id = Some(pair.public_key.kid.clone());
    let signer = Signer { key: found.key, algorithm: Algorithm::ES384, key_id, fingerprint: [0; 32] };
    token(row, Credential::PrivateKey { client_id: id.as_str().into(), signer: Arc::new(signer) }).await
}

fn hints(client: &qlik_context_operator::oauth::clients::OAuthClient) -> Vec<&Hint> {
    client.secrets.iter().map(|secret| &secret.hint).collect()
}

#[tokio::test]
async fn a_client_gets_tokens_from_its_creation_to_its_deletion() {
    let world = World::new().await;
    let row = world.row();
    let (url, admin) = (row.url(), row.admin());
    let clients = OAuthClients::new(&world.https, &url, &admin);

    let made = clients.create(&wanted("reporting \"q\" & ü")).await.unwrap();
    let (id, secret) = (made.client.id.clone(), made.secret.unwrap());
    assert_eq!(made.client.name, "reporting \"q\" & ü");
    assert_eq!(clients.consent(&id).await.unwrap(), Consent::Trusted);
    let client = clients.get(&id).await.unwrap();
    assert_eq!((client.scopes.clone(), client.description.as_deref()), (wanted("").scopes, Some("made by a test")));
    assert!(client.has_grants(&wanted("").grants) && client.app_type == "web" && !client.disabled);
    assert_eq!(hints(&client), [secret.hint.as_ref().unwrap()]);
    assert!(client.secrets[0].created_at.is_some() && client.created_at.is_some());
    assert!(by_secret(&row, &id, &secret.value).await.is_ok());

    let found = clients.list(Filter::Name("reporting \"q\" & ü")).await.unwrap();
    assert_eq!(found.iter().map(|client| &client.id).collect::<Vec<_>>(), [&id]);
    assert_eq!(clients.list(Filter::Id(&id)).await.unwrap().len(), 1);
    assert_eq!(clients.list(Filter::Name("nobody")).await.unwrap(), []);
    assert_eq!(clients.list(Filter::All).await.unwrap().len(), 2, "this client and the one of the row");

    let grants: BTreeSet<_> = [GrantType::ClientCredentials, GrantType::UserImpersonation].into();
    let changes = [
        Change::Name("renamed".into()),
        Change::Description(String::new()),
        Change::Scopes(texts(&["user_default"])),
        Change::Grants(grants.clone()),
    ];
    assert!(clients.patch(&client, &changes, KeyEncoding::Object).await.unwrap().is_none());
    let client = clients.get(&id).await.unwrap();
    assert_eq!((&*client.name, client.description.as_deref()), ("renamed", Some("")));
    assert!(client.has_grants(&grants) && client.scopes == texts(&["user_default"]));

    let second = clients.add_secret(&id).await.unwrap();
    assert!(by_secret(&row, &id, &secret.value).await.is_ok() && by_secret(&row, &id, &second.value).await.is_ok());
    clients.delete_secret(&id, secret.hint.as_ref().unwrap()).await.unwrap();
    assert!(by_secret(&row, &id, &secret.value).await.is_err() && by_secret(&row, &id, &second.value).await.is_ok());
    assert_eq!(hints(&clients.get(&id).await.unwrap()), [second.hint.as_ref().unwrap()]);

    clients.set_consent(&id, Consent::Required).await.unwrap();
    assert_eq!(clients.consent(&id).await.unwrap(), Consent::Required);
    assert!(by_secret(&row, &id, &second.value).await.is_err());
    clients.set_consent(&id, Consent::Trusted).await.unwrap();

    clients.delete(&id).await.unwrap();
    assert!(matches!(clients.get(&id).await, Err(ClientsError::NotFound(_))));
    assert!(by_secret(&row, &id, &second.value).await.is_err());
    assert!(matches!(clients.delete(&id).await, Err(ClientsError::NotFound(_))), "the client is already deleted");
}

#[tokio::test]
async fn a_client_rotates_its_key_with_overlap_in_every_format_of_keys() {
    let world = World::new().await;
    for (taken, encoding, other) in [
        (KeysTaken::AsObjects, KeyEncoding::Object, Some(KeyEncoding::Text)),
        (KeysTaken::AsTexts, KeyEncoding::Text, Some(KeyEncoding::Object)),
        (KeysTaken::AsBoth, KeyEncoding::Text, None),
    ] {
        let row = world.row();
        row.tenant.choose(|choices| choices.keys_taken = taken);
        let (url, admin) = (row.url(), row.admin());
        let clients = OAuthClients::new(&world.https, &url, &admin);
        let (old, new) = (key::generate().unwrap(), key::generate().unwrap());
        let made = clients.create(&with_key(&old)).await.unwrap();
        let id = made.client.id;
        assert!(made.secret.is_none(), "{taken:?}");
        assert!(by_key(&row, &id, &old).await.is_ok() && by_key(&row, &id, &new).await.is_err());

        let client = clients.get(&id).await.unwrap();
        assert!(client.has_keys(std::slice::from_ref(&old.public_key)), "{taken:?}");
        let both = [old.public_key.clone(), new.public_key.clone()];
        let changes = [Change::PublicKeys(both.to_vec())];
        if let Some(other) = other {
            let refused = clients.patch(&client, &changes, other).await;
            assert!(matches!(refused, Err(ClientsError::Rejected(_))), "{taken:?}: {refused:?}");
            assert!(!clients.get(&id).await.unwrap().has_keys(&both), "a patch is atomic");
        }
        clients.patch(&client, &changes, encoding).await.unwrap();
        assert!(by_key(&row, &id, &old).await.is_ok() && by_key(&row, &id, &new).await.is_ok(), "{taken:?}");

        let client = clients.get(&id).await.unwrap();
        assert!(client.has_keys(&both));
        let changes = [Change::PublicKeys(vec![new.public_key.clone()])];
        clients.patch(&client, &changes, encoding).await.unwrap();
        assert!(by_key(&row, &id, &old).await.is_err() && by_key(&row, &id, &new).await.is_ok(), "{taken:?}");
    }
}

#[tokio::test]
async fn accepted_rejected_and_ignored_consent_are_distinguished() {
    let world = World::new().await;
    for choice in [ConsentAtCreation::Taken, ConsentAtCreation::Refused, ConsentAtCreation::Ignored] {
        let row = world.row();
        row.tenant.choose(|choices| choices.consent_at_creation = choice);
        let (url, admin) = (row.url(), row.admin());
        let clients = OAuthClients::new(&world.https, &url, &admin);
        let made = match clients.create(&wanted("reporting")).await {
            Err(ClientsError::Rejected(refusal)) => {
                assert_eq!((choice, refusal.status), (ConsentAtCreation::Refused, 400));
                assert_eq!(clients.list(Filter::Name("reporting")).await.unwrap(), [], "no client was created");
                clients.create(&NewClient { trusted: false, ..wanted("reporting") }).await.unwrap()
            }
            made => made.unwrap(),
        };
        let (id, secret) = (made.client.id, made.secret.unwrap());
        let trusted = choice == ConsentAtCreation::Taken;
        assert_eq!(clients.consent(&id).await.unwrap() == Consent::Trusted, trusted, "{choice:?}");
        assert_eq!(by_secret(&row, &id, &secret.value).await.is_ok(), trusted, "{choice:?}");
        clients.set_consent(&id, Consent::Trusted).await.unwrap();
        assert!(by_secret(&row, &id, &secret.value).await.is_ok(), "{choice:?}");
    }
}

#[tokio::test]
async fn a_secret_that_is_returned_for_a_client_with_a_key_is_read() {
    let world = World::new().await;
    let pair = key::generate().unwrap();
    for (choice, made) in
        [(SecretBesideKey::Absent, false), (SecretBesideKey::Empty, false), (SecretBesideKey::Made, true)]
    {
        let row = world.row();
        row.tenant.choose(|choices| choices.secret_beside_key = choice);
        let (url, admin) = (row.url(), row.admin());
        let clients = OAuthClients::new(&world.https, &url, &admin);
        let created = clients.create(&with_key(&pair)).await.unwrap();
        let id = &created.client.id;
        assert_eq!(created.secret.is_some(), made, "{choice:?}");
        assert_eq!(clients.get(id).await.unwrap().secrets.len(), usize::from(made), "{choice:?}");
        if let Some(secret) = &created.secret {
            assert!(by_secret(&row, id, &secret.value).await.is_err(), "the method is not allowed");
        }
        assert!(by_key(&row, id, &pair).await.is_ok(), "{choice:?}");
    }
}

#[tokio::test]
async fn a_hint_that_is_missing_at_creation_is_found_by_a_read() {
    let world = World::new().await;
    let row = world.row();
    row.tenant.choose(|choices| choices.tells_hint_at_creation = false);
    let (url, admin) = (row.url(), row.admin());
    let clients = OAuthClients::new(&world.https, &url, &admin);
    let made = clients.create(&wanted("reporting")).await.unwrap();
    assert!(made.secret.unwrap().hint.is_none());
    assert_eq!(clients.get(&made.client.id).await.unwrap().secrets.len(), 1);
}

#[tokio::test]
async fn a_list_is_read_to_its_end() {
    let world = World::new().await;
    let row = world.row();
    for n in 0..149 {
        row.tenant.add_client(support::tenant::Client::new(&format!("other-{n}")));
    }
    let (url, admin) = (row.url(), row.admin());
    let clients = OAuthClients::new(&world.https, &url, &admin).list(Filter::All).await.unwrap();
    let ids: BTreeSet<_> = clients.iter().map(|client| client.id.as_str()).collect();
    assert_eq!((ids.len(), clients.len(), row.asked(Route::ListClients)), (150, 150, 2));
}

#[tokio::test]
async fn a_call_sends_only_the_required_headers_and_body() {
    let world = World::new().await;
    let row = world.row();
    let (url, admin) = (row.url(), row.admin());
    let clients = OAuthClients::new(&world.https, &url, &admin);
    let made = clients.create(&wanted("reporting")).await.unwrap();
    let (client, hint) = (made.client, made.secret.unwrap().hint.unwrap());
    clients.add_secret(&client.id).await.unwrap();
    clients.delete_secret(&client.id, &hint).await.unwrap();
    clients.patch(&client, &[Change::Name("renamed".into())], KeyEncoding::Object).await.unwrap();
    clients.get(&client.id).await.unwrap();
    clients.delete(&client.id).await.unwrap();
    let base = ["accept", "authorization", "host", "user-agent"];
    let body = ["accept", "authorization", "content-length", "content-type", "host", "user-agent"];
    for (route, expected) in [
        (Route::CreateClient, &body[..]),
        (Route::AddSecret, &["accept", "authorization", "content-length", "host", "user-agent"]),
        (Route::DeleteSecret, &base),
        (Route::PatchClient, &body),
        (Route::GetClient, &base),
        (Route::DeleteClient, &["accept", "authorization", "host", "qlik-confirm-delete", "user-agent"]),
    ] {
        world.cloud.ledger(|ledger| {
            let record = ledger.records.iter().find(|record| record.route == route).unwrap();
            let mut names: Vec<_> = record.headers.keys().map(|name| name.as_str().to_owned()).collect();
            names.sort();
            assert_eq!(names, expected, "{route:?}");
            assert_eq!((ledger.at(route), ledger.done(route)), (1, 1), "{route:?}");
        });
    }
}
