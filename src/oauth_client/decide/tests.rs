//! The decision in each situation.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::api::QlikOAuthClient;
use crate::oauth::clients::{Change, GrantType, SecretEntry};
use crate::oauth::key::PublicJwk;
use crate::oauth::token::AccessToken;
use crate::oauth_client::facts::{Admin, Candidate, SoFar};
use crate::secret::oauth_credential::{CredentialSecret, Held, IssuedCredential, Previous, Proof, credential_secret};

const MARK: &str = "[qlikcontext.dev uid=u-1]";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_305_600 + second).unwrap()
}

fn object(changes: &Value, status: &Value) -> QlikOAuthClient {
    let mut spec = json!({"adminContextRef": {"name": "admin"}, "scopes": ["user_default"]});
    spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let object = json!({
        "apiVersion": "qlikcontext.dev/v1alpha1", "kind": "QlikOAuthClient",
        "metadata": {"name": "reporting", "namespace": "a", "uid": "u-1", "generation": 1}, "spec": spec, "status": status,
    });
    serde_json::from_value(object).unwrap()
}

fn held(hint: &str, previous: &[(&str, i64)]) -> Held {
    let credential = IssuedCredential {
        client_id: "c-1".into(),
        hint: hint.into(),
        issued_at: at(-3600),
        proof: Proof::ClientSecret("planted-s".into()),
    };
    let previous = previous.iter().map(|(hint, end)| Previous { hint: (*hint).into(), removal_time: at(*end) });
    Held { credential, previous: previous.collect(), rotated_for: None }
}

fn secret(object: &QlikOAuthClient, held: &Held) -> CredentialSecret {
    let tenant = "https://acme.eu.qlikcloud.com".parse().unwrap();
    let secret = credential_secret(object, "reporting-oauth", &tenant, held, None);
    CredentialSecret::judge(Some(serde_json::from_value(json!(secret)).unwrap()), object)
}

fn client(hints: &[&str]) -> OAuthClient {
    OAuthClient {
        id: "c-1".parse().unwrap(),
        name: "a/reporting".into(),
        description: Some(MARK.into()),
        app_type: "web".into(),
        scopes: ["user_default".to_owned()].into(),
        grants: [GrantType::ClientCredentials.as_str().to_owned()].into(),
        auth_methods: ["client_secret".to_owned()].into(),
        public_keys: Vec::new(),
        secrets: hints.iter().map(|hint| SecretEntry { hint: hint.parse().unwrap(), created_at: None }).collect(),
        created_at: None,
        disabled: false,
    }
}

fn facts(object: QlikOAuthClient) -> Facts {
    let admin = Admin {
        tenant: "https://acme.eu.qlikcloud.com".parse().unwrap(),
        token: AccessToken::parse("planted-token").unwrap(),
        tenant_id: None,
    };
    Facts {
        desired: Desired::parse(&object).unwrap(),
        object,
        now: at(0),
        secret: CredentialSecret::Absent,
        admin: Ok(admin),
        client: Remote::Unknown,
        trusted: Some(true),
        candidate: None,
        so_far: SoFar::default(),
    }
}

/// Facts with this client in the tenant.
fn with(object: QlikOAuthClient, client: OAuthClient) -> Facts {
    Facts { client: Remote::Known(Box::new(client)), ..facts(object) }
}

/// The same, with this credential in the Secret.
fn holding(client: OAuthClient, holds: &Held, changes: &Value) -> Facts {
    let object = object(changes, &json!({}));
    let secret = secret(&object, holds);
    Facts { secret, ..with(object, client) }
}

fn said(facts: &Facts) -> String {
    let step = decide(facts, &"*.qlikcloud.com".parse().unwrap());
    match step {
        Step::SetFinalizer(wanted) => format!("finalizer {wanted}"),
        Step::FindClient => "find".into(),
        Step::ReadClient(id) => format!("read {id}"),
        Step::RecordCreation => "record".into(),
        Step::CreateClient(_) => "create".into(),
        Step::RepairClient { changes, adopts } => {
            let name = |change: &Change| match change {
                Change::Name(_) => "name".to_owned(),
                Change::Description(text) => format!("description {text}"),
                Change::Scopes(_) => "scopes".into(),
                Change::Grants(_) => "grants".into(),
                Change::PublicKeys(_) => "keys".into(),
            };
            let changes: Vec<_> = changes.iter().map(name).collect();
            format!("{} {}", if adopts { "adopt" } else { "repair" }, changes.join(", "))
        }
        Step::ReadConsent => "read consent".into(),
        Step::SetConsent => "set consent".into(),
        Step::RemoveCredential { id, lost } => format!("remove {}{}", id.as_str(), if lost { ", lost" } else { "" }),
        Step::AddCredential(answers) => format!("add {}", answers.unwrap_or_default()).trim_end().to_owned(),
        Step::Prove => "prove".into(),
        Step::Publish { new, .. } => format!("publish {}", if new { "new" } else { "again" }),
        Step::DeleteClient(id) => format!("delete {id}"),
        Step::GiveUp(_) => "give up".into(),
        Step::Rest { outcome: Outcome::Failing(failure), .. } => failure.reason.to_string(),
        Step::Rest { outcome, .. } => format!("{outcome:?}"),
    }
}

