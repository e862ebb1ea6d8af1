//! Requests that the token endpoint grants and rejects.

use anyhow::Result;
use serde_json::{Value, json};
use support::tenant::{Client, Consent, Grant, Refusal, UserStatus};

use super::caller::{ID, SECRET, ask_for_token, get, good_request, post, tenant, text, trusting};

#[tokio::test]
async fn form_and_basic_work_like_json() -> Result<()> {
    let tenant = tenant().await?;
    let odd = "p%+&= ü:";
    tenant.edit_client(ID, |client| client.secrets.push(odd.to_owned()));
    let client = trusting(tenant.cloud())?.build()?;
    let url = format!("{}/oauth/token", tenant.url());
    let form = "grant_type=client_credentials&client_id=f8b2d0c1&client_secret=p%25%2B%26%3D+%C3%BC%3A";
    let by_form =
        client.post(&url).header("content-type", "application/x-www-form-urlencoded; charset=utf-8").body(form).send();
    assert_eq!(by_form.await?.status(), 200);
    let by_basic = client
        .post(&url)
        .basic_auth(ID, Some("p%25%2B%26%3D+%C3%BC%3A"))
        .json(&json!({"grant_type": "client_credentials", "scope": "user_default"}))
        .send();
    assert_eq!(by_basic.await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn each_mistake_is_rejected_with_its_reason() -> Result<()> {
    let tenant = tenant().await?;
    let impersonation = "urn:qlik:oauth:user-impersonation";
    // A field, its replacement (null removes it), and the result.
    for (field, value, status, refusal) in [
        ("grant_type", json!(null), 400, Refusal::Malformed),
        ("grant_type", json!("password"), 400, Refusal::UnsupportedGrant),
        ("grant_type", json!(impersonation), 401, Refusal::GrantNotAllowed),
        ("client_id", json!(null), 400, Refusal::Malformed),
        ("client_id", json!("nobody"), 401, Refusal::UnknownClient),
        ("client_secret", json!(null), 400, Refusal::Malformed),
        ("client_secret", json!(""), 400, Refusal::Malformed),
        ("client_secret", json!(7), 400, Refusal::Malformed),
        ("client_secret", json!("s3cret "), 401, Refusal::WrongSecret),
        ("scope", json!(["user_default"]), 400, Refusal::Malformed),
        ("scope", json!("user_default  apps"), 400, Refusal::Malformed),
        ("scope", json!("user_default,apps"), 400, Refusal::ScopeNotAllowed),
        ("scope", json!("user_default apps"), 400, Refusal::ScopeNotAllowed),
        ("client_assertion", json!("x.y.z"), 400, Refusal::Malformed),
    ] {
        let what = format!("{field}: {value}");
        let mut body = with(field, value);
        if let Some(fields) = body.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        let before = tenant.cloud().ledger(|ledger| ledger.refused(refusal));
        let response = post(&tenant, "/oauth/token", &body).await?;
        assert_eq!(response.status(), status, "{what}");
        let answer: Value = response.json().await?;
        let error = &answer["errors"][0];
        assert_eq!(error["status"], status.to_string(), "{what}: {answer}");
        assert!(error["code"].is_string() && error["title"].is_string(), "{what}: {answer}");
        assert_eq!(text(&answer["traceId"])?.len(), 32);
        let after = tenant.cloud().ledger(|ledger| ledger.refused(refusal));
        assert_eq!(after, before + 1, "{what}: {answer}");
    }
    assert_eq!(tenant.cloud().ledger(|ledger| ledger.issued), 0);
    Ok(())
}

fn with(name: &str, value: Value) -> Value {
    let mut request = good_request();
    request[name] = value;
    request
}

#[tokio::test]
async fn bodies_that_do_not_match_their_content_type_are_rejected() -> Result<()> {
    let tenant = tenant().await?;
    let client = trusting(tenant.cloud())?.build()?;
    let url = format!("{}/oauth/token", tenant.url());
    let json = good_request().to_string();
    let doubled = json.replacen('{', r#"{"client_id":"f8b2d0c1","#, 1);
    let form = "grant_type=client_credentials&client_id=f8b2d0c1&client_secret=s3cret";
    let doubled_form = format!("{form}&scope=a&scope=a");
    let form_type = "application/x-www-form-urlencoded";
    for (content_type, body) in [
        ("text/plain", json.as_str()),
        ("application/json", form),
        ("application/json", doubled.as_str()),
        ("application/json", "[]"),
        ("application/json", ""),
        (form_type, doubled_form.as_str()),
        (form_type, json.as_str()),
    ] {
        let request = client.post(&url).header("content-type", content_type).body(body.to_owned());
        let response = request.send().await?;
        assert_eq!(response.status(), 400, "{content_type}: {body}");
    }
    let in_the_url = client.post(format!("{url}?client_id={ID}")).json(&good_request()).send();
    assert_eq!(in_the_url.await?.status(), 400);
    let twice = client.post(&url).basic_auth(ID, Some(SECRET)).json(&good_request()).send();
    assert_eq!(twice.await?.status(), 400);
    let long = client.post(&url).json(&with("scope", json!("x".repeat(100_000)))).send();
    assert_eq!(long.await?.status(), 413);
    Ok(())
}

#[tokio::test]
async fn a_disabled_or_untrusted_client_gets_no_token() -> Result<()> {
    let tenant = tenant().await?;
    tenant.edit_client(ID, |client| client.consent = Consent::Required);
    assert_eq!(ask_for_token(&tenant).await?.status(), 403);
    tenant.edit_client(ID, |client| {
        client.consent = Consent::Trusted;
        client.disabled = true;
    });
    assert_eq!(ask_for_token(&tenant).await?.status(), 401);
    tenant.edit_client(ID, |client| client.disabled = false);
    assert_eq!(ask_for_token(&tenant).await?.status(), 200);
    tenant.edit_user(r"qlikbot\f8b2d0c1", |bot| bot.status = UserStatus::Disabled);
    assert_eq!(ask_for_token(&tenant).await?.status(), 403);
    Ok(())
}

#[tokio::test]
async fn several_secrets_work_during_a_rotation() -> Result<()> {
    let tenant = tenant().await?;
    tenant.edit_client(ID, |client| client.secrets.push("next".to_owned()));
    let next = with("client_secret", json!("next"));
    assert_eq!(ask_for_token(&tenant).await?.status(), 200);
    assert_eq!(post(&tenant, "/oauth/token", &next).await?.status(), 200);
    tenant.edit_client(ID, |client| {
        client.secrets.retain(|secret| secret != SECRET);
    });
    assert_eq!(ask_for_token(&tenant).await?.status(), 401);
    assert_eq!(post(&tenant, "/oauth/token", &next).await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn scopes_default_to_the_allow_list_and_parents_include_children() -> Result<()> {
    let tenant = tenant().await?;
    tenant.add_client(Client::new(ID).secret(SECRET).scopes(&["admin.apps", "user_default", "offline_access"]));
    let granted = async |request: Value| -> Result<Value> {
        let answer: Value = post(&tenant, "/oauth/token", &request).await?.json().await?;
        Ok(answer["scope"].clone())
    };
    assert_eq!(granted(good_request()).await?, "admin.apps user_default");
    assert_eq!(granted(with("scope", json!("admin.apps:read"))).await?, "admin.apps:read");
    assert_eq!(granted(with("scope", json!("admin.appsX"))).await?, Value::Null);
    Ok(())
}

#[tokio::test]
async fn impersonation_needs_an_existing_user() -> Result<()> {
    let tenant = tenant().await?;
    tenant.add_client(Client::new(ID).secret(SECRET).impersonating());
    let ada = tenant.add_user("auth0|ada", "Ada");
    let asked = async |lookup: Value| {
        let mut request = with("grant_type", json!("urn:qlik:oauth:user-impersonation"));
        request["user_lookup"] = lookup;
        post(&tenant, "/oauth/token", &request).await
    };
    for lookup in [json!({"field": "subject", "value": "auth0|ada"}), json!({"field": "userId", "value": ada.id})] {
        let answer: Value = asked(lookup).await?.error_for_status()?.json().await?;
        let token = text(&answer["access_token"])?;
        let user = get(&tenant, &format!("/api/v1/users/{}", ada.id), &token).await?;
        let user: Value = user.json().await?;
        assert_eq!(user["subject"], "auth0|ada");
    }
    for (lookup, status) in [
        (json!({"field": "subject", "value": "auth0|eve"}), 403),
        (json!({"field": "email", "value": "ada@example.com"}), 400),
        (json!({"field": "subject"}), 400),
        (json!("auth0|ada"), 400),
        (Value::Null, 400),
    ] {
        assert_eq!(asked(lookup.clone()).await?.status(), status, "{lookup}");
    }
    tenant.edit_client(ID, |client| {
        client.allowed_grants = vec![Grant::UserImpersonation];
    });
    assert_eq!(ask_for_token(&tenant).await?.status(), 401, "a client with only impersonation cannot act as its bot");
    Ok(())
}
