//! Successful responses without a usable token, or with an unusual lifetime.

use std::time::Duration;

use futures::future::join_all;
use qlik_context_operator::api::ConditionType::{TokenIssued, Verified};
use qlik_context_operator::api::Reason;
use qlik_context_operator::oauth::token::Token;
use serde_json::{Value, json};
use support::tenant::{ExpiryFields, Fault, FaultBody, Route};

use crate::world::{CLIENT_ID, Expected, Row, World, waits};

const HOUR: i64 = 3600;
const MONTH: i64 = 30 * 24 * HOUR;

fn life(token: &Token) -> i64 {
    token.expires_at.unwrap().duration_since(token.issued_at).as_secs()
}

async fn said(world: &World, body: &Value) -> Result<Token, qlik_context_operator::error::Failure> {
    let row = world.row();
    row.script(Route::Token, Fault::Says { status: 200, body: body.to_string() }).issue().await
}

#[tokio::test]
async fn a_token_is_issued_and_users_me_returns_its_bot() {
    let world = World::new().await;
    let row = world.row();
    let token = row.issue().await.unwrap();
    let identity = row.verify(&token.access_token).await.unwrap();
    assert_eq!(identity.tenant_id, row.tenant.id());
    assert_eq!(identity.subject, format!("qlikbot\\{CLIENT_ID}"));
    assert_eq!(token.scopes.as_deref(), Some(&["user_default".to_owned()][..]));
    assert_eq!(life(&token), 6 * HOUR);
}