fn candidate(hint: &str, proven: bool, age: i64) -> Candidate {
    let credential = IssuedCredential { hint: hint.into(), issued_at: at(-age), ..held("", &[]).credential };
    Candidate { credential, proven, answers: None }
}

#[test]
fn a_client_is_looked_for_before_one_is_created_and_created_only_after_that_was_written_down() {
    let newborn = || facts(object(&json!({}), &json!({"observedGeneration": -1})));
    assert_eq!(said(&newborn()), "find");
    let absent = Facts { client: Remote::Absent, ..newborn() };
    assert_eq!(said(&absent), "record");
    let so_far = SoFar { creation_recorded: true, ..SoFar::default() };
    assert_eq!(said(&Facts { so_far, ..absent }), "create");
    for (age, next) in [(0, "ClientCreating"), (59, "ClientCreating"), (60, "record")] {
        let started = json!({"creationStartedAt": at(-age).to_string()});
        let unclear = Facts { client: Remote::Absent, ..facts(object(&json!({}), &started)) };
        assert_eq!(said(&unclear), next, "{age} s after a request whose answer was lost");
        let gone = Facts { client: Remote::Gone, ..facts(object(&json!({}), &started)) };
        assert_eq!(said(&gone), if age < 60 { "ClientCreating" } else { "ClientGone" });
    }
}

#[test]
fn a_client_that_was_deleted_is_created_again_on_a_rotate_request_alone() {
    let told = json!({"clientId": "c-1", "lastHandledRotateRequest": "1"});
    let gone = |changes: &Value, request: Option<&str>| {
        let mut object = object(changes, &told);
        object.metadata.annotations =
            request.map(|value| [("qlikcontext.dev/rotate-requested-at".to_owned(), value.to_owned())].into());
        Facts { client: Remote::Gone, ..facts(object) }
    };
    assert_eq!(said(&Facts { client: Remote::Unknown, ..gone(&json!({}), None) }), "read c-1");
    for (request, next) in
        [(None, "ClientGone"), (Some("1"), "ClientGone"), (Some("2"), "find"), (Some(""), "ClientGone")]
    {
        assert_eq!(said(&gone(&json!({}), request)), next, "{request:?}");
    }
    assert_eq!(
        said(&gone(&json!({"adopt": {"clientId": "c-1"}}), Some("2"))),
        "ClientGone",
        "never in the place of another"
    );
}

#[test]
fn a_difference_is_repaired_and_the_mark_of_another_object_is_respected() {
    let kept = |change: fn(&mut OAuthClient)| {
        let mut client = client(&["aaaaa"]);
        change(&mut client);
        said(&holding(client, &held("aaaaa", &[]), &json!({})))
    };
    assert_eq!(kept(|_| {}), "Ready");
    assert_eq!(kept(|client| client.name = "x".into()), "repair name");
    assert_eq!(kept(|client| client.scopes = BTreeSet::new()), "repair scopes");
    assert_eq!(kept(|client| client.grants.clear()), "repair grants");
    assert_eq!(kept(|client| client.description = None), format!("repair description {MARK}"));
    assert_eq!(kept(|client| client.description = Some(format!("x {MARK}"))), format!("repair description {MARK}"));
    assert_eq!(kept(|client| client.description = Some("[qlikcontext.dev uid=u-2]".into())), "ClientNotOwned");
    assert_eq!(kept(|client| client.app_type = "spa".into()), "ClientNotSuitable");
    assert_eq!(kept(|client| client.disabled = true), "ClientNotSuitable");
    assert_eq!(kept(|client| client.auth_methods = ["private_key_jwt".to_owned()].into()), "ClientNotSuitable");
    let mut facts = holding(client(&["aaaaa"]), &held("aaaaa", &[]), &json!({}));
    for (trusted, consented, next) in
        [(None, false, "read consent"), (Some(false), false, "set consent"), (Some(false), true, "ClientConflict")]
    {
        (facts.trusted, facts.so_far.consented) = (trusted, consented);
        assert_eq!(said(&facts), next);
    }
}

