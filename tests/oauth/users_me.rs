//! `users/me`: which redirects are followed, which are not, and what counts as a user.

use futures::future::join_all;
use qlik_context_operator::api::ConditionType::{TokenIssued, Verified};
use qlik_context_operator::api::Reason::{UnexpectedResponse, UserInactive};
use qlik_context_operator::oauth::identity::{Field, Identity};
use serde_json::{Value, json};
use support::tenant::{Fault, Hop, Route, Script, UserShape, UserStatus};

use crate::door::Door;
use crate::world::{CLIENT_ID, CLIENT_SECRET, Expected, PLANTED, World, stalls, waits};

#[tokio::test]
async fn a_documented_redirect_is_followed() {
    let world = World::new().await;
    let shapes = [
        (Route::UsersMe, Fault::Hop(Hop::Direct)),
        (Route::UsersMe, Fault::Hop(Hop::Absolute)),
        (Route::User, Fault::User(UserShape::Minimal)),
        (Route::User, Fault::User(UserShape::Extended)),
    ];
    for (route, fault) in shapes {
        let row = world.row();
        let identity = row.script(route, fault.clone()).ask().await.unwrap();
        assert_eq!(identity.tenant_id, row.tenant.id(), "{fault:?}");
    }
    for status in [301, 302, 303, 307, 308] {
        let row = world.row();
        let token = row.issue().await.unwrap();
        let (id, host) = (row.tenant.bot(CLIENT_ID).unwrap().id, row.tenant.host());
        let port = row.port;
        for location in [
            format!("/api/v1/users/{id}"),
            id.clone(),
            format!("//{host}:{port}/api/v1/users/{id}"),
            format!("https://{}:{port}/api/v1/users/{id}#top", host.to_uppercase()),
        ] {
            world.cloud.clear_scripts();
            row.script(Route::UsersMe, Fault::Redirect { status, location: location.clone() });
            let identity: Identity = row.verify(&token.access_token).await.unwrap();
            assert_eq!(identity.user_id, id, "{status} {location}");
        }
    }
}

