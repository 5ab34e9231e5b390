//! `sluicebox try`: what a component, a stage or a pipeline makes of requests, without serving anything.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::StatusCode;
use serde_json::Value;

use crate::admin::TryRequest;
use crate::cli::call::{Admin, Answered, post_json, wait};
use crate::cli::diff_view::{self, Colors};
use crate::cli::output::Output;
use crate::cli::{complain, exit, report, run, stages};
use crate::compare::case::{CASE_BYTES_MAX, Case};
use crate::config::model::{Component, Stage};
use crate::config::{self, Loaded, System};
use crate::engine::generation_spec;
use crate::json;
use crate::memory::Budget;
use crate::scratch::alone::Alone;
use crate::scratch::input::Input;
use crate::scratch::tried::Tried;
use crate::scratch::wanted::Wanted;
use crate::scratch::{self, Given, TryError};
use crate::signal::Signal;
use crate::wasm::{Bundled, Compiler, Runtime, RuntimeOptions};

/// Guests of a try are not charged to what serves.
const BYTES_MAX: u64 = 2 << 30;
/// Processors that are no components.
const ENGINES_OWN: [&str; 3] = ["batch", "memory_limiter", "wasm"];

/// Arguments of `try`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
SUBJECT is a component's file (X.wasm), the type of a bundled processor with its --config (filter), or a stage of a running engine \
(filter/health). Without it all stages of a pipeline of --config FILE are run. What waits in the engine does not wait here: tail samplers \
decide at once.

Exit codes: 0 done, 1 a stage failed, 3 a configuration or component is not valid, 4 the input is a case and something else came out than \
it expects, 5 no engine answers.

Examples:
  sluicebox try filter --config rules.yaml --input spans.json
  sluicebox try build/mine.wasm --input case.json
  sluicebox try --config engine.yaml --pipeline traces --input - < spans.ndjson
  sluicebox try redaction/pii --input logs.json --save case.json")]
pub struct TryArgs {
    /// What to try: X.wasm, a bundled processor, or a stage of a running engine.
    #[arg(value_name = "SUBJECT", required_unless_present_any = ["config", "pipeline"])]
    subject: Option<String>,
    /// OTLP/JSON requests, one behind the other, or a saved case; - is standard input.
    #[arg(long, short, value_name = "FILE")]
    input: PathBuf,
    /// With SUBJECT: its configuration (its block alone, YAML or JSON). Without: a whole configuration file.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which pipeline of the file, or of the engine without --config.
    #[arg(long, value_name = "NAME", conflicts_with = "subject")]
    pipeline: Option<String>,
    /// What to show.
    #[arg(long, value_enum, default_value_t)]
    show: Show,
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// Write a case with this input and what came out, which only you can read.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Let --save replace a file that is there.
    #[arg(long, requires = "save")]
    force: bool,
    #[command(flatten)]
    admin: Admin,
}

/// `--show`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Show {
    /// What each stage changed.
    #[default]
    Diff,
    /// What came out: OTLP/JSON, a request on a line.
    Out,
    /// Both.
    Both,
}

