//! Every message of the validator, as golden files: `cases/config/<name>/{config.yaml, env.txt, expected.txt}`, and what the file names.
//! `BLESS=1 cargo test --release -p sluicebox-tests --test config_cases` writes what is expected anew.

#![allow(clippy::unwrap_used, reason = "a test without its files fails")]

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use sluicebox::config::{self, Environment, Loaded, Report, code::Code};

/// Codes that need more than texts to come about: large or many files, or a component to load. Unit tests cover them.
const NEED_MORE: [Code; 5] = [Code::TooLarge, Code::NotText, Code::TooManyFiles, Code::Component, Code::Ungranted];
/// Where the files of a case seem to be.
const FOLDER: &str = "conf.d";

/// Scenario: each case's file is loaded with its variables.
/// Guarantees: the report, or the valid configuration and its warnings, is exactly what the case expects; each code of the
/// table has a case; each place lies within the file.
#[test]
fn every_case_gives_what_it_expects() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    let cases = cases();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    for case in cases {
        let text = std::fs::read_to_string(case.join("config.yaml")).unwrap();
        let outcome = config::load_text("config.yaml".into(), text, Path::new(FOLDER), &Surroundings::of(&case));
        let report = match &outcome {
            Ok(loaded) => &loaded.report,
            Err(report) => report,
        };
        assert_eq!(report.has_errors(), outcome.is_err(), "{}", case.display());
        seen.extend(report.problems().iter().map(|problem| problem.code));
        assert_places_are_inside(report, &case);
        let rendered = render(&outcome);
        let expected = case.join("expected.txt");
        if bless {
            std::fs::write(&expected, rendered).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != rendered {
            wrong.push(format!("{}:\n{rendered}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ from expected.txt\n{}", wrong.len(), wrong.join("\n"));
    let unseen: Vec<_> = Code::ALL.iter().filter(|code| !seen.contains(code) && !NEED_MORE.contains(code)).collect();
    assert!(unseen.is_empty(), "no case gives {unseen:?}");
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/config");
    let mut cases: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn render(outcome: &Result<Loaded, Report>) -> String {
    let loaded = match outcome {
        Err(report) => return report.to_string(),
        Ok(loaded) => loaded,
    };
    let config = &loaded.config;
    let mut out = loaded.report.to_string();
    if !out.is_empty() {
        out.push('\n');
    }
    let mut line = |part: &dyn std::fmt::Debug| writeln!(out, "{part:?}").unwrap();
    config.receivers.iter().for_each(|part| line(part));
    config.stages.iter().for_each(|part| line(part));
    config.exporters.iter().for_each(|part| line(part));
    config.pipelines.iter().for_each(|part| line(part));
    config.health_checks.iter().for_each(|part| line(part));
    config.dead_letter.iter().for_each(|part| line(&(&part.path, part.bytes_max, part.payload)));
    let (metrics, admin) = (config.metrics_address, config.admin.address);
    writeln!(out, "memory {:?}, metrics {metrics:?}, admin {admin}, log level {}", config.memory, config.log_level)
        .unwrap();
    out
}

fn assert_places_are_inside(report: &Report, case: &Path) {
    for problem in report.problems() {
        let Some(place) = problem.place else { continue };
        let source = report.source_of(place);
        let line = source.line(place.line);
        let width = u32::try_from(line.chars().count()).unwrap();
        assert!((1..=source.lines()).contains(&place.line), "{}: {problem:?}", case.display());
        assert!((1..=width + 1).contains(&place.column), "{}: {problem:?}", case.display());
        assert!((place.column..=width + 1).contains(&place.end_column), "{}: {problem:?}", case.display());
    }
}

/// `env.txt`: NAME=value lines. Two host names resolve, no other. Files are those of the case's folder.
struct Surroundings {
    variables: HashMap<String, String>,
    case: PathBuf,
}

impl Surroundings {
    fn of(case: &Path) -> Self {
        let text = std::fs::read_to_string(case.join("env.txt")).unwrap_or_default();
        let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { variables: text.lines().filter_map(pair).collect(), case: case.to_owned() }
    }
}

impl Environment for Surroundings {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn resolve(&self, host: &str, port: u16) -> Option<SocketAddr> {
        match host {
            "localhost" => Some(SocketAddr::from(([127, 0, 0, 1], port))),
            "collector.test" => Some(SocketAddr::from(([192, 0, 2, 7], port))),
            _ => None,
        }
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let path = self.canonical(path);
        let path = path.strip_prefix(FOLDER).map_err(|_| io::ErrorKind::NotFound)?;
        let bytes = std::fs::read(self.case.join(path))?;
        Ok(bytes.into_iter().take(usize::try_from(bytes_max).unwrap()).collect())
    }

    fn canonical(&self, path: &Path) -> PathBuf {
        let step = |mut canonical: PathBuf, part: Component<'_>| {
            match part {
                Component::ParentDir => drop(canonical.pop()),
                part => canonical.push(part),
            }
            canonical
        };
        path.components().fold(PathBuf::new(), step)
    }
}
