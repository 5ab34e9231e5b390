//! The format of cases.

use serde_json::json;

use super::case::{CASES_MAX, Case, LIST_BYTES_MAX, Mismatch};
use super::*;

fn log(text: &str) -> Flat {
    Flat { resource: 0, tier: "t".to_owned(), text: text.to_owned(), attributes: Vec::new() }
}

fn case() -> Case {
    Case {
        name: Some("emails".to_owned()),
        signal: Signal::Logs,
        stage: Some("redaction/pii".to_owned()),
        config: Some(json!({"blocked_values": ["@"]})),
        input: encode(Signal::Logs, &[log("a@b"), log("b")]),
        expected: Some(encode(Signal::Logs, &[log("***"), log("b")])),
    }
}

#[test]
fn what_is_written_is_read() {
    for signal in Signal::ALL {
        let input = encode(signal, &[log("x"), log("y")]);
        let case = Case { signal, expected: None, config: None, name: None, stage: None, input };
        let text = case.to_json().expect("it can be written");
        same(Case::parse(text.as_bytes()).expect("it can be read"), &case);
    }
    let text = case().to_json().expect("it can be written");
    same(Case::parse(text.as_bytes()).expect("it can be read"), &case());
    let list = Case::parse_list(format!("[{text},{text}]").as_bytes()).expect("it can be read");
    assert_eq!(list.len(), 2);
    list.into_iter().for_each(|read| same(read, &case()));
}

/// Fields of messages may come in another order.
fn same(read: Case, case: &Case) {
    let records_of = |bodies: &[Bytes]| records(case.signal, bodies).expect("it can be read");
    assert_eq!(records_of(std::slice::from_ref(&read.input)), records_of(std::slice::from_ref(&case.input)));
    assert_eq!(records_of(read.expected.as_slice()), records_of(case.expected.as_slice()));
    assert_eq!(read.expected.is_some(), case.expected.is_some());
    assert_eq!(Case { input: case.input.clone(), expected: case.expected.clone(), ..read }, *case);
}

#[test]
fn what_differs_is_told_by_record_and_field() {
    let mismatches = |left: &[Flat]| case().mismatches(&[encode(Signal::Logs, left)]).expect("it can be read");
    assert_eq!(mismatches(&[log("***"), log("b")]), []);
    assert_eq!(mismatches(&[log("***")]), [Mismatch::Records { expected: 2, found: 1 }]);
    let change = Change { path: "log.body".to_owned(), before: Some(json!("b")), after: Some(json!("c")) };
    assert_eq!(mismatches(&[log("***"), log("c")]), [Mismatch::Field { record: 1, change }]);
    assert_eq!(case().mismatches(&[]).expect("nothing is left"), [Mismatch::Records { expected: 2, found: 0 }]);
    let any = Case { expected: None, ..case() };
    assert_eq!(any.mismatches(&[]).expect("nothing is expected"), []);
}

#[test]
fn errors_say_where() {
    let of = |text: &str| Case::parse(text.as_bytes()).expect_err(text).to_string();
    let with = |input: &str| format!(r#"{{"sluicebox_case": 1, "signal": "logs", "input": {input}}}"#);
    assert!(of("{\n  nope").contains("line 2 column 3"), "{}", of("{\n  nope"));
    assert!(of(&with("{}").replace("signal", "signals")).contains("unknown field `signals`"));
    assert!(of(&with("{}").replace("_case\": 1", "_case\": 2")).contains("`sluicebox_case` is 2"));
    assert!(of(&with("{}").replace("logs", "log")).contains("not \"log\""));
    let wrong = r#"{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"traceId": "xyz"}]}]}]}"#;
    let said = of(&with(wrong));
    assert!(said.contains("`input` is not an OTLP request of logs"), "{said}");
    assert!(said.contains("resourceLogs[0].scopeLogs[0].logRecords[0].traceId must be"), "{said}");
    assert!(of(&with("[]")).ends_with("the body must be an object"), "{}", of(&with("[]")));

    let list = format!("[{}, {}]", with("{}"), with("3").replace("\"signal\"", "\"name\": \"second\", \"signal\""));
    let said = Case::parse_list(list.as_bytes()).expect_err("the second is wrong").to_string();
    assert!(said.starts_with("case 2 (\"second\"): `input`"), "{said}");
}

#[test]
fn lists_are_bounded() {
    let one = r#"{"sluicebox_case":1,"signal":"logs","input":{}}"#;
    let many = |count| format!("[{}]", vec![one; count].join(","));
    assert_eq!(Case::parse_list(many(CASES_MAX).as_bytes()).expect("as many as there may be").len(), CASES_MAX);
    let said = Case::parse_list(many(CASES_MAX + 1).as_bytes()).expect_err("one too many").to_string();
    assert!(said.starts_with("65 cases"), "{said}");
    let long = vec![b' '; LIST_BYTES_MAX + 1];
    assert!(Case::parse_list(&long).expect_err("too long").to_string().starts_with("262145 bytes"));
}
