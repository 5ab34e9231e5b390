//! Addresses to listen on and URLs to send to.

use std::net::SocketAddr;

use super::section::Section;
use super::values::with_origin;
use crate::config::code::Code;
use crate::config::report::Problem;
use crate::config::tree::Node;

/// A listener that the file asks for, for checks across components.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    /// `"protocols.grpc.endpoint" of receiver "otlp"`.
    pub(super) named: String,
    pub(super) place: crate::config::source::Place,
}

impl<'a> Section<'a> {
    /// The address under `key`, resolved; `default` if it is absent or wrong.
    pub(super) fn listener(&mut self, key: &'static str, default: SocketAddr) -> Listener {
        let named = self.named(key);
        let Some(node) = self.get(key) else { return Listener { address: default, named, place: self.place } };
        let address = self.text_of(key, node).and_then(|text| self.resolve(key, node, text)).unwrap_or(default);
        Listener { address, named, place: node.place }
    }

    fn resolve(&self, key: &str, node: &Node, text: &str) -> Option<SocketAddr> {
        let refuse = |why: &str, help: &str| {
            let message = format!("{} is not an address to listen on: {} {why}", self.named(key), node.found());
            self.context.push(with_origin(Problem::new(Code::BadAddress, node.place, message, help), node));
            None
        };
        let help = "write host:port, such as 127.0.0.1:4317";
        if text.contains("://") {
            return refuse("has a scheme", help);
        }
        if text.starts_with('/') || text.starts_with("unix:") {
            return refuse("is a Unix socket, which is not supported yet", help);
        }
        let Some((host, port)) = text.rsplit_once(':') else { return refuse("has no port", help) };
        let Ok(port) = port.parse::<u16>() else { return refuse("has a port that is not 0 to 65535", help) };
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(v6) => v6,
            None if host.contains(':') => {
                return refuse("is IPv6 without brackets", "write [host]:port, such as [::1]:4317");
            }
            None => host,
        };
        self.host(key, node, host, port)
    }

    /// An address from a host and a port that the file gives apart.
    pub(super) fn host(&self, key: &str, node: &Node, host: &str, port: u16) -> Option<SocketAddr> {
        // Go listens on every interface if the host is empty.
        let host = if host.is_empty() { "0.0.0.0" } else { host };
        if let Ok(address) = host.parse() {
            return Some(SocketAddr::new(address, port));
        }
        let resolved = self.context.environment.resolve(host, port);
        if resolved.is_none() {
            let message = format!("{}: the host of {} does not resolve", self.named(key), node.found());
            let help = "write an address such as 127.0.0.1, or a name that this machine knows";
            self.context.push(with_origin(Problem::new(Code::BadAddress, node.place, message, help), node));
        }
        resolved
    }
}

/// Warns of a listener that is bound to every interface.
pub(super) fn warn_if_open(section: &Section<'_>, listener: &Listener, advice: &str) {
    if listener.address.ip().is_unspecified() {
        let message = format!("{} listens on every network interface", listener.named);
        section.context.tell(Code::OpenAddress, listener.place, message, advice);
    }
}

/// How an exporter reaches its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// Splits `scheme://rest`; None for the scheme if there is none. The error says what is wrong.
pub(super) fn split_scheme(text: &str) -> Result<(Option<Scheme>, &str), String> {
    match text.split_once("://") {
        None => Ok((None, text)),
        Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
            "http" => Ok((Some(Scheme::Http), rest)),
            "https" => Ok((Some(Scheme::Https), rest)),
            other => Err(format!("has scheme \"{other}\"; http and https exist")),
        },
    }
}

/// Checks `host[:port][/path]` and returns it without a closing slash.
pub(super) fn authority_and_path(text: &str, port_needed: bool, path_allowed: bool) -> Result<&str, String> {
    let (authority, path) = match text.find(['/', '?', '#']) {
        Some(index) => text.split_at(index),
        None => (text, ""),
    };
    if authority.contains('@') {
        return Err("holds a user name or password; send an \"authorization\" header instead".into());
    }
    if path.contains(['?', '#']) {
        return Err("has a query or fragment".into());
    }
    if !path_allowed && !path.trim_end_matches('/').is_empty() {
        return Err("has a path, which gRPC does not use".into());
    }
    let Ok(parsed) = authority.parse::<http::uri::Authority>() else {
        return Err(if authority.is_empty() { "has no host".into() } else { "has a host that cannot be read".into() });
    };
    if parsed.host().is_empty() {
        return Err("has no host".into());
    }
    let port = authority[parsed.host().len()..].strip_prefix(':');
    match port {
        Some(port) if port.parse::<u16>().is_ok_and(|port| port > 0) => {}
        Some(_) => return Err("has a port that is not 1 to 65535".into()),
        None if port_needed => return Err("has no port".into()),
        None => {}
    }
    if format!("http://{text}").parse::<http::Uri>().is_err() {
        return Err("has a path that cannot be read".into());
    }
    Ok(text.trim_end_matches('/'))
}
