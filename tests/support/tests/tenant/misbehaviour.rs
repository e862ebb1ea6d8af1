//! Scripted faults.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use serde_json::{Value, json};
use support::tenant::{Client, Fault, FaultBody, Pacing, RetryAfter, Route, Script};

use super::caller::{ID, SECRET, ask_for_token, get, header, post, tenant, text, token};

const ME: &str = "/api/v1/users/me";

#[tokio::test]
async fn the_rate_limit_is_reported_in_every_format() -> Result<()> {
    let tenant = tenant().await?;
    for (after, expected) in [
        (RetryAfter::Seconds(13), Some("13")),
        (RetryAfter::Seconds(0), Some("0")),
        (RetryAfter::Absent, None),
        (RetryAfter::Text("soon".to_owned()), Some("soon")),
    ] {
        tenant.cloud().script(Script::at(Route::Token, Fault::RateLimited(after)).once());
        let response = ask_for_token(&tenant).await?;
        assert_eq!(response.status(), 429);
        assert_eq!(header(&response, "retry-after"), expected);
        let answer: Value = response.json().await?;
        assert_eq!(answer["errors"][0]["code"], "HTTP-429");
    }
    tenant.cloud().script(Script::at(Route::Token, Fault::RateLimited(RetryAfter::Date(60))).once());
    let response = ask_for_token(&tenant).await?;
    let until = httpdate::parse_http_date(header(&response, "retry-after").unwrap_or_default())?;
    let ahead = until.duration_since(SystemTime::now())?;
    assert!((58..=60).contains(&ahead.as_secs()), "{ahead:?}");
    assert_eq!(ask_for_token(&tenant).await?.status(), 200, "the scripts are used up");
    assert_eq!(tenant.cloud().ledger(|ledger| (ledger.faulted, ledger.issued)), (5, 1));
    Ok(())
}

