//! The program: reads the command line, then runs the operator or prints its CRDs.

use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use qlik_context_operator::api;
use qlik_context_operator::run::args::{Command, CommandLine, RunArgs, Stop};
use qlik_context_operator::run::{self, panics, telemetry};

fn main() -> ExitCode {
    let (result, failure) = match CommandLine::read(std::env::args_os()) {
        Ok(CommandLine { command: Command::Run(args) }) => (operate(*args), ExitCode::FAILURE),
        Ok(CommandLine { command: Command::Crd }) => (print_crds(), ExitCode::FAILURE),
        Err(Stop::Text(text)) => (print(&text), ExitCode::FAILURE),
        Err(Stop::Mistake(line)) => (Err(anyhow::Error::msg(line)), ExitCode::from(2)),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    let text = format!("{error:#}");
    // Not `eprintln!`, which panics when standard error is closed.
    let _ = writeln!(io::stderr(), "error: {}", text.strip_prefix("error: ").unwrap_or(&text));
    failure
}

fn operate(args: RunArgs) -> anyhow::Result<()> {
    // Before the first use of TLS, so that there is exactly one provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // Until the end, which sends what is left of the traces.
    let _telemetry = telemetry::init(args.log_format, &args.log_filter)?;
    panics::end_the_process();
    // Two threads: a controller mostly waits.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run::run(args))
}

fn print_crds() -> anyhow::Result<()> {
    let all = api::crd::all().iter().map(|(_, crd)| serde_saphyr::to_string(crd)).collect::<Result<Vec<_>, _>>()?;
    print(&all.join("---\n"))
}

/// A reader that closes the pipe early, such as `head`, is not an error.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