#[tokio::test]
async fn a_request_sends_only_the_required_headers_and_body() {
    let world = World::new().await;
    let row = world.row();
    row.ask().await.unwrap();
    world.cloud.ledger(|ledger| {
        let names = |route: Route| {
            let record = ledger.records.iter().find(|record| record.route == route).unwrap();
            let mut names: Vec<_> = record.headers.keys().map(|name| name.as_str().to_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names(Route::Token), ["accept", "content-length", "content-type", "host", "user-agent"]);
        // No cookies, no accept-encoding and no referer.
        assert_eq!(names(Route::UsersMe), ["accept", "authorization", "host", "user-agent"]);
        assert_eq!(names(Route::User), ["accept", "authorization", "host", "user-agent"]);
        let agents = ledger.records.iter().map(|record| record.headers["user-agent"].to_str().unwrap());
        assert!(agents.into_iter().all(|agent| agent.starts_with("qlik-context-operator/")));
    });
}

#[tokio::test]
async fn a_lifetime_is_parsed_in_every_format() {
    let world = World::new().await;
    let stated = |changes: Value| {
        let mut body = json!({"access_token": "planted-token", "token_type": "bearer"});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        body
    };
    let rows = [
        (json!({"expires_in": 21600}), 6 * HOUR),
        (json!({"expires_in": "3600"}), HOUR),
        (json!({"expires_in": 3600.9}), HOUR),
        (json!({"expires_in": 10}), 10),
        (json!({"expires_in": 1e300}), MONTH),
        (json!({"expires_in": u64::MAX}), MONTH),
        (json!({"expires_in": 3600, "expires_at": "1999-01-01T00:00:00Z"}), HOUR),
        (json!({"expires_in": 3600, "expires_at": 7}), HOUR),
        (json!({"expires_in": null, "expires_at": null}), HOUR),
        (json!({"expires_at": "9999-01-01T00:00:00Z"}), MONTH),
        // The date of Qlik's example is in the past. It cannot be the expiry of a new token.
        (json!({"expires_at": "1970-01-20T02:00:00.000Z"}), HOUR),
        (json!({"expires_at": "1999-01-01T00:00:00Z"}), HOUR),
        (json!({}), HOUR),
    ];
    join_all(rows.into_iter().map(async |(changes, expected)| {
        let token = said(&world, &stated(changes.clone())).await;
        assert_eq!(token.as_ref().map(life).map_err(|failure| &failure.message), Ok(expected), "{changes}");
    }))
    .await;
    let short = waits(Reason::LifetimeTooShort, "less than 10 s");
    let now = qlik_context_operator::clock::Clock::system().now();
    let minutes_ago = (now - qlik_context_operator::clock::SignedDuration::from_mins(10)).to_string();
    let unreadable = waits(Reason::UnexpectedResponse, "lifetime");
    let rows = [
        (json!({"expires_in": 0}), short),
        (json!({"expires_in": 1}), short),
        (json!({"expires_in": 9.99}), short),
        (json!({"expires_in": -21600}), short),
        (json!({"expires_in": "-1"}), short),
        (json!({"expires_in": 0, "expires_at": "1999-01-01T00:00:00Z"}), short),
        (json!({"expires_at": minutes_ago}), short),
        (json!({"expires_in": 0, "expires_at": "9999-01-01T00:00:00Z"}), short),
        (json!({"expires_in": "soon"}), unreadable),
        (json!({"expires_in": [3600]}), unreadable),
        (json!({"expires_in": true}), unreadable),
        (json!({"expires_at": "tomorrow"}), unreadable),
        (json!({"expires_at": "2024-07-31T13:43:51"}), unreadable),
        (json!({"expires_at": 4_000_000_000_u64}), unreadable),
    ];
    join_all(rows.into_iter().map(async |(changes, expected)| {
        let Err(failure) = said(&world, &stated(changes.clone())).await else { panic!("{changes}: a token") };
        expected.check(&changes.to_string(), TokenIssued, &failure);
    }))
    .await;
}

#[tokio::test]
async fn an_expiry_is_relative_to_the_clock_of_the_tenant() {
    let world = World::new().await;
    let row = world.row();
    row.tenant.edit_client(CLIENT_ID, |client| client.answer.expiry = ExpiryFields::At);
    assert!((life(&row.issue().await.unwrap()) - 6 * HOUR).abs() <= 1);
    // A tenant whose `date` is an hour behind the clock of its `expires_at`.
    row.script(Route::Token, Fault::DateOff(-HOUR));
    assert!((life(&row.issue().await.unwrap()) - 7 * HOUR).abs() <= 1);
    let row = world.row();
    row.tenant.edit_client(CLIENT_ID, |client| client.answer.expiry = ExpiryFields::Neither);
    assert_eq!(life(&row.issue().await.unwrap()), HOUR);
}

#[tokio::test]
async fn only_a_bearer_token_is_accepted() {
    let world = World::new().await;
    for kind in ["bearer", "Bearer", "BEARER"] {
        let row = world.row();
        row.script(Route::Token, Fault::TokenField { name: "token_type".into(), value: kind.into() });
        assert!(row.ask().await.is_ok(), "{kind}");
    }
    for body in [
        json!({"access_token": "planted-token"}),
        json!({"access_token": "planted-token", "token_type": null}),
        json!({"access_token": "planted-token", "token_type": ["Bearer"], "scope": 7}),
    ] {
        assert!(said(&world, &body).await.is_ok(), "{body}");
    }
    assert!(
        said(&world, &json!({"access_token": format!("planted-token{}", "x".repeat(8179))})).await.is_ok(),
        "8 KiB"
    );
    let (not_bearer, no_header, no_token) = (
        waits(Reason::UnexpectedResponse, "not a bearer token"),
        waits(Reason::UnexpectedResponse, "what no header can carry"),
        waits(Reason::UnexpectedResponse, "did not return a token"),
    );
    let rows = [
        (json!({"access_token": "planted-token", "token_type": "mac"}), not_bearer),
        (json!({"access_token": "planted-token", "token_type": ""}), not_bearer),
        (json!({"access_token": "planted-token", "token_type": "N_A"}), not_bearer),
        (json!({"access_token": "planted-token", "token_type": 7}), not_bearer),
        (json!({"access_token": "planted-token", "token_type": []}), not_bearer),
        (json!({"access_token": "planted-token", "token_type": ["bearer", "mac"]}), not_bearer),
        (json!({"access_token": ""}), no_header),
        (json!({"access_token": " planted-token"}), no_header),
        (json!({"access_token": "planted-token two"}), no_header),
        (json!({"access_token": "planted-token\r\nx-evil: 1"}), no_header),
        (json!({"access_token": "planted-token\n"}), no_header),
        (json!({"access_token": "planted-token\u{0}"}), no_header),
        (json!({"access_token": "planted-token-ü"}), no_header),
        (json!({"access_token": format!("planted-token{}", "x".repeat(8180))}), no_header),
        (json!({"access_token": null}), no_token),
        (json!({"access_token": ["planted-token"]}), no_token),
        (json!({"token": "planted-token"}), no_token),
        (json!([]), no_token),
        (json!(["planted-token", "bearer", 3600]), no_token),
        (json!("planted-token"), no_token),
    ];
    join_all(rows.into_iter().map(async |(body, expected)| {
        let Err(failure) = said(&world, &body).await else { panic!("{body}: a token") };
        expected.check(&body.to_string(), TokenIssued, &failure);
    }))
    .await;
}

#[tokio::test]
async fn a_successful_response_without_a_token_is_rejected() {
    let world = World::new().await;
    let none = waits(Reason::UnexpectedResponse, "no proxy answers in its place");
    let large = waits(Reason::UnexpectedResponse, "too large");
    let rows: [(Fault, Expected); 10] = [
        (Fault::Answer { status: 200, body: FaultBody::Html }, none),
        (Fault::Answer { status: 200, body: FaultBody::Empty }, none),
        (Fault::Answer { status: 200, body: FaultBody::Truncated }, none),
        (Fault::Answer { status: 200, body: FaultBody::NotUtf8 }, none),
        (Fault::Answer { status: 200, body: FaultBody::Qlik }, none),
        (Fault::Answer { status: 200, body: FaultBody::Huge }, large),
        (Fault::Answer { status: 201, body: FaultBody::Empty }, waits(Reason::UnexpectedResponse, "(HTTP 201")),
        (Fault::Answer { status: 204, body: FaultBody::Empty }, waits(Reason::UnexpectedResponse, "(HTTP 204")),
        (Fault::Says { status: 200, body: r#"{"access_token":"planted-token","access_token":"other"}"#.into() }, none),
        (Fault::Says { status: 200, body: format!("{}{}", "[".repeat(9000), "]".repeat(9000)) }, none),
    ];
    join_all(rows.into_iter().map(async |(fault, expected)| {
        let row = world.row();
        let Err(failure) = row.script(Route::Token, fault.clone()).issue().await else { panic!("{fault:?}") };
        expected.check(&format!("{fault:?}"), TokenIssued, &failure);
    }))
    .await;
}

#[tokio::test]
async fn a_body_is_read_up_to_its_limit_and_no_further() {
    let world = World::new().await;
    let padded = |body: &str, length: usize| {
        let blanks = " ".repeat(length - body.len());
        Fault::Says { status: 200, body: format!("{body}{blanks}") }
    };
    let token = r#"{"access_token":"planted-token"}"#;
    let user = r#"{"id":"u","name":"n","subject":"s","tenantId":"t"}"#;
    let too_large = waits(Reason::UnexpectedResponse, "too large");
    let row = world.row();
    assert!(row.script(Route::Token, padded(token, 64 * 1024)).issue().await.is_ok());
    let row = world.row();
    let failure = row.script(Route::Token, padded(token, 64 * 1024 + 1)).issue().await.err().unwrap();
    too_large.check("64 KiB and one", TokenIssued, &failure);
    for route in [Route::UsersMe, Route::User] {
        let row = world.row();
        assert!(row.script(route, padded(user, 256 * 1024)).ask().await.is_ok(), "{route:?}");
        let row = world.row();
        let failure = row.script(route, padded(user, 256 * 1024 + 1)).ask().await.unwrap_err();
        too_large.check("256 KiB and one", Verified, &failure);
    }
}

#[tokio::test]
async fn granted_scopes_are_shown_only_if_they_are_valid() {
    let world = World::new().await;
    let scopes = async |row: Row<'_>, text: &str| {
        row.script(Route::Token, Fault::TokenField { name: "scope".into(), value: text.into() });
        row.issue().await.unwrap().scopes.unwrap()
    };
    assert_eq!(scopes(world.row(), "b  a a").await, ["a", "b"]);
    assert_eq!(scopes(world.row(), "a\nb ü user_default").await, ["user_default"]);
    let token = said(&world, &json!({"access_token": "planted-token", "scope": ["user_default", "x"]})).await.unwrap();
    assert_eq!(token.scopes.unwrap(), ["user_default", "x"]);
    let leak = json!({"access_token": "t0ken", "scope": ["x", "planted-client-secret-0123456789abcdef"]});
    assert_eq!(said(&world, &leak).await.unwrap().scopes.unwrap(), ["x"]);
    assert_eq!(scopes(world.row(), "user_default planted-client-secret-0123456789abcdef").await, ["user_default"]);
    let many: Vec<_> = (0..1000).map(|n| format!("s{n}")).collect();
    assert_eq!(scopes(world.row(), &many.join(" ")).await.len(), 64);
}

#[tokio::test]
async fn a_token_that_the_tenant_itself_rejects_is_not_reported_as_valid() {
    let world = World::new().await;
    let row = world.row();
    row.script(Route::Token, Fault::DeadToken);
    let failure = row.ask().await.unwrap_err();
    waits(Reason::TokenRejected, "are revoked").check("dead", Verified, &failure);
    let row = world.row();
    row.tenant.edit_client(CLIENT_ID, |client| client.lifetime_seconds = 1);
    let failure = row.issue().await.err().unwrap();
    waits(Reason::LifetimeTooShort, "not published").check("a second", TokenIssued, &failure);
    assert_eq!(failure.retry_after, None::<Duration>);
}
