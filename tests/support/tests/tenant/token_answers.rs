//! The response with a token, and the record of a request in the ledger.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use support::tenant::{AnswerShape, ExpiryFields, Route, StatusForm};

use super::caller::{ID, ask_for_token, good_request, post, tenant, text, token};

#[tokio::test]
async fn a_valid_request_gets_a_token_as_in_the_tutorial() -> Result<()> {
    let tenant = tenant().await?;
    let response = ask_for_token(&tenant).await?;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let answer: Value = response.json().await?;
    assert_eq!(answer["token_type"], "bearer");
    assert_eq!(answer["expires_in"], 21_600);
    assert_eq!(answer["scope"], "user_default");
    let expires_at = text(&answer["expires_at"])?;
    assert_eq!(expires_at.len(), "2024-07-31T13:43:51.000Z".len());
    let access_token = text(&answer["access_token"])?;
    assert!((850..1000).contains(&access_token.len()), "{}", access_token.len());
    assert!(access_token.starts_with("eyJhbGciOiJFUzM4NCIs"));
    assert_ne!(access_token, token(&tenant).await?, "each token is new");
    assert_eq!(tenant.cloud().ledger(|ledger| ledger.issued_to(ID)), 2);
    Ok(())
}

#[tokio::test]
async fn the_response_can_have_every_documented_shape() -> Result<()> {
    let tenant = tenant().await?;
    for (expiry, has_in, has_at) in [
        (ExpiryFields::Both, true, true),
        (ExpiryFields::In, true, false),
        (ExpiryFields::At, false, true),
        (ExpiryFields::Neither, false, false),
    ] {
        tenant.edit_client(ID, |client| {
            client.answer = AnswerShape { expiry, token_type: "Bearer".to_owned(), scope: has_in };
        });
        let answer: Value = ask_for_token(&tenant).await?.json().await?;
        assert_eq!(answer.get("expires_in").is_some(), has_in, "{answer}");
        assert_eq!(answer.get("expires_at").is_some(), has_at, "{answer}");
        assert_eq!(answer.get("scope").is_some(), has_in, "{answer}");
        assert_eq!(answer["token_type"], "Bearer");
    }
    Ok(())
}

#[tokio::test]
async fn the_ledger_records_every_byte_of_a_request() -> Result<()> {
    let tenant = tenant().await?;
    tenant.write_status_as(StatusForm::Number);
    let mut guess = good_request();
    guess["client_secret"] = json!("guess");
    let response = post(&tenant, "/oauth/token", &guess).await?;
    let answer: Value = response.json().await?;
    assert_eq!(answer["errors"][0]["status"], 401);
    let seen = tenant.cloud().ledger(|ledger| {
        let requests = (ledger.requests, ledger.at(Route::Token));
        assert_eq!((requests, ledger.by(ID, Route::Token)), ((1, 1), 1));
        let connections = (ledger.connections, ledger.handshakes);
        assert_eq!((connections, ledger.max_in_flight), ((1, 1), 1));
        ledger.records.back().cloned()
    });
    let seen = seen.context("nothing was recorded")?;
    assert_eq!((&*seen.path, seen.status.as_u16()), ("/oauth/token", 401));
    assert_eq!(seen.headers["content-type"], "application/json");
    let body: Value = serde_json::from_slice(&seen.body)?;
    assert_eq!(body["client_secret"], "guess");
    Ok(())
}
