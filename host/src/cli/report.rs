//! What people read when the engine starts, or does not.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use crate::cli::{exit, stages};
use crate::config::Loaded;
use crate::config::model::{Component, Config, Exporter};
use crate::engine::{Engine, StartError};

/// The few lines that say what runs and what it promises.
pub fn started(
    err: &mut dyn Write,
    config: &Config,
    engine: &Engine,
    addresses: &[(&str, SocketAddr)],
    took: Duration,
) -> std::io::Result<()> {
    writeln!(err, "sluicebox {} accepts telemetry after {} ms", env!("CARGO_PKG_VERSION"), took.as_millis())?;
    for (what, address) in addresses {
        writeln!(err, "  {what:<22} {address}")?;
    }
    let waits = |exporter: &Exporter| exporter.queue.wait_for_result || !exporter.queue.enabled;
    let acknowledged = match config.exporters.iter().filter(|exporter| waits(exporter)).count() {
        0 => "when it is in every exporter's queue; a crash loses what is queued",
        some if some < config.exporters.len() => {
            "when the exporters with wait_for_result have sent it; a crash loses what the others have queued"
        }
        _ => "when the exporters have sent it (wait_for_result); a crash loses nothing acknowledged",
    };
    writeln!(err, "  {:<22} {acknowledged}", "acknowledged")?;
    if !engine.tail.is_empty() {
        let sampled = "in a pipeline that samples: when the sampler holds it; a crash loses what waits for a decision";
        writeln!(err, "  {:<22} {sampled}", "")?;
    }
    writeln!(err, "  {:<22} {}; past it senders are told to retry", "byte budget", engine.limit)?;
    let (maxima, overcommitted) = &engine.maxima;
    writeln!(err, "  {:<22} {maxima}", "sum of maxima")?;
    if let Some(overcommitted) = overcommitted {
        writeln!(err, "  {:<22} {overcommitted}", "warning")?;
    }
    let queue_mib = engine.limit.queue_bytes(config.exporters.len()) >> 20;
    for exporter in &config.exporters {
        writeln!(err, "  {:<22} {}", format!("exporter {}", exporter.name), promise(exporter, queue_mib))?;
    }
    for bounds in &engine.tail {
        let what = format!("sampler {}", bounds.sampler);
        writeln!(err, "  {what:<22} in pipeline {}: {bounds}", bounds.pipeline)?;
    }
    for serving in engine.control.serving() {
        let known = config.stages.iter().find(|stage| stage.name == serving.stage);
        let origin = known.map(|stage| match &stage.component {
            Component::Bundled(name) => format!("bundled {name}"),
            Component::File { path, .. } => path.display().to_string(),
            Component::Uploaded(_) => "uploaded".to_owned(),
        });
        let (stage, version) = (format!("stage {}", serving.stage), serving.version);
        writeln!(err, "  {stage:<22} {version} ({})", origin.unwrap_or_default())?;
    }
    err.flush()
}

/// What becomes of telemetry that an exporter cannot send at once.
fn promise(exporter: &Exporter, queue_mib: u64) -> String {
    let queue = match &exporter.queue {
        queue if queue.enabled => {
            let full = if queue.block_on_overflow { "senders wait" } else { "senders are told to retry" };
            format!("queue of {} requests or {queue_mib} MiB, when full {full}", queue.requests_max)
        }
        _ => "no queue".to_owned(),
    };
    let retry = match (exporter.retry.enabled, exporter.retry.max_elapsed) {
        (false, _) => "never tried again".to_owned(),
        (true, None) => "tried again for ever".to_owned(),
        (true, Some(max)) => format!("tried again for {} s, then dropped and counted", max.as_secs()),
    };
    format!("{queue}; {retry}")
}

/// Why the engine did not start; a stage's error is shown at its line.
pub fn start_error(loaded: &Loaded, error: &StartError) -> String {
    if let StartError::Stage { stage, source } = error {
        let problem = stages::problem(loaded, stage, source);
        return loaded.report.clone().only(problem).to_string();
    }
    let (code, help) = match error {
        StartError::Bind(_) | StartError::BindOwn { .. } => {
            ("E0502", "\n  help:   stop what listens there, or name another address in the file")
        }
        StartError::Certificate(_) => ("E0503", "\n  help:   check \"admin.tls\" and the files that it names"),
        StartError::Exporter { .. } => ("E0503", "\n  help:   check the exporter's keys and the files that they name"),
        StartError::Stage { .. }
        | StartError::Runtime(_)
        | StartError::Worker(_)
        | StartError::Assemble(_)
        | StartError::DeadLetter(_)
        | StartError::Abandoned(_) => ("E0504", ""),
    };
    let causes: String = causes(error).map(|cause| format!("\n  detail: {cause}")).collect();
    format!("error[{code}]: {error}{causes}{help}\n")
}

/// 3 where the file, or a component it names, is the reason.
pub fn start_exit_code(error: &StartError) -> u8 {
    match error {
        StartError::Stage { .. } | StartError::Exporter { .. } | StartError::Certificate(_) => exit::CONFIG,
        _ => exit::FAILED,
    }
}

/// An error and its causes in one line each.
pub fn chain(error: &dyn Error) -> String {
    let causes: String = causes(error).map(|cause| format!("\n  detail: {cause}")).collect();
    format!("{error}{causes}")
}

/// What an error comes from, outermost first.
pub fn causes(error: &dyn Error) -> impl Iterator<Item = String> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause.to_string())
    })
}
