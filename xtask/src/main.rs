//! The tasks of this project, `cargo xtask <task>`: what a contributor or a CI runs, and a demo.
//!
//! They need Rust, a C compiler and, once, Go; no container engine, no cluster, no account. `fuzz` alone needs more,
//! and says what.

#![expect(clippy::disallowed_methods, reason = "what is real is measured by real time")]

mod cargo;
mod demo;
mod fuzz;
mod generate;
mod requirements;
mod screen;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use screen::Screen;

/// The tasks of qlik-context-operator.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Show the operator at work: a real control plane, a fake Qlik Cloud, the chart, the examples.
    Demo(demo::Args),
    /// Check the format, lint, and run every test.
    Test,
    /// Write the generated files.
    Generate(generate::Args),
    /// Make up inputs for what reads from outside; needs a nightly compiler and cargo-fuzz.
    Fuzz(fuzz::Args),
}

fn main() -> ExitCode {
    let screen = Screen::new();
    let done = match CommandLine::parse().task {
        Task::Demo(args) => demo::run(args, screen),
        Task::Test => test::run(screen),
        Task::Generate(args) => generate::run(args, screen),
        Task::Fuzz(args) => fuzz::run(&args, screen),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen.failure(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
