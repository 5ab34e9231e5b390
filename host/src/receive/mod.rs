//! Receivers: sockets, OTLP's protocols, admission.
//!
//! [`Server::bind_grpc`] and [`Server::bind_http`] take the sockets, [`Server::serve`] starts to accept. A request's size is
//! charged to the budget before its body is read, its bytes go to the pipelines as they came (after decompression), and its
//! sender is answered in the words of its protocol when the answer resolves.

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
mod transcode;

pub use server::{BindError, Handle, Limits, Protocol, Server};
