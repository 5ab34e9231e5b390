//! Receivers: sockets, OTLP's protocols, admission.
//!
//! [`Server::bind_grpc`] and [`Server::bind_http`] take the sockets, [`Server::serve`] starts to accept. A request's size is
//! charged to the budget before its body is read, its bytes go to the [`Intake`] as they came (after decompression), and its
//! sender is answered in the words of its protocol when the [`Answer`] resolves.

use bytes::Bytes;

use crate::memory::Charge;
use crate::pipeline::ack::Answer;
use crate::signal::Signal;

mod accept;
mod answer;
mod body;
mod cors;
mod decompress;
mod grpc;
mod http;
mod port_holder;
mod requests;
mod server;

pub use server::{BindError, Handle, Limits, Server};

/// Where receivers hand their requests: the pipelines that listen to one receiver.
pub trait Intake: Send + Sync + 'static {
    /// Hands over one request's protobuf bytes, already charged to the budget. Never blocks; the answer comes when the
    /// request is acknowledged (which may take as long as the exporters take).
    fn submit(&self, signal: Signal, body: Bytes, charge: Charge) -> Answer;

    /// True where some pipeline takes this signal from this receiver; else it is refused as unimplemented.
    fn takes(&self, signal: Signal) -> bool;
}
