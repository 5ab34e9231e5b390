//! `exporters`: `otlp` (gRPC), `otlphttp`, `debug`; their queues and retries.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::client::{Transport, client, endpoint_url};
use super::section::Section;
use crate::config::code::Code;
use crate::config::model::{Encoding, Exporter, ExporterKind, Queue, Retry, Verbosity};
use crate::signal::Signal;

const QUEUE_REQUESTS_MAX: u64 = 1_000_000;
const CONSUMERS_MAX: u64 = 1_000;
const DAY: Duration = Duration::from_secs(86_400);
const INTERVAL_RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;
const MULTIPLIER_RANGE: RangeInclusive<f64> = 1.0..=100.0;

/// The exporter helper's defaults (Collector, exporterhelper README).
const QUEUE_DEFAULT: Queue =
    Queue { enabled: true, requests_max: 1000, consumers: 10, block_on_overflow: false, wait_for_result: false };
const RETRY_DEFAULT: Retry = Retry {
    enabled: true,
    initial_interval: Duration::from_secs(5),
    max_interval: Duration::from_secs(30),
    max_elapsed: Some(Duration::from_secs(300)),
    multiplier: 1.5,
    randomization: 0.5,
};

/// `otlp`, `otlp_grpc`.
pub(super) fn otlp_grpc(name: &str, mut section: Section<'_>) -> Exporter {
    let client = client(&mut section, Transport::Grpc, true);
    section.refuse(&["auth", "middlewares"], "send a fixed \"headers\" entry instead");
    section.refuse(&["keepalive", "wait_for_ready", "balancer_name", "authority", "user_agent"], "remove it");
    section.ignore(&["read_buffer_size", "write_buffer_size"], "buffers are sized by the connection's traffic");
    let (queue, retry) = (queue(section.child("sending_queue")), retry(section.child("retry_on_failure")));
    section.finish();
    Exporter { name: name.to_owned(), kind: ExporterKind::OtlpGrpc(client), queue, retry }
}

/// `otlphttp`, `otlp_http`.
pub(super) fn otlp_http(name: &str, mut section: Section<'_>) -> Exporter {
    let mut endpoints = Vec::new();
    for (key, signal) in
        [("traces_endpoint", Signal::Traces), ("metrics_endpoint", Signal::Metrics), ("logs_endpoint", Signal::Logs)]
    {
        if let Some(node) = section.get(key)
            && let Some(url) = endpoint_url(&section, key, node, Transport::Http, false)
        {
            endpoints.push((signal, url));
        }
    }
    let client = client(&mut section, Transport::Http, endpoints.is_empty());
    let words = [("proto", Encoding::Proto), ("json", Encoding::Json)];
    let encoding = section.choice("encoding", &words).unwrap_or(Encoding::Proto);
    section.refuse(&["auth", "middlewares"], "send a fixed \"headers\" entry instead");
    section.refuse(&["compression_params", "proxy_url", "cookies", "profiles_endpoint"], "remove it");
    section.refuse(
        &[
            "max_idle_conns",
            "max_idle_conns_per_host",
            "max_conns_per_host",
            "idle_conn_timeout",
            "disable_keep_alives",
            "http2_read_idle_timeout",
            "http2_ping_timeout",
            "force_attempt_http2",
        ],
        "remove it: connections are pooled and kept alive",
    );
    section.ignore(&["read_buffer_size", "write_buffer_size"], "buffers are sized by the connection's traffic");
    let (queue, retry) = (queue(section.child("sending_queue")), retry(section.child("retry_on_failure")));
    section.finish();
    Exporter { name: name.to_owned(), kind: ExporterKind::OtlpHttp { client, endpoints, encoding }, queue, retry }
}

