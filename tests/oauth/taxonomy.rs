//! Every rejection, on both routes and in every shape: its condition, its reason, whether a retry helps, and the fix.

use std::time::{Duration, SystemTime};

use futures::future::join_all;
use futures::{StreamExt as _, stream};
use hyper_util::client::proxy::matcher::Matcher;
use qlik_context_operator::api::ConditionType::{self, TokenIssued, Verified};
use qlik_context_operator::api::Reason;
use qlik_context_operator::clock::Clock;
use qlik_context_operator::error::Failure;
use qlik_context_operator::oauth::request::Credential;
use support::tenant::{Fault, FaultBody, Pacing, QlikCloud, RetryAfter, Route, StatusForm};
use tokio::time::Instant;

use crate::world::{CLIENT_ID, CLIENT_SECRET, Expected, Names, World, request_token, stalls, waits};

const SHAPES: [FaultBody; 6] =
    [FaultBody::Qlik, FaultBody::Rfc6749, FaultBody::Html, FaultBody::Empty, FaultBody::Truncated, FaultBody::NotUtf8];

/// One request of each kind. The verification uses a validly issued token.
async fn refused(world: &World, route: Route, fault: &Fault, form: StatusForm) -> Failure {
    let row = world.row();
    row.tenant.write_status_as(form);
    row.script(route, fault.clone());
    match row.ask().await {
        Err(failure) => failure,
        Ok(_) => panic!("{route:?} {fault:?}: a token"),
    }
}

fn condition(route: Route) -> ConditionType {
    if route == Route::Token { TokenIssued } else { Verified }
}

async fn check(world: &World, route: Route, fault: Fault, form: StatusForm, expected: Expected) -> Failure {
    let failure = refused(world, route, &fault, form).await;
    expected.check(&format!("{route:?} {fault:?} {form:?}"), condition(route), &failure);
    failure
}

#[tokio::test]
async fn a_status_has_its_reason_in_every_shape_of_body() {
    use Reason::*;
    let world = World::new().await;
    let unavailable = waits(TenantUnavailable, "The operator retries");
    let unexpected = waits(UnexpectedResponse, "Check that spec.tenantUrl");
    let statuses = [
        (400, stalls(RequestRejected, "machine-to-machine"), unexpected),
        (401, stalls(InvalidClient, "Put the id and a current secret"), waits(TokenRejected, "are revoked")),
        (403, stalls(AccessDenied, "maximum number of tokens"), stalls(AccessDenied, "scope user_default")),
        (404, unexpected, unexpected),
        (408, unavailable, unavailable),
        (409, unexpected, unexpected),
        (413, unexpected, unexpected),
        (429, waits(RateLimited, "waits before it asks again"), waits(RateLimited, "waits before it asks again")),
        (500, unavailable, unavailable),
        (502, unavailable, unavailable),
        (503, unavailable, unavailable),
        (504, unavailable, unavailable),
    ];
    let mut rows = Vec::new();
    for (status, at_token, at_user) in statuses {
        for body in SHAPES {
            let fault = Fault::Answer { status, body };
            for form in [StatusForm::Text, StatusForm::Number] {
                rows.push(check(&world, Route::Token, fault.clone(), form, at_token));
            }
            rows.push(check(&world, Route::UsersMe, fault.clone(), StatusForm::Text, at_user));
            rows.push(check(&world, Route::User, fault.clone(), StatusForm::Number, at_user));
        }
    }
    // Hundreds of connections at once take longer on a busy machine than a response may.
    let mut failures = stream::iter(rows).buffered(8);
    while let Some(failure) = failures.next().await {
        assert!(failure.message.contains("(HTTP "), "{}", failure.message);
    }
}

