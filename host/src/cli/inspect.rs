//! `sluicebox inspect`: what a component is and what it may do, without running any of it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::output::Output;
use crate::cli::{exit, report};
use crate::config::model::{Component, OnFault};
use crate::memory::Budget;
use crate::wasm::{Bundled, Compiler, ComponentInfo, Interface, Role, Runtime, RuntimeOptions};

/// Arguments of `inspect`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  sluicebox inspect filter\n  sluicebox inspect build/mine.wasm --output json")]
pub struct InspectArgs {
    /// A component file, or the name of a bundled component.
    component: PathBuf,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

/// Prints digest, size, role and imports.
pub fn run(args: &InspectArgs, bundled: &'static [Bundled], out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let options =
        RuntimeOptions { budget: Budget::new(0), bundled, compiler: Compiler::this_executable(), cache_dir: None };
    let info = match Runtime::new(options)?.describe(&component(&args.component, bundled)) {
        Ok(info) => info,
        Err(error) => {
            writeln!(std::io::stderr(), "error[E0505]: {}: {}", args.component.display(), report::chain(&error))?;
            return Ok(ExitCode::from(exit::CONFIG));
        }
    };
    if args.output == Output::Json {
        let imports: Vec<_> = info.imports.iter().copied().map(Interface::as_str).collect();
        let value = json!({
            "digest": info.digest, "bytes": info.bytes, "role": info.role.to_string(), "imports": imports,
            "grants": info.needs().map(|(capability, _)| capability.as_str()).collect::<Vec<_>>(),
            "on_fault": on_fault(&info).0,
        });
        writeln!(out, "{value:#}")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "component  {}", args.component.display())?;
    writeln!(out, "digest     sha256:{}", info.digest)?;
    writeln!(out, "size       {} KiB", info.bytes.div_ceil(1024))?;
    writeln!(out, "role       {}", info.role)?;
    writeln!(out, "imports    what it may do; nothing else is linked:")?;
    for import in &info.imports {
        writeln!(out, "  {}", import.as_str())?;
    }
    let needs: Vec<_> = info.needs().map(|(capability, _)| capability.as_str()).collect();
    let grants = if needs.is_empty() { "none needed".to_owned() } else { format!("[{}]", needs.join(", ")) };
    writeln!(out, "grants     {grants}")?;
    let (choice, meaning) = on_fault(&info);
    let or = if info.role == Role::Policy { "" } else { ", unless the config says otherwise" };
    writeln!(out, "on fault   {choice}{or}: {meaning}")?;
    Ok(ExitCode::SUCCESS)
}

/// What follows from what it imports: the word in the config, and what it means.
fn on_fault(info: &ComponentInfo) -> (&'static str, &'static str) {
    match info.default_on_fault() {
        _ if info.role == Role::Policy => {
            ("fallback", "the sampler decides without it: traces with errors are kept, and a fixed share of the others")
        }
        OnFault::Reject => ("reject", "it edits, so senders are told to retry what it could not judge"),
        OnFault::Pass => ("pass", "it cannot edit, so what it could not judge goes on unchanged"),
    }
}

/// A file where there is one; else a bundled component of that name.
fn component(named: &Path, bundled: &[Bundled]) -> Component {
    let name = named.to_string_lossy();
    if !named.exists() && bundled.iter().any(|bundled| bundled.name == name) {
        return Component::Bundled(name.into_owned());
    }
    Component::File { path: named.to_path_buf(), sha256: None }
}
