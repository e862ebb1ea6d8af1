//! `kubectl qlik`: Qlik Cloud tokens for people at a terminal.
//!
//! One dialogue sets up a verified token (`init`); other commands show its state. The program calls the Kubernetes API with the
//! permissions of the user, and does nothing that the user could not do with kubectl; only `whoami --live` calls the tenant.
//! Only `token` and `export` output a secret, a secret is never a command line argument, and without a terminal there are no
//! questions.

#![expect(clippy::disallowed_methods, reason = "a command for a person begins and ends in real time")]

mod access;
mod age;
mod args;
mod cluster;
mod completion;
mod credential;
mod doctor;
mod document;
mod export;
mod follow;
mod init;
mod list;
mod object;
mod problem;
mod prompt;
mod request;
mod screen;
mod status;
mod suspend;
mod tenant_url;
mod token;
mod whoami;

use std::process::ExitCode;

use args::{Command, CommandLine};

fn main() -> ExitCode {
    if let Some(words) = completion::asked_by_kubectl() {
        return completion::answer(words);
    }
    let CommandLine { cluster, command } = CommandLine::read();
    // Before the first use of TLS, so that there is exactly one provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // The second thread keeps connections alive while the first waits for a person to type.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let done = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            match command {
                Command::Init(args) => init::run(&cluster, args).await,
                Command::List(args) => list::run(&cluster, &args).await,
                Command::Status(args) => status::run(&cluster, &args).await,
                Command::Whoami(args) => whoami::run(&cluster, &args).await,
                Command::Token(args) => token::run(&cluster, &args).await,
                Command::Refresh(args) => request::refresh(&cluster, &args).await,
                Command::Rotate(args) => request::rotate(&cluster, &args).await,
                Command::Suspend(args) => suspend::run(&cluster, &args, true).await,
                Command::Resume(args) => suspend::run(&cluster, &args, false).await,
                Command::Export(args) => export::run(&cluster, &args).await,
                Command::Doctor(args) => doctor::run(&cluster, &args).await,
                Command::Completion(args) => completion::script(args.shell),
            }
        })
    });
    problem::exit_code(done)
}
