//! Texts that people read, as files.

use crate::engine::workspace;

/// Compares with tests/cases/cli/`name`.txt; `BLESS=1` writes it instead.
///
/// # Panics
/// If they differ.
pub fn golden(name: &str, text: &str) {
    let file = workspace().join("tests/cases/cli").join(format!("{name}.txt"));
    if std::env::var_os("BLESS").is_some() {
        let written = std::fs::write(&file, text);
        assert!(written.is_ok(), "{}: {written:?}", file.display());
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, expected, "{} (BLESS=1 takes the new text)", file.display());
}
