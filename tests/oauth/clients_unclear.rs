//! Calls of the OAuth clients API with an unknown result: the response is lost or unexpected.

use qlik_context_operator::oauth::clients::{
    Change, ClientsError, Consent, Filter, KeyEncoding, OAuthClient, OAuthClients,
};
use qlik_context_operator::oauth::transport::TransportFailure;
use serde_json::json;
use support::tenant::{Fault, FaultBody, Pacing, Route, Script};

use crate::clients::wanted;
use crate::world::{PLANTED, Row, World};

async fn write(clients: OAuthClients<'_>, route: Route, client: &OAuthClient) -> Result<(), ClientsError> {
    match route {
        Route::CreateClient => clients.create(&wanted("another")).await.map(drop),
        Route::PatchClient => {
            let changes = [Change::Name("renamed".into())];
            clients.patch(client, &changes, KeyEncoding::Object).await.map(drop)
        }
        Route::AddSecret => clients.add_secret(&client.id).await.map(drop),
        Route::DeleteSecret => clients.delete_secret(&client.id, &client.secrets[0].hint).await,
        Route::SetConsent => clients.set_consent(&client.id, Consent::Required).await,
        _ => clients.delete(&client.id).await,
    }
}

const WRITES: [Route; 6] = [
    Route::CreateClient,
    Route::PatchClient,
    Route::AddSecret,
    Route::DeleteSecret,
    Route::SetConsent,
    Route::DeleteClient,
];

async fn with_client(world: &World) -> (Row<'_>, OAuthClient) {
    let row = world.row();
    let (url, admin) = (row.url(), row.admin());
    let clients = OAuthClients::new(&world.https, &url, &admin);
    let made = clients.create(&wanted("reporting")).await.unwrap();
    let client = clients.get(&made.client.id).await.unwrap();
    world.cloud.clear_ledger();
    (row, client)
}

#[tokio::test]
async fn the_result_of_a_call_whose_response_was_lost_is_found_by_a_read() {
    let world = World::new().await;
    for route in WRITES {
        let (row, client) = with_client(&world).await;
        let (url, admin) = (row.url(), row.admin());
        let clients = OAuthClients::new(&world.https, &url, &admin);
        world.cloud.script(Script::at(route, Fault::Delivery(Pacing::Hangup)).host(row.tenant.host()).once());
        let error = write(clients, route, &client).await.unwrap_err();
        assert_eq!(error, ClientsError::Unreachable(TransportFailure::Connection), "{route:?}");
        assert!(error.may_have_been_done(), "{route:?}");
        assert_eq!(world.cloud.ledger(|ledger| (ledger.at(route), ledger.done(route))), (1, 1), "{route:?}");
        match route {
            Route::CreateClient => assert_eq!(clients.list(Filter::Name("another")).await.unwrap().len(), 1),
            Route::PatchClient => assert_eq!(clients.get(&client.id).await.unwrap().name, "renamed"),
            Route::AddSecret => assert_eq!(clients.get(&client.id).await.unwrap().secrets.len(), 2),
            Route::DeleteSecret => assert_eq!(clients.get(&client.id).await.unwrap().secrets.len(), 0),
            Route::SetConsent => assert_eq!(clients.consent(&client.id).await.unwrap(), Consent::Required),
            _ => assert!(matches!(clients.get(&client.id).await, Err(ClientsError::NotFound(_)))),
        }
    }
}

#[tokio::test]
async fn a_truncated_response_reveals_no_secret() {
    let world = World::new().await;
    for route in [Route::CreateClient, Route::AddSecret] {
        let (row, client) = with_client(&world).await;
        let (url, admin) = (row.url(), row.admin());
        let clients = OAuthClients::new(&world.https, &url, &admin);
        row.script(route, Fault::Delivery(Pacing::Reset { after: 40 }));
        let error = write(clients, route, &client).await.unwrap_err();
        assert_eq!(error, ClientsError::Unreachable(TransportFailure::Connection), "{route:?}");
        assert_eq!(world.cloud.ledger(|ledger| ledger.done(route)), 1, "{route:?}");
    }
}

