//! `extensions`, and `dead_letter`: what is told beside the telemetry.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use super::address::{Listener, warn_if_open};
use super::section::Section;
use super::values::with_origin;
use crate::config::code::Code;
use crate::config::model::{DeadLetter, HealthCheck};
use crate::config::report::Problem;
use crate::config::tree::Node;

/// As the Collector's.
const HEALTH_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 13133);
const PATH_DEFAULT: &str = "/";
/// Longest path of a health check.
const PATH_CHARS_MAX: usize = 1024;

const DEAD_LETTER_MIB_DEFAULT: u64 = 16;
/// 64 GiB.
const DEAD_LETTER_MIB: RangeInclusive<u64> = 1..=64 << 10;

const LISTEN_ADVICE: &str = "listen on 127.0.0.1, unless what asks runs on another machine";

/// A `health_check` extension, with the Collector's keys, and its listener.
pub(super) fn health_check(name: &str, mut section: Section<'_>) -> (HealthCheck, Listener) {
    let listener = section.listener("endpoint", HEALTH_DEFAULT);
    warn_if_open(&section, &listener, LISTEN_ADVICE);
    let path = section.get("path").and_then(|node| path(&section, node));
    let mut body = section.child("response_body");
    let (healthy, unhealthy) = (body.text("healthy").map(str::to_owned), body.text("unhealthy").map(str::to_owned));
    body.finish();
    section.only("transport", &["tcp"], "use tcp");
    section.ignore(&["check_collector_pipeline"], "/readyz tells of each pipeline");
    section.refuse(&["tls", "auth"], "listen on loopback behind a proxy that does it");
    section.refuse(&["cors", "response_headers", "middlewares", "compression_algorithms"], "remove it");
    section
        .refuse(&["use_v2", "http", "grpc", "component_health"], "remove it: /livez and /readyz are answered anyway");
    section.refuse(
        &["read_timeout", "read_header_timeout", "write_timeout", "idle_timeout"],
        "remove it: own pages have fixed limits",
    );
    section.ignore(&["include_metadata", "max_request_body_size", "keep_alives_enabled"], "requests carry nothing");
    section.finish();
    let path = path.unwrap_or_else(|| PATH_DEFAULT.to_owned());
    (HealthCheck { name: name.to_owned(), endpoint: listener.address, path, healthy, unhealthy }, listener)
}

fn path(section: &Section<'_>, node: &Node) -> Option<String> {
    let text = section.text_of("path", node)?;
    let why = if !text.starts_with('/') {
        "does not begin with a slash"
    } else if text.contains(|c: char| !c.is_ascii_graphic() || matches!(c, '?' | '#' | '%')) {
        "has characters that a plain path does not have"
    } else if text.len() > PATH_CHARS_MAX {
        "is longer than 1024 characters"
    } else if matches!(text, "/livez" | "/readyz") {
        "is answered in another way"
    } else {
        return Some(text.to_owned());
    };
    let message = format!("{} cannot be asked for: {} {why}", section.named("path"), node.found());
    let problem = Problem::new(Code::BadPath, node.place, message, "write a path such as \"/\" or \"/health/status\"");
    section.context.push(with_origin(problem, node));
    None
}

/// `dead_letter`: what is kept of requests that stages could not judge; None where the file has none.
pub(super) fn dead_letter(section: Option<Section<'_>>) -> Option<DeadLetter> {
    let mut section = section?;
    let path = section.required("path", "name the file, such as \"path: /var/lib/sluicebox/dead-letter.jsonl\"");
    let path = path.and_then(|node| section.text_of("path", node));
    let mib = section.whole("max_mib", DEAD_LETTER_MIB).unwrap_or(DEAD_LETTER_MIB_DEFAULT);
    let payload = section.boolean("payload").unwrap_or(false);
    if let Some(entry) = section.entry("payload").filter(|_| payload) {
        let message = format!("{} writes telemetry to a file", section.named("payload"));
        let help = "leave it off, unless what faults is to be looked into and who may read the file may see it";
        let problem = Problem::new(Code::PayloadOnDisk, entry.key_place, message, help);
        section.context.push(problem.detail("only of stages behind their pipeline's last editing one"));
    }
    let (place, directory) = (section.place, section.context.directory(section.place));
    section.finish();
    Some(DeadLetter { path: directory.join(path?), bytes_max: mib << 20, payload, place })
}