/// What is to be tried.
enum Subject<'a> {
    /// A stage or a pipeline of the engine.
    Live,
    /// A component's file.
    Component(&'a Path),
    /// The type of a bundled processor.
    Bundled(&'a str),
    /// A pipeline of a file.
    Pipeline(&'a Path),
}

/// Why there is nothing to show; it has been told.
type Told = Result<Tried, ExitCode>;

/// Tries and shows what came of it.
pub fn run(args: &TryArgs, bundled: &'static [Bundled], out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if let Some(file) = args.save.as_ref().filter(|file| !args.force && file.exists()) {
        let help = "name another file, or use --force";
        return Ok(refused("E0545", &format!("{} is there already", file.display()), &[], help, exit::FAILED));
    }
    let text = read(&args.input).with_context(|| format!("cannot read {}", args.input.display()))?;
    let input = match Input::parse(&text, None) {
        Ok(input) => input,
        Err(error) => {
            let help = "give OTLP/JSON requests of one signal, or a case that was saved";
            let error = format!("{}: {error}", args.input.display());
            return Ok(refused("E0545", &error, &[], help, exit::FAILED));
        }
    };
    let (config, case) = (args.config.as_deref(), input.case.clone());
    let requests = input.requests.clone();
    let tried = match subject(args) {
        Subject::Live => wait(ask(args, &text))?,
        Subject::Component(file) => component(file, config, input, bundled)?,
        Subject::Bundled(kind) => alone(Alone::Bundled(kind), config, input, &runtime(bundled)?)?,
        Subject::Pipeline(file) => match config::load(file) {
            Ok(loaded) => offline(&loaded, args.pipeline.as_deref(), input, runtime(bundled)?)?,
            Err(report) => Err(invalid(&report)),
        },
    };
    let tried = match tried {
        Ok(tried) => tried,
        Err(code) => return Ok(code),
    };
    print(args, &tried, out)?;
    if let Some(file) = &args.save {
        save(args, file, case, &requests, &tried)?;
    }
    let code = match &tried {
        tried if tried.differs() => exit::TESTS_FAILED,
        tried if tried.has_faults() || tried.is_late || !tried.refused.is_empty() => exit::FAILED,
        _ => 0,
    };
    Ok(ExitCode::from(code))
}

fn subject(args: &TryArgs) -> Subject<'_> {
    let Some(subject) = &args.subject else {
        return args.config.as_deref().map_or(Subject::Live, Subject::Pipeline);
    };
    let path = Path::new(subject);
    let mut processors = config::supported_components().filter(|(section, _)| *section == "processors");
    let mut is_bundled = || processors.any(|(_, types)| types.contains(&subject.as_str()));
    if subject.ends_with(".wasm") || path.is_file() {
        Subject::Component(path)
    } else if args.config.is_some() && !ENGINES_OWN.contains(&subject.as_str()) && is_bundled() {
        Subject::Bundled(subject)
    } else {
        Subject::Live
    }
}

/// Has the engine try it.
async fn ask(args: &TryArgs, text: &[u8]) -> anyhow::Result<Told> {
    let config = match args.config.as_deref().map(config::read_value).transpose() {
        Ok(config) => config,
        Err(report) => return Ok(Err(invalid(&report))),
    };
    // It was read before.
    let input = serde_json::Deserializer::from_slice(text).into_iter::<Value>().collect::<Result<_, _>>()?;
    let (stage, pipeline) = (args.subject.clone(), args.pipeline.clone());
    let request = TryRequest { stage, pipeline, config, input: Value::Array(input), ..TryRequest::default() };
    Ok(match post_json(&args.admin, "/v1/try", &request).await? {
        Answered::Yes(answer) => {
            Ok(serde_json::from_value(answer).context("the engine's answer is not of this version")?)
        }
        // The input was read here before, so it is the configuration.
        Answered::Refused(StatusCode::UNPROCESSABLE_ENTITY) => Err(ExitCode::from(exit::CONFIG)),
        Answered::Refused(_) => Err(ExitCode::from(exit::FAILED)),
        Answered::Unreachable => Err(ExitCode::from(exit::UNREACHABLE)),
    })
}

fn component(file: &Path, config: Option<&Path>, input: Input, bundled: &'static [Bundled]) -> anyhow::Result<Told> {
    let runtime = runtime(bundled)?;
    match runtime.describe(&Component::File { path: file.to_owned(), sha256: None }) {
        Ok(info) => {
            let file = std::path::absolute(file)?;
            alone(Alone::File(&file, &info), config, input, &runtime)
        }
        Err(error) => {
            let told = error.to_string();
            let causes: Vec<_> = report::causes(&error).filter(|cause| !told.contains(cause)).collect();
            let help = "name a component built for this engine; `sluicebox inspect FILE` shows what a file is";
            Ok(Err(refused("E0547", &told, &causes, help, exit::CONFIG)))
        }
    }
}

/// A component in a configuration of its own. Files that this names lie beside the file that it is in.
fn alone(subject: Alone<'_>, config: Option<&Path>, input: Input, runtime: &Arc<Runtime>) -> anyhow::Result<Told> {
    let directory = config.and_then(Path::parent).filter(|parent| !parent.as_os_str().is_empty());
    let directory = std::path::absolute(directory.unwrap_or(Path::new(".")))?;
    let config = match config.map(config::read_value).transpose() {
        Ok(config) => config,
        Err(report) => return Ok(Err(invalid(&report))),
    };
    match subject.configured(input.signal, config.as_ref(), &directory, &System) {
        Ok(loaded) => offline(&loaded, None, input, Arc::clone(runtime)),
        Err(report) => Ok(Err(invalid(&report))),
    }
}

