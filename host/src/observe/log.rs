//! The engine's own log: one line per event on stderr, levels by who must act.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging at `level`, unless `SLUICEBOX_LOG` says otherwise (directives as `RUST_LOG` has them). A second start changes nothing.
pub fn start(level: tracing::Level) {
    let level = format!("{},wasmtime=warn,cranelift=warn,hyper=warn,h2=warn", level.as_str().to_lowercase());
    let filter = EnvFilter::try_from_env("SLUICEBOX_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .with_env_filter(filter)
        .finish();
    // Only tests start twice.
    let _already_started = subscriber.try_init();
    // A panic is contained where it happens. Its text may quote telemetry, so only its place is told.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(place, thread = thread.name(), "internal error: a panic");
    }));
}
