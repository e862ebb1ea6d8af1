//! The program: runs histories, and shortens the first one with a violation. `cargo xtask simulate` calls it.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use clap::Parser;
use mimalloc::MiMalloc;
use simulation::{
    Cut, Ended, History, Invariant, Summary, Violation, command, not_repeatable, run, run_apart, search, show, shrink,
};
use strum::IntoEnumIterator as _;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Runs histories of random faults on virtual time, and checks invariants in each of them.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Parser)]
#[command(name = "cargo xtask simulate")]
struct Args {
    /// The number of histories to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run one seed, with the operator's log at TRACE on standard error.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "from"])]
    replay: Option<u64>,
    /// The number of concurrent histories; default: the number of processors.
    #[arg(long)]
    jobs: Option<usize>,
    /// Stop at the first history with a violation, and do not shorten it.
    #[arg(long)]
    first: bool,
    /// Print the digest of each history.
    #[arg(long)]
    hashes: bool,
    /// Print the names of the invariants.
    #[arg(long, hide = true)]
    invariants: bool,
    /// Run one history in this process.
    #[arg(long, hide = true)]
    one: Option<u64>,
    /// Print the log to standard error.
    #[arg(long, hide = true)]
    log: bool,
    #[command(flatten)]
    cut: Cut,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.invariants {
        Invariant::iter().for_each(|invariant| print(&format!("{invariant:?}")));
        return ExitCode::SUCCESS;
    }
    if let Some(seed) = args.one {
        return one(&History::of(seed).cut(&args.cut), args.log);
    }
    if let Some(why) = not_repeatable() {
        // A closed pipe is not an error.
        let _ = writeln!(std::io::stderr(), "note: {why}");
    }
    if let Some(seed) = args.replay { replay(&History::of(seed).cut(&args.cut)) } else { all(&args) }
}

/// Runs one history in this process.
fn one(history: &History, log: bool) -> ExitCode {
    if !log {
        search();
        print(&serde_json::to_string(&run(history)).unwrap_or_default());
        return ExitCode::SUCCESS;
    }
    show();
    match run(history) {
        Ended::Passed(report) => {
            print(&format!("no violation; digest {}", report.hash));
            ExitCode::SUCCESS
        }
        Ended::Violated(violation) => {
            print(&violation.to_string());
            ExitCode::FAILURE
        }
        Ended::Failed(error) => {
            print(&format!("cannot run: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs one history in a process that prints its log and its result.
fn replay(history: &History) -> ExitCode {
    print(&history.to_string());
    match command(history).and_then(|mut command| command.arg("--log").status()) {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            print(&format!("cannot run: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the real time is reported")]
fn all(args: &Args) -> ExitCode {
    let (next, summary) = (AtomicU64::new(args.from), Mutex::new(Summary::default()));
    let (stop, begun) = (AtomicBool::new(false), Instant::now());
    let jobs = args.jobs.or_else(|| thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let last = args.from.saturating_add(args.seeds);
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last {
                        return;
                    }
                    let ended = run_apart(&History::of(seed));
                    if args.hashes
                        && let Ended::Passed(report) = &ended
                    {
                        print(&format!("seed {seed}: {}", report.hash));
                    }
                    if let Some(failure) = summary.lock().unwrap_or_else(PoisonError::into_inner).add(seed, ended) {
                        print(&failure);
                        stop.fetch_or(args.first, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    print(&summary.text(begun.elapsed()));
    if summary.passed() {
        return ExitCode::SUCCESS;
    }
    if let Some((seed, violation)) = summary.first().filter(|_| !args.first) {
        shortest(seed, violation);
    }
    ExitCode::FAILURE
}

/// Prints the shortest history with the same violation.
fn shortest(seed: u64, violation: Violation) {
    let violated = |history: &History| match run_apart(history) {
        Ended::Violated(violation) => Some(violation),
        _ => None,
    };
    let (history, violation) = shrink(History::of(seed), violation, violated);
    let flags = history.flags().join(" ");
    print(&format!("\n{history}{violation}\n\nwith the log at TRACE: cargo xtask simulate -- --replay {seed} {flags}"));
}

fn print(text: &str) {
    // A closed pipe is not an error.
    let _ = writeln!(std::io::stdout(), "{text}");
}
