//! OTLP/JSON bodies become protobuf before anything else sees them.

use bytes::Bytes;

use super::body::ReadError;
use super::requests::Requests;
use crate::json::{JsonError, to_protobuf_within};
use crate::memory::Charge;
use crate::signal::Signal;

/// Largest body that is transcoded where it was read, on an I/O thread: about 100 microseconds' work.
const INLINE_BYTES_MAX: usize = 32 << 10;

/// The protobuf bytes of a JSON body. `charge` holds the JSON's size when called, both sizes meanwhile, the protobuf's afterwards.
pub(super) async fn transcode(
    requests: &Requests,
    signal: Signal,
    json: Bytes,
    charge: Charge,
) -> Result<(Bytes, Charge), ReadError> {
    if json.len() <= INLINE_BYTES_MAX {
        return convert(signal, json, charge);
    }
    // As many at a time as there are cores; the permit goes along, so that a request that was given up still counts.
    let permit = requests.transcoding.clone().acquire_owned().await.map_err(|_| ReadError::Interrupted)?;
    let done = tokio::task::spawn_blocking(move || {
        let converted = convert(signal, json, charge);
        drop(permit);
        converted
    });
    done.await.unwrap_or(Err(ReadError::Interrupted))
}

fn convert(signal: Signal, json: Bytes, mut charge: Charge) -> Result<(Bytes, Charge), ReadError> {
    let json_bytes = charge.bytes();
    let mut grow = |bytes: usize| charge.resize(json_bytes.saturating_add(bytes as u64));
    let mut protobuf = to_protobuf_within(signal, &json, &mut grow).map_err(|error| match error {
        JsonError::NoRoom => ReadError::OverBudget,
        error => ReadError::Json(error),
    })?;
    drop(json);
    // Slack beyond an eighth is worth a copy: the bytes may wait in queues for long.
    if protobuf.capacity() - protobuf.len() > protobuf.capacity() / 8 {
        protobuf.shrink_to_fit();
    }
    if !charge.resize(protobuf.capacity() as u64) {
        return Err(ReadError::OverBudget);
    }
    Ok((Bytes::from(protobuf), charge))
}
