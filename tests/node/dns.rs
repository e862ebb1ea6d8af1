//! Name resolution in the Pod, with the default `ndots:5` and a search domain that resolves every name.

use serde_json::json;
use support::operator::{NAMESPACE, RELEASE};

use crate::stage::{CLIENT_ID, CLIENT_SECRET, Stage};

const OTHER: &str = "other.eu.qlikcloud.com";

pub async fn wildcard(stage: &mut Stage) {
    stage.cloud.tenant(OTHER).add_client(support::tenant::Client::new(CLIENT_ID).secret(CLIENT_SECRET));
    // The default of a cluster: the name with the search domain is looked up first, and resolves to a private address.
    stage.helm(&json!({"dnsConfig": {"options": []}, "allowPrivateAddresses": false})).await;
    stage.rolled_out(NAMESPACE, RELEASE).await;
    let before = stage.issued();
    stage.put("search", OTHER).await;
    stage.wait_for("search", "AddressNotPublic").await;
    assert_eq!(stage.issued(), before, "no request was sent");

    // The fix in docs/troubleshooting.md. The address of the fake tenant is private, too.
    stage
        .helm(&json!({"dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}, "allowPrivateAddresses": true}))
        .await;
    stage.rolled_out(NAMESPACE, RELEASE).await;
    stage.wait_for("search", "TokenValid").await;
}
