//! A history: the objects, the events and their times, as a value. It is generated from a seed, can be run many times, and can be
//! shortened by removing steps.

use std::fmt;
use std::time::Duration;

use qlik_context_operator::scheduler::Limits;

use crate::event::Event;
use crate::random::Random;

/// The period of faults. Then all faults end, and the operator has to converge.
pub const FAULT_PERIOD: Duration = Duration::from_mins(40);

/// Makes other random numbers from the same seed.
const WORKLOADS: u64 = 0x776f_726b_6c6f_6164;

/// An event and its time.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its number in the history of the seed, from 1.
    pub number: usize,
    /// The time since the beginning.
    pub at: Duration,
    /// The event.
    pub event: Event,
}

/// How the contexts of an OAuth client authenticate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Auth {
    #[default]
    ClientSecret,
    PrivateKey,
    /// A client secret, and the token of a user.
    Impersonation,
    /// An API key of a user, instead of an OAuth client.
    ApiKey,
}

/// The objects and the events.
#[derive(Clone, Debug)]
pub struct History {
    /// The seed from which it is generated.
    pub seed: u64,
    /// The number of instances of the operator that compete for one Lease.
    pub replicas: usize,
    /// For each QlikContext, the number of the OAuth client whose credential it uses.
    pub contexts: Vec<usize>,
    /// For each OAuth client, how its contexts authenticate.
    pub auth: Vec<Auth>,
    /// The number of QlikOAuthClients.
    pub oauth_clients: usize,
    /// The contexts with `spec.workloads`, whose tokens workloads read.
    pub workloads: Vec<usize>,
    /// The lifetime of tokens in seconds.
    pub lifetime: u64,
    /// The value of the operator's jitter, between 0 and 1.
    pub jitter: f64,
    /// Whether the request budgets are small.
    pub tight: bool,
    /// The events, by time.
    pub steps: Vec<Step>,
}

/// The part of a history to run.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Cut {
    /// Run only the steps with these numbers; 0 is no step.
    #[arg(long, value_delimiter = ',', value_name = "STEPS")]
    keep: Option<Vec<usize>>,
    /// The number of replicas.
    #[arg(long)]
    replicas: Option<usize>,
    /// The number of QlikOAuthClients.
    #[arg(long)]
    oauth_clients: Option<usize>,
    /// The number of QlikContexts.
    #[arg(long)]
    contexts: Option<usize>,
    /// No context has workloads.
    #[arg(long)]
    no_workloads: bool,
}

