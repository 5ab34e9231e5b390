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
    let budget_bytes_max = requests.budget.bytes_max();
    if json.len() <= INLINE_BYTES_MAX {
        return convert(signal, json, charge, budget_bytes_max);
    }
    // As many at a time as there are cores; the permit goes along, so that a request that was given up still counts.
    let permit = requests.transcoding.clone().acquire_owned().await.map_err(|_| ReadError::Interrupted)?;
    let done = tokio::task::spawn_blocking(move || {
        let converted = convert(signal, json, charge, budget_bytes_max);
        drop(permit);
        converted
    });
    done.await.unwrap_or(Err(ReadError::Interrupted))
}

fn convert(
    signal: Signal,
    json: Bytes,
    mut charge: Charge,
    budget_bytes_max: u64,
) -> Result<(Bytes, Charge), ReadError> {
    let (json_bytes, mut asked) = (charge.bytes(), 0);
    let mut grow = |bytes: usize| {
        asked = json_bytes.saturating_add(bytes as u64);
        charge.resize(asked)
    };
    let mut protobuf = to_protobuf_within(signal, &json, &mut grow).map_err(|error| match error {
        // What could never fit must not come again.
        JsonError::NoRoom if asked > budget_bytes_max => ReadError::TooLarge { limit_bytes: budget_bytes_max },
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
