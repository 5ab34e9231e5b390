//! What receivers know of the pipelines.

use bytes::Bytes;

use crate::ack::Answer;
use crate::memory::Charge;
use crate::signal::Signal;

/// Where receivers hand their requests: the pipelines that listen to one receiver.
pub trait Intake: Send + Sync + 'static {
    /// Hands over one request's protobuf bytes, already charged to the budget. Never blocks; the answer comes when the
    /// request is acknowledged (which may take as long as the exporters take).
    fn submit(&self, signal: Signal, body: Bytes, charge: Charge) -> Answer;

    /// True where some pipeline takes this signal from this receiver; else it is refused as unimplemented.
    fn takes(&self, signal: Signal) -> bool;
}