/// In this process.
fn offline(loaded: &Loaded, pipeline: Option<&str>, input: Input, runtime: Arc<Runtime>) -> anyhow::Result<Told> {
    let wanted = match Wanted::pipeline(&loaded.config, pipeline, input.signal) {
        Ok(wanted) => wanted,
        Err(error) => {
            let help = "name a pipeline of the input's signal: --pipeline NAME";
            return Ok(Err(refused("E0546", &error.to_string(), &[], help, exit::FAILED)));
        }
    };
    let executor = tokio::runtime::Builder::new_current_thread().build()?;
    let build = move |stage: &Stage| runtime.build_generation(generation_spec(stage, 1, 0));
    let given = Given { build: Arc::new(build), budget: Budget::new(BYTES_MAX), runtime: executor.handle().clone() };
    match scratch::wait(given, wanted, input) {
        Ok(tried) => Ok(Ok(tried)),
        Err(TryError::Stage { stage, source }) => {
            Ok(Err(invalid(&loaded.report.clone().only(stages::problem(loaded, &stage, &source)))))
        }
        Err(error) => {
            let causes: Vec<_> = report::causes(&error).collect();
            Ok(Err(refused("E0549", &error.to_string(), &causes, "try less of it", exit::FAILED)))
        }
    }
}

fn runtime(bundled: &'static [Bundled]) -> anyhow::Result<Arc<Runtime>> {
    let options = RuntimeOptions {
        budget: Budget::new(BYTES_MAX),
        bundled,
        compiler: Compiler::this_executable(),
        cache_dir: run::cache_dir(),
    };
    Ok(Arc::new(Runtime::new(options)?))
}

fn print(args: &TryArgs, tried: &Tried, out: &mut dyn Write) -> io::Result<()> {
    if args.output == Output::Json {
        return writeln!(out, "{:#}", serde_json::to_value(tried).unwrap_or_default());
    }
    if args.show != Show::Out {
        diff_view::show(tried, Colors::of_stdout(), out)?;
    }
    if args.show != Show::Diff {
        // JSON escapes what is below a blank; what else steers a terminal is in texts only, and stays as it is for programs.
        tried.output.iter().try_for_each(|request| writeln!(out, "{request}"))?;
    }
    Ok(())
}

/// Requests that follow each other are one request.
fn save(args: &TryArgs, file: &Path, case: Option<Case>, requests: &[Bytes], tried: &Tried) -> anyhow::Result<()> {
    let known = Signal::ALL.into_iter().find(|signal| signal.as_str() == tried.signal);
    let signal = known.context("the engine's answer is not of this version")?;
    let output = |request: &Value| json::to_protobuf(signal, request.to_string().as_bytes());
    let expected = tried.output.iter().map(output).collect::<Result<Vec<_>, _>>()?.concat();
    let config = match args.config.as_deref().filter(|_| args.subject.is_some()).map(config::read_value) {
        Some(config) => Some(config.map_err(|report| anyhow::anyhow!("{report}"))?),
        None => case.as_ref().and_then(|case| case.config.clone()),
    };
    let stage = args.subject.clone().or_else(|| case.as_ref().and_then(|case| case.stage.clone()));
    let name = case.and_then(|case| case.name);
    let (input, expected) = (requests.concat().into(), Some(expected.into()));
    let text = Case { name, signal, stage, config, input, expected }.to_json()?;
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    let options = if args.force { options.create(true).truncate(true) } else { options.create_new(true) };
    let mut saved = options.open(file).with_context(|| format!("cannot write {}", file.display()))?;
    saved.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", file.display()))
}

/// At most what is read, and a byte that says that there is more.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let bytes_max = CASE_BYTES_MAX as u64 + 1;
    let mut text = Vec::new();
    if path == Path::new("-") {
        io::stdin().take(bytes_max).read_to_end(&mut text)?;
    } else {
        File::open(path)?.take(bytes_max).read_to_end(&mut text)?;
    }
    Ok(text)
}

fn invalid(report: &config::Report) -> ExitCode {
    complain(report.to_string().trim_end());
    ExitCode::from(exit::CONFIG)
}

fn refused(code: &str, error: &str, causes: &[String], help: &str, exit_code: u8) -> ExitCode {
    let causes: String = causes.iter().map(|cause| format!("\n  detail: {cause}")).collect();
    complain(&format!("error[{code}]: {error}{causes}\n  help:   {help}"));
    ExitCode::from(exit_code)
}
