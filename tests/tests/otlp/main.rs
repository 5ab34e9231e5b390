//! OTLP in and out over real sockets: receivers against clients of every manner, exporters against peers of every manner.

mod connections;
mod export_grpc;
mod export_http;
mod export_tls;
mod queue;
mod receive_grpc;
mod receive_http;
mod support;
mod through;
