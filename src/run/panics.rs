//! A panic anywhere ends the process.
//!
//! tokio would catch one in a task, and the process would live on without that task: without the one that writes to the Kubernetes
//! API, for example. Kubernetes starts a process that ended again; nothing starts a task.

use std::panic::PanicHookInfo;

/// As Rust ends a program whose main thread panicked.
const EXIT_CODE: i32 = 101;

/// From now on a panic in any thread is one line in the log and the end of the process.
pub fn end_the_process() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        tracing::error!(location, thread, reason = reason(panic), "panicked: this is a bug, please report it");
        std::process::exit(EXIT_CODE);
    }));
}

/// What stands in the source. A text that was put together at run time may hold anything, and is not repeated.
fn reason(panic: &PanicHookInfo<'_>) -> &'static str {
    panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("not shown")
}
