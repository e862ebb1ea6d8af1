//! The program: reads the command line, then runs the operator or prints its CRDs.

use std::process::ExitCode;

use qlik_context_operator::args::{Command, CommandLine, RunArgs, one_line};
use qlik_context_operator::{api, run, telemetry};

fn main() -> ExitCode {
    let result = match CommandLine::read() {
        Ok(CommandLine { command: Command::Run(args) }) => operate(*args),
        Ok(CommandLine { command: Command::Crd }) => print_crds(),
        Err(error) => match one_line(&error) {
            Some(line) => {
                eprintln!("{line}");
                return ExitCode::from(2);
            }
            None => error.print().map_err(Into::into),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn operate(args: RunArgs) -> anyhow::Result<()> {
    // Before anything speaks TLS, so that there is one provider and no doubt which.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    telemetry::init(args.log_format, &args.log_filter)?;
    // Two threads: a controller waits, it does not compute.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run::run(args))
}

fn print_crds() -> anyhow::Result<()> {
    use std::io::Write as _;
    let yaml = serde_saphyr::to_string(&api::crd::qlik_contexts())?;
    Ok(std::io::stdout().write_all(yaml.as_bytes())?)
}
