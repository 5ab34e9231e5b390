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
use crate::cli::{exit, report};
use crate::config::model::{Component, Config};
use crate::config::{self, Loaded};
use crate::control::Control;
use crate::control::watch::Watch;
use crate::engine::{DRAIN_DEFAULT, Engine, Surroundings};
use crate::wasm::Bundled;

/// Arguments of `run`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  sluicebox --config examples/quickstart/sluicebox.yaml --watch")]
pub struct RunArgs {
    /// The configuration file, in the Collector's format.
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// Change stages whenever the file, or a component that it names, changes. SIGHUP does it once.
    #[arg(long)]
    watch: bool,
    /// How long a stop waits for requests and queues.
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
    let surroundings = surroundings(args.workers, bundled);
    // Before anything is built of the files: what is written to them meanwhile is a change.
    let watch = match args.watch {
        true => Some(Watch::start(watched_files(&args.config, &loaded.config)).await),
        false => None,
    };
    let engine = match Engine::start(loaded.config.clone(), &surroundings).await {
        Ok(engine) => engine,
        Err(error) => {
            write!(std::io::stderr(), "{}", report::start_error(&loaded, &error))?;
            return Ok(ExitCode::from(report::start_exit_code(&error)));
        }
    };
    let addresses: Vec<_> = engine.addresses.iter().map(|(what, address)| (what.as_str(), *address)).collect();
    report::started(&mut std::io::stderr(), &loaded.config, &engine, &addresses, started.elapsed())?;
    tokio::select! {
        never = follow_file(&engine.control, &args.config, watch, &mut signals.hang_up) => match never {},
        _ = signals.interrupt.recv() => {}
        _ = signals.terminate.recv() => {}
    }
    tracing::info!("stopping: no more requests are let in");
    let deadline = Instant::now() + Duration::from_secs(args.drain_timeout);
    tokio::select! {
        () = engine.stop(deadline) => {}
        _ = signals.interrupt.recv() => tracing::warn!("stopped at once: what was queued is lost"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Brings the engine to what the file says, at each SIGHUP and each change that is watched.
async fn follow_file(
    control: &Arc<Control>,
    file: &Path,
    mut watch: Option<Watch>,
    hang_up: &mut Signal,
) -> Infallible {
    loop {
        tokio::select! {
            _ = hang_up.recv() => {}
            () = changed(watch.as_mut()) => {}
        }
        // Before the file is read: what is written while it is read is a change.
        if let Some(watch) = &mut watch {
            watch.seen_now().await;
        }
        reload(control, file, watch.as_mut()).await;
    }
}

async fn changed(watch: Option<&mut Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Both success and failure leave a line.
async fn reload(control: &Arc<Control>, file: &Path, watch: Option<&mut Watch>) {
    let path = file.to_path_buf();
    let Ok(loaded) = tokio::task::spawn_blocking(move || config::load(&path)).await else { return };
    let config = match loaded {
        Ok(loaded) => loaded.config,
        Err(report) => return tracing::error!("the changed file is not valid, nothing was changed\n{report}"),
    };
    // Before its components are read: what is written to them meanwhile is a change.
    if let Some(watch) = watch {
        watch.follow(watched_files(file, &config)).await;
    }
    match control.reload(config).await {
        Ok(swapped) if swapped.is_empty() => tracing::info!("the file was read again: no stage differs"),
        Ok(_) => {}
        Err(error) => tracing::error!("nothing was changed: {}", report::chain(&error)),
    }
}

/// The config file and the component files that it names.
fn watched_files(file: &Path, config: &Config) -> Vec<PathBuf> {
    let components = config.stages.iter().filter_map(|stage| match &stage.component {
        Component::File { path, .. } => Some(path.clone()),
        Component::Bundled(_) | Component::Uploaded(_) => None,
    });
    [file.to_path_buf()].into_iter().chain(components).collect()
}

/// What the machine and the environment give.
pub fn surroundings(workers: Option<NonZeroUsize>, bundled: &'static [Bundled]) -> Surroundings {
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Surroundings {
        bundled,
        cache: cache_dir(),
        state: token::default_state_dir(),
        workers: workers.map_or_else(cores, NonZeroUsize::get),
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
