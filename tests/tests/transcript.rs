//! README's transcript: `make run` in one terminal, and in another the commands as they are printed there, by a shell.
//!
//! What a command prints has to be what README shows, but for numbers, digests, mail addresses and the widths of columns; `...` stands for any
//! lines, and at the end of one for the rest of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sluicebox_tests::engine::{Process, binary, environment, workspace};

/// The engine compiles nothing in the demo; machines are slow.
const START_BOUND: Duration = Duration::from_secs(150);
const COMMAND_BOUND: Duration = Duration::from_secs(90);
const SECTION: &str = "## See what it does";

/// A command, and what README shows of its output.
struct Step {
    command: String,
    shown: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_shows_of_a_running_engine_is_what_is_printed() {
    let (demo_folder, folder) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
    let state = environment(folder.path());
    let mut command = Command::new(binary().expect("built"));
    // As `make run` starts it.
    command.args(["demo", "--config", "examples/quickstart/sluicebox.yaml"]).current_dir(workspace());
    command.envs(state.clone());
    let mut demo = Process::spawn(command, demo_folder).expect("starts");
    let mut shown = String::new();
    let is_up = |text: &str| text.contains("spans in 6, out 6");
    let end = tokio::time::Instant::now() + START_BOUND;
    while !is_up(&shown) {
        assert!(demo.alive() && tokio::time::Instant::now() < end, "{shown}\n{}", demo.stderr());
        tokio::time::sleep(Duration::from_millis(100)).await;
        shown = demo.stdout();
    }
    let admin = shown.lines().find_map(|line| line.trim().strip_prefix("admin ")).expect("it says where");
    let admin = admin.trim().trim_start_matches("http://").to_owned();
    std::os::unix::fs::symlink(workspace().join("examples"), folder.path().join("examples")).expect("linked");

    let steps = steps();
    assert!(steps.len() >= 8, "a transcript");
    for step in steps {
        let printed = run(&step.command, folder.path(), &admin, &state).await;
        let wrong = first_difference(&step.shown, &printed);
        assert!(
            wrong.is_none(),
            "$ {}\nREADME.md shows\n  {}\nwhich is not printed, or not there:\n{printed}",
            step.command,
            wrong.unwrap_or_default()
        );
    }
    assert!(demo.stop().expect("ends").success(), "{}", demo.stderr());
}

/// Of all `console` blocks of the section, in their order.
fn steps() -> Vec<Step> {
    let text = fs::read_to_string(workspace().join("README.md")).expect("README.md");
    let section = text.split(SECTION).nth(1).expect("the section").split("\n## ").next().expect("its text").to_owned();
    let mut steps: Vec<Step> = Vec::new();
    for block in section.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        for line in block.lines() {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step { command: command.to_owned(), shown: Vec::new() }),
                (None, Some(step)) => step.shown.push(line.to_owned()),
                (None, None) => panic!("output before the first command: {line}"),
            }
        }
    }
    steps
}

/// What it prints, both streams; a shell runs it, with the binary in its path.
async fn run(command: &str, folder: &Path, admin: &str, state: &[(&'static str, PathBuf)]) -> String {
    let bin = binary().expect("built").parent().expect("a folder").display().to_string();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap_or_default());
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", &format!("{{ {command}\n}} 2>&1")]).current_dir(folder);
    shell.envs(state.iter().cloned()).env("PATH", path).env("SLUICEBOX_ADMIN", admin).env("COLUMNS", "120");
    shell.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(COMMAND_BOUND, shell.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{command} did not end")).expect("runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The first shown line that is not printed at its place.
fn first_difference(shown: &[String], printed: &str) -> Option<String> {
    let mut printed = printed.lines().map(alike).filter(|line| !line.is_empty());
    let mut skips = false;
    for line in shown.iter().filter(|line| !line.trim().is_empty()) {
        if line.trim() == "..." {
            skips = true;
            continue;
        }
        let is_it = |printed: &String| match line.strip_suffix("...") {
            Some(beginning) => printed.starts_with(&alike(beginning)),
            None => *printed == alike(line),
        };
        let found =
            if skips { printed.any(|line| is_it(&line)) } else { printed.next().is_some_and(|line| is_it(&line)) };
        if !found {
            return Some(line.clone());
        }
        skips = false;
    }
    if skips { None } else { printed.next().map(|line| format!("(nothing more, but this is printed) {line}")) }
}

/// The line without what differs from run to run: numbers, ids and digests, widths.
fn alike(line: &str) -> String {
    let words = line.split(|c: char| c.is_whitespace() || "│|".contains(c)).filter(|word| !word.is_empty());
    let words = words.map(|word| {
        let is_hex = |text: &str| text.len() >= 8 && text.chars().all(|c| c.is_ascii_hexdigit());
        let parts = word.split_inclusive(|c: char| !c.is_alphanumeric() && c != '.');
        let part = |part: &str| {
            let text = part.trim_end_matches(|c: char| !c.is_alphanumeric());
            let rest = &part[text.len()..];
            let digits = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            match text {
                "" => part.to_owned(),
                _ if word.contains('@') => String::new(),
                text if is_hex(text) => format!("H{rest}"),
                text if digits.len() < text.len() => format!("N{digits}{rest}"),
                text => format!("{text}{rest}"),
            }
        };
        parts.map(part).collect::<String>()
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn lines_are_alike_but_for_numbers() {
    assert_eq!(alike("spans   12.5/s  sha256:3fd1f1c0c2a5 (gen 3)"), "spans N/s sha256:H (gen N)");
    assert_ne!(alike("dropped 3"), alike("kept 3"));
    assert_eq!(alike("placed by ada@example.com\""), alike("placed by linus@example.net\""));
    assert_eq!(first_difference(&["until ...".to_owned()], "until Sun, 22 Nov\n"), None);
    let shown = ["a 1".to_owned(), "...".to_owned(), "d 4".to_owned()];
    assert_eq!(first_difference(&shown, "a 2\nb\nc\nd 5\n"), None);
    assert_eq!(first_difference(&shown, "a 2\nb\n"), Some("d 4".to_owned()));
    assert_eq!(first_difference(&shown[..1], "a 2\nb\n").as_deref(), Some("(nothing more, but this is printed) b"));
}
