//! A day with a thousand contexts on which one request in twenty fails, with every kind of failure that a tenant can
//! have.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use qlik_context_operator::oauth::transport::TransportFailure;
use serde_json::{Value, json};
use support::tenant::{Fault, FaultBody, Hop, RetryAfter, Route, Script, UserShape, UserStatus};

use crate::world::{HOUR, LIFE, TransportFaults, World, pass};

const CONTEXTS: usize = 1000;

/// Pseudorandom numbers that are the same in each run (Marsaglia's xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

/// Every failure without a response.
const SILENCES: [TransportFailure; 12] = [
    TransportFailure::AddressNotPublic,
    TransportFailure::AnswerTooLarge,
    TransportFailure::CertificateAuthority,
    TransportFailure::CertificateExpired,
    TransportFailure::CertificateName,
    TransportFailure::Connection,
    TransportFailure::Name,
    TransportFailure::Proxy,
    TransportFailure::Redirect,
    TransportFailure::Timeout,
    TransportFailure::Tls,
    TransportFailure::TooManyRedirects,
];

fn wrong_answer(dice: &mut Dice, route: Route) -> Fault {
    let statuses = [200, 204, 302, 400, 401, 403, 404, 408, 500, 502, 503, 504];
    let bodies = [FaultBody::Empty, FaultBody::Html, FaultBody::Qlik, FaultBody::Echo, FaultBody::Truncated];
    let status = Fault::Answer { status: dice.pick(&statuses), body: dice.pick(&bodies) };
    let limited = Fault::RateLimited(dice.pick(&[RetryAfter::Absent, RetryAfter::Seconds(30), RetryAfter::Date(20)]));
    let own = match route {
        Route::Token => {
            let field = |name: &str, value: Value| Fault::TokenField { name: name.into(), value };
            dice.pick(&[
                Fault::ExpiresIn(5.into()),
                Fault::ExpiresIn((-1).into()),
                Fault::ExpiresIn("soon".into()),
                Fault::DeadToken,
                field("access_token", "".into()),
                field("access_token", "two\nlines".into()),
            ])
        }
        Route::UsersMe => dice.pick(&[
            Fault::Hop(Hop::Loop),
            Fault::Hop(Hop::Downgrade),
            Fault::Hop(Hop::OtherHost("evil.example".into())),
        ]),
        _ => dice.pick(&[Fault::User(UserShape::Status(UserStatus::Disabled)), Fault::User(UserShape::Minimal)]),
    };
    dice.pick(&[status.clone(), status, limited, own])
}

fn storm(one_in: usize) -> TransportFaults {
    let dice = Mutex::new(Dice(0x2545_f491_4f6c_dd1d));
    Arc::new(move |cloud, _, path| {
        let mut dice = dice.lock().unwrap();
        if dice.below(one_in) > 0 {
            return None;
        }
        if dice.below(2) == 0 {
            return Some(dice.pick(&SILENCES));
        }
        let route = match path {
            "/oauth/token" => Route::Token,
            "/api/v1/users/me" => Route::UsersMe,
            _ => Route::User,
        };
        cloud.script(Script::at(route, wrong_answer(&mut dice, route)).once());
        None
    })
}

#[tokio::test(start_paused = true)]
async fn a_day_with_many_failures_lets_no_token_expire_and_causes_few_extra_requests() {
    let mut world = World::new();
    world.transport_faults = Some(storm(20));
    for n in 0..CONTEXTS {
        world.add(&format!("ns{}", n % 10), &format!("c{n}"), LIFE, &json!({"verifyInterval": "2h"}));
    }
    world.start();
    // New contexts get a hundred requests a minute, and some of these fail.
    pass(HOUR).await;
    for round in 0..23 * 6 {
        for n in 0..CONTEXTS {
            let (namespace, name) = (format!("ns{}", n % 10), format!("c{n}"));
            let expiry = world.expiry(&namespace, &name).unwrap();
            assert!(expiry > world.clock.now(), "{name} lapsed in round {round}: {}", world.ready(&namespace, &name));
        }
        pass(Duration::from_mins(10)).await;
    }
    assert!(world.metrics.render(world.clock.now()).unwrap().contains("expired_served_seconds_total 0.0"));
    // The first token, and a renewal every 3.6 to 4.02 h.
    let needed = CONTEXTS as u64 * 7;
    let (requests, issued, writes) = (world.token_requests(), world.issued(), world.secret_writes() as u64);
    assert!(issued <= needed * 13 / 10, "{issued} tokens for {needed}");
    assert!(requests <= needed * 15 / 10, "{requests} token requests for {needed}");
    assert!(writes <= issued, "{writes} writes of {issued} tokens");
}
