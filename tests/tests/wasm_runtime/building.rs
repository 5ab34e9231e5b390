//! From a file to a generation, and the code that is kept in between.

use std::fs;
use std::path::PathBuf;

use sluicebox::config::model::Component;
use sluicebox::config::model::OnFault;
use sluicebox::memory::Budget;
use sluicebox::pipeline::stage::FaultKind;
use sluicebox::wasm::{
    BuildError, Bundled, CompileError, Compiler, Cpu, GenerationSpec, Interface, Role, Runtime, RuntimeOptions, Step,
    precompile,
};

use crate::lab::{Lab, call, compiler, guest, limits, spec, traces};

fn filter_spec(component: Component) -> GenerationSpec {
    GenerationSpec {
        stage: "filter/test".to_owned(),
        component,
        config: r#"{"traces": {"span": ["name == \"name 3\""]}}"#.to_owned(),
        on_fault: Some(OnFault::Reject),
        ..spec("")
    }
}

fn file(path: PathBuf) -> Component {
    Component::File { path, sha256: None }
}

fn runtime(cache_dir: Option<PathBuf>, compiler: Compiler, bundled: &'static [Bundled]) -> Runtime {
    Runtime::new(RuntimeOptions { budget: Budget::new(1 << 30), bundled, compiler, cache_dir }).expect("starts")
}

fn no_compiler() -> Compiler {
    Compiler::program("/bin/false")
}

#[test]
fn a_filter_filters() {
    let lab = Lab::new();
    let generation = lab.runtime.build_generation(filter_spec(file(guest("filter")))).expect("builds");
    assert_eq!(generation.rules().len(), 1);
    assert_eq!(generation.on_fault(), OnFault::Reject);
    let mut instance = generation.instance().expect("is prepared");
    for rows in [100, 0, 2048] {
        let effects = call(&mut *instance, &traces(rows)).expect("judges");
        let dropped: Vec<u32> = effects.drops.iter().flat_map(|drop| drop.rows.iter()).collect();
        let expected: Vec<u32> = (0..rows as u32).filter(|row| row % 10 == 3).collect();
        assert_eq!(dropped, expected);
    }
}

#[test]
fn unreadable_telemetry_is_nobodys_fault_and_costs_no_instance() {
    let lab = Lab::new();
    let generation = lab.runtime.build_generation(filter_spec(file(guest("filter")))).expect("builds");
    let mut instance = generation.instance().expect("is prepared");
    for _ in 0..3 {
        // The name of row 3, which the filter drops, gets another field's wire type.
        let mut bytes = traces(10).to_vec();
        let at = bytes.windows(8).position(|found| found == b"\x2a\x06name 3").expect("was encoded");
        bytes[at] = 5 << 3 | 1;
        let fault = call(&mut *instance, &bytes.into()).expect_err("cannot be judged");
        assert_eq!(fault.kind, FaultKind::Malformed, "{fault}");
        assert!(!instance.wants_recycling());
        assert_eq!(call(&mut *instance, &traces(10)).expect("judges").drops[0].rows.count(), 1);
    }
}

#[test]
fn says_what_a_component_is() {
    let info = Lab::new().runtime.describe(&file(guest("filter"))).expect("is a component");
    assert_eq!(info.role, Role::Processor);
    assert_eq!(info.imports, [Interface::Fields, Interface::Batches, Interface::Dropping]);
    assert_eq!(info.bytes, fs::metadata(guest("filter")).expect("exists").len());
    assert_eq!(info.digest.len(), 64);
}

#[test]
fn pins_are_checked() {
    let lab = Lab::new();
    let digest = lab.runtime.describe(&file(guest("filter"))).expect("is a component").digest;
    let pinned = |sha256: String| Component::File { path: guest("filter"), sha256: Some(sha256) };
    lab.runtime.build_generation(filter_spec(pinned(digest))).expect("is the one");
    let error = lab.runtime.build_generation(filter_spec(pinned("0".repeat(64)))).expect_err("is another");
    assert_eq!(error.step(), Step::Verify);
}

#[test]
fn missing_and_foreign_files_are_told_apart() {
    let lab = Lab::new();
    let dir = tempfile::tempdir().expect("creates");
    let refused = |name: &str, content: Option<&[u8]>| {
        let path = dir.path().join(name);
        if let Some(content) = content {
            fs::write(&path, content).expect("writes");
        }
        let error = lab.runtime.build_generation(filter_spec(file(path))).expect_err("is refused");
        assert_eq!(error.step(), Step::Verify);
        error.to_string()
    };
    assert!(refused("missing.wasm", None).contains("missing.wasm"));
    assert!(refused("text.wat", Some(b"(component)")).contains("text"));
    assert!(refused("core.wasm", Some(b"\0asm\x01\0\0\0")).contains("core"));
    let large = vec![0; (32 << 20) + 1];
    assert!(refused("large.wasm", Some(&large)).contains("33554433"));
}

