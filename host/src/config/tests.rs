use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::code::Code;
use super::*;

struct Fixed;

impl Environment for Fixed {
    fn variable(&self, name: &str) -> Option<String> {
        (name.len() == 1).then(|| name.repeat(5))
    }

    fn resolve(&self, host: &str, port: u16) -> Option<SocketAddr> {
        (host == "localhost").then(|| SocketAddr::from(([127, 0, 0, 1], port)))
    }
}

fn report_of(text: &str) -> Report {
    match load_text("test.yaml".into(), text.into(), Path::new("dir"), &Fixed) {
        Ok(loaded) => loaded.report,
        Err(report) => report,
    }
}

/// Every place within the file; both forms of the report can be made.
fn assert_sound(report: &Report) {
    for place in report.problems().iter().filter_map(|problem| problem.place) {
        let width = u32::try_from(report.source().line(place.line).chars().count()).unwrap();
        assert!((1..=report.source().lines()).contains(&place.line), "{place:?}");
        assert!(place.column >= 1 && place.column <= place.end_column && place.end_column <= width + 1, "{place:?}");
    }
    let problems = report.to_json()["problems"].as_array().unwrap().len();
    assert_eq!(problems, report.problems().len());
    assert_eq!(report.to_string().is_empty(), problems == 0);
}

/// Lines that look like a configuration, so that checks behind the parser are reached.
fn yaml_like() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "receivers",
        "processors",
        "exporters",
        "service",
        "pipelines",
        "traces",
        "otlp",
        "protocols",
        "grpc",
        "http",
        "endpoint",
        "batch",
        "timeout",
        "wasm/a",
        "tail_sampling",
        "policies",
        "and_sub_policy",
        "component",
        "config",
        "headers",
        "tls",
        "debug",
        "memory_limiter",
        "limit_mib",
        "telemetry",
        "metrics",
        "readers",
        "pull",
        "admin",
        "address",
        "<<",
    ]);
    let values = prop::sample::select(vec![
        "",
        "5s",
        "-1",
        "1e99",
        "[otlp]",
        "[{name: a, component: b}, {name: c}, 5]",
        "{a: b}",
        "${A}",
        "\"${env:B:-x}\"",
        "$${",
        "${",
        "*a",
        "&a {x: *a}",
        "&a 5",
        "localhost:1",
        "http://é@x",
        "|\n  é ${NO}",
        ".nan",
        "'",
        "\t",
        "\u{7}",
        "[[",
        "!!int x",
        "null",
        "true",
    ]);
    let line =
        (0usize..6, words, values).prop_map(|(indent, key, value)| format!("{}{key}: {value}", " ".repeat(indent * 2)));
    prop::collection::vec(line, 0..20).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "\\PC*|[ \\t\\r\\n:{}\\[\\]&*!|>'\"%@`$#a-c0\u{feff}é-]{0,200}") {
        assert_sound(&report_of(&text));
    }

    #[test]
    fn no_configuration_panics(text in yaml_like()) {
        assert_sound(&report_of(&text));
    }

    #[test]
    fn no_change_of_a_valid_configuration_panics(at in 0usize..2000, cut in 0usize..40, text in ".{0,5}") {
        let valid = [
            include_str!("../../../tests/cases/config/ok-everything/config.yaml"),
            include_str!("../../../tests/cases/config/ok-tail-sampling/config.yaml"),
        ][at % 2];
        let floor = |mut at: usize| { at = at.min(valid.len()); while !valid.is_char_boundary(at) { at -= 1; } at };
        let (start, end) = (floor(at), floor(at + cut));
        assert_sound(&report_of(&format!("{}{text}{}", &valid[..start], &valid[end..])));
    }
}

#[test]
fn files_are_read_within_limits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let code = |path: &Path| load_in(path, &Fixed).unwrap_err().problems()[0].code;
    assert_eq!(code(&path), Code::Unreadable);
    std::fs::write(&path, b"receivers:\n  caf\xe9:\n").unwrap();
    let report = load_in(&path, &Fixed).unwrap_err();
    assert_eq!(report.problems()[0].code, Code::NotText);
    assert_eq!(report.problems()[0].place, Some(Place { file: 0, line: 2, column: 6, end_column: 6 }));
    std::fs::write(&path, "#".repeat(usize::try_from(FILE_BYTES_MAX).unwrap())).unwrap();
    assert_eq!(code(&path), Code::Empty);
    std::fs::write(&path, "#".repeat(usize::try_from(FILE_BYTES_MAX).unwrap() + 1)).unwrap();
    assert_eq!(code(&path), Code::TooLarge);
}

