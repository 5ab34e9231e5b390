//! The `debug` exporter: prints what it gets. Decoding and printing are slow, and happen on a blocking thread.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::{DecodeError, Message};

use super::{Destination, Sent};
use crate::config::model::Verbosity;
use crate::signal::Signal;

mod logs;
mod metrics;
mod page;
mod traces;

use page::Page;

/// Where `debug` exporters print: standard output, or a test's buffer.
pub type Writer = Arc<Mutex<dyn Write + Send>>;

/// Prints.
pub(super) struct Debug {
    verbosity: Verbosity,
    writer: Writer,
}

impl Debug {
    pub(super) fn new(verbosity: Verbosity, writer: Writer) -> Debug {
        Debug { verbosity, writer }
    }
}

impl Destination for Debug {
    fn send<'a>(&'a self, signal: Signal, body: &'a [Bytes]) -> BoxFuture<'a, Sent> {
        let (verbosity, writer, body) = (self.verbosity, Arc::clone(&self.writer), body.to_vec());
        Box::pin(async move {
            let printing = tokio::task::spawn_blocking(move || print(signal, &body, verbosity, &writer));
            match printing.await {
                Ok(Ok(())) => Sent::Accepted { warning: None },
                Ok(Err(PrintError::Decode(error))) => Sent::Refused { message: format!("cannot decode: {error}") },
                Ok(Err(PrintError::Write(error))) => Sent::Refused { message: format!("cannot print: {error}") },
                Err(error) => Sent::Refused { message: format!("cannot print: {error}") },
            }
        })
    }
}

enum PrintError {
    Decode(DecodeError),
    Write(io::Error),
}

fn print(signal: Signal, body: &[Bytes], verbosity: Verbosity, writer: &Writer) -> Result<(), PrintError> {
    let text = text(signal, body, verbosity).map_err(PrintError::Decode)?;
    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
    writer.write_all(text.as_bytes()).and_then(|()| writer.flush()).map_err(PrintError::Write)
}

/// What is printed of one request: a line of counts, then as much as `verbosity` asks for.
fn text(signal: Signal, body: &[Bytes], verbosity: Verbosity) -> Result<String, DecodeError> {
    let mut page = Page::new(verbosity);
    let bytes: usize = body.iter().map(Bytes::len).sum();
    match signal {
        Signal::Traces => {
            let mut all = ExportTraceServiceRequest::default();
            body.iter().try_for_each(|part| all.merge(part.as_ref()))?;
            traces::print(&mut page, &all, bytes);
        }
        Signal::Metrics => {
            let mut all = ExportMetricsServiceRequest::default();
            body.iter().try_for_each(|part| all.merge(part.as_ref()))?;
            metrics::print(&mut page, &all, bytes);
        }
        Signal::Logs => {
            let mut all = ExportLogsServiceRequest::default();
            body.iter().try_for_each(|part| all.merge(part.as_ref()))?;
            logs::print(&mut page, &all, bytes);
        }
    }
    Ok(page.into_text())
}

#[cfg(test)]
mod tests;
