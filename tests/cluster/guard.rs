//! Hosts to which credentials are never sent. Listeners count the connections.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;

use crate::world::{Case, message};

#[tokio::test]
async fn a_host_outside_the_allow_list_gets_no_connection() {
    let case = Case::new("outside").await;
    case.put_credential().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // The proxy could reach this tenant, but its name is not in the operator's list.
    let stranger = case.world.cloud.tenant(&format!("{}.example.com", case.namespace));
    for (name, url) in [("address", format!("https://{address}")), ("name", stranger.url())] {
        case.apply(name, &json!({ "tenantUrl": url })).await;
        let context = case.wait_for(name, "TokenIssued=False/HostNotAllowedByOperator").await;
        assert!(message(&context, "Ready").contains("--allowed-tenant-hosts"));
    }
    let connected = tokio::time::timeout(Duration::from_millis(500), listener.accept()).await;
    assert!(connected.is_err(), "a client connected");
    assert_eq!(case.world.cloud.ledger(|ledger| ledger.hosts.get(stranger.host()).copied()), None);
}

#[tokio::test]
async fn a_name_without_a_tenant_is_distinguished_from_one_that_cannot_be_reached() {
    let case = Case::new("unknown").await;
    case.put_credential().await;
    case.apply("acme", &json!({"tenantUrl": "https://nobody-has-this-name.eu.qlikcloud.com"})).await;
    let context = case.wait_for("acme", "TokenIssued=False/TenantUnreachable").await;
    assert!(message(&context, "Ready").contains("HTTPS_PROXY"), "{}", message(&context, "Ready"));
}