#[tokio::test]
async fn three_redirects_are_followed_and_no_more() {
    let world = World::new().await;
    let again = |times| Script::at(Route::UsersMe, Fault::Hop(Hop::Loop)).times(times);
    let row = world.row();
    world.cloud.script(again(2).host(row.tenant.host()));
    assert!(row.ask().await.is_ok());
    let row = world.row();
    world.cloud.script(again(3).host(row.tenant.host()));
    let circle = waits(UnexpectedResponse, "in a circle");
    circle.check("four", Verified, &row.ask().await.unwrap_err());
    for fault in [Fault::Hop(Hop::Loop), Fault::Redirect { status: 302, location: String::new() }] {
        let row = world.row();
        circle.check("a circle", Verified, &row.script(Route::UsersMe, fault).ask().await.unwrap_err());
        assert_eq!((row.asked(Route::UsersMe), row.asked(Route::User)), (4, 0));
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_is_rejected_and_gets_no_token() {
    let (world, door) = (World::new().await, Door::open().await);
    let elsewhere = waits(UnexpectedResponse, "redirects to another place");
    for location in [
        "http://HOST:PORT/api/v1/users/x",
        "https://HOST/api/v1/users/x",
        "https://HOST.:PORT/api/v1/users/x",
        "https://x.HOST:PORT/api/v1/users/x",
        "https://planted-token@HOST:PORT/api/v1/users/x",
        "https://:planted-token@HOST:PORT/api/v1/users/x",
        "https://HOST:DOOR/x",
        "https://HOST@127.0.0.1:DOOR/x",
        "https://127.0.0.1:PORT/api/v1/users/x",
        "https://127.0.0.1:DOOR/x",
        "https://localhost:DOOR/x",
        "http://127.0.0.1:DOOR/x",
        "//127.0.0.1:DOOR/x",
        r"\\127.0.0.1:DOOR/x",
        r"/\127.0.0.1:DOOR/x",
        r"https:\\127.0.0.1:DOOR/x",
        "https:///127.0.0.1:DOOR/x",
        "//2130706433:DOOR/x",
        "https://169.254.169.254/latest/meta-data/",
        "http://169.254.169.254/latest/meta-data/",
        "https://[fd00:ec2::254]/",
        "//evil.example/api/v1/users/x",
        "file:///etc/passwd",
        "data:application/json,{}",
        "https://",
        "https://HOST:99999/",
    ] {
        for status in [301, 302, 307] {
            let row = world.row();
            let (port, door) = (row.port.to_string(), door.port().to_string());
            let location = location.replace("HOST", row.tenant.host()).replace("PORT", &port).replace("DOOR", &door);
            row.script(Route::UsersMe, Fault::Redirect { status, location: location.clone() });
            let Err(failure) = row.ask().await else { panic!("{status} {location}: a token") };
            elsewhere.check(&location, Verified, &failure);
            assert_eq!((row.asked(Route::UsersMe), row.asked(Route::User), row.asked(Route::Elsewhere)), (1, 0, 0));
        }
    }
    let row = world.row();
    elsewhere.check(
        "nowhere",
        Verified,
        &row.script(Route::UsersMe, Fault::Hop(Hop::Nowhere)).ask().await.unwrap_err(),
    );
    assert_eq!(door.knocks().await, 0);
    let known = world.cloud.ledger(|ledger| ledger.hosts.keys().all(|host| host.starts_with("row")));
    assert!(known, "no other host was requested");
}

#[tokio::test]
async fn the_token_request_follows_no_redirect() {
    let (world, door) = (World::new().await, Door::open().await);
    let elsewhere = waits(UnexpectedResponse, "redirects to another place. Use the tenant's original host name");
    for status in [300, 301, 302, 303, 304, 307, 308] {
        let here = world.row();
        let (host, port) = (here.tenant.host().to_owned(), here.port);
        for location in [
            "/oauth/token".into(),
            "/elsewhere".into(),
            format!("https://{host}:{port}/oauth/token"),
            format!("https://127.0.0.1:{}/oauth/token", door.port()),
            format!("http://127.0.0.1:{}/oauth/token", door.port()),
        ] {
            let row = world.row();
            row.script(Route::Token, Fault::Redirect { status, location: location.clone() });
            elsewhere.check(&format!("{status} {location}"), TokenIssued, &row.ask().await.unwrap_err());
            assert_eq!((row.asked(Route::Token), row.asked(Route::Elsewhere)), (1, 0), "{status} {location}");
        }
    }
    assert_eq!(door.knocks().await, 0);
}

#[tokio::test]
async fn a_user_that_is_not_active_gets_no_token_published() {
    let world = World::new().await;
    for (status, word) in [
        (UserStatus::Disabled, "is disabled"),
        (UserStatus::Invited, "is invited"),
        (UserStatus::Deleted, "is deleted"),
        (UserStatus::Provisioned, "is provisioned"),
    ] {
        for route in [Route::UsersMe, Route::User] {
            let row = world.row();
            if route == Route::UsersMe {
                world.cloud.script(Script::at(route, Fault::Hop(Hop::Direct)).host(row.tenant.host()));
            }
            row.issue().await.unwrap();
            let token = row.issue().await.unwrap().access_token;
            row.tenant.edit_user(&format!("qlikbot\\{CLIENT_ID}"), |user| user.status = status);
            match row.verify(&token).await {
                Err(failure) if failure.reason == UserInactive => {
                    stalls(UserInactive, word).check(&format!("{status:?}"), Verified, &failure);
                }
                // A deleted user has no resource.
                Err(failure) => {
                    assert_eq!(status, UserStatus::Deleted);
                    waits(UnexpectedResponse, "HTTP 404").check("deleted", Verified, &failure);
                }
                Ok(_) => panic!("{status:?}: good"),
            }
        }
    }
}

#[tokio::test]
async fn the_identity_comes_only_from_the_tenant() {
    let world = World::new().await;
    let row = world.row();
    row.script(Route::User, Fault::User(UserShape::ForeignTenant("somebody-elses".into())));
    assert_eq!(
        row.ask().await.unwrap().tenant_id,
        "somebody-elses",
        "the tenant's value is used; a pin would reject it"
    );
    let row = world.row();
    row.script(Route::User, Fault::User(UserShape::Subject("auth0|eve".into())));
    assert_eq!(row.ask().await.unwrap().subject, "auth0|eve");
}

#[tokio::test]
async fn a_response_that_is_not_a_user_is_rejected() {
    let world = World::new().await;
    let user = json!({"id": "63ea", "name": "m2m", "subject": "x|1", "tenantId": "7jUt", "status": "active"});
    let with = |field: &str, value: Value| {
        let mut user = user.clone();
        user[field] = value;
        user.to_string()
    };
    let without = |field: &str| {
        let mut user = user.clone();
        user.as_object_mut().unwrap().remove(field);
        user.to_string()
    };
    let none = waits(UnexpectedResponse, "did not return a user");
    let empty = waits(UnexpectedResponse, "no user or no tenant");
    let rows: Vec<(String, Expected)> = vec![
        (without("id"), none),
        (without("name"), none),
        (without("subject"), none),
        (without("tenantId"), none),
        (with("id", json!(7)), none),
        (with("tenantId", json!(null)), none),
        (with("status", json!(7)), none),
        (with("id", json!("")), empty),
        (with("id", json!("\n\t")), empty),
        (with("tenantId", json!("")), empty),
        (with("status", json!("planted-token <b>")), stalls(UserInactive, "is not active")),
        (with("status", json!("ACTIVE")), stalls(UserInactive, "is not active")),
        ("null".into(), none),
        ("[]".into(), none),
        (r#"["u","n","s","t"]"#.into(), none),
        ("\"63ea\"".into(), none),
        (String::new(), none),
        ("<html>".into(), none),
        (user.to_string()[..40].to_owned(), none),
        (format!("{user}{user}"), none),
    ];
    let world = &world;
    join_all(rows.into_iter().flat_map(|(body, expected)| {
        [Route::UsersMe, Route::User].map(|route| {
            let body = body.clone();
            async move {
                let row = world.row();
                let fault = Fault::Says { status: 200, body: body.clone() };
                let Err(failure) = row.script(route, fault).ask().await else { panic!("{body}: a user") };
                expected.check(&format!("{route:?} {body}"), Verified, &failure);
            }
        })
    }))
    .await;
    for body in [user.to_string(), with("status", json!(null)), without("status"), with("new", json!({"deep": [1.5]}))]
    {
        let row = world.row();
        row.script(Route::UsersMe, Fault::Says { status: 200, body: body.clone() });
        assert_eq!(row.ask().await.unwrap().user_id, "63ea", "{body}");
    }
    let marked = Fault::Says { status: 200, body: format!("\u{feff}{user}") };
    assert_eq!(world.row().script(Route::UsersMe, marked).ask().await.unwrap().user_id, "63ea", "a byte order mark");
    let row = world.row();
    row.script(Route::UsersMe, Fault::Says { status: 200, body: with("name", json!("ü\r\n".repeat(1000))) });
    assert_eq!(row.ask().await.unwrap().name, "ü".repeat(256), "bounded, on one line");
}

#[tokio::test]
async fn an_identity_that_contains_a_secret_is_not_shown_and_the_token_is_valid() {
    let world = World::new().await;
    let user = json!({"id": "63ea", "name": "m2m", "subject": "x|1", "tenantId": "7jUt", "status": "active"});
    for (field, shown, text) in [
        ("name", Field::Name, CLIENT_SECRET),
        ("subject", Field::Subject, "cGxhbnRlZC1jbGllbnQtc2VjcmV0LTAxMjM0NTY3ODlhYmNkZWY="),
        ("name", Field::Name, "eyJhbGciOiJFUzM4NCIsImtpZCI6"),
        ("id", Field::UserId, "planted-client"),
        ("tenantId", Field::TenantId, "secret-0123456789"),
    ] {
        for route in [Route::UsersMe, Route::User] {
            let mut user = user.clone();
            user[field] = json!(text);
            let row = world.row();
            let identity = row.script(route, Fault::Says { status: 200, body: user.to_string() }).ask().await;
            let identity = identity.unwrap_or_else(|failure| panic!("{field} {text}: {}", failure.message));
            assert_eq!((identity.field(shown), identity.shown(shown)), (text, ""), "{field}");
            assert_eq!(PLANTED.found(&format!("{identity:?} {:?}", identity.in_words())), None, "{field}");
        }
    }
}
