//! Protobuf as it is written: lengths are filled in once they are known.

use super::table::Wire;

/// Largest message: batches count in 32 bits.
const BYTES_MAX: usize = u32::MAX as usize;

/// The first step of growth.
const STEP_BYTES: usize = 256;

/// There is no room for the bytes that should follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room")]
pub(super) struct NoRoom;

/// Bytes that grow only as far as they are let.
pub(super) struct Output<'a> {
    bytes: Vec<u8>,
    grow: &'a mut dyn FnMut(usize) -> bool,
    refused: bool,
}

/// A length-delimited field that is being written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    /// Of its key.
    start: usize,
    /// Of its payload, should one byte do for the length.
    body: usize,
}

impl<'a> Output<'a> {
    /// `grow` is asked before the buffer becomes as large as it is told, in bytes.
    pub(super) fn new(grow: &'a mut dyn FnMut(usize) -> bool) -> Output<'a> {
        Output { bytes: Vec::new(), grow, refused: false }
    }

    /// What was written.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// True once growth was refused.
    pub(super) fn refused(&self) -> bool {
        self.refused
    }

    /// Makes room for `more` bytes.
    pub(super) fn reserve(&mut self, more: usize) -> Result<(), NoRoom> {
        if self.bytes.capacity() - self.bytes.len() >= more {
            return Ok(());
        }
        let (len, capacity) = (self.bytes.len(), self.bytes.capacity());
        let needed = len.saturating_add(more);
        if needed <= BYTES_MAX {
            let double = capacity.saturating_mul(2).clamp(STEP_BYTES, BYTES_MAX);
            // Where twice as much is refused, an eighth more may do.
            for capacity in [double, capacity + capacity / 8] {
                let capacity = capacity.max(needed);
                if (self.grow)(capacity) {
                    self.bytes.reserve_exact(capacity - len);
                    return Ok(());
                }
            }
        }
        self.refused = true;
        Err(NoRoom)
    }

    pub(super) fn key(&mut self, number: u32, wire: Wire) -> Result<(), NoRoom> {
        self.varint(u64::from(number << 3 | wire as u32))
    }

    pub(super) fn varint(&mut self, mut value: u64) -> Result<(), NoRoom> {
        self.reserve(10)?;
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
        Ok(())
    }

    /// A number's payload.
    pub(super) fn number(&mut self, wire: Wire, value: u64) -> Result<(), NoRoom> {
        match wire {
            Wire::Varint | Wire::Len => self.varint(value),
            Wire::Fixed64 => self.raw(&value.to_le_bytes()),
            Wire::Fixed32 => self.raw(&(value as u32).to_le_bytes()),
        }
    }

    /// A whole length-delimited field.
    pub(super) fn field(&mut self, number: u32, payload: &[u8]) -> Result<(), NoRoom> {
        self.key(number, Wire::Len)?;
        self.varint(payload.len() as u64)?;
        self.raw(payload)
    }

    /// Begins a length-delimited field.
    pub(super) fn open(&mut self, number: u32) -> Result<Open, NoRoom> {
        let start = self.bytes.len();
        self.key(number, Wire::Len)?;
        self.raw(&[0])?;
        Ok(Open { start, body: self.bytes.len() })
    }

    /// Ends a field. A length of more than one byte pushes the payload back: a copy for each level that holds it.
    pub(super) fn close(&mut self, open: Open) -> Result<(), NoRoom> {
        let end = self.bytes.len();
        let mut length = end - open.body;
        let more = varint_len(length) - 1;
        if more > 0 {
            self.reserve(more)?;
            self.bytes.resize(end + more, 0);
            self.bytes.copy_within(open.body..end, open.body + more);
        }
        for at in &mut self.bytes[open.body - 1..open.body + more] {
            *at = length as u8 | 0x80;
            length >>= 7;
        }
        self.bytes[open.body + more - 1] &= 0x7f;
        Ok(())
    }

    /// Ends a field, or takes it back if nothing was written into it.
    pub(super) fn close_unless_empty(&mut self, open: Open) -> Result<(), NoRoom> {
        if self.bytes.len() == open.body {
            self.bytes.truncate(open.start);
            return Ok(());
        }
        self.close(open)
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        self.reserve(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Bytes that `value` takes as a varint.
fn varint_len(value: usize) -> usize {
    (value | 1).ilog2() as usize / 7 + 1
}