#[test]
fn paths_start_at_the_file_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let text = "receivers: {otlp: {protocols: {grpc: }}}\nprocessors: {wasm/a: {component: sub/a.wasm}}\nexporters: {debug: }\n\
                service: {pipelines: {logs: {receivers: [otlp], processors: [wasm/a], exporters: [debug]}}}\n";
    std::fs::write(&path, text).unwrap();
    let loaded = load(&path).unwrap();
    let expected = model::Component::File { path: folder.path().join("sub/a.wasm"), sha256: None };
    assert_eq!(loaded.config.stages[0].component, expected);
    assert_eq!(loaded.digest.len(), 64);
    assert_eq!(loaded.report.problems(), []);
}

/// A component, a file of keys and an included file: each is found from the file that names it.
#[test]
fn paths_of_an_included_file_start_there() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    std::fs::create_dir(at("sub")).unwrap();
    let text = "receivers: {otlp: {protocols: {grpc: }}}\nprocessors: ${file:sub/processors.yaml}\nexporters: {debug: }\n\
                service: {pipelines: {logs: {receivers: [otlp], processors: [wasm/a], exporters: [debug]}}}\n";
    std::fs::write(at("config.yaml"), text).unwrap();
    let processors = "wasm/a: {component: a.wasm, keys: {pii: {file: pii.key}}, config: \"${file:rules.yaml}\"}\n";
    std::fs::write(at("sub/processors.yaml"), processors).unwrap();
    std::fs::write(at("sub/rules.yaml"), "x: 1\n").unwrap();
    // Not UTF-8, and a line break of its own before the last one.
    std::fs::write(at("sub/pii.key"), b"\xff0123456789abcd\n\n").unwrap();
    let loaded = load(&at("config.yaml")).unwrap();
    let stage = &loaded.config.stages[0];
    assert_eq!(stage.component, model::Component::File { path: at("sub/a.wasm"), sha256: None });
    assert_eq!(stage.config, r#"{"x":1}"#);
    assert_eq!(stage.keys, [("pii".to_owned(), model::Secret::new(&b"\xff0123456789abcd\n"[..]))]);
    assert_eq!(loaded.report.source_of(stage.place).name(), at("sub/processors.yaml").display().to_string());
    assert_eq!(loaded.report.source_of(stage.config_place).name(), at("sub/rules.yaml").display().to_string());
    let files: Vec<_> = loaded.report.files().read().keys().cloned().collect();
    let expected = ["config.yaml", "sub/pii.key", "sub/processors.yaml", "sub/rules.yaml"];
    assert_eq!(files, expected.map(at));
    assert!(!format!("{loaded:?}").contains("0123456789"), "a key is not printed");
}

#[test]
fn a_value_of_its_own_is_read_with_what_it_includes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    std::fs::write(at("value.yaml"), "a: ${file:more.yaml}\n").unwrap();
    std::fs::write(at("more.yaml"), "[1, x]\n").unwrap();
    assert_eq!(read_value(&at("value.yaml")).unwrap(), serde_json::json!({"a": [1, "x"]}));
    std::fs::write(at("more.yaml"), "[1\n").unwrap();
    let report = read_value(&at("value.yaml")).unwrap_err().to_string();
    assert!(report.contains(&format!("--> {}:2:1", at("more.yaml").display())), "{report}");
}

#[test]
fn codes_are_unique_and_tell_their_severity() {
    let mut texts: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    for code in Code::ALL {
        assert_eq!(code.as_str().starts_with('W'), code.severity() == code::Severity::Warning);
    }
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), Code::ALL.len());
}

#[test]
fn json_has_every_field() {
    let report =
        report_of("service: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}\nreceivers: {otlp: 5}\n");
    let json = report.to_json();
    assert_eq!(json["errors"], 3);
    let first = &json["problems"][0];
    assert_eq!(first["code"], "E0203");
    assert_eq!(first["severity"], "error");
    assert_eq!(
        (first["file"].as_str(), first["line"].as_u64(), first["column"].as_u64()),
        (Some("test.yaml"), Some(1), Some(63))
    );
    assert!(first["message"].is_string() && first["help"].is_string() && first["detail"].is_null());
}
