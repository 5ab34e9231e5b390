//! `sluicebox validate`: what a start would say, without starting.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::output::{EXIT_INVALID, EXIT_OK, Output};
use crate::config::code::Severity;
use crate::config::{self, Loaded, Problem, Report};

/// Arguments of `validate`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  sluicebox validate --config sluicebox.yaml --deny-warnings")]
pub struct ValidateArgs {
    /// The configuration file
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
    /// How to print what is found
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
    /// Treat warnings as errors
    #[arg(long)]
    pub deny_warnings: bool,
}

/// Checks a file, then its components through `components`, which loads and configures each as a start would and returns what
/// it finds; it is called only if the file itself has no errors. Returns the exit code; an error is `out`'s alone.
pub fn validate(
    args: &ValidateArgs,
    components: impl FnOnce(&Loaded) -> Vec<Problem>,
    out: &mut dyn Write,
) -> io::Result<u8> {
    let (report, summary) = match config::load(&args.config) {
        Err(report) => (report, None),
        Ok(loaded) => {
            let more = components(&loaded);
            let summary = Summary::of(&loaded);
            (loaded.report.extend(more), Some(summary))
        }
    };
    let fails = report.has_errors() || (args.deny_warnings && report.count(Severity::Warning) > 0);
    match args.output {
        Output::Human => print_human(&report, summary.filter(|_| !fails), out)?,
        Output::Json => {
            let mut document = report.to_json();
            document["valid"] = json!(!fails);
            document["digest"] = json!(summary.map(|summary| summary.digest));
            writeln!(out, "{document:#}")?;
        }
    }
    Ok(if fails { EXIT_INVALID } else { EXIT_OK })
}

struct Summary {
    digest: String,
    line: String,
}

impl Summary {
    fn of(loaded: &Loaded) -> Self {
        let config = &loaded.config;
        let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let parts = [
            count(config.pipelines.len(), "pipeline"),
            count(config.receivers.len(), "receiver"),
            count(config.stages.len(), "stage"),
            count(config.exporters.len(), "exporter"),
        ];
        Self { digest: loaded.digest.clone(), line: parts.join(", ") }
    }
}

fn print_human(report: &Report, valid: Option<Summary>, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{report}")?;
    if let Some(summary) = valid {
        writeln!(out, "{}: valid: {} (sha256:{})", report.source().name(), summary.line, summary.digest)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::code::Code;

    const VALID: &str = "receivers: {otlp: {protocols: {grpc: }}}\nprocessors:\n  wasm/a: {component: a.wasm}\n\
                         exporters: {debug: }\nservice: {pipelines: {logs: {receivers: [otlp], processors: [wasm/a], exporters: [debug]}}}\n";

    fn run(text: &str, flags: &[&str], components: impl FnOnce(&Loaded) -> Vec<Problem>) -> (u8, String) {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: ValidateArgs,
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, text).unwrap();
        let line = ["validate", "--config", path.to_str().unwrap()].into_iter().chain(flags.iter().copied());
        let args = <Cli as clap::Parser>::parse_from(line).args;
        let mut out = Vec::new();
        let exit = validate(&args, components, &mut out).unwrap();
        (exit, String::from_utf8(out).unwrap().replace(path.to_str().unwrap(), "config.yaml"))
    }

    #[test]
    fn a_valid_file_is_summed_up() {
        let (exit, text) = run(VALID, &[], |_| Vec::new());
        assert_eq!(exit, EXIT_OK);
        assert!(text.starts_with("config.yaml: valid: 1 pipeline, 1 receiver, 1 stage, 1 exporter (sha256:"), "{text}");
    }

    #[test]
    fn an_invalid_file_exits_3_and_loads_no_component() {
        let (exit, text) = run("receivers: 5\n", &["--output", "json"], |_| panic!("a component was loaded"));
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((exit, &document["valid"], &document["digest"]), (EXIT_INVALID, &json!(false), &json!(null)));
        assert_eq!(document["errors"], 2);
    }

    #[test]
    fn what_components_say_is_part_of_the_report() {
        let refuse = |loaded: &Loaded| {
            let stage = &loaded.config.stages[0];
            let place = loaded.report.source().line_place(stage.place.line);
            vec![Problem::new(Code::Component, place, "processor \"wasm/a\" cannot be loaded", "build it")]
        };
        let (exit, text) = run(VALID, &[], refuse);
        assert_eq!(exit, EXIT_INVALID);
        let expected = "error[E0310]: processor \"wasm/a\" cannot be loaded\n  --> config.yaml:3:3\n   |  3 |   wasm/a: {component: a.wasm}\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(!text.contains("valid:"), "{text}");
    }

    #[test]
    fn warnings_fail_only_if_denied() {
        let text = VALID.replace("debug: }", "debug: , debug/b: }");
        assert_eq!(run(&text, &[], |_| Vec::new()).0, EXIT_OK);
        let (exit, text) = run(&text, &["--deny-warnings"], |_| Vec::new());
        assert_eq!(exit, EXIT_INVALID);
        assert!(text.starts_with("warning[W0601]") && !text.contains("valid:"), "{text}");
    }
}
