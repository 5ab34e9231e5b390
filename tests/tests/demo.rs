//! `sluicebox demo`, as `make run` starts it, for some seconds.

use std::process::Command;
use std::time::{Duration, Instant};

use sluicebox_tests::engine::{Process, binary, workspace};

#[tokio::test]
async fn the_demo_shows_what_is_dropped_and_ends_its_processes() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary().unwrap());
    command.current_dir(workspace()).args(["demo", "--for", "8s"]);
    let mut demo = Process::spawn(command, directory).unwrap();

    // Eight seconds, the engine's start, the drain.
    let end = Instant::now() + Duration::from_secs(150);
    while demo.alive() {
        assert!(Instant::now() < end, "the demo did not end:\n{}\n{}", demo.stdout(), demo.stderr());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let shown = demo.stdout();
    assert!(demo.stop().unwrap().success(), "{shown}\n{}", demo.stderr());
    // The rule, and its example: a health check that does not arrive, an order that does, whole.
    assert!(shown.contains("a health check, trace "), "{shown}");
    assert!(shown.contains("spans in 1, out 0"), "{shown}");
    assert!(shown.contains("spans in 6, out 6"), "{shown}");
    let last = shown.split("\nEnd:\n").nth(1).unwrap();
    for expected in ["spans: ", "data points: ", "log records: ", "dropped by filter/health", "dropped by filter/debug"]
    {
        assert!(last.contains(expected), "{expected}: {shown}");
    }
    let line = shown.lines().find(|line| line.trim_start().starts_with("processes")).unwrap();
    let ids: Vec<u32> = line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    assert_eq!(ids.len(), 2, "{line}");
    for id in ids {
        assert!(!std::path::Path::new(&format!("/proc/{id}")).exists(), "process {id} is left: {line}");
    }
}
