//! What all verbs have in common that show a running engine.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::cli::call::{Admin, get, wait};
use crate::cli::output::Output;

/// Which engine, and how its answer is printed.
#[derive(Clone, Debug, Args)]
pub struct Live {
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
    #[command(flatten)]
    pub admin: Admin,
}

impl Live {
    /// Asks for something; the exit code where there is no answer.
    pub fn ask(&self, path: &str) -> anyhow::Result<Result<Value, ExitCode>> {
        Ok(wait(get(&self.admin, path))?.of_question())
    }

    /// Asks and prints: for programs as it came, for people by `human`.
    pub fn show(
        &self,
        path: &str,
        out: &mut dyn Write,
        human: impl FnOnce(&Value, &mut dyn Write) -> std::io::Result<()>,
    ) -> anyhow::Result<ExitCode> {
        match self.ask(path)? {
            Ok(answer) => self.print(&answer, out, human).map(|()| ExitCode::SUCCESS),
            Err(code) => Ok(code),
        }
    }

    /// The same of an answer that is there.
    pub fn print(
        &self,
        answer: &Value,
        out: &mut dyn Write,
        human: impl FnOnce(&Value, &mut dyn Write) -> std::io::Result<()>,
    ) -> anyhow::Result<()> {
        match self.output {
            Output::Json => writeln!(out, "{answer:#}")?,
            Output::Human => human(answer, out)?,
        }
        Ok(())
    }
}
