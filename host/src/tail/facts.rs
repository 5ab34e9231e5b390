//! What is known of spans without decoding them.

use super::traces::{MARK_ROOT, MARK_SAMPLED};
use super::tracestate;
use super::verdict::THRESHOLD_END;
use crate::batch::Malformed;
use crate::batch::wire::{DEPTH_MAX, Extent, FIXED32, FIXED64, LEN, Reader, Tag, VARINT};

/// Wire types of the fields of Span, by number (OTLP, trace.proto).
const SPAN_WIRES: [u8; 17] =
    [u8::MAX, LEN, LEN, LEN, LEN, LEN, VARINT, FIXED64, FIXED64, LEN, VARINT, LEN, VARINT, LEN, VARINT, LEN, FIXED32];
/// Status.code.
const STATUS_OK: i32 = 1;
const STATUS_ERROR: i32 = 2;
/// The sampled flag of W3C Trace Context, in Span.flags.
const FLAG_SAMPLED: u32 = 1;

/// What is known of one span, or of several of one trace together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// How many.
    pub spans: u32,
    /// Those whose status is an error.
    pub errors: u32,
    /// Those whose status is ok.
    pub oks: u32,
    /// [`MARK_ROOT`] and [`MARK_SAMPLED`].
    pub marks: u8,
    /// Bytes, without tags and lengths.
    pub bytes: u64,
    /// The earliest start, in nanoseconds since 1970.
    pub start: u64,
    /// The latest end.
    pub end: u64,
    /// The largest rejection threshold that they came with.
    pub threshold: Bits,
    /// The randomness of the first that has one.
    pub randomness: Bits,
}

/// 56 bits, or nothing, in 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits(u64);

impl Bits {
    /// Nothing.
    pub(super) const NONE: Bits = Bits(u64::MAX);

    /// Those bits, or nothing.
    pub(super) fn of(bits: Option<u64>) -> Bits {
        bits.map_or(Bits::NONE, |bits| Bits(bits.min(THRESHOLD_END - 1)))
    }

    /// What there is.
    pub(super) fn get(self) -> Option<u64> {
        (self != Bits::NONE).then_some(self.0)
    }
}

impl Facts {
    /// Those of no span.
    pub(super) const NONE: Facts = Facts {
        spans: 0,
        errors: 0,
        oks: 0,
        marks: 0,
        bytes: 0,
        start: u64::MAX,
        end: 0,
        threshold: Bits::NONE,
        randomness: Bits::NONE,
    };

    /// Trace id and facts of a span. Ids that are not of 16 bytes are taken as 16 zeros.
    pub(super) fn read(bytes: &[u8], span: Extent) -> Result<([u8; 16], Facts), Malformed> {
        let mut id: &[u8] = &[];
        let (mut tracestate, mut parent): (&[u8], &[u8]) = (&[], &[]);
        let (mut start, mut end, mut status, mut flags) = (0, 0, 0, 0);
        let mut fields = Reader::within(bytes, span);
        while let Some(tag) = fields.tag()? {
            if SPAN_WIRES.get(tag.number as usize).is_some_and(|&wire| wire != tag.wire) && tag.number != 0 {
                return fields.wrong_wire();
            }
            match tag.number {
                1 => id = fields.bytes()?,
                3 => tracestate = fields.bytes()?,
                4 => parent = fields.bytes()?,
                7 => start = fields.fixed64()?,
                8 => end = fields.fixed64()?,
                15 => read_status(fields.bytes()?, &mut status)?,
                16 => flags = fields.fixed32()?,
                _ => fields.skip(tag, DEPTH_MAX - 3)?,
            }
        }
        let root = if parent.iter().all(|&byte| byte == 0) { MARK_ROOT } else { 0 };
        let sampled = if flags & FLAG_SAMPLED != 0 { MARK_SAMPLED } else { 0 };
        let sampling = tracestate::read(tracestate);
        let facts = Facts {
            spans: 1,
            errors: u32::from(status == STATUS_ERROR),
            oks: u32::from(status == STATUS_OK),
            marks: root | sampled,
            bytes: u64::from(span.end - span.body),
            start,
            end,
            threshold: Bits::of(sampling.threshold),
            randomness: Bits::of(sampling.randomness),
        };
        Ok((id.try_into().unwrap_or_default(), facts))
    }

    /// Adds those of spans that came later.
    pub(super) fn add(&mut self, later: &Facts) {
        self.spans = self.spans.saturating_add(later.spans);
        self.errors = self.errors.saturating_add(later.errors);
        self.oks = self.oks.saturating_add(later.oks);
        self.marks |= later.marks;
        self.bytes = self.bytes.saturating_add(later.bytes);
        self.start = self.start.min(later.start);
        self.end = self.end.max(later.end);
        self.threshold = Bits::of(self.threshold.get().max(later.threshold.get()));
        self.randomness = if self.randomness == Bits::NONE { later.randomness } else { self.randomness };
    }

    /// Whether a root is among them.
    pub(super) fn is_rooted(&self) -> bool {
        self.marks & MARK_ROOT != 0
    }

    /// From the earliest start to the latest end, in nanoseconds.
    pub(super) fn duration(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// Reads one part of a span's status: several are merged, so the last code counts.
fn read_status(message: &[u8], code: &mut i32) -> Result<(), Malformed> {
    let mut fields = Reader::new(message);
    while let Some(tag) = fields.tag()? {
        match tag {
            Tag { number: 2, wire: LEN } => drop(fields.bytes()?),
            Tag { number: 3, wire: VARINT } => *code = fields.varint()? as i32,
            Tag { number: 2 | 3, .. } => return fields.wrong_wire(),
            _ => fields.skip(tag, DEPTH_MAX - 4)?,
        }
    }
    Ok(())
}
