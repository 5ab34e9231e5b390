//! `service.telemetry` and `service.extensions`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::address::{Listener, warn_if_open};
use super::context::nearest;
use super::known::Group;
use super::section::Section;
use crate::config::code::Code;
use crate::config::source::Place;
use crate::config::tree::{Node, shortened};

/// As the Collector's.
const METRICS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8888);

const METRICS_ADVICE: &str = "listen on 127.0.0.1, unless a scraper on another machine needs it";

/// `service.telemetry`.
pub(super) struct Telemetry {
    pub(super) log_level: tracing::Level,
    pub(super) logs_place: Place,
    /// None = off.
    pub(super) metrics: Option<Listener>,
    pub(super) metrics_place: Place,
}

/// Reads `service.telemetry`.
pub(super) fn telemetry(mut section: Section<'_>) -> Telemetry {
    let (logs_section, metrics_section) = (section.child("logs"), section.child("metrics"));
    let (logs_place, metrics_place) = (logs_section.place, metrics_section.place);
    let log_level = logs(logs_section);
    let metrics = metrics(metrics_section);
    let mut traces = section.child("traces");
    traces.only("level", &["none"], "write none: the engine sends no traces of its own");
    traces.refuse(&["processors", "propagators"], "remove it: the engine sends no traces of its own");
    traces.finish();
    section.refuse(&["resource"], "remove it");
    section.finish();
    Telemetry { log_level, logs_place, metrics, metrics_place }
}

fn logs(mut section: Section<'_>) -> tracing::Level {
    use tracing::Level;
    let words = [
        ("debug", Level::DEBUG),
        ("info", Level::INFO),
        ("warn", Level::WARN),
        ("error", Level::ERROR),
        ("DEBUG", Level::DEBUG),
        ("INFO", Level::INFO),
        ("WARN", Level::WARN),
        ("ERROR", Level::ERROR),
    ];
    let level = section.choice("level", &words).unwrap_or(Level::INFO);
    section.only("encoding", &["console"], "remove it");
    section.refuse(
        &["sampling", "output_paths", "error_output_paths", "initial_fields", "processors", "development"],
        "remove it: logs go to standard error",
    );
    section.ignore(&["disable_caller", "disable_stacktrace"], "neither is ever printed");
    section.finish();
    level
}

fn metrics(mut section: Section<'_>) -> Option<Listener> {
    let words = [("none", false), ("basic", true), ("normal", true), ("detailed", true)];
    let on = section.choice("level", &words).unwrap_or(true);
    let address = section.get("address").is_some().then(|| section.listener("address", METRICS_DEFAULT));
    let readers = section.list("readers");
    section.refuse(&["views"], "remove it");
    let listener = match (readers, address) {
        (Some(readers), address) => {
            if address.is_some() {
                section.contradiction(
                    "readers",
                    "stands beside \"address\", its old form",
                    "keep \"readers\", remove \"address\"",
                );
            }
            read_readers(&section, readers)
        }
        (None, Some(address)) => Some(address),
        (None, None) => {
            Some(Listener { address: METRICS_DEFAULT, named: section.named("address"), place: section.place })
        }
    };
    let listener = listener.filter(|_| on);
    if let Some(listener) = &listener {
        warn_if_open(&section, listener, METRICS_ADVICE);
    }
    section.finish();
    listener
}

/// The one `pull` reader; an empty list means that nothing is served, as in the Collector.
fn read_readers<'a>(section: &Section<'a>, readers: &'a [Node]) -> Option<Listener> {
    let mut listener = None;
    for (index, node) in readers.iter().enumerate() {
        let mut reader = section.item("readers", index, node);
        reader.refuse(&["periodic"], "use a \"pull\" reader, and scrape it");
        if let Some(mut pull) = reader.child_if_present("pull") {
            let mut exporter = pull.child("exporter");
            let mut prometheus = exporter.child("prometheus");
            let host = prometheus.get("host").and_then(|node| Some((prometheus.text_of("host", node)?, node)));
            let port = prometheus.whole("port", 0..=u64::from(u16::MAX));
            let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or(METRICS_DEFAULT.port());
            let names = ["without_scope_info", "without_type_suffix", "without_units", "with_resource_constant_labels"];
            prometheus.ignore(&names, "the form of the engine's own metrics is fixed");
            let address = match host {
                None => SocketAddr::new(METRICS_DEFAULT.ip(), port),
                Some((host, node)) => prometheus.host("host", node, host, port).unwrap_or(METRICS_DEFAULT),
            };
            let place = host.map_or(prometheus.place, |(_, node)| node.place);
            let named = prometheus.named("host");
            if listener.is_some() {
                let message = format!("{}: a second reader is not supported yet", section.named("readers"));
                section.context.tell(Code::UnsupportedValue, node.place, message, "keep one \"pull\" reader");
            }
            listener = Some(Listener { address, named, place });
            prometheus.finish();
            exporter.finish();
            pull.finish();
        }
        reader.finish();
    }
    listener
}

/// `service.extensions`: names of those that run.
pub(super) fn extensions(section: &mut Section<'_>, defined: &[&str]) -> Vec<String> {
    let names = section.texts("extensions").unwrap_or_default();
    for (name, node) in &names {
        if !defined.contains(name) {
            let (group, kind) = (Group::Extensions, name.split('/').next().unwrap_or_default());
            let message = format!("extension \"{}\" is not defined", shortened(name));
            let help = if let Some(near) = nearest(name, defined.iter().copied()) {
                format!("did you mean \"{near}\"?")
            } else if group.supported().contains(&kind) {
                format!("define it: add \"{name}:\" to \"{}\"", group.key())
            } else {
                format!("remove it; supported {}: {}", group.key(), group.supported().join(", "))
            };
            section.context.tell(Code::Undefined, node.place, message, help);
        }
    }
    names.into_iter().map(|(name, _)| name.to_owned()).collect()
}
