//! The command line: one file per verb.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::wasm::Bundled;

mod call;
pub mod components;
pub mod demo;
mod diff_view;
pub mod drain;
pub mod generations;
pub mod inspect;
mod operate;
pub mod operations;
pub mod output;
pub mod reload;
pub mod report;
pub mod rollback;
pub mod run;
pub mod stages;
pub mod swap;
pub mod tap;
mod transport;
pub mod try_it;
pub mod validate;
pub mod why;

/// Exit codes are a promise: scripts branch on them. 0 is done; 2 is a call that is wrong, which clap says.
pub mod exit {
    /// The operation failed.
    pub const FAILED: u8 = 1;
    /// The configuration, or a component, is not valid.
    pub const CONFIG: u8 = 3;
    /// Something else came out than a test expects.
    pub const TESTS_FAILED: u8 = 4;
    /// No engine answers.
    pub const UNREACHABLE: u8 = 5;
    /// A swap was refused; what served before still serves.
    pub const SWAP_REFUSED: u8 = 6;
}

/// A telemetry processing engine, programmable with WebAssembly.
#[derive(Debug, Parser)]
#[command(name = "sluicebox", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Without a verb, `--config FILE` means `run`.
    #[command(flatten)]
    run: Option<run::RunArgs>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the engine.
    Run(run::RunArgs),
    /// Check a configuration as `run` would, without opening a port.
    Validate(validate::ValidateArgs),
    /// List the receivers, processors and exporters of this build.
    Components(components::ComponentsArgs),
    /// Show what a component is and what it may do.
    Inspect(inspect::InspectArgs),
    /// Replace a stage's component or configuration in a running engine.
    Swap(swap::SwapArgs),
    /// Return a stage of a running engine to what served before.
    Rollback(rollback::RollbackArgs),
    /// List what served at each stage, who brought it, and why it ended.
    Generations(generations::GenerationsArgs),
    /// Have a running engine read its file again.
    Reload(reload::ReloadArgs),
    /// List, follow and cancel what takes long in a running engine.
    Operations(operations::OperationsArgs),
    /// Have a running engine finish what it has, and end.
    Drain(drain::DrainArgs),
    /// Show what a component, a stage or a pipeline makes of requests, without serving anything.
    Try(try_it::TryArgs),
    /// Show what a stage of a running engine is shown and what it makes of it, as it happens.
    Tap(tap::TapArgs),
    /// Tell what tail samplers of a running engine did with a trace.
    Why(why::WhyArgs),
    /// Run a configuration with made-up traffic and show what goes in and comes out.
    Demo(demo::DemoArgs),
}

/// The exit code of a verb that can only fail to print.
fn coded(verb: std::io::Result<u8>) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::from(verb?))
}

/// Runs a verb that waits for sockets and children.
fn blocking(verb: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(verb).map(|()| ExitCode::SUCCESS)
}

/// Parses the command line and does what it says.
pub fn main(bundled: &'static [Bundled]) -> ExitCode {
    // The compiler bounds its own process: before anything else has taken memory or started threads.
    if std::env::args_os().nth(1).is_some_and(|verb| verb == crate::wasm::COMPILE_VERB) {
        return crate::wasm::compile_main();
    }
    let cli = Cli::parse();
    let verb = match (cli.verb, cli.run) {
        (Some(verb), _) => verb,
        (None, Some(run)) => Verb::Run(run),
        (None, None) => {
            use clap::CommandFactory;
            // clap writes the help and the exit code of a usage error itself.
            Cli::command()
                .error(clap::error::ErrorKind::MissingSubcommand, "say what to do, such as --config FILE")
                .exit()
        }
    };
    let mut out = std::io::stdout();
    let done = match verb {
        Verb::Run(args) => run::run(&args, bundled),
        Verb::Validate(args) => coded(validate::validate(&args, |loaded| stages::problems(loaded, bundled), &mut out)),
        Verb::Components(args) => coded(components::components(args, &mut out).map(|()| 0)),
        Verb::Inspect(args) => inspect::run(&args, bundled, &mut out),
        Verb::Swap(args) => swap::run(&args, &mut out),
        Verb::Rollback(args) => rollback::run(&args, &mut out),
        Verb::Generations(args) => generations::run(&args, &mut out),
        Verb::Reload(args) => reload::run(&args, &mut out),
        Verb::Operations(args) => operations::run(&args, &mut out),
        Verb::Drain(args) => drain::run(&args, &mut out),
        Verb::Try(args) => try_it::run(&args, bundled, &mut out),
        Verb::Tap(args) => tap::run(&args, &mut out),
        Verb::Why(args) => why::run(&args, &mut out),
        Verb::Demo(args) => blocking(demo::run(args, &mut out)),
    };
    done.unwrap_or_else(|error| {
        complain(&format!("error: {error:#}"));
        ExitCode::from(exit::FAILED)
    })
}

/// Says on stderr why a command did nothing. Verbs other than `run` start no log.
fn complain(text: &str) {
    // Without a stderr the exit code has to do.
    let _unwritable = writeln!(std::io::stderr(), "{text}");
}