impl History {
    /// The history of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let contexts = random.between(1, 5);
        let clients = random.between(1, contexts);
        let contexts = (0..contexts).map(|_| random.index(usize::try_from(clients).unwrap_or(1))).collect::<Vec<_>>();
        let methods = [Auth::ClientSecret, Auth::ClientSecret, Auth::PrivateKey, Auth::Impersonation, Auth::ApiKey];
        let auth = (0..clients).map(|_| random.pick(&methods)).collect();
        let mut history = Self {
            seed,
            auth,
            replicas: random.pick(&[1, 1, 1, 2, 3]).max(1),
            oauth_clients: random.pick(&[0, 0, 1, 2]),
            workloads: Vec::new(),
            lifetime: random.pick(&[300, 600, 900, 1800]),
            #[expect(clippy::cast_precision_loss, reason = "a number below a hundred")]
            jitter: random.below(100) as f64 / 100.0,
            tight: random.percent(25),
            steps: Vec::new(),
            contexts,
        };
        let count = random.between(3, 40);
        let mut steps: Vec<_> = (0..count).map(|_| history.step(&mut random)).collect();
        steps.extend(history.add_workloads());
        steps.sort_by_key(|step| step.at);
        for (index, step) in steps.iter_mut().enumerate() {
            step.number = index + 1;
        }
        history.steps = steps;
        history
    }

    /// Only that part of it.
    #[must_use]
    pub fn cut(mut self, cut: &Cut) -> Self {
        if let Some(kept) = &cut.keep {
            self.steps.retain(|step| kept.contains(&step.number));
        }
        self.replicas = cut.replicas.unwrap_or(self.replicas);
        self.oauth_clients = cut.oauth_clients.unwrap_or(self.oauth_clients);
        if cut.no_workloads {
            self.workloads.clear();
        }
        let contexts = cut.contexts.unwrap_or(self.contexts.len());
        self.with_contexts(contexts)
    }

    /// Only the first contexts.
    #[must_use]
    pub fn with_contexts(mut self, count: usize) -> Self {
        self.contexts.truncate(count);
        self.workloads.retain(|context| *context < count);
        self
    }

    /// The flags that generate this history from its seed.
    pub fn flags(&self) -> Vec<String> {
        let kept: Vec<_> = [0].into_iter().chain(self.steps.iter().map(|step| step.number)).collect();
        let kept: Vec<_> = kept.iter().map(ToString::to_string).collect();
        let mut flags = vec![
            format!("--keep={}", kept.join(",")),
            format!("--replicas={}", self.replicas),
            format!("--oauth-clients={}", self.oauth_clients),
            format!("--contexts={}", self.contexts.len()),
        ];
        if self.workloads.is_empty() {
            flags.push("--no-workloads".to_owned());
        }
        flags
    }

    /// The number of OAuth clients that contexts use.
    pub fn clients(&self) -> usize {
        self.auth.len()
    }

    /// The request budgets of the operator.
    pub fn limits(&self) -> Limits {
        // With the shortest lifetime, renewals alone need more than the small budgets.
        if self.tight && self.lifetime > 300 {
            let (host_tokens_per_minute, host_requests_per_minute, key_tokens_per_minute) = (2, 8, 2);
            Limits { host_tokens_per_minute, host_requests_per_minute, key_tokens_per_minute, ..Limits::default() }
        } else {
            Limits::default()
        }
    }

    /// Up to two contexts have workloads. Returns events for them.
    fn add_workloads(&mut self) -> Vec<Step> {
        // Random numbers of their own, so that the other events of a seed do not depend on them.
        let mut random = Random::new(self.seed ^ WORKLOADS);
        let count = usize::try_from(random.below(3)).unwrap_or_default().min(self.contexts.len());
        let first = random.index(self.contexts.len());
        self.workloads = (0..count).map(|n| (first + n) % self.contexts.len()).collect();
        let events = if count > 0 { random.between(0, 8) } else { 0 };
        let step = |random: &mut Random| Step {
            number: 0,
            at: Duration::from_millis(random.below(FAULT_PERIOD.as_secs() * 1000)),
            event: Event::draw_of_workloads(random, &self.workloads),
        };
        (0..events).map(|_| step(&mut random)).collect()
    }

    fn step(&self, random: &mut Random) -> Step {
        // Many events come in bursts, because combined faults find more bugs than separate ones.
        let at = if random.percent(40) {
            60 * random.below(8) * 5 + random.below(10)
        } else {
            random.below(FAULT_PERIOD.as_secs())
        };
        let at = Duration::from_secs(at) + Duration::from_millis(random.below(1000));
        Step { number: 0, at, event: Event::draw(random, self) }
    }
}

impl fmt::Display for History {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "seed {}: {} replica(s), {} context(s) of client(s) {:?}, contexts {:?} with workloads, {} QlikOAuthClient(s), tokens \
             are valid for {} s",
            self.seed,
            self.replicas,
            self.contexts.len(),
            self.auth,
            self.workloads,
            self.oauth_clients,
            self.lifetime
        )?;
        for Step { at, event, .. } in &self.steps {
            writeln!(formatter, "{}  {event}", Moment(*at))?;
        }
        Ok(())
    }
}

/// A time since the beginning, for output.
pub struct Moment(pub Duration);

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minutes, seconds, millis) = (self.0.as_secs() / 60, self.0.as_secs() % 60, self.0.subsec_millis());
        write!(formatter, "  {minutes:>4}:{seconds:02}.{millis:03}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_history_and_another_seed_another() {
        assert_eq!(History::of(7).to_string(), History::of(7).to_string());
        assert_ne!(History::of(7).to_string(), History::of(8).to_string());
    }

    #[test]
    fn a_history_can_be_cut_and_the_flags_make_the_same() {
        let history = History::of(7);
        let cut = Cut {
            keep: Some(vec![0, 2]),
            replicas: Some(1),
            oauth_clients: Some(0),
            contexts: Some(1),
            no_workloads: true,
        };
        let cut = history.cut(&cut);
        assert_eq!((cut.steps.len(), cut.replicas, cut.oauth_clients, cut.contexts.len()), (1, 1, 0, 1));
        let flags = ["--keep=0,2", "--replicas=1", "--oauth-clients=0", "--contexts=1", "--no-workloads"];
        assert_eq!(cut.flags(), flags);
    }
}
