//! Turns core modules that were built for `wasm32-unknown-unknown` into components.
//!
//! `bundle IN.wasm... --out DIR` writes `DIR/<name>.wasm` for each. Modules have to carry their component type (`wit-bindgen` leaves it
//! in a custom section). The cases of `guests/<name>/tests/embedded.json` go into a section of their own: every candidate that is swapped in has
//! to pass those of its component. A component that imports anything besides the contract, WASI above all, is refused: nothing would provide it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use sluicebox::compare::case::Case;
use sluicebox::wasm::CASES_SECTION;
use wit_component::{ComponentEncoder, DecodedWasm};

/// Everything that a bundled component may import begins so.
const CONTRACT: &str = "sluicebox:telemetry/";

#[derive(Parser)]
#[command(about = "Turns core Wasm modules into components")]
struct Args {
    /// Core modules.
    #[arg(required = true)]
    modules: Vec<PathBuf>,
    /// Where the components go.
    #[arg(long)]
    out: PathBuf,
    /// Where the cases of `<name>` lie: in `<name>/tests/embedded.json`.
    #[arg(long, default_value = "guests")]
    guests: PathBuf,
    /// Also write `DIR/<name>.cwasm`: machine code for the baseline CPU.
    #[arg(long)]
    precompile: bool,
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]
fn main() -> ExitCode {
    let args = Args::parse();
    for module in &args.modules {
        match bundle(module, &args) {
            Ok(written) => println!("{written}"),
            Err(error) => {
                eprintln!("error: {}: {error:#}", module.display());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn bundle(module: &Path, Args { out, guests, precompile, .. }: &Args) -> Result<String> {
    let bytes = fs::read(module).context("cannot read the module")?;
    let mut component = encode(&bytes)?;
    let name = module.file_stem().context("not a file name")?;
    let cases = guests.join(name).join("tests/embedded.json");
    if cases.is_file() {
        let text = fs::read(&cases).with_context(|| format!("cannot read {}", cases.display()))?;
        embed(&mut component, &text).with_context(|| format!("{} cannot be embedded", cases.display()))?;
    }
    let imports = contract_imports(&component)?;
    let path = out.join(module.file_name().context("not a file name")?);
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    fs::write(&path, &component).with_context(|| format!("cannot write {}", path.display()))?;
    if *precompile {
        let code = sluicebox::wasm::precompile(&component, sluicebox::wasm::Cpu::Baseline);
        let code = code.map_err(|error| anyhow::anyhow!("cannot be compiled: {error:#}"))?;
        let path = path.with_extension("cwasm");
        fs::write(&path, code).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(format!("{}: {} bytes, imports {}", path.display(), component.len(), imports.join(", ")))
}

/// A validated component around a core module.
fn encode(module: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(module).context("not a core module")?;
    encoder.encode().context("cannot be made a component")
}

/// Adds cases as a custom section (WebAssembly core specification 5.5.3; components have the same).
fn embed(component: &mut Vec<u8>, cases: &[u8]) -> Result<()> {
    if let Err(error) = Case::parse_list(cases) {
        bail!("{error}");
    }
    let mut section = Vec::with_capacity(cases.len() + CASES_SECTION.len() + 8);
    unsigned(&mut section, CASES_SECTION.len());
    section.extend_from_slice(CASES_SECTION.as_bytes());
    section.extend_from_slice(cases);
    component.push(0);
    unsigned(component, section.len());
    component.extend_from_slice(&section);
    Ok(())
}

/// A number as LEB128 (WebAssembly core specification 5.2.2).
fn unsigned(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push(number as u8 & 0x7f | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// What a component imports. An error if anything of it is not of the contract.
fn contract_imports(component: &[u8]) -> Result<Vec<String>> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        bail!("not a component");
    };
    let imports: Vec<String> = resolve.worlds[world].imports.keys().map(|key| resolve.name_world_key(key)).collect();
    match imports.iter().find(|import| !import.starts_with(CONTRACT)) {
        Some(foreign) => {
            bail!("imports `{foreign}`, which is not part of the contract ({CONTRACT}*) and nothing provides")
        }
        None => Ok(imports),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_chain<T: std::fmt::Debug>(result: Result<T>) -> String {
        format!("{:#}", result.unwrap_err())
    }

    #[test]
    fn core_module_that_needs_wasi_is_refused_by_name() {
        let module = wat::parse_str(
            r#"(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32))))"#,
        )
        .unwrap();
        let error = error_chain(encode(&module));
        assert!(error.contains("wasi_snapshot_preview1"), "{error}");
    }

    #[test]
    fn component_that_imports_wasi_is_refused_by_name() {
        let component = wat::parse_str(
            r#"(component (import "wasi:cli/environment@0.2.0" (instance (export "get" (func (result u32))))))"#,
        )
        .unwrap();
        let error = error_chain(contract_imports(&component));
        assert!(error.contains("`wasi:cli/environment@0.2.0`"), "{error}");
    }

    #[test]
    fn component_that_imports_the_contract_is_taken() {
        let component = wat::parse_str(
            r#"(component (import "sluicebox:telemetry/dropping@0.1.0" (instance (export "x" (func (result u32))))))"#,
        )
        .unwrap();
        assert_eq!(contract_imports(&component).unwrap(), ["sluicebox:telemetry/dropping@0.1.0"]);
    }

    #[test]
    fn cases_are_embedded_where_a_reader_of_wasm_finds_them() {
        let mut component = wat::parse_str("(component)").unwrap();
        let case = r#"[{"sluicebox_case": 1, "signal": "traces", "input": {"resourceSpans": []}, "expected": {}}]"#;
        // Longer than one byte of a length can say.
        let cases = format!("{case}{}", " ".repeat(300));
        embed(&mut component, cases.as_bytes()).unwrap();
        let found = wasmparser::Parser::new(0).parse_all(&component).find_map(|payload| match payload.unwrap() {
            wasmparser::Payload::CustomSection(section) if section.name() == CASES_SECTION => {
                Some(section.data().to_vec())
            }
            _ => None,
        });
        assert_eq!(found.as_deref(), Some(cases.as_bytes()));
        assert!(error_chain(embed(&mut component, b"[{}]")).contains("case"));
    }

    #[test]
    fn other_files_are_refused() {
        assert!(error_chain(encode(b"no wasm")).starts_with("not a core module"));
    }
}