#[tokio::test]
async fn a_fault_applies_to_its_target_and_to_the_given_number_of_requests() -> Result<()> {
    let tenant = tenant().await?;
    tenant.add_client(Client::new("other").secret("s"));
    let broken = Fault::Answer { status: 503, body: FaultBody::Html };
    tenant.cloud().script(Script::at(Route::Token, broken.clone()).client(ID).times(2));
    tenant.cloud().script(Script::at(Route::Token, broken.clone()).host("elsewhere.eu.qlikcloud.com"));
    let other = json!({"grant_type": "client_credentials", "client_id": "other", "client_secret": "s"});
    assert_eq!(ask_for_token(&tenant).await?.status(), 503);
    assert_eq!(post(&tenant, "/oauth/token", &other).await?.status(), 200);
    assert_eq!(ask_for_token(&tenant).await?.status(), 503);
    assert_eq!(ask_for_token(&tenant).await?.status(), 200);
    tenant.cloud().script(Script::at(Route::Token, broken).host(tenant.host()));
    for _ in 0..3 {
        assert_eq!(ask_for_token(&tenant).await?.status(), 503);
    }
    tenant.cloud().clear_scripts();
    assert_eq!(ask_for_token(&tenant).await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn each_faulty_body_has_its_fault() -> Result<()> {
    let tenant = tenant().await?;
    let answered = async |status: u16, body: FaultBody| -> Result<Vec<u8>> {
        tenant.cloud().script(Script::at(Route::Token, Fault::Answer { status, body }).once());
        let response = ask_for_token(&tenant).await?;
        assert_eq!(response.status().as_u16(), status);
        Ok(response.bytes().await?.to_vec())
    };
    let json = |body: &[u8]| serde_json::from_slice::<Value>(body);
    assert_eq!(json(&answered(403, FaultBody::Qlik).await?)?["errors"][0]["status"], "403");
    assert_eq!(json(&answered(401, FaultBody::Rfc6749).await?)?["error"], "invalid_client");
    assert!(answered(401, FaultBody::Html).await?.starts_with(b"<html>"));
    assert!(answered(502, FaultBody::Empty).await?.is_empty());
    assert!(json(&answered(200, FaultBody::Truncated).await?).is_err());
    assert!(answered(500, FaultBody::Huge).await?.len() > 1 << 20);
    assert!(String::from_utf8(answered(200, FaultBody::NotUtf8).await?).is_err());
    let echo = String::from_utf8(answered(400, FaultBody::Echo).await?)?;
    assert_eq!(echo.matches(SECRET).count(), 3, "{echo}");
    Ok(())
}

#[tokio::test]
async fn the_expiry_can_be_any_value() -> Result<()> {
    let tenant = tenant().await?;
    for odd in [json!(0), json!(1), json!(-1), json!("21600"), json!(3.5), json!(1e300), json!(null)] {
        tenant.cloud().script(Script::at(Route::Token, Fault::ExpiresIn(odd.clone())).once());
        let answer: Value = ask_for_token(&tenant).await?.json().await?;
        assert_eq!(answer["expires_in"], odd);
        assert!(answer.get("expires_at").is_none());
    }
    Ok(())
}

#[tokio::test]
async fn redirects_headers_and_fields_can_be_anything() -> Result<()> {
    let tenant = tenant().await?;
    let cloud = tenant.cloud();
    let next = |fault| cloud.script(Script::at(Route::Token, fault).once());
    let elsewhere = "https://evil.example/oauth/token";
    next(Fault::Redirect { status: 307, location: elsewhere.to_owned() });
    let response = ask_for_token(&tenant).await?;
    assert_eq!(response.status(), 307);
    assert_eq!(header(&response, "location"), Some(elsewhere));
    next(Fault::Header { name: "set-cookie".to_owned(), value: "a=b".to_owned() });
    assert_eq!(header(&ask_for_token(&tenant).await?, "set-cookie"), Some("a=b"));
    next(Fault::TokenField { name: "access_token".to_owned(), value: json!("a\nb") });
    assert_eq!(token(&tenant).await?, "a\nb");
    Ok(())
}

#[tokio::test]
async fn a_token_can_be_issued_twice_or_be_invalid_from_the_start() -> Result<()> {
    let tenant = tenant().await?;
    let first = token(&tenant).await?;
    tenant.cloud().script(Script::at(Route::Token, Fault::SameToken).once());
    assert_eq!(token(&tenant).await?, first);
    tenant.cloud().script(Script::at(Route::Token, Fault::DeadToken).once());
    let dead = token(&tenant).await?;
    assert_eq!(get(&tenant, ME, &dead).await?.status(), 401);
    assert_eq!(get(&tenant, ME, &first).await?.status(), 301);
    Ok(())
}

#[tokio::test]
async fn the_date_can_be_off() -> Result<()> {
    let tenant = tenant().await?;
    for off in [-86_400, 3_600, i64::MIN, i64::MAX] {
        tenant.cloud().script(Script::at(Route::Token, Fault::DateOff(off)).once());
        let response = ask_for_token(&tenant).await?;
        let date = httpdate::parse_http_date(header(&response, "date").unwrap_or_default())?;
        let apart = match date.duration_since(SystemTime::now()) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        };
        assert!(apart > Duration::from_secs(3_500), "{off}: {apart:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_response_can_be_late_slow_or_truncated() -> Result<()> {
    let tenant = tenant().await?;
    let cloud = tenant.cloud();
    let next = |pacing| cloud.script(Script::at(Route::Token, Fault::Delivery(pacing)).once());

    next(Pacing::Late { millis: 150 });
    let began = Instant::now();
    assert_eq!(ask_for_token(&tenant).await?.status(), 200);
    assert!(began.elapsed() >= Duration::from_millis(150));

    next(Pacing::Trickle { bytes: 100, millis: 5 });
    let answer: Value = ask_for_token(&tenant).await?.json().await?;
    assert!(text(&answer["access_token"])?.len() > 850, "slow, but whole");

    next(Pacing::Reset { after: 40 });
    let cut = ask_for_token(&tenant).await?;
    assert_eq!(cut.status(), 200);
    assert!(cut.bytes().await.is_err());

    next(Pacing::Hangup);
    assert!(ask_for_token(&tenant).await.is_err());

    next(Pacing::Endless);
    let mut endless = ask_for_token(&tenant).await?;
    let mut seen = 0;
    while seen < 1 << 20 {
        seen += endless.chunk().await?.map_or(0, |chunk| chunk.len());
    }
    drop(endless);

    next(Pacing::Silent);
    let patience = tokio::time::timeout(Duration::from_millis(150), ask_for_token(&tenant));
    assert!(patience.await.is_err());
    cloud.wait_for(|ledger| ledger.in_flight == 0 && ledger.open_connections == 0, Duration::from_secs(5)).await
}

#[tokio::test]
async fn requests_in_flight_are_counted_until_their_response() -> Result<()> {
    let tenant = tenant().await?;
    let cloud = tenant.cloud();
    cloud.script(Script::at(Route::Token, Fault::Delivery(Pacing::Silent)));
    let stalled: Vec<_> = (0..3)
        .map(|_| {
            let tenant = tenant.clone();
            tokio::spawn(async move { ask_for_token(&tenant).await.is_ok() })
        })
        .collect();
    cloud.wait_for(|ledger| ledger.in_flight == 3, Duration::from_secs(5)).await?;
    cloud.cut_connections();
    for call in stalled {
        assert!(!call.await?);
    }
    cloud.wait_for(|ledger| ledger.in_flight == 0, Duration::from_secs(5)).await?;
    assert_eq!(cloud.ledger(|ledger| ledger.max_in_flight), 3);
    assert!(cloud.wait_for(|ledger| ledger.requests == 99, Duration::from_millis(20)).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_response_can_be_set_exactly_and_have_too_many_headers() -> Result<()> {
    let tenant = tenant().await?;
    let says = Fault::Says { status: 418, body: "[not what was asked for".to_owned() };
    tenant.cloud().script(Script::at(Route::Token, says).once());
    let response = ask_for_token(&tenant).await?;
    assert_eq!(response.status(), 418);
    assert_eq!(response.text().await?, "[not what was asked for");
    tenant.cloud().script(Script::at(Route::Token, Fault::ManyHeaders(70)).once());
    let response = ask_for_token(&tenant).await?;
    assert_eq!(response.headers().keys().filter(|name| name.as_str().starts_with("x-")).count(), 70);
    assert_eq!(response.status(), 200);
    Ok(())
}
