//! OTLP in and out over real sockets: receivers against clients of every manner, exporters against peers of every manner.

#![allow(clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

mod connections;
mod export_grpc;
mod export_http;
mod export_json;
mod export_tls;
mod json;
mod queue;
mod receive_grpc;
mod receive_http;
mod receive_json;
mod support;
mod through;
