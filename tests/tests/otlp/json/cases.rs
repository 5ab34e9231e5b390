//! Written by hand: `cases/otlp-json/<signal>-<name>.json` and, beside it, what a full decode makes of its protobuf, or why it is
//! refused. `BLESS=1` writes what is expected anew.

use std::path::Path;

use sluicebox::json::to_protobuf;
use sluicebox::signal::Signal;

use super::decoded;

#[test]
fn every_case_is_read_as_expected() {
    let bless = std::env::var_os("BLESS").is_some();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/otlp-json");
    let mut seen = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder).expect("is there") {
        let path = entry.expect("is readable").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        seen += 1;
        let name = path.file_stem().expect("has a name").to_string_lossy().into_owned();
        let signal = Signal::ALL.into_iter().find(|signal| name.starts_with(signal.as_str())).expect("names a signal");
        let text = match to_protobuf(signal, &std::fs::read(&path).expect("is readable")) {
            Ok(protobuf) => decoded(signal, &protobuf).expect("is well-formed").1,
            Err(error) => format!("{error}\n"),
        };
        let expected = path.with_extension("txt");
        if bless {
            std::fs::write(&expected, text).expect("is written");
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != text {
            wrong.push(format!("{name}:\n{text}"));
        }
    }
    assert!(seen >= 10, "{seen} cases");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