/// `debug`, once `logging`: prints at once, so it has neither queue nor retries.
pub(super) fn debug(name: &str, mut section: Section<'_>) -> Exporter {
    let words = [("basic", Verbosity::Basic), ("normal", Verbosity::Normal), ("detailed", Verbosity::Detailed)];
    let verbosity = section.choice("verbosity", &words).unwrap_or(Verbosity::Basic);
    if verbosity == Verbosity::Detailed {
        let place = section.entry("verbosity").map_or(section.place, |entry| entry.value.place);
        let message = format!("{} prints every record with all its values", section.owner);
        section.context.tell(Code::DetailedDebug, place, message, "use basic or normal where load or secrets are real");
    }
    section.refuse(&["loglevel"], "write \"verbosity: detailed\" in its place");
    section.refuse(&["sending_queue", "output_paths"], "remove it: records are printed at once, on standard output");
    section.ignore(&["sampling_initial", "sampling_thereafter"], "every batch is printed");
    section.only("use_internal_logger", &["true"], "remove it");
    section.finish();
    Exporter {
        name: name.to_owned(),
        kind: ExporterKind::Debug { verbosity },
        queue: Queue { enabled: false, ..QUEUE_DEFAULT },
        retry: Retry { enabled: false, ..RETRY_DEFAULT },
    }
}

fn queue(mut section: Section<'_>) -> Queue {
    let default = QUEUE_DEFAULT;
    section.only("sizer", &["requests"], "use requests; bytes are bounded by the process's budget");
    section.refuse(&["storage"], "remove it: the queue is held in memory");
    section.refuse(&["batch"], "add a \"batch\" processor to the pipeline instead");
    let queue = Queue {
        enabled: section.boolean("enabled").unwrap_or(default.enabled),
        requests_max: section
            .whole("queue_size", 1..=QUEUE_REQUESTS_MAX)
            .and_then(|requests| usize::try_from(requests).ok())
            .unwrap_or(default.requests_max),
        consumers: section
            .whole("num_consumers", 1..=CONSUMERS_MAX)
            .and_then(|consumers| usize::try_from(consumers).ok())
            .unwrap_or(default.consumers),
        block_on_overflow: section.boolean("block_on_overflow").unwrap_or(default.block_on_overflow),
        wait_for_result: section.boolean("wait_for_result").unwrap_or(default.wait_for_result),
    };
    section.finish();
    queue
}

fn retry(mut section: Section<'_>) -> Retry {
    let default = RETRY_DEFAULT;
    let elapsed = section.duration("max_elapsed_time", Duration::ZERO..=30 * DAY);
    let retry = Retry {
        enabled: section.boolean("enabled").unwrap_or(default.enabled),
        initial_interval: section.duration("initial_interval", INTERVAL_RANGE).unwrap_or(default.initial_interval),
        max_interval: section.duration("max_interval", INTERVAL_RANGE).unwrap_or(default.max_interval),
        max_elapsed: elapsed.or(default.max_elapsed).filter(|elapsed| !elapsed.is_zero()),
        multiplier: section.number("multiplier", MULTIPLIER_RANGE).unwrap_or(default.multiplier),
        randomization: section.number("randomization_factor", 0.0..=1.0).unwrap_or(default.randomization),
    };
    // Only what the file itself says can contradict: a long first interval alone stretches the defaults.
    if let Some(elapsed) = elapsed.filter(|elapsed| !elapsed.is_zero() && *elapsed < retry.initial_interval) {
        section.contradiction(
            "max_elapsed_time",
            format_args!("is {elapsed:?}, less than \"initial_interval\", which is {:?}", retry.initial_interval),
            "raise it, or set \"enabled: false\" for a single try",
        );
    }
    if section.get("max_interval").is_some() && retry.max_interval < retry.initial_interval {
        section.contradiction(
            "max_interval",
            format_args!(
                "is {:?}, less than \"initial_interval\", which is {:?}",
                retry.max_interval, retry.initial_interval
            ),
            "raise it, or lower \"initial_interval\"",
        );
    }
    section.finish();
    Retry { max_interval: retry.max_interval.max(retry.initial_interval), ..retry }
}

/// An exporter of a supported type.
pub(super) fn read(name: &str, kind: &str, section: Section<'_>) -> Exporter {
    match kind {
        "otlp" | "otlp_grpc" => otlp_grpc(name, section),
        "otlphttp" | "otlp_http" => otlp_http(name, section),
        _ => {
            if kind == "logging" {
                let message = format!("{} has an old name", section.owner);
                let help = format!("write \"{}\"", name.replacen("logging", "debug", 1));
                section.context.tell(Code::OldName, section.place, message, help);
            }
            debug(name, section)
        }
    }
}
