//! `admin`: where the API listens that shows and changes what runs, and what of the telemetry it may show.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::address::Listener;
use super::section::Section;
use super::values::with_origin;
use crate::config::certificate::{BadPem, PEM_BYTES_MAX, PemFile, TlsServer, certified_key};
use crate::config::code::Code;
use crate::config::model::{Admin, DataAccess};
use crate::config::report::Problem;
use crate::config::tree::Node;

const ADDRESS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 13131);
const TLS_HELP: &str = "add \"tls: {cert_file: admin.crt, key_file: admin.key}\"";

/// Reads `admin`.
pub(super) fn admin(mut section: Section<'_>) -> (Listener, Admin) {
    let listener = section.listener("address", ADDRESS_DEFAULT);
    let block = section.child_if_present("tls");
    let has_tls = block.is_some();
    let tls = block.and_then(tls);
    if !listener.address.ip().is_loopback() && !has_tls {
        let message = format!("{} is reached from other machines, and has no TLS", listener.named);
        let help = format!("listen on 127.0.0.1, or {TLS_HELP}");
        let problem = Problem::new(Code::AdminWithoutTls, listener.place, message, help);
        section.context.push(problem.detail("whoever listens on the way would have the token, and change what runs"));
    }
    let choices = [DataAccess::Off, DataAccess::Redacted, DataAccess::Full].map(|access| (access.as_str(), access));
    let data_access = section.choice("data_access", &choices).unwrap_or_default();
    section.finish();
    let admin = Admin { address: listener.address, tls, data_access };
    (listener, admin)
}

/// The certificate and its key, which are read, so that a mistake is an error of the file. None: it has been told.
fn tls(mut section: Section<'_>) -> Option<TlsServer> {
    if section.is_broken() {
        return None;
    }
    let certificate = section.required("cert_file", "name the PEM file of the certificate");
    let key = section.required("key_file", "name the PEM file of the certificate's key");
    let certificate = certificate.and_then(|node| read(&section, "cert_file", node));
    let key = key.and_then(|node| read(&section, "key_file", node));
    section.refuse(&["ca_file", "client_ca_file"], "remove it: clients show the admin token");
    let read = certificate.zip(key);
    let tls = read.and_then(|(certificate, key)| match certified_key(&certificate.bytes, &key.bytes) {
        Ok(_) => Some(TlsServer { cert_file: certificate.path, key_file: key.path }),
        Err(BadPem { file, why }) => {
            let node = match file {
                PemFile::Certificate => certificate.node,
                PemFile::Key => key.node,
            };
            tell(&section, file.key(), node, &why);
            None
        }
    });
    section.finish();
    tls
}

struct Read<'a> {
    path: std::path::PathBuf,
    bytes: Vec<u8>,
    node: &'a Node,
}

fn read<'a>(section: &Section<'a>, key: &'static str, node: &'a Node) -> Option<Read<'a>> {
    let path = section.context.directory(node.place).join(section.text_of(key, node)?);
    match section.context.environment.read(&path, PEM_BYTES_MAX) {
        Ok(bytes) => Some(Read { path, bytes, node }),
        Err(error) => {
            tell(section, key, node, &format!("cannot be read: {}", error.kind()));
            None
        }
    }
}

fn tell(section: &Section<'_>, key: &str, node: &Node, why: &str) {
    let message = format!("{} {why}", section.named(key));
    let help = "name a PEM file that the engine's user may read";
    section.context.push(with_origin(Problem::new(Code::BadCertificate, node.place, message, help), node));
}
