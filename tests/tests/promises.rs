//! Surfaces that others build on: a change shows as a changed golden file, to be made deliberately.

use sluicebox::observe::metrics::Metrics;
use sluicebox_tests::engine::workspace;

/// Names, types and meanings of all metrics.
#[test]
fn metrics_are_what_was_promised() {
    let described: Vec<_> =
        Metrics::new().text().lines().filter(|line| line.starts_with("# ")).map(str::to_owned).collect();
    let text = described.join("\n") + "\n";
    let file = workspace().join("tests/cases/metrics.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, expected, "{} (BLESS=1 takes the new text)", file.display());
}
