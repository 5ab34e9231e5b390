use super::*;

fn info(text: &str) -> Result<ComponentInfo, LoadError> {
    ComponentInfo::of("test.wasm", &wat::parse_str(text).expect("valid text"))
}

fn error(text: &str) -> String {
    info(text).expect_err("is refused").to_string()
}

/// A component with these imports, exporting empty instances under these names.
fn component(imports: &[&str], exports: &[&str]) -> String {
    let imports: String = imports.iter().map(|name| format!("(import \"{name}\" (instance))")).collect();
    let exports: String = exports
        .iter()
        .enumerate()
        .map(|(number, name)| format!("(instance $i{number}) (export \"{name}\" (instance $i{number}))"))
        .collect();
    format!("(component {imports} {exports})")
}

const EXPORTS: [&str; 2] = ["sluicebox:telemetry/plugin@0.1.0", "sluicebox:telemetry/processor@0.1.0"];

#[test]
fn says_what_a_component_may_do() {
    let text = component(
        &["sluicebox:telemetry/dropping@0.1.0", "sluicebox:telemetry/fields@0.1.3"],
        &["sluicebox:telemetry/plugin@0.1.0", "sluicebox:telemetry/processor@0.1.0", "else:where/there"],
    );
    let info = info(&text).expect("is a processor");
    assert_eq!(info.imports, [Interface::Fields, Interface::Dropping]);
    assert_eq!(info.role, Role::Processor);
    assert_eq!(info.default_on_fault(), OnFault::Pass);
    assert_eq!(info.digest.len(), 64);
}

#[test]
fn policies_are_told_from_processors() {
    let policy = ["sluicebox:telemetry/plugin@0.1.0", "sluicebox:telemetry/policy@0.1.0"];
    let imports = ["fields", "batches", "traces", "host-state"].map(|name| format!("sluicebox:telemetry/{name}@0.1.0"));
    let imports: Vec<&str> = imports.iter().map(String::as_str).collect();
    let info = info(&component(&imports, &policy)).expect("is a policy");
    assert_eq!((info.role, info.role.to_string().as_str()), (Role::Policy, "policy"));
    assert_eq!(info.imports, [Interface::Fields, Interface::Batches, Interface::Traces, Interface::HostState]);
    for import in ["dropping", "adding", "editing", "contents", "host-hash"] {
        let refused = error(&component(&[&format!("sluicebox:telemetry/{import}@0.1.0")], &policy));
        assert!(refused.contains(import) && refused.contains("a policy may not"), "{refused}");
        assert!(
            refused.ends_with("it may import: fields, batches, traces, host-state, logging, metering, clock, lookup"),
            "{refused}"
        );
    }
    assert!(error(&component(&[], &policy[1..])).contains("a policy exports `plugin` and `policy`"));
    let both = error(&component(&[], &[EXPORTS[0], EXPORTS[1], policy[1]]));
    assert!(both.contains("both `processor` and `policy`"), "{both}");
}

#[test]
fn what_has_to_be_granted_follows_from_imports_and_role() {
    use crate::config::model::Capability::{Clock, Log, Lookup, Metrics, State};
    let policy = ["sluicebox:telemetry/plugin@0.1.0", "sluicebox:telemetry/policy@0.1.0"];
    let imports = ["lookup", "host-state", "clock", "metering", "logging", "fields", "batches"];
    let imports = imports.map(|name| format!("sluicebox:telemetry/{name}@0.1.0"));
    let imports: Vec<&str> = imports.iter().map(String::as_str).collect();
    let needs = |exports: &[&str]| -> Vec<_> {
        info(&component(&imports, exports)).expect("is one").needs().map(|(capability, _)| capability).collect()
    };
    assert_eq!(needs(&EXPORTS), [State, Log, Metrics, Clock, Lookup]);
    assert_eq!(needs(&policy), [Log, Metrics, Clock, Lookup]);
}

#[test]
fn only_policies_see_traces_and_all_may_keep_state() {
    let refused = error(&component(&["sluicebox:telemetry/traces@0.1.0"], &EXPORTS));
    assert!(refused.contains("/traces@0.1.0, which a processor may not"), "{refused}");
    let info = info(&component(&["sluicebox:telemetry/host-state@0.1.0"], &EXPORTS)).expect("is a processor");
    assert_eq!(info.imports, [Interface::HostState]);
}

