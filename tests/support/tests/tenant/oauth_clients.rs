//! The OAuth clients API of the fake, in memory and on paused time: strictness, limits and undocumented behaviour.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use support::tenant::{Client, Fault, KeysTaken, MADE_SECRET, Pacing, QlikCloud, Route, Script, Tenant};

use super::caller::text;

const BASE: &str = "/api/v1/oauth-clients";

/// A tenant with an administrator's API key, and a function that sends requests.
struct Asked {
    tenant: Tenant,
    token: String,
}

impl Asked {
    fn new() -> Result<Self> {
        let cloud = QlikCloud::builder().without_sockets()?;
        let tenant = cloud.tenant("acme.eu.qlikcloud.com");
        let token = tenant.api_key("auth0|admin", Duration::from_hours(9));
        tenant.edit_user("auth0|admin", |user| user.admin = true);
        Ok(Self { tenant, token })
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Result<Request<Bytes>> {
        Ok(Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.tenant.host())
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(Bytes::from(body.to_owned()))?)
    }

    /// Returns status and body.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.answer(&self.request(method, path, &body)?)
    }

    fn answer(&self, request: &Request<Bytes>) -> Result<(u16, Value)> {
        let reply = self.tenant.cloud().handle(request);
        let body = if reply.body.is_empty() { Value::Null } else { serde_json::from_slice(&reply.body)? };
        Ok((reply.status.as_u16(), body))
    }

    fn delete(&self, id: &str, confirmed: &str) -> Result<u16> {
        let mut request = self.request("DELETE", &format!("{BASE}/{id}"), "")?;
        request.headers_mut().insert("qlik-confirm-delete", confirmed.parse()?);
        Ok(self.answer(&request)?.0)
    }

    /// Creates a client with these members in addition to the required ones. Returns its id and secret.
    fn create(&self, members: &Value) -> Result<(String, String)> {
        let (status, made) = self.ask("POST", BASE, &creation(members))?;
        anyhow::ensure!(status == 201, "{status} {made}");
        Ok((text(&made["clientId"])?, text(&made["clientSecret"])?))
    }

    fn token_status(&self, id: &str, secret: &str) -> Result<u16> {
        let body = json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret});
        let mut request = self.request("POST", "/oauth/token", &body.to_string())?;
        request.headers_mut().remove("authorization");
        Ok(self.answer(&request)?.0)
    }
}

fn creation(members: &Value) -> Value {
    let mut client = json!({
        "appType": "web", "clientName": "reporting", "allowedScopes": ["user_default"],
        "allowedGrantTypes": ["client_credentials"], "allowedAuthMethods": ["client_secret"],
        "connectionConfig": {"consentMethod": "trusted"},
    });
    for (name, value) in members.as_object().into_iter().flatten() {
        client[name] = value.clone();
    }
    client
}

fn jwk(kid: &str) -> Value {
    let number = "A".repeat(64);
    json!({"kid": kid, "kty": "EC", "crv": "P-384", "alg": "ES384", "use": "sig", "x": number, "y": number})
}