#[tokio::test]
async fn an_undocumented_success_counts_as_possibly_processed() {
    let world = World::new().await;
    let token = "eyJhbGciOiJFUzM4NCIsImtpZCI6";
    let secret = json!({"clientId": "x", "clientSecret": "two words"}).to_string();
    let echoed = json!({"clientId": token, "clientName": "n", "appType": "web"}).to_string();
    for (route, status, body) in [
        (Route::CreateClient, 201, "{}".to_owned()),
        (Route::CreateClient, 201, "<html>".into()),
        (Route::CreateClient, 201, echoed),
        (Route::CreateClient, 206, "{}".into()),
        (Route::AddSecret, 201, "{}".into()),
        (Route::AddSecret, 201, secret),
        (Route::AddSecret, 204, String::new()),
        (Route::PatchClient, 202, "[]".into()),
        (Route::PatchClient, 207, String::new()),
        (Route::DeleteClient, 205, String::new()),
    ] {
        let (row, client) = with_client(&world).await;
        let (url, admin) = (row.url(), row.admin());
        row.script(route, Fault::Says { status, body: body.clone() });
        let error = write(OAuthClients::new(&world.https, &url, &admin), route, &client).await.unwrap_err();
        assert!(matches!(error, ClientsError::NotTheContract(_)), "{route:?} {status} {body}: {error:?}");
        assert!(error.may_have_been_done());
        assert_eq!(PLANTED.found(&format!("{error:?}")), None, "{route:?} {status}");
    }
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let world = World::new().await;
    for route in WRITES {
        let (row, client) = with_client(&world).await;
        let (url, admin) = (row.url(), row.admin());
        row.script(route, Fault::Redirect { status: 307, location: "/api/v1/users/me".into() });
        let error = write(OAuthClients::new(&world.https, &url, &admin), route, &client).await.unwrap_err();
        assert_eq!(error, ClientsError::Unreachable(TransportFailure::Redirect), "{route:?}");
        assert_eq!(row.asked(Route::UsersMe), 0, "{route:?}");
    }
}

#[tokio::test]
async fn a_list_without_an_end_is_an_error() {
    let world = World::new().await;
    let (row, _) = with_client(&world).await;
    let (url, admin) = (row.url(), row.admin());
    let clients = OAuthClients::new(&world.https, &url, &admin);
    let body = json!({"data": [], "links": {"next": {"href": "/api/v1/oauth-clients?next=MTAw"}}}).to_string();
    row.script(Route::ListClients, Fault::Says { status: 200, body });
    assert!(matches!(clients.list(Filter::All).await, Err(ClientsError::NotTheContract(_))));
    assert_eq!(row.asked(Route::ListClients), 2, "the second page links to itself");
    world.cloud.clear_scripts();
    for n in 0..25 {
        let body = json!({"data": [], "links": {"next": format!("/?next=page{n}")}}).to_string();
        let script = Script::at(Route::ListClients, Fault::Says { status: 200, body });
        world.cloud.script(script.host(row.tenant.host()).once());
    }
    assert!(matches!(clients.list(Filter::All).await, Err(ClientsError::NotTheContract(_))));
    assert_eq!(row.asked(Route::ListClients), 22, "at most twenty pages are read");
    world.cloud.clear_scripts();
    let huge = Fault::Page { status: 200, bytes: 5 << 20, retry_after: None, pacing: Pacing::AtOnce };
    row.script(Route::ListClients, huge);
    let error = clients.list(Filter::All).await.unwrap_err();
    assert_eq!(error, ClientsError::Unreachable(TransportFailure::AnswerTooLarge));
}

#[tokio::test]
async fn a_response_with_another_client_is_an_error() {
    let world = World::new().await;
    let (row, client) = with_client(&world).await;
    let (url, admin) = (row.url(), row.admin());
    let clients = OAuthClients::new(&world.https, &url, &admin);
    let body = json!({"clientId": "another", "clientName": "n", "appType": "web"}).to_string();
    row.script(Route::GetClient, Fault::Says { status: 200, body });
    assert!(matches!(clients.get(&client.id).await, Err(ClientsError::NotTheContract(_))));
    world.cloud.clear_scripts();
    row.script(Route::GetClient, Fault::Answer { status: 200, body: FaultBody::Empty });
    assert!(matches!(clients.get(&client.id).await, Err(ClientsError::NotTheContract(_))));
}
