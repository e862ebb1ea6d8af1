//! Each history runs in a process of its own with constant random numbers, so that no state remains for the next one. A process
//! that does not end is killed.

use std::env;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::history::History;
use crate::run::Ended;

/// A history that takes longer is in an endless loop, in which virtual time does not pass.
const LIMIT: Duration = Duration::from_mins(15);

/// Whether `setarch -R` works, which makes the addresses of a process constant. Some containers do not permit it.
static CONSTANT_ADDRESSES: LazyLock<bool> = LazyLock::new(|| {
    let mut command = Command::new("setarch");
    command.args(["-R", "true"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    cfg!(target_os = "linux") && command.status().is_ok_and(|status| status.success())
});

/// Why a seed may have a slightly different history in another process, if that is so.
pub fn not_repeatable() -> Option<&'static str> {
    (!*CONSTANT_ADDRESSES).then_some(
        "the addresses of a process cannot be made constant here (setarch -R, on Linux), so events at the same moment can \
         be in another order in each run of a seed",
    )
}

/// This program with the flags of a history and constant random numbers.
pub fn command(history: &History) -> std::io::Result<Command> {
    let program = env::current_exe()?;
    // Maps of kube have an order that depends on addresses.
    let mut command = if *CONSTANT_ADDRESSES {
        let mut command = Command::new("setarch");
        command.arg("-R").arg(program);
        command
    } else {
        Command::new(program)
    };
    command.arg(format!("--one={}", history.seed)).args(history.flags());
    if let Some(library) = option_env!("CONSTANT") {
        command.env("LD_PRELOAD", library);
    }
    command.env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    Ok(command)
}

/// Runs a history in a process of its own.
pub fn run_apart(history: &History) -> Ended {
    ended(history).unwrap_or_else(|error| Ended::Failed(error.to_string()))
}

#[expect(clippy::disallowed_methods, reason = "the process takes real time")]
fn ended(history: &History) -> std::io::Result<Ended> {
    let mut child = command(history)?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (output, errors) = (read(child.stdout.take()), read(child.stderr.take()));
    let begun = Instant::now();
    while child.try_wait()?.is_none() {
        if begun.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(Ended::Failed(format!("it did not end within {} s", LIMIT.as_secs())));
        }
        thread::sleep(Duration::from_millis(10));
    }
    let (output, errors) = (output.join().unwrap_or_default(), errors.join().unwrap_or_default());
    let last = output.lines().last().unwrap_or_default();
    Ok(serde_json::from_str(last).unwrap_or_else(|_| Ended::Failed(format!("{output}{errors}"))))
}

fn read(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        // If the output is incomplete, it cannot be parsed.
        let _ = pipe.map(|mut pipe| pipe.read_to_string(&mut text));
        text
    })
}
