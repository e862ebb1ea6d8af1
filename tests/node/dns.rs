//! Name resolution in the Pod, with the usual `ndots:5` and a search domain that answers every name.

use serde_json::json;
use support::operator::{NAMESPACE, RELEASE};

use crate::stage::{CLIENT_ID, CLIENT_SECRET, Stage};

const OTHER: &str = "other.eu.qlikcloud.com";

pub async fn wildcard(stage: &mut Stage) {
    stage.cloud.tenant(OTHER).add_client(support::tenant::Client::new(CLIENT_ID).secret(CLIENT_SECRET));
    // As a cluster is by default: the name with the search domain is asked for first, and leads to a private address.
    stage.helm(&json!({"dnsConfig": {"options": []}, "allowPrivateAddresses": false})).await;
    stage.rolled_out(NAMESPACE, RELEASE).await;
    let before = stage.issued();
    stage.put("search", OTHER).await;
    stage.wait_for("search", "AddressNotPublic").await;
    assert_eq!(stage.issued(), before, "nothing was sent");

    // The way out that docs/troubleshooting.md names. The fake tenant's own address is a private one.
    stage
        .helm(&json!({"dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}, "allowPrivateAddresses": true}))
        .await;
    stage.rolled_out(NAMESPACE, RELEASE).await;
    stage.wait_for("search", "TokenValid").await;
}
