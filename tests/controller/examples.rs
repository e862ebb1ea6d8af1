//! Every QlikContext of `examples/` becomes ready with the credential that it names.

use std::time::Duration;

use qlik_context_operator::api::QlikContext;
use serde_json::{Value, json};
use support::api_server::Kind;
use support::tenant::{Algorithm, Client, PublicKey};

use crate::world::{CLIENT_SECRET, World, pass};

/// The client, the user and the tenant of the examples. The fake tenant generates other ids for the user and the
/// tenant.
const CLIENT_ID: &str = "82e0a4c1f7b94d0d9c6b13a57f02d3e8";
const USER_ID: &str = "6305e7bf50be9f0018c1a2c4";
const TENANT_ID: &str = "xqFQ0k66vSR8f9G7J-vZtHZQkiYrCpct";

fn in_repository(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// The contexts of all files, unchanged.
fn examples() -> Vec<Value> {
    let mut contexts = Vec::new();
    for entry in std::fs::read_dir(in_repository("examples")).unwrap() {
        let yaml = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        contexts.extend(serde_saphyr::from_multiple::<Value>(&yaml).unwrap());
    }
    contexts.retain(|object| object["kind"] == "QlikContext");
    assert!(contexts.len() >= 7);
    contexts
}

#[tokio::test(start_paused = true)]
async fn every_context_of_the_examples_becomes_ready() {
    let mut world = World::new();
    let key = |file: &str| std::fs::read_to_string(in_repository(&format!("tests/keys/{file}"))).unwrap();
    let public = PublicKey::new("my-key", Algorithm::ES384, &key("p384-public.pem"));
    world.tenant.add_client(Client::new(CLIENT_ID).secret(CLIENT_SECRET).key(public).impersonating());
    let user = world.tenant.add_user("auth0|jane", "Jane").id;
    let credential = json!({
        "client-id": CLIENT_ID, "client-secret": CLIENT_SECRET, "private-key": key("p384-pkcs8.pem"), "key-id": "my-key",
        "api-key": world.tenant.api_key("auth0|jane", Duration::from_hours(24)),
    });
    let mut contexts = Vec::<QlikContext>::new();
    for example in examples() {
        let text = example.to_string().replace(USER_ID, &user).replace(TENANT_ID, &world.tenant.id());
        let mut object: Value = serde_json::from_str(&text).unwrap();
        object["metadata"]["namespace"] = "a".into();
        let context: QlikContext = serde_json::from_value(object.clone()).unwrap();
        let metadata = json!({"name": context.credential_name(), "namespace": "a"});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": credential});
        world.api.put(secret).unwrap();
        world.api.put(object).unwrap();
        contexts.push(context);
    }
    world.start();
    pass(Duration::from_secs(30)).await;
    for context in contexts {
        let name = context.metadata.name.as_deref().unwrap();
        assert_eq!(world.ready("a", name), "True/TokenValid", "{name}");
        assert!(world.api.get(Kind::Secret, "a", &context.target_name()).is_some(), "{name}");
    }
}