#[test]
fn a_client_that_is_taken_over_names_in_its_mark_what_was_there_before() {
    let adopting = object(&json!({"adopt": {"clientId": "c-1"}}), &json!({}));
    let mut theirs = client(&["aaaaa", "bbbbb"]);
    theirs.description = Some("theirs".into());
    let marked = "[qlikcontext.dev uid=u-1 keep=aaaaa,bbbbb]";
    assert_eq!(said(&with(adopting.clone(), theirs.clone())), format!("adopt description {marked}"));
    theirs.description = Some(marked.into());
    assert_eq!(said(&with(adopting.clone(), theirs.clone())), "add", "what was there stays");
    theirs.secrets.push(SecretEntry { hint: "lost".parse().unwrap(), created_at: None });
    assert_eq!(said(&with(adopting, theirs)), "remove lost, lost");
}

#[test]
fn what_nobody_knows_is_removed_and_what_was_replaced_only_when_its_time_has_come() {
    let kept =
        |hints: &[&str], previous: &[(&str, i64)]| said(&holding(client(hints), &held("aaaaa", previous), &json!({})));
    assert_eq!(kept(&["aaaaa", "bbbbb"], &[]), "remove bbbbb, lost");
    assert_eq!(kept(&["aaaaa", "bbbbb"], &[("bbbbb", 1)]), "Ready");
    assert_eq!(kept(&["aaaaa", "bbbbb"], &[("bbbbb", 0)]), "remove bbbbb");
    assert_eq!(kept(&["bbbbb"], &[("bbbbb", 0)]), "add", "somebody removed the one in the Secret: a new one first");
    assert_eq!(kept(&[], &[]), "add");
    let lost = |hints: &[&str]| said(&with(object(&json!({}), &json!({})), client(hints)));
    assert_eq!(lost(&["aaaaa", "bbbbb"]), "remove aaaaa, lost");
    assert_eq!(lost(&["aaaaa"]), "add", "a client is never left without any");
    let told = json!({"secret": {"name": "reporting-oauth", "hint": "aaaaa"}});
    assert_eq!(said(&with(object(&json!({}), &told), client(&["aaaaa"]))), "add", "it was in a Secret once");
}

#[test]
fn a_new_credential_is_proven_then_written_and_given_up_after_ten_minutes() {
    let facts = |made: Candidate| Facts {
        candidate: Some(made),
        ..holding(client(&["aaaaa", "bbbbb"]), &held("aaaaa", &[]), &json!({}))
    };
    for (made, next) in [
        (candidate("bbbbb", false, 0), "prove"),
        (candidate("bbbbb", false, 599), "prove"),
        (candidate("bbbbb", false, 600), "remove bbbbb, lost"),
        (candidate("bbbbb", true, 700), "publish new"),
    ] {
        assert_eq!(said(&facts(made)), next);
    }
    let Step::Publish { secret, .. } = decide(&facts(candidate("bbbbb", true, 0)), &"*".parse().unwrap()) else {
        panic!()
    };
    let annotations = secret.metadata.annotations.unwrap();
    assert_eq!(annotations["qlikcontext.dev/previous-credentials"], format!("aaaaa={}", at(86400)));
}

#[test]
fn a_credential_is_replaced_when_it_is_due_or_that_is_asked_for_and_there_is_room() {
    let rotating = |interval: &str, hints: &[&str], previous: &[(&str, i64)]| {
        said(&holding(client(hints), &held("aaaaa", previous), &json!({"rotation": {"interval": interval}})))
    };
    assert_eq!(rotating("61m", &["aaaaa"], &[]), "Ready");
    assert_eq!(rotating("60m", &["aaaaa"], &[]), "add");
    let older = [("b", 10), ("c", 20), ("d", 30)];
    assert_eq!(rotating("60m", &["aaaaa", "b", "c"], &older), "add");
    assert_eq!(rotating("60m", &["aaaaa", "b", "c", "d"], &older), "Ready", "until the oldest has gone");
    let mut asked = holding(client(&["aaaaa"]), &held("aaaaa", &[]), &json!({}));
    asked.object.metadata.annotations =
        Some([("qlikcontext.dev/rotate-requested-at".to_owned(), "7".to_owned())].into());
    assert_eq!(said(&asked), "add 7");
    let adopted = object(&json!({"adopt": {"clientId": "c-1"}}), &json!({}));
    let mut full = client(&["a", "b", "c", "d"]);
    full.description = Some("[qlikcontext.dev uid=u-1 keep=a,b,c,d]".into());
    assert_eq!(said(&with(adopted, full)), "SecretLimitReached");
}

