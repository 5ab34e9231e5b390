//! Ports of receivers: which stay as they are, which are bound, and whose socket passes to another receiver.

use std::net::SocketAddr;

use crate::config::model::{Config, Receiver};
use crate::receive::{BindError, Handle, Limits, Protocol, Server};

/// A port that is served.
pub(super) struct Port {
    pub receiver: String,
    pub description: String,
    pub protocol: Protocol,
    pub handle: Handle,
}

/// A port that the next file asks for.
pub(super) struct Wanted {
    pub receiver: String,
    pub protocol: Protocol,
    pub how: How,
}

/// Where it comes from.
pub(super) enum How {
    /// It is served already, by this one of the ports before.
    Stays(usize),
    /// Nobody serves it yet. Its socket may be that of a port before, which stops then.
    Opens(Box<Server>),
}

impl Port {
    pub(super) fn address(&self) -> (String, SocketAddr) {
        (self.description.clone(), self.handle.local_addr())
    }
}

/// The ports that `config` asks for, each taken from those before where that can be: so a port that is asked for again is never closed,
/// whoever asks for it.
///
/// # Errors
/// An address that cannot be listened on; nothing has changed then.
pub(super) fn open(config: &Config, before: &[Port]) -> Result<Vec<Wanted>, BindError> {
    let wanted: Vec<_> = config.receivers.iter().flat_map(protocols).collect();
    let stays = |receiver: &Receiver, protocol: &Protocol| {
        before.iter().position(|port| port.receiver == receiver.name && port.protocol == *protocol)
    };
    let mut taken: Vec<_> = wanted.iter().filter_map(|(receiver, protocol)| stays(receiver, protocol)).collect();
    let mut ports = Vec::with_capacity(wanted.len());
    for (receiver, protocol) in wanted {
        let how = match stays(receiver, &protocol) {
            Some(port) => How::Stays(port),
            None => How::Opens(Box::new(server(receiver, &protocol, before, &mut taken)?)),
        };
        ports.push(Wanted { receiver: receiver.name.clone(), protocol, how });
    }
    Ok(ports)
}

/// A server on the socket of a port before that goes, else on one of its own.
fn server(
    receiver: &Receiver,
    protocol: &Protocol,
    before: &[Port],
    taken: &mut Vec<usize>,
) -> Result<Server, BindError> {
    let is_of_this = |port: &Port| {
        port.receiver == receiver.name && std::mem::discriminant(&port.protocol) == std::mem::discriminant(protocol)
    };
    // Port 0 is any: two of them are not the same.
    let is_same_address = |port: &Port| {
        port.protocol.endpoint() == protocol.endpoint() && (protocol.endpoint().port() != 0 || is_of_this(port))
    };
    let place = (0..).zip(before).find(|(place, port)| !taken.contains(place) && is_same_address(port));
    if let Some((place, port)) = place
        && let Some(server) = Server::instead_of(&port.handle, &receiver.name, protocol, Limits::default())
    {
        taken.push(place);
        return Ok(server);
    }
    Server::bind(&receiver.name, protocol.clone(), Limits::default())
}

fn protocols(receiver: &Receiver) -> impl Iterator<Item = (&Receiver, Protocol)> {
    let grpc = receiver.grpc.clone().map(Protocol::Grpc);
    let http = receiver.http.clone().map(Protocol::Http);
    grpc.into_iter().chain(http).map(move |protocol| (receiver, protocol))
}
