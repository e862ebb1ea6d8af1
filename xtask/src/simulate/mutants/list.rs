//! The mutants, by the invariant that they should violate. A place is identified by text that occurs once in its file.

/// The operator, changed in one way.
pub struct Mutant {
    /// The bug.
    pub name: &'static str,
    /// File, text and replacement.
    pub edits: &'static [(&'static str, &'static str, &'static str)],
}

const fn mutant(name: &'static str, edits: &'static [(&'static str, &'static str, &'static str)]) -> Mutant {
    Mutant { name, edits }
}

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    // only verified tokens are in a Secret
    mutant(
        "a new token counts as verified without a request",
        &[(
            "src/tokens.rs",
            "let answer = self.verify(entry, subject, &token).await;",
            "let answer = match call.kind {
                CallKind::Issue { .. } => Ok(Identity::default()),
                _ => self.verify(entry, subject, &token).await,
            };",
        )],
    ),
    mutant(
        "a user that is not active counts as an identity",
        &[("src/oauth/identity.rs", "filter(|status| *status != \"active\")", "filter(|status| status.is_empty())")],
    ),
    mutant(
        "a refused verification counts as a confirmation",
        &[
            ("src/oauth/identity.rs", "    if answer.status != 200 {", "    if answer.status >= 500 {"),
            (
                "src/oauth/identity.rs",
                "    let user: User = serde_json::from_slice(body)
        .map_err(|_| VerificationError::NotTheContract(\"users/me did not return a user\"))?;",
                "    let user: User = serde_json::from_slice(body).unwrap_or_else(|_| User {
        id: \"a\".into(),
        name: \"a\".into(),
        subject: \"a\".into(),
        tenant_id: \"a\".into(),
        client_id: None,
        status: None,
    });",
            ),
        ],
    ),
    mutant(
        "a credential of an OAuth client is published without a proof",
        &[("src/oauth_client/decide/credential.rs", "_ if !candidate.proven => return Step::Prove,", "")],
    ),
    // only own Secrets are written
    mutant(
        "a Secret without a controller is adopted without its marks",
        &[("src/secret/derived.rs", "None if is_orphan_of(&secret, context) => {", "None => {")],
    ),
    mutant(
        "a Secret is written whatever it has become since it was read",
        &[
            ("src/reconcile/publish.rs", "            stored.guard(&mut secret);\n", ""),
            ("src/reconcile/publish.rs", "secret.metadata.resource_version = Some(CREATE_ONLY.into());", ""),
        ],
    ),
    // a good token stays
    mutant(
        "the oldest token of a request is used",
        &[(
            "src/tokens/entry.rs",
            "let newest_first = || own.into_iter().chain(held);",
            "let newest_first = || held.into_iter().chain(own);",
        )],
    ),
    mutant(
        "a rejected token stays in use",
        &[("src/tokens.rs", "        entry.state().reject(&token.access_token);\n", "")],
    ),
    mutant(
        "of two tokens, the one with the later time of issue counts as the newer",
        &[
            (
                "src/tokens/entry.rs",
                "newest_first().find(|token| token.verified().is_some())",
                "newest_first().filter(|token| token.verified().is_some()).max_by_key(|token| token.token().issued_at)",
            ),
            (
                "src/tokens/entry.rs",
                "let newest_first = || own.into_iter().chain(held);",
                "let newest_first = || held.into_iter().chain(own);",
            ),
        ],
    ),
    mutant(
        "the token is written under another key",
        &[("src/secret/derived.rs", "const TOKEN_KEY: &str = \"token\";", "const TOKEN_KEY: &str = \"tokens\";")],
    ),
    // tokens fit the spec
    mutant(
        "pins are not checked",
        &[("src/reconcile/decide/resolved.rs", "        self.desired.pins.check(&token.identity)?;\n", "")],
    ),
    mutant(
        "requests that differ in their scopes share a token",
        &[("src/oauth/request.rs", "request.public_fields(&mut |bytes| context.update(bytes));", "")],
    ),
    // one token for one need
    mutant(
        "a token that is not verified yet is forgotten",
        &[("src/tokens.rs", "                        entry.state().issued(&token, &self.clock);\n", "")],
    ),
    mutant(
        "contexts that share a request do not wait for each other",
        &[(
            "src/tokens/entry.rs",
            "if let Some(joined) = &mut state.joined {",
            "if let Some(joined) = state.joined.as_mut().filter(|_| false) {",
        )],
    ),
    mutant(
        "a token in a Secret is not recognised after a restart",
        &[("src/reconcile/observe.rs", "of_request: held.fit.credential,", "of_request: false,")],
    ),
    mutant(
        "a refresh request is never answered",
        &[(
            "src/tokens/entry.rs",
            "waits: origin.is_none_or(|origin| origin <= seen_at),",
            "waits: origin.is_none_or(|origin| origin <= seen_at) || true,",
        )],
    ),
    mutant(
        "a token is renewed when most of its lifetime is left",
        &[(
            "src/reconcile/decide/terms.rs",
            "renewal_time(token.issued_at, end, percentage, self.spread)",
            "renewal_time(token.issued_at, end, percentage.max(90), self.spread)",
        )],
    ),
    // the status is true
    mutant(
        "the status is of the next generation",
        &[(
            "src/reconcile/status.rs",
            "        observed_generation: context.metadata.generation,\n        conditions,",
            "        observed_generation: context.metadata.generation.map(|generation| generation + 1),\n        conditions,",
        )],
    ),
    mutant(
        "a status is written over any version of its object",
        &[(
            "src/status_write.rs",
            "\"metadata\": { \"resourceVersion\": object.meta().resource_version },",
            "\"metadata\": {},",
        )],
    ),
    mutant(
        "an expired token counts as working",
        &[(
            "src/reconcile/status.rs",
            "let working = fitting.filter(|token| token.is_live(now));",
            "let working = fitting.filter(|_| true);",
        )],
    ),
    mutant(
        "a token that breaks a pin counts as fitting",
        &[(
            "src/reconcile/decide.rs",
            "if held.fit.spec && vouched && pinned && !self.is_rejected(held)",
            "if held.fit.spec && vouched && (pinned || true) && !self.is_rejected(held)",
        )],
    ),
    // only the leader writes
    mutant(
        "a process that lost the Lease goes on writing",
        &[(
            "src/lease.rs",
            "if renewed.is_some_and(within) { Ok(()) } else { Err(Error::NotLeader) }",
            "if renewed.is_none_or(|renewed| within(renewed) || true) { Ok(()) } else { Err(Error::NotLeader) }",
        )],
    ),
    mutant(
        "a candidate takes the Lease from its leader",
        &[(
            "src/lease.rs",
            "_ if !leads && now.duration_since(seen.since) >= seen.lasts => Move::Take,",
            "_ if !leads => Move::Take,",
        )],
    ),
    mutant(
        "a leader gives up after others may take the Lease",
        &[(
            "src/lease.rs",
            "const GIVE_UP: Duration = Duration::from_secs(10);",
            "const GIVE_UP: Duration = Duration::from_secs(60);",
        )],
    ),
    // one OAuth client for each object, and its credentials are kept
    mutant(
        "the OAuth client of an object is not found by its mark",
        &[(
            "src/oauth_client/act.rs",
            "is_some_and(|mark| mark.uid == uid)",
            "is_some_and(|mark| mark.uid == uid && false)",
        )],
    ),
    mutant(
        "more credentials are made than fit",
        &[("src/oauth_client/decide/credential.rs", "const MOST: usize = 4;", "const MOST: usize = 6;")],
    ),
    mutant(
        "the credential in the Secret counts as lost",
        &[
            ("src/oauth_client/decide/credential.rs", "    !in_secret && !made", "    !made"),
            (
                "src/oauth_client/act.rs",
                "if now.held().is_some_and(|held| held.credential.hint == id.as_str())\n            || ",
                "if ",
            ),
        ],
    ),
    // budgets and pauses
    mutant(
        "the budget of token requests of a host has no limit",
        &[("src/scheduler/host.rs", "Budget::per_minute(limits.host_tokens_per_minute)", "Budget::per_minute(0)")],
    ),
    mutant(
        "the budget of other requests of a host has no limit",
        &[("src/scheduler/host.rs", "Budget::per_minute(limits.host_requests_per_minute)", "Budget::per_minute(0)")],
    ),
    mutant(
        "the pause that a tenant requested is shortened",
        &[
            ("src/retry.rs", "wait.max(retry_after.unwrap_or_default()).mul_f64", "wait.mul_f64"),
            (
                "src/tokens/entry.rs",
                "self.pause = failure.retry_after.map(|pause| (clock.sample(), pause));",
                "self.pause = None;",
            ),
        ],
    ),
    // nothing leaks
    mutant(
        "a token is in the log",
        &[(
            "src/tokens.rs",
            "        self.observer.verification(",
            "        tracing::trace!(token = token.access_token.expose_secret(), \"verified\");
        self.observer.verification(",
        )],
    ),
    mutant(
        "a response that repeats the credential is quoted",
        &[(
            "src/oauth/leak.rs",
            "        if self.and_others {\n            return true;",
            "        if !self.and_others {\n            return false;",
        )],
    ),
    // no needless restart
    mutant(
        "a Pod that started after a token counts as stale",
        &[(
            "src/workloads/decide.rs",
            "reader.started_at.is_some_and(|started| started < self.since)",
            "reader.started_at.is_some()",
        )],
    ),
    mutant(
        "a workload is restarted for a time that is not that of its token",
        &[("src/workloads.rs", "workload, &self.token.mark(), now)", "workload, &now.to_string(), now)")],
    ),
    // bounded requests, silence, convergence and no panic
    mutant(
        "a called context that first has to read gives up its turn",
        &[
            (
                "src/reconcile/decide.rs",
                "facts.wanted.filter(|wanted| wanted.kind == RequestKind::Check || !answered)",
                "facts.wanted.filter(|_| !answered)",
            ),
            (
                "src/scheduler/state/places.rs",
                "wanted.is_some() && place.working != request.working",
                "place.working != request.working",
            ),
        ],
    ),
    mutant(
        "a context in order is read again every five seconds",
        &[
            (
                "src/reconcile/observe.rs",
                "filter(|(settled, versions)| same(versions) && is_reported(context, settled))",
                "filter(|(settled, versions)| same(versions) && is_reported(context, settled) && false)",
            ),
            (
                "src/reconcile/decide/resolved.rs",
                "        let next = Next { due, parked: wait.is_some(), ..Next::default() };\n        let outcome",
                "        let next = Next { due, parked: wait.is_some(), within: Some(Duration::from_secs(5)), ..Next::default() };\n        let outcome",
            ),
        ],
    ),
    mutant(
        "contexts that wait for a request are not woken when it ends",
        &[(
            "src/tokens/entry.rs",
            "joined.into_iter().flatten().for_each(|caller| (self.wake)(&caller));",
            "drop(joined);",
        )],
    ),
    mutant(
        "a subtraction goes below zero",
        &[("src/lease.rs", "self.claims.len().saturating_sub(2)", "self.claims.len() - 2")],
    ),
];