#[test]
fn a_key_that_nobody_has_is_removed_as_a_secret_is() {
    let key = |kid: &str| PublicJwk { kid: kid.into(), kty: "EC".into(), ..PublicJwk::default() };
    let mut client = client(&["made-beside"]);
    client.auth_methods = ["private_key_jwt".to_owned()].into();
    client.public_keys = vec![key("k-1"), key("k-2")];
    let mut credential = held("k-1", &[]);
    credential.credential.proof = Proof::PrivateKey("planted-k".into());
    let method = json!({"authMethod": "PrivateKeyJwt"});
    assert_eq!(said(&holding(client.clone(), &credential, &method)), "remove made-beside, lost");
    client.secrets.clear();
    assert_eq!(said(&holding(client, &credential, &method)), "remove k-2, lost");
}

#[test]
fn nothing_is_asked_while_suspended_backing_off_or_without_a_token_to_ask_with() {
    let suspended = facts(object(&json!({"suspend": true}), &json!({})));
    assert_eq!(said(&suspended), "Suspended");
    let failure = |reason: &str, next: i64| {
        let failure = json!({"count": 1, "reason": reason, "lastTime": at(-1).to_string(), "nextAttemptTime": at(next).to_string()});
        said(&facts(object(&json!({}), &json!({"observedGeneration": 1, "failure": failure}))))
    };
    assert_eq!(failure("TenantUnavailable", 1), "Unchanged");
    assert_eq!(failure("TenantUnavailable", 0), "find");
    assert_eq!(failure("AdminNotPermitted", 1), "find", "whatever woke it may have cured it");
    let newborn = || facts(object(&json!({}), &json!({})));
    let admin = Err(findings::context_not_ready("admin", "it is not ready"));
    assert_eq!(said(&Facts { admin, ..newborn() }), "AdminContextNotReady");
    assert_eq!(said(&Facts { secret: CredentialSecret::Foreign, ..newborn() }), "SecretNotOwned");
    let elsewhere = decide(&newborn(), &"*.example".parse().unwrap());
    assert!(
        matches!(elsewhere, Step::Rest { outcome: Outcome::Failing(failure), .. } if failure.reason == Reason::HostNotAllowedByOperator)
    );
}

#[test]
fn a_client_goes_with_its_object_when_that_was_asked_for_and_holds_it_up_for_five_minutes_at_most() {
    let deleting = |policy: &str, age: i64| {
        let mut object = object(&json!({"deletionPolicy": policy}), &json!({"clientId": "c-1"}));
        object.metadata.finalizers = Some(vec![OAUTH_CLIENT_FINALIZER.into()]);
        let at = at(-age).to_string();
        object.metadata.deletion_timestamp = Some(serde_json::from_value(json!(at)).unwrap());
        facts(object)
    };
    assert_eq!(said(&deleting("Retain", 0)), "finalizer false");
    assert_eq!(said(&deleting("Delete", 0)), "read c-1");
    let found = |client: Remote| said(&Facts { client, ..deleting("Delete", 0) });
    assert_eq!(found(Remote::Known(Box::new(client(&[])))), "delete c-1");
    assert_eq!(found(Remote::Gone), "find");
    assert_eq!(found(Remote::Absent), "finalizer false");
    let mut theirs = client(&[]);
    theirs.description = None;
    assert_eq!(found(Remote::Known(Box::new(theirs))), "give up");
    let failing = |failure: Failure, age: i64| said(&Facts { admin: Err(failure), ..deleting("Delete", age) });
    assert_eq!(failing(findings::context_not_ready("admin", "x"), 299), "AdminContextNotReady");
    assert_eq!(failing(findings::context_not_ready("admin", "x"), 300), "give up");
    assert_eq!(failing(findings::context_not_found("admin"), 0), "give up");
    let living = |policy: &str, finalizer: bool| {
        let mut facts = facts(object(&json!({ "deletionPolicy": policy }), &json!({})));
        facts.object.metadata.finalizers = finalizer.then(|| vec![OAUTH_CLIENT_FINALIZER.into()]);
        said(&facts)
    };
    assert_eq!(living("Delete", false), "finalizer true");
    assert_eq!(living("Delete", true), "find");
    assert_eq!(living("Retain", true), "finalizer false");
}