#[test]
fn nothing_goes_round_what_edits_and_nothing_is_lost_by_the_rest() {
    let of = |imports: &[&str]| {
        let imports: Vec<String> = imports.iter().map(|name| format!("sluicebox:telemetry/{name}@0.1.0")).collect();
        let imports: Vec<&str> = imports.iter().map(String::as_str).collect();
        info(&component(&imports, &EXPORTS)).expect("is a processor").default_on_fault()
    };
    assert_eq!(of(&["fields", "batches"]), OnFault::Pass);
    assert_eq!(of(&["batches", "adding", "dropping", "contents", "host-hash"]), OnFault::Pass);
    assert_eq!(of(&["editing"]), OnFault::Reject);
    assert_eq!(of(&["fields", "batches", "adding", "editing", "dropping"]), OnFault::Reject);
}

#[test]
fn refuses_what_is_no_component() {
    let of = |bytes: &[u8]| ComponentInfo::of("x", bytes).expect_err("is refused").to_string();
    assert!(of(b"\0asm\x01\0\0\0").contains("core Wasm module"));
    assert!(of(b"  (component)").contains("WebAssembly text"));
    assert!(of(b"\x7fELF").contains("does not begin like a Wasm file"));
    assert!(of(b"").contains("does not begin like a Wasm file"));
    assert!(of(b"\0asm\x0d\0\x01\0\xff").contains("not a component"));
}

#[test]
fn refuses_what_it_cannot_grant_and_says_what_to_do() {
    assert!(error(&component(&["wasi:cli/environment@0.2.6"], &EXPORTS)).contains("no WASI"));
    assert!(error(&component(&["a:b/c"], &EXPORTS)).contains("a:b/c"));
    let unknown = error(&component(&["sluicebox:telemetry/sockets@0.1.0"], &EXPORTS));
    assert!(unknown.contains("sluicebox:telemetry/sockets@0.1.0"), "{unknown}");
    assert!(
        unknown.contains("fields, batches, contents, dropping, adding, editing, host-hash, traces, host-state"),
        "{unknown}"
    );
    let version = error(&component(&["sluicebox:telemetry/fields@0.2.0"], &EXPORTS));
    assert!(version.contains("0.2.0") && version.contains("0.1.0"), "{version}");
    let version = error(&component(&[], &["sluicebox:telemetry/plugin@1.0.0"]));
    assert!(version.contains("1.0.0"), "{version}");
    assert!(error(&component(&[], &EXPORTS[..1])).contains("neither"));
    assert!(error(&component(&[], &EXPORTS[1..])).contains("/plugin@0.1.0; a processor exports"));
}

#[test]
fn what_nested_components_import_is_not_the_components() {
    let text = format!(
        "(component (component (import \"wasi:cli/environment@0.2.6\" (instance))) \
         (core module (import \"a\" \"b\" (func))) {})",
        EXPORTS.map(|name| format!("(instance $i{0}) (export \"{name}\" (instance $i{0}))", name.len())).join(" ")
    );
    assert!(info(&text).expect("is a processor").imports.is_empty());
}

#[test]
fn hex_is_lower_case() {
    assert_eq!(hex(&[0, 0x9f, 0xa0]), "009fa0");
}

/// A component that carries these cases, and an inner module that carries others.
fn with_cases(cases: &str) -> Result<ComponentInfo, LoadError> {
    let exports = component(&[], &EXPORTS);
    let inner = r#"(core module (@custom "sluicebox:cases" "inner"))"#;
    let section = format!("(@custom \"sluicebox:cases\" {cases:?})");
    info(&format!("{} {inner} {section})", exports.strip_suffix(')').expect("ends")))
}

#[test]
fn cases_are_those_of_the_component_itself_and_bounded() {
    assert_eq!(info(&component(&[], &EXPORTS)).expect("is a processor").cases, None);
    assert_eq!(with_cases("[1]").expect("is a processor").cases.as_deref(), Some(&b"[1]"[..]));
    let longest = "a".repeat(CASES_BYTES_MAX);
    assert_eq!(with_cases(&longest).expect("is a processor").cases.map(|cases| cases.len()), Some(CASES_BYTES_MAX));
    let error = with_cases(&(longest + "a")).expect_err("is refused");
    let error = std::error::Error::source(&error).expect("has a cause").to_string();
    assert!(error.contains("has 262145 bytes; at most 262144"), "{error}");
}