#[test]
fn compiled_code_is_kept_and_damaged_code_is_made_anew() {
    let dir = tempfile::tempdir().expect("creates");
    let cache = dir.path().join("cache");
    let build =
        |compiler| runtime(Some(cache.clone()), compiler, &[]).build_generation(filter_spec(file(guest("filter"))));
    assert!(matches!(build(no_compiler()), Err(BuildError::Compile(CompileError::Failed { .. }))));
    build(compiler()).expect("compiles");
    build(no_compiler()).expect("finds it");

    let entry = fs::read_dir(&cache).expect("reads").flatten().next().expect("holds the code").path();
    let mut code = fs::read(&entry).expect("reads");
    let middle = code.len() / 2;
    code[middle] ^= 1;
    fs::write(&entry, code).expect("writes");
    assert!(build(no_compiler()).is_err(), "damaged code is not used");
    build(compiler()).expect("compiles again");
    build(no_compiler()).expect("finds it again");
}

#[test]
fn works_without_a_place_to_keep_code() {
    let runtime = runtime(None, compiler(), &[]);
    runtime.build_generation(filter_spec(file(guest("filter")))).expect("compiles");
}

#[test]
fn a_change_of_config_alone_compiles_nothing() {
    let dir = tempfile::tempdir().expect("creates");
    let cache = dir.path().join("cache");
    let runtime = runtime(Some(cache.clone()), compiler(), &[]);
    let first = runtime.build_generation(filter_spec(file(guest("filter")))).expect("compiles");
    for entry in fs::read_dir(&cache).expect("reads").flatten() {
        fs::remove_file(entry.path()).expect("removes");
    }
    let mut next = filter_spec(file(guest("filter")));
    next.config = "{}".to_owned();
    let second = runtime.build_generation(next).expect("builds");
    assert_eq!(fs::read_dir(&cache).expect("reads").count(), 0, "nothing was compiled");
    assert_eq!(first.digest(), second.digest());
}

#[test]
fn the_compilers_words_are_shown() {
    // A processor by its outside, with a core module inside that is not valid.
    let text = r#"(component
        (core module (func (result i32)))
        (instance $a) (export "sluicebox:telemetry/plugin@0.1.0" (instance $a))
        (instance $b) (export "sluicebox:telemetry/processor@0.1.0" (instance $b)))"#;
    let error = build_text(text);
    assert_eq!(error.step(), Step::Compile);
    assert!(error.to_string().contains("type mismatch"), "{error}");
}

#[test]
fn what_does_not_match_the_contract_is_not_linked() {
    let exports = r#"
        (instance $a) (export "sluicebox:telemetry/plugin@0.1.0" (instance $a))
        (instance $b) (export "sluicebox:telemetry/processor@0.1.0" (instance $b))"#;
    let error = build_text(&format!("(component {exports})"));
    assert_eq!(error.step(), Step::Link);
    assert!(error.to_string().contains("configure"), "{error}");

    let import = r#"(import "sluicebox:telemetry/dropping@0.1.0" (instance (export "undrop" (func))))"#;
    let error = build_text(&format!("(component {import} {exports})"));
    assert_eq!(error.step(), Step::Link);
    assert!(error.to_string().contains("undrop"), "{error}");
}

fn build_text(text: &str) -> BuildError {
    let dir = tempfile::tempdir().expect("creates");
    let path = dir.path().join("made-up.wasm");
    fs::write(&path, wat::parse_str(text).expect("is valid text")).expect("writes");
    Lab::new().runtime.build_generation(filter_spec(file(path))).expect_err("is refused")
}

#[test]
fn bundled_code_for_the_oldest_cpu_loads_without_compiling() {
    let wasm: &'static [u8] = fs::read(guest("filter")).expect("reads").leak();
    let artifact: &'static [u8] = precompile(wasm, Cpu::Baseline).expect("compiles").leak();
    let bundled = |artifact| -> &'static [Bundled] { vec![Bundled { name: "filter", wasm, artifact }].leak() };
    let spec = || filter_spec(Component::Bundled("filter".to_owned()));

    let generation = runtime(None, no_compiler(), bundled(artifact)).build_generation(spec()).expect("loads");
    let effects = call(&mut *generation.instance().expect("is prepared"), &traces(10)).expect("judges");
    assert_eq!(effects.drops[0].rows.count(), 1);

    let foreign: &'static [u8] = b"\x7fELF machine code of another engine";
    runtime(None, compiler(), bundled(foreign)).build_generation(spec()).expect("compiles instead");
    assert!(runtime(None, no_compiler(), bundled(foreign)).build_generation(spec()).is_err());

    let mut other = spec();
    other.component = Component::Bundled("sampler".to_owned());
    let error = runtime(None, no_compiler(), bundled(artifact)).build_generation(other).expect_err("does not exist");
    assert!(error.to_string().contains("`sampler`") && error.to_string().contains("filter"), "{error}");
    assert_eq!(limits().deadline.as_millis(), 50);
}
