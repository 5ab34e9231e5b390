//! What is written where leaves are replaced and keys renamed.

use std::ops::Range;

use super::Entry;
use super::edit::Occurrence;
use super::schema::What;
use crate::batch::edits::{EditError, Edits, Nesting, Written};
use crate::batch::new_values::put_any_value;
use crate::batch::wire::{Extent, LEN, Reader, put_varint, put_varint64};

/// What an edit takes beside what it writes, and what each message takes that encloses it.
const EDIT_BYTES: u64 = 48;
const EXTENT_BYTES: u64 = size_of::<Extent>() as u64;
/// The most that a value takes beside its bytes: two tags and two lengths.
const FRAME_BYTES: u64 = 16;

/// Tags of KeyValue's fields.
const KEY: u32 = 1 << 3 | 2;
const VALUE: u32 = 2 << 3 | 2;

/// Makes edits; what many of them write is kept once.
pub(super) struct Writer<'a> {
    edits: &'a mut Edits,
    bytes_left: &'a mut u64,
    /// By value: how it was written last.
    kept: Vec<Option<(Form, Written)>>,
    chain: Vec<Extent>,
}

/// What a value is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The variant of an AnyValue.
    Variant,
    /// A field with this tag, of an AnyValue or a text.
    AnyValue(u32),
    Text(u32),
}

impl<'a> Writer<'a> {
    /// A writer of this many values.
    pub(super) fn new(edits: &'a mut Edits, bytes_left: &'a mut u64, values: usize) -> Writer<'a> {
        Writer { edits, bytes_left, kept: vec![None; values], chain: Vec::new() }
    }

    /// Replaces a leaf by value `number`.
    pub(super) fn leaf(&mut self, number: usize, value: (u8, &[u8]), found: &Occurrence<'_>) -> Result<(), EditError> {
        let (extent, tag) = (found.place.extent, found.place.tag.number << 3 | u32::from(LEN));
        match found.place.what {
            What::Attributes(_) if found.entry.what() == Entry::ATTRIBUTE => {
                let with = self.written(number, Form::Variant, value)?;
                let [_, any_value] = parts(found.bytes, extent);
                self.push_within(found, &[extent, any_value], any_value.body..any_value.end, with)
            }
            // A KeyValue without value.
            What::Attributes(_) | What::Entries => {
                let with = self.written(number, Form::AnyValue(VALUE), value)?;
                self.insert(found, with)
            }
            // An AnyValue without value; what else is in it cannot be judged, and goes.
            What::AnyValue(_) | What::Value | What::Elements if extent.body == extent.end => {
                let with = self.written(number, Form::AnyValue(tag), value)?;
                self.push(found.whole(), &found.nesting(found.chain), with)
            }
            What::AnyValue(_) | What::Value | What::Elements => {
                let with = self.written(number, Form::Variant, value)?;
                if with.len() == 0 { Ok(()) } else { self.insert(found, with) }
            }
            What::TraceId(_) | What::SpanId(_) => {
                let zeros = vec![0; (extent.end - extent.body) as usize];
                let with = self.fresh(Form::Text(tag), (0, &zeros))?;
                self.push(found.whole(), &found.nesting(found.chain), with)
            }
            What::Text(_) => {
                let with = self.written(number, Form::Text(tag), value)?;
                self.push(found.whole(), &found.nesting(found.chain), with)
            }
            _ => {
                let with = self.written(number, Form::Variant, value)?;
                self.push(found.whole(), &found.nesting(found.chain), with)
            }
        }
    }

    /// Replaces a key by text `number`.
    pub(super) fn key(&mut self, number: usize, value: (u8, &[u8]), found: &Occurrence<'_>) -> Result<(), EditError> {
        let with = self.written(number, Form::Text(KEY), value)?;
        let extent = found.place.extent;
        match found.place.what {
            What::Key => self.push(found.whole(), &found.nesting(found.chain), with),
            _ if found.entry.what() == Entry::ATTRIBUTE => {
                let [key, _] = parts(found.bytes, extent);
                self.push_within(found, &[extent], key.start..key.end, with)
            }
            _ => self.insert(found, with),
        }
    }

    /// Removes the field with everything in it.
    pub(super) fn remove(&mut self, bytes: Range<u32>, nesting: &Nesting<'_>) -> Result<(), EditError> {
        self.push(bytes, nesting, Written::NOTHING)
    }

    /// Puts a field into the message that was found, as its first. What is in it already stays.
    fn insert(&mut self, found: &Occurrence<'_>, with: Written) -> Result<(), EditError> {
        let extent = found.place.extent;
        // Its tag names it.
        self.push_within(found, &[extent], extent.body..extent.body, with.named(0..1))
    }

    fn push_within(
        &mut self,
        found: &Occurrence<'_>,
        inner: &[Extent],
        bytes: Range<u32>,
        with: Written,
    ) -> Result<(), EditError> {
        let mut chain = std::mem::take(&mut self.chain);
        chain.clear();
        chain.extend_from_slice(found.chain);
        chain.extend_from_slice(inner);
        let pushed = self.push(bytes, &found.nesting(&chain), with);
        self.chain = chain;
        pushed
    }

    fn written(&mut self, number: usize, form: Form, value: (u8, &[u8])) -> Result<Written, EditError> {
        if let Some(&Some((kept, written))) = self.kept.get(number)
            && kept == form
        {
            return Ok(written);
        }
        let written = self.fresh(form, value)?;
        if let Some(kept) = self.kept.get_mut(number) {
            *kept = Some((form, written));
        }
        Ok(written)
    }

    fn fresh(&mut self, form: Form, (kind, bytes): (u8, &[u8])) -> Result<Written, EditError> {
        self.take(FRAME_BYTES + bytes.len() as u64)?;
        let written = self.edits.write(|to| match form {
            Form::Variant => put_any_value(kind, bytes, to),
            Form::AnyValue(tag) => {
                let mut any_value = Vec::with_capacity(bytes.len() + 8);
                put_any_value(kind, bytes, &mut any_value);
                put_field(tag, &any_value, to);
            }
            Form::Text(tag) => put_field(tag, bytes, to),
        });
        written.ok_or(EditError::TooLarge)
    }

    fn push(&mut self, bytes: Range<u32>, nesting: &Nesting<'_>, with: Written) -> Result<(), EditError> {
        self.take(EDIT_BYTES + EXTENT_BYTES * nesting.chain.len() as u64)?;
        self.edits.push(bytes, nesting, with);
        Ok(())
    }

    fn take(&mut self, bytes: u64) -> Result<(), EditError> {
        *self.bytes_left = self.bytes_left.saturating_sub(bytes);
        if *self.bytes_left == 0 { Err(EditError::TooLarge) } else { Ok(()) }
    }
}

/// Key and value of an attribute that is written as usual: both fields once, nothing else.
fn parts(bytes: &[u8], key_value: Extent) -> [Extent; 2] {
    let mut fields = Reader::within(bytes, key_value);
    let mut next = || {
        let start = fields.at();
        fields.tag().and_then(|_| fields.extent(start)).unwrap_or(Extent { start, body: start, end: start })
    };
    let key = next();
    [key, next()]
}

fn put_field(tag: u32, bytes: &[u8], to: &mut Vec<u8>) {
    put_varint(tag, to);
    put_varint64(bytes.len() as u64, to);
    to.extend_from_slice(bytes);
}
