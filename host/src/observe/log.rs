//! The engine's own log: one line per event on stderr, levels by who must act.

use std::sync::OnceLock;

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// Sets the level of a log that was started.
static SET_LEVEL: OnceLock<Box<dyn Fn(Level) + Send + Sync>> = OnceLock::new();

/// Starts logging at `level`, unless `SLUICEBOX_LOG` says otherwise (directives as `RUST_LOG` has them). A second start changes nothing.
pub fn start(level: Level) {
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .with_env_filter(filter(level))
        .with_filter_reloading();
    let filter_now = subscriber.reload_handle();
    let subscriber = subscriber.finish();
    // Only tests start twice.
    if subscriber.try_init().is_ok() {
        // It fails only once the subscriber is gone, which is never.
        let _set = SET_LEVEL.set(Box::new(move |level| drop(filter_now.reload(filter(level)))));
    }
    // A panic is contained where it happens. Its text may quote telemetry, so only its place is told.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(place, thread = thread.name(), "internal error: a panic");
    }));
}

/// Another level from now on, unless `SLUICEBOX_LOG` says otherwise.
pub fn set_level(level: Level) {
    if let Some(set) = SET_LEVEL.get() {
        set(level);
    }
}

fn filter(level: Level) -> EnvFilter {
    let level = format!("{},wasmtime=warn,cranelift=warn,hyper=warn,h2=warn", level.as_str().to_lowercase());
    EnvFilter::try_from_env("SLUICEBOX_LOG").unwrap_or_else(|_| EnvFilter::new(level))
}
