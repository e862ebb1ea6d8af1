//! Proves a new credential as its users will use it: by a token request and a verification.

use std::time::Duration;

use aws_lc_rs::digest;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::act::{Run, Stop};
use super::facts::Facts;
use super::findings;
use crate::api::ConditionType::CredentialVerified;
use crate::api::Reason;
use crate::error::Failure;
use crate::oauth::assertion::Signer;
use crate::oauth::identity::{Identity, Subject, VerificationError, who_is};
use crate::oauth::key::{self, Algorithm};
use crate::oauth::refusal::Refusal;
use crate::oauth::request::{Credential, Grant, TokenRequest};
use crate::oauth::tenant::TenantUrl;
use crate::oauth::token_endpoint::{TokenRequestError, request_token};
use crate::oauth::transport::TransportFailure;
use crate::scheduler::{Health, RequestKind};
use crate::secret::oauth_credential::{IssuedCredential, Proof};
use crate::tenant_failure::unreachable;
use crate::tokens::CallObserver as _;

/// How long a new credential may take to be known everywhere in the tenant, before a failure is reported.
const SECOND_LOOKS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Proves the candidate.
pub(super) async fn prove(run: &mut Run<'_>, facts: &mut Facts) -> Result<(), Stop> {
    let (Some(candidate), Ok(admin)) = (facts.candidate.clone(), facts.admin.clone()) else { return Ok(()) };
    let request = request(&admin.tenant, &candidate.credential).ok_or_else(|| Stop::Failure(findings::no_key()))?;
    let mut looks = SECOND_LOOKS.into_iter();
    let identity = loop {
        run.cx.base.leadership.check()?;
        run.turn.take(run.cx, &admin.tenant.authority(), RequestKind::Token)?;
        let answer = ask(run, &request).await;
        run.turn.ended(health(&answer), answer.as_ref().err().and_then(|failure| failure.retry_after));
        match (answer, looks.next()) {
            (Ok(identity), _) => break identity,
            (Err(failure), Some(pause)) if failure.reason == Reason::CredentialNotAccepted => {
                tokio::time::sleep(pause).await;
            }
            (Err(failure), _) => return Err(Stop::Failure(failure)),
        }
    };
    if admin.tenant_id.is_some_and(|id| id != identity.tenant_id) {
        return Err(Stop::Failure(findings::other_identity()));
    }
    if let Some(candidate) = &mut facts.candidate {
        candidate.proven = true;
    }
    run.keep(facts.candidate.clone());
    Ok(())
}

async fn ask(run: &Run<'_>, request: &TokenRequest) -> Result<Identity, Failure> {
    let (cx, begun, mut paused) = (&run.cx.base, Instant::now(), None);
    let may_repeat = || {
        paused = run.turn.repeat(RequestKind::Token).err();
        paused.is_none()
    };
    let issued = request_token(&*run.cx.transport, request, cx.clock.now(), may_repeat).await.map_err(not_issued);
    if let Some(pause) = paused {
        return Err(findings::paused(pause));
    }
    cx.metrics.token_request(&request.grant, issued.as_ref().err().map(|failure| failure.reason), begun.elapsed());
    let token = issued?;
    let verified =
        who_is(&*run.cx.transport, Subject::Request(request), &token.access_token).await.map_err(not_verified);
    cx.metrics.verification(verified.as_ref().err().map(|failure| failure.reason));
    verified
}

/// The token request of a `QlikContext` that reads the Secret.
fn request(tenant: &TenantUrl, credential: &IssuedCredential) -> Option<TokenRequest> {
    let client_id = credential.client_id.as_str().into();
    let credential = match &credential.proof {
        Proof::ClientSecret(secret) => Credential::ClientSecret { client_id, client_secret: secret.clone() },
        Proof::PrivateKey(pem) => {
            let found = key::read(pem.expose_secret()).ok()?;
            let fingerprint = digest::digest(&digest::SHA256, credential.hint.as_bytes());
            let signer = Signer {
                algorithm: found.key.algorithm(Some(Algorithm::ES384))?,
                key: found.key,
                key_id: Some(credential.hint.clone()),
                fingerprint: fingerprint.as_ref().first_chunk().copied()?,
            };
            Credential::PrivateKey { client_id, signer: signer.into() }
        }
    };
    Some(TokenRequest { tenant: tenant.clone(), grant: Grant::ClientCredentials, scopes: [].into(), credential })
}

fn not_issued(error: TokenRequestError) -> Failure {
    match error {
        TokenRequestError::Refused(refusal) => refused(&refusal),
        TokenRequestError::Unreachable(failure) => not_reached(failure),
        TokenRequestError::NotTheContract(what) => findings::not_the_contract(CredentialVerified, what),
        TokenRequestError::Lifetime(problem) => findings::not_the_contract(CredentialVerified, &problem.to_string()),
        TokenRequestError::NotSigned => findings::no_key(),
    }
}

fn not_verified(error: VerificationError) -> Failure {
    match error {
        VerificationError::Refused(refusal) => refused(&refusal),
        VerificationError::Unreachable(failure) => not_reached(failure),
        VerificationError::NotTheContract(what) => findings::not_the_contract(CredentialVerified, what),
        VerificationError::UserInactive(_) => {
            findings::not_the_contract(CredentialVerified, "the user of the OAuth client is not active")
        }
    }
}

fn refused(refusal: &Refusal) -> Failure {
    let (reason, trace_id) = match refusal.status {
        429 => (Reason::RateLimited, &refusal.trace_id),
        408 | 500..=599 => (Reason::TenantUnavailable, &refusal.trace_id),
        _ => return findings::not_accepted(refusal),
    };
    Failure { reason, trace_id: trace_id.clone(), ..findings::not_accepted(refusal) }
}

fn not_reached(failure: TransportFailure) -> Failure {
    unreachable(CredentialVerified, failure)
}

fn health(answer: &Result<Identity, Failure>) -> Health {
    match answer.as_ref().map_err(|failure| failure.reason) {
        Ok(_) => Health::Up,
        Err(Reason::TenantUnavailable | Reason::TenantUnreachable) => Health::Down,
        Err(_) => Health::Answers,
    }
}
