//! A panic anywhere ends the process.
//!
//! tokio would catch a panic in a task, and the process would continue without that task, for example without the one that
//! writes to the Kubernetes API. Kubernetes restarts a process that has ended, but nothing restarts a task.

use std::panic::PanicHookInfo;

/// The exit code of a Rust program whose main thread panicked.
const EXIT_CODE: i32 = 101;

/// From now on a panic in any thread writes one line to the log and ends the process.
pub fn end_the_process() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        tracing::error!(location, thread, reason = reason(panic), "panicked: this is a bug, please report it");
        std::process::exit(EXIT_CODE);
    }));
}

/// A message that is a literal in the source. A text that was formatted at run time may hold anything, and is not repeated.
fn reason(panic: &PanicHookInfo<'_>) -> &'static str {
    panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("not shown")
}
