//! What OTLP exporters have in common: where to send, TLS, headers, compression, timeout.

use std::time::Duration;

use super::address::{Scheme, authority_and_path, split_scheme};
use super::section::Section;
use super::values::with_origin;
use crate::config::code::Code;
use crate::config::model::{Client, Compression, Secret, TlsClient};
use crate::config::report::Problem;
use crate::config::tree::{Node, Value};

const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Most headers of an exporter.
const HEADERS_MAX: usize = 64;

/// How requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Grpc,
    Http,
}

impl Transport {
    const fn timeout_default(self) -> Duration {
        match self {
            Transport::Grpc => Duration::from_secs(5),
            Transport::Http => Duration::from_secs(30),
        }
    }

    const fn endpoint_help(self) -> &'static str {
        match self {
            Transport::Grpc => "write host:port, such as backend:4317, or http://backend:4317 for no TLS",
            Transport::Http => "write a URL, such as http://backend:4318 or https://backend",
        }
    }
}

/// Reads the common keys of an exporter. The endpoint may be absent where every signal has its own.
pub(super) fn client(section: &mut Section<'_>, transport: Transport, endpoint_needed: bool) -> Client {
    let mut tls = section.child("tls");
    let insecure = tls.boolean("insecure").unwrap_or(false);
    let settings = TlsClient {
        ca_file: tls.text("ca_file").map(Into::into),
        server_name: tls.text("server_name_override").map(str::to_owned),
    };
    let endpoint_node = match endpoint_needed {
        true => section.required("endpoint", transport.endpoint_help()),
        false => section.get("endpoint"),
    };
    let endpoint = endpoint_node.and_then(|node| endpoint_url(section, "endpoint", node, transport, insecure));
    tls.refuse(&["insecure_skip_verify"], "name the authority that signed the peer's certificate: \"ca_file\"");
    tls.refuse(
        &["cert_file", "cert_pem", "key_file", "key_pem", "tpm"],
        "send a fixed \"headers\" entry to authenticate",
    );
    tls.refuse(&["ca_pem"], "put it into a file and name it in \"ca_file\"");
    tls.refuse(
        &[
            "min_version",
            "max_version",
            "cipher_suites",
            "curve_preferences",
            "reload_interval",
            "include_system_ca_certs_pool",
            "include_insecure_cipher_suites",
        ],
        "remove it",
    );
    if let Some(endpoint) = &endpoint {
        warn_of_idle_tls_keys(&mut tls, endpoint);
    }
    tls.finish();
    Client {
        endpoint: endpoint.unwrap_or_default(),
        tls: settings,
        compression: compression(section),
        headers: headers(&section.child("headers")),
        timeout: section
            .duration("timeout", Duration::from_millis(1)..=TIMEOUT_MAX)
            .unwrap_or_else(|| transport.timeout_default()),
    }
}

fn compression(section: &mut Section<'_>) -> Compression {
    let elsewhere = ["zstd", "snappy", "zlib", "deflate", "lz4", "x-snappy-framed"];
    if let Some(node) = section.get("compression")
        && let Value::Text(text) = &node.value
        && elsewhere.contains(&text.as_str())
    {
        section.only("compression", &[], "use gzip or none");
        return Compression::Gzip;
    }
    let words = [("gzip", Compression::Gzip), ("none", Compression::None), ("", Compression::None)];
    section.choice("compression", &words).unwrap_or(Compression::Gzip)
}

/// A URL with its scheme. For gRPC a bare `host:port` means TLS unless `tls.insecure` says otherwise, as in the Collector.
pub(super) fn endpoint_url(
    section: &Section<'_>,
    key: &str,
    node: &Node,
    transport: Transport,
    insecure: bool,
) -> Option<String> {
    let text = section.text_of(key, node)?;
    let read = || {
        let (scheme, rest) = split_scheme(text)?;
        let scheme = match (scheme, transport) {
            (Some(scheme), _) => scheme,
            (None, Transport::Grpc) if insecure => Scheme::Http,
            (None, Transport::Grpc) => Scheme::Https,
            (None, Transport::Http) => return Err("has no scheme".to_owned()),
        };
        let rest = authority_and_path(rest, transport == Transport::Grpc, transport == Transport::Http)?;
        let scheme = if scheme == Scheme::Http { "http" } else { "https" };
        Ok(format!("{scheme}://{rest}"))
    };
    match read() {
        Ok(url) => Some(url),
        Err(why) => {
            // A URL may hold a password.
            let secret = text.contains('@');
            let found = if secret { "it".to_owned() } else { node.found() };
            let message = format!("{} cannot be sent to: {found} {why}", section.named(key));
            let problem = Problem::new(Code::BadEndpoint, node.place, message, transport.endpoint_help());
            if secret {
                section.context.hide(node.whole_place());
            }
            section.context.push(with_origin(problem, node));
            None
        }
    }
}

fn warn_of_idle_tls_keys(tls: &mut Section<'_>, endpoint: &str) {
    if endpoint.starts_with("http://") {
        tls_ignored(tls, "ca_file", "the endpoint is reached without TLS");
        tls_ignored(tls, "server_name_override", "the endpoint is reached without TLS");
    } else if tls.get("insecure").is_some_and(|node| matches!(node.value, Value::Bool(true))) {
        tls_ignored(tls, "insecure", "the endpoint's https:// decides, and TLS is used");
    }
}

fn tls_ignored(tls: &mut Section<'_>, key: &'static str, why: &str) {
    if tls.get(key).is_some() {
        tls.ignore(&[key], why);
    }
}

fn headers(section: &Section<'_>) -> Vec<(String, Secret)> {
    let mut headers: Vec<(String, Secret)> = Vec::new();
    for entry in section.entries() {
        let refuse = |message: String, help: &str| {
            section.context.push(Problem::new(Code::BadHeader, entry.key_place, message, help));
        };
        let named = section.named(&entry.key);
        section.context.hide(entry.value.whole_place());
        let Ok(name) = http::HeaderName::from_bytes(entry.key.as_bytes()) else {
            refuse(format!("{named} is not the name of a header"), "use letters, digits and dashes");
            continue;
        };
        let name = name.as_str();
        if is_own_header(name) {
            refuse(format!("{named} is a header that the exporter sets itself"), "remove it");
            continue;
        }
        let Some(text) = entry.value.as_text() else {
            refuse(format!("{named} must be a text"), "put its value in quotes");
            continue;
        };
        if text.is_empty() {
            continue;
        }
        if http::HeaderValue::from_str(text).is_err() {
            refuse(
                format!("{named} holds a character that a header cannot"),
                "remove line breaks and control characters",
            );
            continue;
        }
        if headers.iter().any(|(earlier, _)| earlier == name) {
            refuse(format!("{named} is there already: case does not matter"), "keep one");
            continue;
        }
        headers.push((name.to_owned(), Secret::new(text.to_owned())));
    }
    if headers.len() > HEADERS_MAX {
        let message = format!("{} has more than {HEADERS_MAX} headers", section.owner);
        section.context.tell(Code::OutOfRange, section.place, message, "send fewer");
    }
    headers
}

/// Headers of the transport, which OTLP and HTTP define.
fn is_own_header(name: &str) -> bool {
    name.starts_with("grpc-")
        || matches!(
            name,
            "content-type" | "content-encoding" | "content-length" | "transfer-encoding" | "connection" | "host" | "te"
        )
}
