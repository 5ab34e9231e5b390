//! The repository's own rules: which module may know which, how long files are, what is not written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE_LINES_MAX: usize = 600;

/// Modules of host/src and what each may name, in the order in which data flows.
const MAY_USE: &[(&str, &[&str])] = &[
    ("signal", &[]),
    ("ack", &[]),
    ("otlp", &[]),
    ("json", &["signal"]),
    ("compare", &["signal", "json"]),
    ("memory", &["config"]),
    ("table", &[]),
    ("config", &["signal", "table"]),
    ("observe", &["signal"]),
    ("batch", &["signal"]),
    ("export", &["signal", "ack", "otlp", "json", "memory", "config", "observe"]),
    ("tail", &["memory", "batch", "signal"]),
    ("pipeline", &["signal", "ack", "memory", "config", "observe", "batch", "export", "tail"]),
    ("receive", &["signal", "ack", "otlp", "json", "memory", "config", "observe", "pipeline"]),
    ("wasm", &["signal", "memory", "table", "config", "observe", "batch", "pipeline", "tail"]),
    ("scratch", &["signal", "ack", "json", "compare", "memory", "config", "pipeline", "wasm", "tail"]),
    (
        "control",
        &["config", "observe", "pipeline", "wasm", "signal", "batch", "tail", "memory", "json", "compare", "scratch"],
    ),
    (
        "tap",
        &["config", "observe", "control", "pipeline", "wasm", "signal", "batch", "tail", "memory", "json", "compare"],
    ),
    ("view", &["config", "observe", "control", "memory", "export", "table"]),
    (
        "admin",
        &[
            "view", "tap", "config", "observe", "control", "memory", "wasm", "tail", "signal", "json", "compare",
            "scratch",
        ],
    ),
    (
        "engine",
        &[
            "view", "signal", "config", "observe", "control", "memory", "wasm", "tap", "admin", "export", "pipeline",
            "receive", "tail", "scratch",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_path_buf()
}

/// Every file that git knows or would take, with its text.
fn files() -> Vec<(String, String)> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists files");
    let names = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    let read = |name: &str| Some((name.to_owned(), fs::read_to_string(root().join(name)).ok()?));
    let files: Vec<_> = names.lines().filter_map(read).collect();
    assert!(files.len() > 50, "git lists the project's files");
    files
}

fn rust_files() -> impl Iterator<Item = (String, String)> {
    files().into_iter().filter(|(name, _)| name.ends_with(".rs"))
}

#[test]
fn files_hold_one_idea() {
    let long: Vec<_> = rust_files()
        .map(|(name, text)| (text.lines().count(), name))
        .filter(|(lines, _)| *lines > FILE_LINES_MAX)
        .collect();
    assert!(long.is_empty(), "longer than {FILE_LINES_MAX} lines, so the idea has split: {long:?}");
}

#[test]
fn modules_know_only_what_stands_before_them() {
    let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for (name, text) in rust_files() {
        let Some(path) = name.strip_prefix("host/src/") else { continue };
        let module = path.split(['/', '.']).next().expect("a first part");
        let Some(allowed) = allowed.get(module) else { continue };
        for (number, line) in text.lines().enumerate() {
            for used in
                line.split("crate::").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next())
            {
                let used = used.unwrap_or_default();
                if used != module && MAY_USE.iter().any(|(name, _)| *name == used) && !allowed.contains(&used) {
                    wrong.push(format!("{name}:{}: {module} must not know {used}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_wasm_module_names_wasmtime() {
    let named: Vec<_> = rust_files()
        .filter(|(name, text)| {
            name.starts_with("host/src/") && !name.starts_with("host/src/wasm/") && text.contains("wasmtime::")
        })
        .map(|(name, _)| name)
        .collect();
    assert!(named.is_empty(), "{named:?}");
}

#[test]
fn unsafe_code_lies_in_one_module() {
    let places: Vec<_> = rust_files()
        .filter(|(name, text)| name.starts_with("host/") && text.lines().any(|line| line.contains("allow(unsafe_code")))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(places, ["host/src/wasm/unchecked.rs"]);
}

#[test]
fn no_test_is_switched_off_and_nothing_is_left_open() {
    // Spelled in two halves, so that this file does not find itself.
    let banned = [
        ["#[ig", "nore"],
        ["#[should", "_panic"],
        ["todo", "!("],
        ["unimplemented", "!("],
        ["TO", "DO"],
        ["FIX", "ME"],
    ];
    let found: Vec<_> = rust_files()
        .flat_map(|(name, text)| {
            let hits: Vec<_> = banned.iter().map(|half| half.concat()).filter(|word| text.contains(word)).collect();
            hits.into_iter().map(move |word| format!("{name}: {word}"))
        })
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_top_level_is_fixed() {
    let allowed: BTreeSet<_> = ["host", "wit", "guests", "sdk-guest", "examples", "tests"].into_iter().collect();
    let folders: BTreeSet<_> = files()
        .iter()
        .filter_map(|(name, _)| name.split_once('/').map(|(folder, _)| folder.to_owned()))
        .filter(|folder| !folder.starts_with('.'))
        .collect();
    let other: Vec<_> = folders.iter().filter(|folder| !allowed.contains(folder.as_str())).collect();
    assert!(other.is_empty(), "{other:?}");
}

#[test]
fn every_guest_has_its_readme() {
    for entry in fs::read_dir(root().join("guests")).expect("guests/") {
        let folder = entry.expect("an entry").path();
        if folder.join("Cargo.toml").exists() {
            assert!(folder.join("README.md").exists(), "{} has no README.md", folder.display());
        }
    }
}

/// ARCHITECTURE.md names a test behind each invariant as `file.rs::test_name` or `module::tests::test_name`.
#[test]
fn every_invariant_names_a_test_that_exists() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let sources: String = rust_files().map(|(_, text)| text).collect();
    let mut invariants = 0;
    for line in text.lines().filter(|line| line.starts_with("| I")) {
        invariants += 1;
        let guards: Vec<_> = line.split('`').skip(1).step_by(2).filter(|name| name.contains("::")).collect();
        assert!(!guards.is_empty(), "no test guards: {line}");
        for guard in guards {
            let function = guard.rsplit("::").next().expect("a last part");
            assert!(sources.contains(&format!("fn {function}(")), "{guard} does not exist: {line}");
        }
    }
    assert!(invariants >= 10, "{invariants} invariants found");
}

/// Licences, sources and banned packages of everything in Cargo.lock.
#[test]
fn dependencies_follow_the_rules() {
    const LICENCES: &[&str] = &[
        "Apache-2.0",
        "MIT",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "Zlib",
        "Unicode-3.0",
        "CC0-1.0",
        "0BSD",
        "Unlicense",
        "Apache-2.0 WITH LLVM-exception",
        "MPL-2.0",
        "CDLA-Permissive-2.0",
        "MIT-0",
        "OpenSSL",
        "BSL-1.0",
    ];
    // Winch has had a sandbox escape; openssl and native-tls would be a second TLS stack; webpki has a successor.
    const BANNED: &[&str] = &["wasmtime-winch", "winch-codegen", "openssl-sys", "native-tls", "webpki", "serde_yml"];
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        let ours = package["source"].is_null();
        let source = package["source"].as_str().unwrap_or_default();
        if !ours && !source.starts_with("registry+") {
            wrong.push(format!("{name} comes from {source}"));
        }
        if BANNED.contains(&name) {
            wrong.push(format!("{name} is banned"));
        }
        let licence = package["license"].as_str().unwrap_or_default().replace('/', " OR ");
        let allowed = |one: &str| LICENCES.contains(&one.trim().trim_matches(['(', ')']));
        // Any of alternatives will do; of a conjunction each part must.
        let fits = licence.split(" OR ").any(|alternative| alternative.split(" AND ").all(allowed));
        if !fits {
            wrong.push(format!("{name}: licence {licence:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
