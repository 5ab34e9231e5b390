//! The official Python SDK and stubs on both sides of the engine; the work is in tests/python/e2e.py.

use std::process::Command;

use sluicebox_tests::engine::{binary, workspace};

#[test]
fn what_the_python_sdk_sends_arrives_unchanged_but_for_what_is_filtered() {
    let python = workspace().join("target/venv/bin/python");
    let make = "python3 -m venv target/venv && target/venv/bin/pip install -r tests/python/requirements.txt";
    assert!(python.is_file(), "{} is missing; make it with: {make}", python.display());
    let output = Command::new(python)
        .arg(workspace().join("tests/python/e2e.py"))
        .env("SLUICEBOX_BIN", binary().unwrap())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("everything that had to arrive arrived unchanged"), "{out}{err}");
}