#[tokio::test]
async fn the_error_code_and_text_of_a_response_are_used() {
    use Reason::*;
    let world = World::new().await;
    let scopes = stalls(InvalidScope, "spec.scopes");
    let client = stalls(InvalidClient, "consent method Trusted");
    let tenant = stalls(TenantNotFound, "Correct spec.tenantUrl");
    let token = [
        (
            401,
            r#"{"errors":[{"code":"LOGIN-2","title":"No authentication configured for this hostname","status":"401"}]}"#,
            tenant,
        ),
        (
            401,
            r#"{"errors":[{"code":"LOGIN-2","title":"No authentication configured for this hostname","status":401}]}"#,
            tenant,
        ),
        (404, r#"{"errors":[{"code":"LOGIN-2"}]}"#, tenant),
        (400, r#"{"errors":[{"code":"OAUTH-14","title":"Invalid client_id","status":"400"}]}"#, client),
        (400, r#"{"error":"unauthorized_client","error_description":"planted-token"}"#, client),
        (400, r#"{"error":"invalid_client"}"#, client),
        (401, r#"{"error":"invalid_client"}"#, client),
        (400, r#"{"error":"invalid_scope"}"#, scopes),
        (401, r#"{"error":"invalid_scope"}"#, scopes),
        (400, r#"{"errors":[{"code":"X-1","title":"Invalid scope"}]}"#, scopes),
        (400, r#"{"errors":[],"error":"invalid_scope"}"#, scopes),
        (400, r#"{"error":"unsupported_grant_type"}"#, stalls(RequestRejected, "unsupported_grant_type")),
        (400, r#"{"errors":{"code":"OAUTH-14"}}"#, stalls(RequestRejected, "(HTTP 400, OAUTH-14)")),
        (401, r#"{"errors":null,"error":"invalid_client"}"#, stalls(InvalidClient, "(HTTP 401, invalid_client)")),
        (400, r#"{"errors":[7],"error":"invalid_scope"}"#, scopes),
        (400, r#"{"error":{"code":"invalid_client"},"traceId":7}"#, client),
        (401, "\u{feff}{\"errors\":[{\"code\":\"LOGIN-2\"}]}", tenant),
        (400, r#"["errors"]"#, stalls(RequestRejected, "(HTTP 400)")),
        (
            403,
            r#"{"errors":[{"code":"X-2","title":"Maximum number of tokens reached"}]}"#,
            stalls(AccessDenied, "Maximum number of tokens reached"),
        ),
        (
            403,
            r#"{"errors":[{"code":"AUTH-5","title":"Forbidden","detail":"User is not a member of tenant"}]}"#,
            stalls(AccessDenied, "AUTH-5"),
        ),
        (401, r#"{"errors":[{"code":"OAUTH-5","title":"line\nbreak"}]}"#, stalls(InvalidClient, "(HTTP 401, OAUTH-5)")),
        (
            401,
            r#"{"errors":[{"code":"a b","title":"<b>Unauthorized</b>"}]}"#,
            stalls(InvalidClient, "(HTTP 401, \"<b>"),
        ),
        (
            503,
            r#"{"errors":[{"code":"planted-client-secret-0123","title":"cGxhbnRlZC1jbGllbnQtc2VjcmV0LTAxMjM0NTY3ODlhYmNkZWY="}]}"#,
            waits(TenantUnavailable, "(HTTP 503)"),
        ),
        (
            401,
            r#"{"errors":[{"code":"OAUTH-5","title":"no client 82e0planted7f"}]}"#,
            stalls(InvalidClient, "(HTTP 401, OAUTH-5)"),
        ),
    ];
    let verification = [
        (401, r#"{"errors":[{"code":"LOGIN-2","status":401}]}"#, tenant),
        (401, "401 Authorization Required", waits(TokenRejected, "(HTTP 401)")),
        (401, "\u{feff}{\"errors\":null,\"error\":\"invalid_token\"}", waits(TokenRejected, "invalid_token")),
        (403, r#"{"error":"insufficient_scope"}"#, stalls(AccessDenied, "insufficient_scope")),
    ];
    let at = |route, rows: &[(u16, &'static str, Expected)]| {
        rows.iter().map(|(status, body, expected)| (route, *status, *body, *expected)).collect::<Vec<_>>()
    };
    let rows = [at(Route::Token, &token), at(Route::UsersMe, &verification), at(Route::User, &verification)].concat();
    join_all(rows.into_iter().map(|(route, status, body, expected)| {
        check(&world, route, Fault::Says { status, body: body.into() }, StatusForm::Text, expected)
    }))
    .await;
}

#[tokio::test]
async fn a_host_without_a_tenant_is_distinguished_from_a_wrong_secret() {
    let world = World::new().await;
    let mut row = world.row();
    let real = row.tenant.clone();
    row.tenant = world.named("other.eu.qlikcloud.com").tenant;
    row.tenant.edit_client(crate::world::CLIENT_ID, |client| client.secrets = vec!["another".into()]);
    let failure = row.ask().await.unwrap_err();
    stalls(Reason::InvalidClient, "(HTTP 401").check("a wrong secret", TokenIssued, &failure);
    assert!(failure.trace_id.is_some(), "Qlik's support needs it");
    assert!(
        !failure.message.contains(failure.trace_id.as_deref().unwrap()),
        "otherwise no two messages would be equal"
    );
    row.tenant = real;
    row.ask().await.unwrap();
    let nobody = crate::world::request(&format!("https://nobody.eu.qlikcloud.com:{}", row.port));
    let now = qlik_context_operator::clock::Clock::system().now();
    let asked = request_token(&world.https, &nobody, now).await;
    stalls(Reason::TenantNotFound, "LOGIN-2").check("no tenant", TokenIssued, &asked.err().unwrap());
}

#[tokio::test]
async fn retry_after_is_parsed_in_every_format_and_bounded() {
    let world = World::new().await;
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let rows = [
        (RetryAfter::Seconds(13), seconds(13)),
        (RetryAfter::Seconds(0), seconds(0)),
        (RetryAfter::Seconds(86_400), seconds(300)),
        (RetryAfter::Text("99999999999999999999999".into()), seconds(300)),
        (RetryAfter::Date(60), seconds(60)),
        (RetryAfter::Date(86_400), seconds(300)),
        (RetryAfter::Text("Sun, 06 Nov 1994 08:49:37 GMT".into()), seconds(0)),
        (RetryAfter::Absent, None),
        (RetryAfter::Text("-1".into()), None),
        (RetryAfter::Text("soon".into()), None),
    ];
    let world = &world;
    join_all(rows.into_iter().flat_map(|(after, pause)| {
        [Route::Token, Route::UsersMe, Route::User].map(|route| {
            let after = after.clone();
            async move {
                let expected = waits(Reason::RateLimited, "as long as the tenant says");
                let failure = check(world, route, Fault::RateLimited(after.clone()), StatusForm::Text, expected).await;
                assert_eq!(failure.retry_after, pause, "{after:?}");
            }
        })
    }))
    .await;
}

#[tokio::test]
async fn a_response_that_echoes_the_request_is_reported_without_it() {
    let world = World::new().await;
    for (status, reason) in [(400, Reason::RequestRejected), (401, Reason::InvalidClient), (403, Reason::AccessDenied)]
    {
        let fault = Fault::Answer { status, body: FaultBody::Echo };
        let failure = check(&world, Route::Token, fault, StatusForm::Text, stalls(reason, "(HTTP ")).await;
        assert!(!failure.message.contains(&CLIENT_SECRET[..12]), "{}", failure.message);
    }
    for (status, expected) in
        [(401, waits(Reason::TokenRejected, "(HTTP 401)")), (500, waits(Reason::TenantUnavailable, "(HTTP 500)"))]
    {
        check(&world, Route::UsersMe, Fault::Answer { status, body: FaultBody::Echo }, StatusForm::Number, expected)
            .await;
    }
}

#[tokio::test]
async fn a_rejection_is_classified_by_its_status_for_any_large_slow_or_broken_body() {
    let world = World::new().await;
    let pacings =
        [Pacing::AtOnce, Pacing::Endless, Pacing::Reset { after: 1000 }, Pacing::Trickle { bytes: 1, millis: 500 }];
    let world = &world;
    let mut rows = Vec::new();
    for (status, at_token, at_user) in [
        (503, waits(Reason::TenantUnavailable, "(HTTP 503)"), waits(Reason::TenantUnavailable, "(HTTP 503)")),
        (502, waits(Reason::TenantUnavailable, "(HTTP 502)"), waits(Reason::TenantUnavailable, "(HTTP 502)")),
        (429, waits(Reason::RateLimited, "(HTTP 429)"), waits(Reason::RateLimited, "(HTTP 429)")),
        (403, stalls(Reason::AccessDenied, "(HTTP 403)"), stalls(Reason::AccessDenied, "(HTTP 403)")),
        (401, stalls(Reason::InvalidClient, "(HTTP 401)"), waits(Reason::TokenRejected, "(HTTP 401)")),
    ] {
        for pacing in pacings {
            for (route, expected) in [(Route::Token, at_token), (Route::UsersMe, at_user), (Route::User, at_user)] {
                let retry_after = Some("120".to_owned());
                let fault = Fault::Page { status, bytes: 300 * 1024, retry_after, pacing };
                rows.push(async move {
                    let begun = Instant::now();
                    let failure = check(world, route, fault, StatusForm::Text, expected).await;
                    let pause = Some(Duration::from_mins(2)).filter(|_| [429, 503].contains(&status));
                    assert_eq!(failure.retry_after, pause, "{status} {pacing:?}");
                    assert!(begun.elapsed() < Duration::from_secs(14), "{status} {pacing:?}: {:?}", begun.elapsed());
                });
            }
        }
    }
    join_all(rows).await;
}

#[tokio::test]
async fn a_retry_after_date_is_relative_to_the_date_of_the_same_response() {
    // A tenant whose clock is an hour behind: the delay is computed with its clock.
    let behind = support::tenant::Clock::starting_at(SystemTime::now() - Duration::from_hours(1));
    let cloud = QlikCloud::builder().clock(behind).start().await.unwrap();
    let world = World::of(cloud, Matcher::builder().build(), Names::at(&[&["127.0.0.1"]]));
    for (seconds, pause) in [(RetryAfter::Date(60), 60), (RetryAfter::Date(86_400), 300)] {
        let row = world.row();
        row.script(Route::Token, Fault::RateLimited(seconds));
        assert_eq!(row.issue().await.err().unwrap().retry_after, Some(Duration::from_secs(pause)));
    }
}

#[tokio::test]
async fn a_rejected_placeholder_value_gets_a_hint() {
    let world = World::new().await;
    for (id, secret, says) in [
        (CLIENT_ID, "ENC[AES256_GCM,data:planted-client-secret,type:str]", "the client secret is still encrypted"),
        (CLIENT_ID, "${planted-client-secret}", "the client secret is a placeholder"),
        (CLIENT_ID, "\"planted-client-secret\"", "the client secret has quotation marks around it"),
        (CLIENT_ID, "REPLACE-WITH-THE-CLIENT-SECRET", "the client secret is a placeholder"),
        (CLIENT_ID, "cGxhbnRlZC1jbGllbnQtc2VjcmV0LTAxMjM0NTY3ODlhYmNkZWY=", "is base64-encoded once more"),
        ("<planted-client-id>", CLIENT_SECRET, "the client id is a placeholder"),
        (CLIENT_ID, CLIENT_ID, "The client secret is the client id once more"),
    ] {
        for status in [401, 400] {
            let row = world.row();
            row.script(Route::Token, Fault::Answer { status, body: FaultBody::Rfc6749 });
            let mut request = row.request();
            request.credential = Credential::ClientSecret { client_id: id.into(), client_secret: secret.into() };
            let asked = request_token(&world.https, &request, Clock::system().now()).await;
            let failure = asked.err().unwrap();
            let reason = if status == 401 { Reason::InvalidClient } else { Reason::RequestRejected };
            stalls(reason, says).check(says, TokenIssued, &failure);
        }
    }
}
