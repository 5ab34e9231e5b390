//! `receivers`: `otlp`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::address::{Listener, warn_if_open};
use super::section::Section;
use crate::config::code::Code;
use crate::config::model::{GrpcServer, HttpServer, Receiver};
use crate::signal::Signal;

/// Where OTLP/gRPC and OTLP/HTTP listen unless told otherwise (IANA's ports, loopback).
const GRPC_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4317);
const HTTP_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4318);
/// Largest request unless told otherwise: OTLP 1.11 asks servers to take 64 MiB.
const MESSAGE_BYTES_DEFAULT: u64 = 64 << 20;
/// A batch's index holds 32-bit offsets.
const MESSAGE_MIB_MAX: u64 = 2047;
const STREAMS_MAX: u64 = 1_000_000;
const DAY: Duration = Duration::from_secs(86_400);

const LISTEN_ADVICE: &str = "listen on 127.0.0.1 or one interface, unless other machines must send here";

/// An `otlp` receiver and its listeners.
pub(super) fn otlp(name: &str, mut section: Section<'_>) -> (Receiver, Vec<Listener>) {
    let mut listeners = Vec::new();
    let mut protocols = section.child("protocols");
    let grpc = protocols.child_if_present("grpc").map(|section| grpc(section, &mut listeners));
    let http = protocols.child_if_present("http").map(|section| http(section, &mut listeners));
    if grpc.is_none() && http.is_none() && !protocols.is_broken() {
        section.context.tell(
            Code::Missing,
            protocols.place,
            format!("{} has no protocol", section.owner),
            "add \"grpc:\" or \"http:\" below \"protocols:\"",
        );
    }
    protocols.finish();
    section.finish();
    (Receiver { name: name.to_owned(), grpc, http }, listeners)
}

fn grpc(mut section: Section<'_>, listeners: &mut Vec<Listener>) -> GrpcServer {
    let listener = section.listener("endpoint", GRPC_DEFAULT);
    warn_if_open(&section, &listener, LISTEN_ADVICE);
    let mib = section.whole("max_recv_msg_size_mib", 0..=MESSAGE_MIB_MAX).filter(|&mib| mib > 0);
    let streams = section.whole("max_concurrent_streams", 0..=STREAMS_MAX).filter(|&streams| streams > 0);
    section.only("transport", &["tcp"], "use tcp");
    section.only("include_metadata", &["false"], "remove it: request headers are not kept");
    section.refuse(&["tls", "auth"], "listen on loopback behind a proxy that does it");
    section.refuse(&["keepalive", "middlewares"], "remove it");
    section.ignore(&["read_buffer_size", "write_buffer_size"], "buffers are sized by the connection's traffic");
    section.finish();
    let endpoint = listener.address;
    listeners.push(listener);
    GrpcServer {
        endpoint,
        message_bytes_max: mib.map_or(MESSAGE_BYTES_DEFAULT, |mib| mib << 20),
        streams_max: streams.and_then(|streams| u32::try_from(streams).ok()),
    }
}

fn http(mut section: Section<'_>, listeners: &mut Vec<Listener>) -> HttpServer {
    let listener = section.listener("endpoint", HTTP_DEFAULT);
    warn_if_open(&section, &listener, LISTEN_ADVICE);
    let body = section.whole("max_request_body_size", 0..=MESSAGE_MIB_MAX << 20).filter(|&bytes| bytes > 0);
    let (cors_allowed_origins, cors_allowed_headers, cors_max_age) = cors(section.child("cors"));
    for (key, signal) in
        [("traces_url_path", Signal::Traces), ("metrics_url_path", Signal::Metrics), ("logs_url_path", Signal::Logs)]
    {
        section.only(key, &[signal.http_path()], &format!("senders must use {}", signal.http_path()));
    }
    section.only("transport", &["tcp"], "use tcp");
    section.only("include_metadata", &["false"], "remove it: request headers are not kept");
    section.only("keep_alives_enabled", &["true"], "remove it: connections are kept alive");
    section.refuse(&["tls", "auth"], "listen on loopback behind a proxy that does it");
    section.refuse(
        &["read_timeout", "read_header_timeout", "write_timeout", "idle_timeout"],
        "remove it: the receiver has its own fixed limits",
    );
    section.refuse(&["compression_algorithms", "response_headers", "middlewares", "profiles_url_path"], "remove it");
    section.finish();
    let endpoint = listener.address;
    listeners.push(listener);
    HttpServer {
        endpoint,
        body_bytes_max: body.unwrap_or(MESSAGE_BYTES_DEFAULT),
        cors_allowed_origins,
        cors_allowed_headers,
        cors_max_age,
    }
}

fn cors(mut section: Section<'_>) -> (Vec<String>, Vec<String>, Option<Duration>) {
    let owned = |texts: Option<Vec<(&str, _)>>| {
        texts.unwrap_or_default().into_iter().map(|(text, _)| text.to_owned()).collect::<Vec<_>>()
    };
    let origins = owned(section.texts("allowed_origins"));
    let headers = section.texts("allowed_headers");
    for (name, node) in headers.iter().flatten() {
        if *name != "*" && http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            let message = format!("{}: {} is not the name of a header", section.named("allowed_headers"), node.found());
            section.context.tell(Code::BadHeader, node.place, message, "write a name such as X-Tenant, or \"*\"");
        }
    }
    let seconds = section.whole("max_age", 0..=DAY.as_secs());
    section.refuse(&["exposed_headers"], "remove it: responses carry no headers of their own");
    section.finish();
    (origins, owned(headers), seconds.filter(|&seconds| seconds > 0).map(Duration::from_secs))
}