#[tokio::test(start_paused = true)]
async fn a_request_for_a_client_is_parsed_strictly() -> Result<()> {
    let asked = Asked::new()?;
    for wrong in [
        json!({"appType": "server"}),
        json!({"appType": null}),
        json!({"clientName": ""}),
        json!({"clientName": 7}),
        json!({"description": null}),
        json!({"allowedScopes": "user_default"}),
        json!({"allowedScopes": ["a b"]}),
        json!({"allowedScopes": ["a", "a"]}),
        json!({"allowedGrantTypes": ["authorization_code"]}),
        json!({"allowedAuthMethods": []}),
        json!({"allowedAuthMethods": ["none"]}),
        json!({"allowedAuthMethods": ["private_key_jwt"]}),
        json!({"publicKeys": [jwk("k"), jwk("k")]}),
        json!({"publicKeys": [jwk("k").to_string()]}),
        json!({"publicKeys": [{"kid": "k"}]}),
        json!({"publicKeys": [{"kid": "k", "kty": "EC", "d": "private"}]}),
        json!({"connectionConfig": {"consentMethod": "required"}}),
        json!({"redirectUris": ["https://a", "https://b", "https://c", "https://d", "https://e", "https://f"]}),
        json!({"jwksUri": "http://a"}),
        json!({"appType": "spa"}),
        json!({"unknown": 1}),
    ] {
        let (status, body) = asked.ask("POST", BASE, &creation(&wrong))?;
        assert_eq!(status, 400, "{wrong}");
        assert!(body["errors"][0]["code"].is_string() && body["traceId"].is_string(), "{body}");
    }
    assert!(asked.tenant.clients().is_empty());
    let (id, secret) = asked.create(&json!({"description": "d", "redirectUris": []}))?;
    assert!(secret.starts_with(MADE_SECRET));
    assert_eq!(asked.token_status(&id, &secret)?, 200);
    let (_, shown) = asked.ask("GET", &format!("{BASE}/{id}"), &Value::Null)?;
    assert_eq!((&shown["clientName"], &shown["description"]), (&json!("reporting"), &json!("d")));
    assert!(!shown.to_string().contains(MADE_SECRET), "the secret is returned only at its creation");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_patch_is_atomic() -> Result<()> {
    let asked = Asked::new()?;
    let (id, _) = asked.create(&Value::Null)?;
    let path = format!("{BASE}/{id}");
    let renamed = json!({"op": "replace", "path": "/clientName", "value": "renamed"});
    for wrong in [
        json!({"op": "replace", "path": "/appType", "value": "spa"}),
        json!({"op": "replace", "path": "/clientSecrets", "value": []}),
        json!({"op": "replace", "path": "/allowedScopes/0", "value": "x"}),
        json!({"op": "replace", "path": "/description", "value": "there is none"}),
        json!({"op": "remove", "path": "/publicKeys"}),
        json!({"op": "remove", "path": "/clientName"}),
        json!({"op": "replace", "path": "/clientName"}),
        json!({"op": "test", "path": "/clientName", "value": "x"}),
        json!({"op": "replace", "path": "/allowedAuthMethods", "value": ["private_key_jwt"]}),
        json!({"op": "replace", "path": "/clientName", "value": "x", "more": 1}),
    ] {
        let (status, _) = asked.ask("PATCH", &path, &json!([renamed, wrong]))?;
        assert_eq!(status, 400, "{wrong}");
        assert_eq!(asked.tenant.clients()[0].name, "reporting", "{wrong}");
    }
    for body in [json!([]), json!({}), json!("x")] {
        assert_eq!(asked.ask("PATCH", &path, &body)?.0, 400, "{body}");
    }
    let (status, body) = asked.ask("PATCH", &path, &json!([renamed]))?;
    assert_eq!((status, body), (204, Value::Null));
    assert_eq!(asked.tenant.clients()[0].name, "renamed");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_change_of_method_creates_a_secret() -> Result<()> {
    let asked = Asked::new()?;
    let members = json!({"allowedAuthMethods": ["private_key_jwt"], "publicKeys": [jwk("k")]});
    let (status, made) = asked.ask("POST", BASE, &creation(&members))?;
    assert_eq!((status, made.get("clientSecret")), (201, None));
    let id = text(&made["clientId"])?;
    let both = json!(["private_key_jwt", "client_secret"]);
    let operation = json!([{"op": "replace", "path": "/allowedAuthMethods", "value": both}]);
    let (status, body) = asked.ask("PATCH", &format!("{BASE}/{id}"), &operation)?;
    assert_eq!(status, 202);
    assert_eq!(asked.token_status(&id, &text(&body["clientSecret"])?)?, 200);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn keys_are_accepted_as_configured_and_returned_as_registered() -> Result<()> {
    let asked = Asked::new()?;
    let (id, _) = asked.create(&json!({"publicKeys": [jwk("k")]}))?;
    let path = format!("{BASE}/{id}");
    for (taken, objects, texts) in
        [(KeysTaken::AsObjects, 204, 400), (KeysTaken::AsTexts, 400, 204), (KeysTaken::AsBoth, 204, 204)]
    {
        asked.tenant.choose(|choices| choices.keys_taken = taken);
        for (value, expected) in [(jwk("next"), objects), (json!(jwk("next").to_string()), texts)] {
            let operation = json!([{"op": "replace", "path": "/publicKeys", "value": [value]}]);
            assert_eq!(asked.ask("PATCH", &path, &operation)?.0, expected, "{taken:?} {value}");
        }
        assert_eq!(asked.ask("GET", &path, &Value::Null)?.1["publicKeys"], json!([jwk("next")]));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_deletion_needs_a_confirmation_and_deletes_the_client() -> Result<()> {
    let asked = Asked::new()?;
    let (id, secret) = asked.create(&Value::Null)?;
    assert_eq!(asked.token_status(&id, &secret)?, 200);
    assert_eq!(asked.ask("DELETE", &format!("{BASE}/{id}"), &Value::Null)?.0, 400, "not confirmed");
    assert_eq!(asked.delete(&id, "another")?, 400);
    assert_eq!(asked.delete(&id, &id)?, 204);
    assert_eq!(asked.delete(&id, &id)?, 404);
    assert_eq!(asked.token_status(&id, &secret)?, 401);
    assert!(asked.tenant.bot(&id).is_some(), "the bot stays");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn pages_are_linked_and_filters_apply() -> Result<()> {
    let asked = Asked::new()?;
    for n in 0..45 {
        let mut client = Client::new(&format!("client-{n:02}"));
        client.name = format!("name \"{}\"", n % 3);
        asked.tenant.add_client(client);
    }
    let (mut path, mut seen) = (format!("{BASE}?totalResults=true"), Vec::new());
    loop {
        let (status, page) = asked.ask("GET", &path, &Value::Null)?;
        assert_eq!((status, &page["totalResults"]), (200, &json!(45)));
        let data = page["data"].as_array().context("no data")?;
        seen.extend(data.iter().map(|client| client["clientId"].to_string()));
        let Some(next) = page["links"]["next"]["href"].as_str() else { break };
        path = next.strip_prefix("https://acme.eu.qlikcloud.com").context("another host")?.to_owned();
    }
    seen.dedup();
    assert_eq!(seen.len(), 45);
    for (query, found) in [
        ("limit=100", Some(45)),
        ("filter=clientName+eq+%22name+%5C%221%5C%22%22&limit=100", Some(15)),
        ("filter=clientId+eq+%22client-07%22", Some(1)),
        ("filter=appType+eq+%22web%22+and+clientId+eq+%22client-07%22", Some(1)),
        ("filter=appType+eq+%22spa%22", Some(0)),
        ("filter=description+eq+%22x%22", None),
        ("filter=clientName+co+%22x%22", None),
        ("filter=clientName", None),
        ("limit=0", None),
        ("limit=101", None),
        ("page=2", None),
        ("next=%21", None),
    ] {
        let (status, page) = asked.ask("GET", &format!("{BASE}?{query}"), &Value::Null)?;
        assert_eq!((status == 200).then(|| page["data"].as_array().map_or(0, Vec::len)), found, "{query}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_new_secret_is_accepted_after_the_configured_delay() -> Result<()> {
    let asked = Asked::new()?;
    let (id, first) = asked.create(&Value::Null)?;
    asked.tenant.choose(|choices| choices.propagation = Duration::from_secs(20));
    let (status, made) = asked.ask("POST", &format!("{BASE}/{id}/client-secrets"), &Value::Null)?;
    assert_eq!(status, 201);
    let second = text(&made["clientSecret"])?;
    assert_eq!((asked.token_status(&id, &first)?, asked.token_status(&id, &second)?), (200, 401));
    tokio::time::advance(Duration::from_secs(19)).await;
    assert_eq!(asked.token_status(&id, &second)?, 401);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(asked.token_status(&id, &second)?, 200);
    let hint = text(&made["hint"])?;
    assert!(asked.tenant.clients()[0].hints().contains(&hint));
    assert_eq!(asked.ask("DELETE", &format!("{BASE}/{id}/client-secrets/{hint}"), &Value::Null)?.0, 204);
    assert_eq!((asked.token_status(&id, &first)?, asked.token_status(&id, &second)?), (200, 401));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn writes_of_one_user_are_limited_and_reads_are_not() -> Result<()> {
    let asked = Asked::new()?;
    let path = format!("{BASE}/nobody/client-secrets");
    for n in 0..100 {
        assert_eq!(asked.ask("POST", &path, &Value::Null)?.0, 404, "{n}");
    }
    tokio::time::advance(Duration::from_secs(47)).await;
    let reply = asked.tenant.cloud().handle(&asked.request("POST", &path, "")?);
    assert_eq!((reply.status.as_u16(), reply.headers.get("retry-after")), (429, Some(&"13".parse()?)));
    assert_eq!(asked.ask("GET", BASE, &Value::Null)?.0, 200, "another tier");
    tokio::time::advance(Duration::from_secs(13)).await;
    assert_eq!(asked.ask("POST", &path, &Value::Null)?.0, 404);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_ledger_distinguishes_processed_from_answered_requests() -> Result<()> {
    let asked = Asked::new()?;
    let cloud = asked.tenant.cloud();
    let request = asked.request("POST", BASE, &creation(&Value::Null).to_string())?;
    cloud.script(Script::at(Route::CreateClient, Fault::Delivery(Pacing::Hangup)).once());
    assert!(cloud.exchange(&request).await.is_err(), "the response is lost");
    let refused = Fault::Answer { status: 503, body: support::tenant::FaultBody::Qlik };
    cloud.script(Script::at(Route::CreateClient, refused).once());
    assert_eq!(cloud.exchange(&request).await?.status(), 503);
    assert_eq!(cloud.ledger(|ledger| (ledger.at(Route::CreateClient), ledger.done(Route::CreateClient))), (2, 1));
    assert_eq!(asked.tenant.clients().len(), 1);
    Ok(())
}
