//! The decision in each situation.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::api::QlikOAuthClient;
use crate::oauth::clients::{Change, GrantType, SecretEntry};
use crate::oauth::key::PublicJwk;
use crate::oauth::token::AccessToken;
use crate::oauth_client::facts::{Admin, Brakes, Candidate, SoFar};
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
    CredentialSecret::classify(Some(serde_json::from_value(json!(secret)).unwrap()), object)
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
        deleting_for: Duration::ZERO,
        secret: CredentialSecret::Absent,
        admin: Ok(admin),
        client: Remote::Unknown,
        trusted: Some(true),
        candidate: None,
        brakes: Brakes::default(),
        so_far: SoFar::default(),
    }
}

/// Facts with this client in the tenant.
fn with(object: QlikOAuthClient, client: OAuthClient) -> Facts {
    Facts { client: Remote::Known(Box::new(client)), ..facts(object) }
}

/// The same, with this credential in the Secret.
fn holding(client: OAuthClient, holds: &Held, changes: &Value) -> Facts {
    let object = object(changes, &json!({"clientId": "c-1"}));
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
        Step::Publish { new, repair, .. } => {
            format!("publish {}{}", if new { "new" } else { "again" }, if repair { ", a repair" } else { "" })
        }
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
    let reported = json!({"clientId": "c-1", "lastHandledRotateRequest": "1"});
    let gone = |changes: &Value, request: Option<&str>| {
        let mut object = object(changes, &reported);
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
fn an_unmarked_client_is_marked_only_if_the_spec_or_the_status_names_it() {
    let unmarked = || OAuthClient { description: Some("theirs".into()), ..client(&["aaaaa", "theirs"]) };
    let named = |changes: &Value, status: &Value| {
        let object = object(changes, status);
        // Anyone who may write Secrets can have one here that names any client.
        let secret = secret(&object, &held("aaaaa", &[]));
        said(&Facts { secret, ..with(object, unmarked()) })
    };
    assert_eq!(named(&json!({}), &json!({})), "ClientNotOwned");
    assert_eq!(named(&json!({}), &json!({"clientId": "c-2"})), "ClientNotOwned");
    assert_eq!(named(&json!({"adopt": {"clientId": "c-2"}}), &json!({})), "ClientNotOwned");
    assert_eq!(named(&json!({}), &json!({"clientId": "c-1"})), format!("repair description {MARK}"));
    let adopted = named(&json!({"adopt": {"clientId": "c-1"}}), &json!({}));
    assert_eq!(adopted, "adopt description [qlikcontext.dev uid=u-1 keep=theirs]");
}

#[test]
fn a_client_that_somebody_else_keeps_changing_is_repaired_later_and_an_edit_of_the_spec_at_once() {
    let fought = |second: i64, observed: i64, change: fn(&mut Facts, &mut OAuthClient)| {
        let mut client = client(&["aaaaa"]);
        let mut facts = holding(client.clone(), &held("aaaaa", &[]), &json!({}));
        facts.object.status.as_mut().unwrap().observed_generation = Some(observed);
        facts.brakes.client = Some(at(second));
        change(&mut facts, &mut client);
        facts.client = Remote::Known(Box::new(client));
        let due = match decide(&facts, &"*".parse().unwrap()) {
            Step::Rest { next, .. } => next.due,
            _ => None,
        };
        (said(&facts), due)
    };
    let rename: fn(&mut Facts, &mut OAuthClient) = |_, client| client.name = "x".into();
    let distrust: fn(&mut Facts, &mut OAuthClient) = |facts, _| facts.trusted = Some(false);
    assert_eq!(fought(1, 1, rename), ("ClientConflict".into(), Some(at(1))));
    assert_eq!(fought(1, 1, distrust), ("ClientConflict".into(), Some(at(1))));
    assert_eq!(fought(0, 1, rename).0, "repair name");
    assert_eq!(fought(1, 0, rename).0, "repair name", "the spec was edited");
    assert_eq!(fought(1, 1, |_, _| ()).0, "Ready");
}

#[test]
fn a_secret_that_somebody_else_keeps_changing_is_written_later_and_a_rotation_at_once() {
    let fought = |second: i64, change: fn(&mut Facts)| {
        let reported = json!({"clientId": "c-1", "secret": {"name": "reporting-oauth", "hint": "aaaaa"}});
        let mut facts = with(object(&json!({}), &reported), client(&["aaaaa"]));
        facts.brakes.secret = Some(at(second));
        change(&mut facts);
        said(&facts)
    };
    assert_eq!(fought(1, |_| ()), "SecretContested", "it was deleted");
    assert_eq!(fought(0, |_| ()), "add");
    let candidate_in = |facts: &mut Facts| facts.candidate = Some(candidate("bbbbb", true, 0));
    assert_eq!(fought(1, candidate_in), "SecretContested");
    assert_eq!(fought(0, candidate_in), "publish new, a repair");
    let relabelled = |facts: &mut Facts| {
        let mut stored = json!(credential_secret(
            &facts.object,
            "reporting-oauth",
            &"https://acme.eu.qlikcloud.com".parse().unwrap(),
            &held("aaaaa", &[]),
            None
        ));
        stored["metadata"]["labels"] = json!({});
        facts.secret = CredentialSecret::classify(Some(serde_json::from_value(stored).unwrap()), &facts.object);
    };
    assert_eq!(fought(1, relabelled), "Ready", "its credential works");
    assert_eq!(fought(0, relabelled), "publish again, a repair");
    let rotating = |facts: &mut Facts| {
        facts.secret = secret(&facts.object, &held("aaaaa", &[]));
        facts.candidate = Some(candidate("bbbbb", true, 0));
    };
    assert_eq!(fought(1, rotating), "publish new");
}

#[test]
fn a_credential_that_was_replaced_stays_for_its_overlap_also_when_the_secret_does_not_say_so() {
    let kept = |second: i64, annotated: &[(&str, i64)]| {
        let reported =
            json!({"clientId": "c-1", "previous": [{"hint": "bbbbb", "removalTime": at(second).to_string()}]});
        let object = object(&json!({}), &reported);
        let secret = secret(&object, &held("aaaaa", annotated));
        said(&Facts { secret, ..with(object, client(&["aaaaa", "bbbbb"])) })
    };
    assert_eq!(kept(1, &[]), "publish again, a repair", "somebody took the annotation away");
    assert_eq!(kept(1, &[("bbbbb", 0)]), "publish again, a repair", "somebody set another time");
    assert_eq!(kept(1, &[("bbbbb", 1)]), "Ready");
    assert_eq!(kept(0, &[("bbbbb", 0)]), "remove bbbbb");
}

#[test]
fn a_new_credential_that_somebody_removed_before_it_was_written_is_replaced() {
    let made = |age: i64, proven: bool| {
        let facts = holding(client(&["aaaaa"]), &held("aaaaa", &[]), &json!({}));
        said(&Facts { candidate: Some(candidate("bbbbb", proven, age)), ..facts })
    };
    assert_eq!(made(0, true), "publish new", "it may not be listed yet");
    assert_eq!(made(300, true), "add");
    assert_eq!(made(299, false), "prove");
    assert_eq!(made(300, false), "add");
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
fn an_unknown_credential_is_removed_and_a_replaced_one_only_after_its_overlap() {
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
    let reported = json!({"secret": {"name": "reporting-oauth", "hint": "aaaaa"}});
    assert_eq!(said(&with(object(&json!({}), &reported), client(&["aaaaa"]))), "add", "it was in a Secret once");
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
fn with_delete_the_client_is_deleted_with_its_object_which_waits_for_five_minutes_at_most() {
    let deleting = |policy: &str, age: u64| {
        let mut object = object(&json!({"deletionPolicy": policy}), &json!({"clientId": "c-1"}));
        object.metadata.finalizers = Some(vec![OAUTH_CLIENT_FINALIZER.into()]);
        // The deletion is long ago by the clock of the API server.
        object.metadata.deletion_timestamp = Some(Time(at(-3600)));
        Facts { deleting_for: Duration::from_secs(age), ..facts(object) }
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
    let failing = |failure: Failure, age: u64| said(&Facts { admin: Err(failure), ..deleting("Delete", age) });
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
