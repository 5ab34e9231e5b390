//! Finds the identities of items in OTLP bytes without decoding the rest.
//!
//! Every generated item carries eight bytes that name it: spans and log records as `span_id`, data points as the bytes
//! attribute [`ITEM_ID`]. Field numbers are those of opentelemetry-proto 1.x.

use sluicebox::signal::Signal;

/// The attribute that names a data point; its value is eight bytes.
pub const ITEM_ID: &str = "item.id";

/// Where an item's identity stands in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Offset of the eight bytes that name the item.
    pub id: usize,
    /// Offset of the sixteen bytes of the trace id, where there is one.
    pub trace: Option<usize>,
    /// Offset of the eight bytes of the parent span id, where there is one.
    pub parent: Option<usize>,
}

/// The bytes are not a request of the signal, or an item has no identity.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a request of ours: {0}")]
pub struct Unreadable(&'static str);

/// Calls `found` for each span, log record or data point, in document order.
pub fn items(signal: Signal, bytes: &[u8], found: &mut dyn FnMut(Mark)) -> Result<(), Unreadable> {
    // Request, Resource*, Scope*: field 1 then 2 then 2 in all three signals.
    each(bytes, 0, bytes.len(), &mut |resource| {
        let Some((start, end)) = resource.message(1) else { return Ok(()) };
        each(bytes, start, end, &mut |scope| {
            let Some((start, end)) = scope.message(2) else { return Ok(()) };
            each(bytes, start, end, &mut |item| match item.message(2) {
                Some((start, end)) => one(signal, bytes, start, end, found),
                None => Ok(()),
            })
        })
    })
}

/// The eight bytes at `offset`, as a big-endian number.
pub fn id_at(bytes: &[u8], offset: usize) -> u64 {
    let mut id = [0; 8];
    if let Some(found) = bytes.get(offset..offset + 8) {
        id.copy_from_slice(found);
    }
    u64::from_be_bytes(id)
}

fn one(signal: Signal, bytes: &[u8], start: usize, end: usize, found: &mut dyn FnMut(Mark)) -> Result<(), Unreadable> {
    match signal {
        // Span: trace_id 1, span_id 2, parent_span_id 4.
        Signal::Traces => by_span_id(bytes, start, end, (1, 2, 4), found),
        // LogRecord: trace_id 9, span_id 10; there is no field 0.
        Signal::Logs => by_span_id(bytes, start, end, (9, 10, 0), found),
        Signal::Metrics => each(bytes, start, end, &mut |data| {
            // Metric: gauge 5, sum 7, histogram 9, exponential_histogram 10, summary 11. Their points' attributes:
            // NumberDataPoint 7, HistogramDataPoint 9, ExponentialHistogramDataPoint 1, SummaryDataPoint 7.
            let attributes = match data.number {
                5 | 7 | 11 => 7,
                9 => 9,
                10 => 1,
                _ => return Ok(()),
            };
            let Some((start, end)) = data.message(data.number) else { return Ok(()) };
            each(bytes, start, end, &mut |point| match point.message(1) {
                Some((start, end)) => by_attribute(bytes, start, end, attributes, found),
                None => Ok(()),
            })
        }),
    }
}

fn by_span_id(
    bytes: &[u8],
    start: usize,
    end: usize,
    (trace, id, parent): (u64, u64, u64),
    found: &mut dyn FnMut(Mark),
) -> Result<(), Unreadable> {
    let (mut at, mut trace_at, mut parent_at) = (None, None, None);
    each(bytes, start, end, &mut |field| {
        if let Some((start, end)) = field.message(field.number) {
            if field.number == id && end - start == 8 {
                at = Some(start);
            } else if field.number == trace && end - start == 16 {
                trace_at = Some(start);
            } else if field.number == parent && end - start == 8 {
                parent_at = Some(start);
            }
        }
        Ok(())
    })?;
    let id = at.ok_or(Unreadable("an item has no span id"))?;
    found(Mark { id, trace: trace_at, parent: parent_at });
    Ok(())
}

fn by_attribute(
    bytes: &[u8],
    start: usize,
    end: usize,
    attributes: u64,
    found: &mut dyn FnMut(Mark),
) -> Result<(), Unreadable> {
    let mut at = None;
    each(bytes, start, end, &mut |field| {
        let Some((start, end)) = field.message(attributes) else { return Ok(()) };
        let (mut named, mut value) = (false, None);
        // KeyValue: key 1, value 2.
        each(bytes, start, end, &mut |part| {
            if let Some((start, end)) = part.message(1) {
                named = bytes.get(start..end) == Some(ITEM_ID.as_bytes());
            } else if let Some(span) = part.message(2) {
                value = Some(span);
            }
            Ok(())
        })?;
        if let (true, Some((start, end))) = (named, value) {
            // AnyValue: bytes_value 7.
            each(bytes, start, end, &mut |kind| {
                at = kind.message(7).filter(|(start, end)| end - start == 8).map(|(start, _)| start).or(at);
                Ok(())
            })?;
        }
        Ok(())
    })?;
    found(Mark { id: at.ok_or(Unreadable("a data point has no id"))?, trace: None, parent: None });
    Ok(())
}

struct Field {
    number: u64,
    /// Start and end of the content of a length-delimited field.
    content: Option<(usize, usize)>,
}

impl Field {
    fn message(&self, number: u64) -> Option<(usize, usize)> {
        self.content.filter(|_| self.number == number)
    }
}

/// Calls `with` for each field of the message at `pos..end`.
fn each(
    bytes: &[u8],
    mut pos: usize,
    end: usize,
    with: &mut dyn FnMut(Field) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    while pos < end {
        let tag = varint(bytes, &mut pos)?;
        let mut content = None;
        match tag & 7 {
            0 => {
                varint(bytes, &mut pos)?;
            }
            1 => pos += 8,
            2 => {
                let len = usize::try_from(varint(bytes, &mut pos)?).map_err(|_| Unreadable("length"))?;
                content = Some((pos, pos.checked_add(len).ok_or(Unreadable("length"))?));
                pos += len;
            }
            5 => pos += 4,
            _ => return Err(Unreadable("wire type")),
        }
        if pos > end {
            return Err(Unreadable("a field runs over its message"));
        }
        with(Field { number: tag >> 3, content })?;
    }
    Ok(())
}

fn varint(bytes: &[u8], pos: &mut usize) -> Result<u64, Unreadable> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*pos).ok_or(Unreadable("varint"))?;
        *pos += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Unreadable("varint"))
}
