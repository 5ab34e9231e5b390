//! `sluicebox run`: start, say what runs, serve, drain.

use std::convert::Infallible;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::token;
use crate::cli::{exit, report, stages};
use crate::config::model::Component;
use crate::config::{self, Loaded, Report};
use crate::control::watch::Watch;
use crate::control::who::Who;
use crate::control::{Control, SwapError};
use crate::engine::{DRAIN_DEFAULT, Engine, Surroundings};
use crate::wasm::Bundled;

/// Arguments of `run`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  sluicebox --config examples/quickstart/sluicebox.yaml --watch")]
pub struct RunArgs {
    /// The configuration file, in the Collector's format.
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// Bring the engine to what the file says whenever it, or one that it includes or names, changes. SIGHUP does it once.
    #[arg(long)]
    watch: bool,
    /// How long a stop waits for requests and queues, and what a change of the file replaces is given to finish.
    #[arg(long, value_name = "SECONDS", default_value_t = DRAIN_DEFAULT.as_secs())]
    drain_timeout: u64,
    /// Threads that run guest code; all cores unless set.
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
}

/// Runs until SIGINT or SIGTERM.
pub fn run(args: &RunArgs, bundled: &'static [Bundled]) -> anyhow::Result<ExitCode> {
    let mut err = std::io::stderr();
    let loaded = match config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(report) => {
            write!(err, "{report}")?;
            return Ok(ExitCode::from(exit::CONFIG));
        }
    };
    write!(err, "{}", loaded.report)?;
    crate::observe::log::start(loaded.config.log_level);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("io").build()?;
    let code = runtime.block_on(serve(args, bundled, loaded));
    // What did not end in its time, such as a compiler or a guest, is not waited for.
    runtime.shutdown_background();
    code
}

async fn serve(args: &RunArgs, bundled: &'static [Bundled], loaded: Loaded) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut signals = Signals::listen().context("signals cannot be handled")?;
    let surroundings = surroundings(args, bundled);
    // Before anything is built of the files: what is written to them meanwhile is a change.
    let watch = match args.watch {
        true => Some(Followed::start(&loaded).await),
        false => None,
    };
    let engine = match Engine::start(loaded.config.clone(), &surroundings).await {
        Ok(engine) => engine,
        Err(error) => {
            write!(std::io::stderr(), "{}", report::start_error(&loaded, &error))?;
            return Ok(ExitCode::from(report::start_exit_code(&error)));
        }
    };
    engine.control.follow(args.config.clone());
    let addresses: Vec<_> = engine.addresses.iter().map(|(what, address)| (what.as_str(), *address)).collect();
    report::started(&mut std::io::stderr(), &loaded.config, &engine, &addresses, started.elapsed())?;
    tokio::select! {
        never = follow_files(&engine.control, &args.config, watch, &mut signals.hang_up) => match never {},
        _ = signals.interrupt.recv() => {}
        _ = signals.terminate.recv() => {}
        () = engine.control.until_drain() => {}
    }
    tracing::info!("stopping: no more requests are let in");
    let deadline = Instant::now() + Duration::from_secs(args.drain_timeout);
    tokio::select! {
        () = engine.stop(deadline) => {}
        _ = signals.interrupt.recv() => tracing::warn!("stopped at once: what was queued is lost"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Brings the engine to what its files say, at each SIGHUP and each change that is watched.
async fn follow_files(
    control: &Arc<Control>,
    file: &Path,
    mut followed: Option<Followed>,
    hang_up: &mut Signal,
) -> Infallible {
    loop {
        let who = tokio::select! {
            _ = hang_up.recv() => Who::Signal,
            () = changed(followed.as_mut()) => Who::Watch,
        };
        // Before the files are read: what is written while they are read is a change.
        if let Some(followed) = &mut followed {
            followed.watch.seen_now().await;
        }
        reload(control, file, followed.as_mut(), who).await;
    }
}

async fn changed(followed: Option<&mut Followed>) {
    match followed {
        Some(followed) => followed.watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Both success and failure leave a line.
async fn reload(control: &Arc<Control>, file: &Path, mut followed: Option<&mut Followed>, who: Who) {
    loop {
        let (path, writes) = (file.to_path_buf(), control.writes());
        let Ok(loaded) = tokio::task::spawn_blocking(move || config::load(&path)).await else { return };
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(report) => {
                if let Some(followed) = followed {
                    followed.invalid(&report).await;
                }
                return tracing::error!("the changed file is not valid, nothing was changed\n{report}");
            }
        };
        // Before its components are read: what is written to them meanwhile is a change.
        if let Some(followed) = followed.as_deref_mut() {
            followed.valid(&loaded).await;
        }
        match control.apply_of(writes, loaded.config.clone(), false, who.clone()).await {
            // A swap that was under way has written it: each time round one has come to its end.
            Err(SwapError::Stale) => {}
            Ok(applied) if applied.is_empty() => return tracing::info!("the file was read again: nothing differs"),
            Ok(_) => return,
            Err(error) => {
                let (chain, place) = (report::chain(&error), in_own_file(&loaded, &error));
                return tracing::error!("nothing was changed: {chain}{place}");
            }
        }
    }
}

/// Where a stage's rules are that it refuses, if they are in a file of their own.
fn in_own_file(loaded: &Loaded, error: &SwapError) -> String {
    let stage = error.unbuilt().and_then(|stage| loaded.config.stages.iter().find(|known| known.name == stage));
    let stage = stage.filter(|stage| stages::has_own_file(stage));
    stage.map_or_else(String::new, |stage| {
        format!("\n  detail: its configuration is in {}", loaded.report.source_of(stage.config_place).name())
    })
}

/// What is watched.
struct Followed {
    watch: Watch,
    /// Files of the configuration that was last valid. They are watched beside those of one that is not, which may name fewer.
    valid: Vec<PathBuf>,
}

impl Followed {
    async fn start(loaded: &Loaded) -> Self {
        let valid = watched_files(loaded);
        Self { watch: Watch::start(valid.clone(), loaded.report.files().read()).await, valid }
    }

    async fn valid(&mut self, loaded: &Loaded) {
        self.valid = watched_files(loaded);
        self.watch.follow(self.valid.clone(), loaded.report.files().read()).await;
    }

    async fn invalid(&mut self, report: &Report) {
        let read = report.files().read();
        let more = read.keys().filter(|file| !self.valid.contains(file)).cloned();
        self.watch.follow(self.valid.iter().cloned().chain(more).collect(), read).await;
    }
}

/// The files that a configuration was read from, and the component files that it names.
fn watched_files(loaded: &Loaded) -> Vec<PathBuf> {
    let components = loaded.config.stages.iter().filter_map(|stage| match &stage.component {
        Component::File { path, .. } => Some(path.clone()),
        Component::Bundled(_) | Component::Uploaded(_) => None,
    });
    loaded.report.files().read().keys().cloned().chain(components).collect()
}

/// What the machine and the environment give.
fn surroundings(args: &RunArgs, bundled: &'static [Bundled]) -> Surroundings {
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Surroundings {
        bundled,
        cache: cache_dir(),
        state: token::default_state_dir(),
        workers: args.workers.map_or_else(cores, NonZeroUsize::get),
        drain: Duration::from_secs(args.drain_timeout),
    }
}

/// `$SLUICEBOX_CACHE_DIR`, `$XDG_CACHE_HOME/sluicebox` or `~/.cache/sluicebox`.
pub fn cache_dir() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("SLUICEBOX_CACHE_DIR")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("sluicebox")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/sluicebox")))
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}
