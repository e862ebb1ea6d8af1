//! The tasks of this project, `cargo xtask <task>`: checks for contributors and CI, a demo and a benchmark.
//!
//! They need Rust, a C compiler and, once, Go; no container engine, no cluster, no account. Only `fuzz` needs more,
//! and prints what.

#![expect(clippy::disallowed_methods, reason = "real processes need real time")]

mod bench;
mod book;
mod cargo;
mod demo;
mod fuzz;
mod generate;
mod image;
mod node_test;
mod release;
mod requirements;
mod screen;
mod simulate;
mod test;
mod tools;

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
    /// Check the format, lint, make the image, and run every test, including those on a real node.
    Test,
    /// Measure what a token costs, and how many contexts an operator can serve; docs/capacity.md has the results.
    Bench(Box<bench::Args>),
    /// A separate process of the bench, which `bench` starts.
    #[command(hide = true)]
    BenchRole(bench::Role),
    /// Render the pages as a book of static HTML, and check its links.
    Book,
    /// Make the image as an OCI archive, without a container engine or a registry.
    Image(image::Args),
    /// Run the image as real Pods on a real node of this machine; needs root on Linux.
    NodeTest(node_test::Args),
    /// Check that everything of a release agrees, and write its chart and manifest.
    Release(release::Args),
    /// Write the generated files.
    Generate(generate::Args),
    /// Generate inputs for everything that parses data from outside; needs a nightly compiler and cargo-fuzz.
    Fuzz(fuzz::Args),
    /// Run histories of random faults on virtual time, from seeds, and check invariants in each of them.
    Simulate(simulate::Args),
}

fn main() -> ExitCode {
    let screen = Screen::new();
    let done = match CommandLine::parse().task {
        Task::Demo(args) => demo::run(args, screen),
        Task::Test => test::run(screen),
        Task::Bench(args) => bench::run(&args, screen),
        Task::BenchRole(role) => bench::play(&role),
        Task::Book => book::run(),
        Task::Image(args) => image::run(&args, screen),
        Task::NodeTest(args) => node_test::run(&args, screen),
        Task::Release(args) => release::run(&args, screen),
        Task::Generate(args) => generate::run(args, screen),
        Task::Fuzz(args) => fuzz::run(&args, screen),
        Task::Simulate(args) => simulate::run(&args, screen),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen.failure(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
