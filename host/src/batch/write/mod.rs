//! Writing fields of rows: where a field is in each row's message, and the edits that give it another value.
//!
//! Every occurrence counts: of a field that is there several times the first is set and the others are removed, so that no reader,
//! whichever of them it takes, finds the old value.

use super::Batch;
use super::catalog::{Message, Read};
use super::edits::{EditError, Edits, Floor, Nesting, Written};
use super::field::{Field, Path, Step};
use super::levels::{Level, Slice};
use super::new_values::{NewValues, put_any_value, put_bytes};
use super::value::{KeyValue, kind};
use super::wire::{DEPTH_MAX, Extent, FIXED32, FIXED64, LEN, Reader, Tag, VARINT, put_varint};

mod nested;
mod row;
mod scalar;

use row::Row;

/// Whether a field that is there is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It gets the new value.
    Set,
    /// It keeps its own: only rows without it get one.
    Insert,
}

impl Batch {
    /// Writes a field (of [`Field::open_to_write`]). `choice` has an entry for each row of the field's level in the slice: 0 leaves the row
    /// alone, `n` gives it value `n - 1` of `to`; an absent value removes the field. A step into something that is neither list nor
    /// map, or past a list's end, leads nowhere: the row stays as it is.
    ///
    /// What the edits add is taken from `bytes_left`. Returns how many rows are written.
    #[allow(clippy::too_many_arguments, reason = "what is written where, and the two accounts of it")]
    pub fn set(
        &self,
        slice: &Slice,
        field: &Field,
        choice: &[u32],
        to: &NewValues<'_>,
        mode: Mode,
        edits: &mut Edits,
        bytes_left: &mut u64,
    ) -> Result<u64, EditError> {
        let [path] = field.paths() else {
            return Err(EditError::BadValue("a field that was not opened to be written"));
        };
        if !field.is_writable() {
            return Err(EditError::BadValue("a field that cannot be written"));
        }
        let none = path.signal.is_some_and(|signal| signal != self.signal);
        let Some(rows) = self.index.rows_of(slice, path.level).filter(|_| !none) else { return Ok(0) };
        let mut writer = Writer { path, to, mode, edits, bytes_left, last: None };
        let mut written = 0;
        for (number, bytes, here) in self.segments_of(path.level, &rows) {
            for row in here {
                let chosen = choice.get((row - rows.start) as usize).copied().unwrap_or(0);
                let Some(value) = chosen.checked_sub(1) else { continue };
                if value as usize >= to.len() {
                    return Err(EditError::BadValue("a choice past the last value"));
                }
                if let Some(row) = self.row(number, bytes, path.level, row)? {
                    written += u64::from(writer.row(&row, value)?);
                }
            }
        }
        Ok(written)
    }
}

/// Writes one field.
struct Writer<'a> {
    path: &'a Path,
    to: &'a NewValues<'a>,
    mode: Mode,
    edits: &'a mut Edits,
    bytes_left: &'a mut u64,
    /// The value written last, of which field of its message, and where it is among the edits' bytes.
    last: Option<(u32, u32, Written)>,
}

impl<'a> Writer<'a> {
    /// Whether anything is written.
    fn row(&mut self, row: &Row<'_>, value: u32) -> Result<bool, EditError> {
        let path = self.path;
        match (path.read, path.steps.split_first()) {
            (Read::Attribute, Some((Step::Key(key), steps))) => {
                self.attribute(row, row.message.attributes(), key, steps, value)
            }
            (Read::AnyValue(number), Some((_, _))) => self.within(row, number, value),
            (Read::AnyValue(number), None) => {
                let with = self.encoded(value, number, |(kind, bytes), to| {
                    let mut any = Vec::with_capacity(bytes.len() + 6);
                    put_any_value(kind, bytes, &mut any);
                    put_field(number, &any, to);
                    tag_len(number)
                })?;
                self.fields(row, 1 << number, true, with)
            }
            (Read::Scalar(scalar), _) => self.scalar(row, scalar, value),
            (Read::Attribute | Read::Metric(_), _) => Err(EditError::BadValue("a field that cannot be written")),
        }
    }

    fn attribute(
        &mut self,
        row: &Row<'_>,
        number: u32,
        key: &str,
        steps: &[Step],
        value: u32,
    ) -> Result<bool, EditError> {
        let with = self.encoded(value, number, |value, to| put_attribute(number, key, steps, value, to))?;
        let mut found = false;
        let mut written = false;
        for &part in row.parts() {
            let mut fields = Reader::within(row.bytes, part);
            loop {
                let start = fields.at();
                let Some(tag) = fields.tag()? else { break };
                if tag.number != number {
                    fields.skip(tag, DEPTH_MAX)?;
                    continue;
                }
                if tag.wire != LEN {
                    return Ok(fields.wrong_wire()?);
                }
                let entry = fields.extent(start)?;
                if !is_of_key(entry.of(row.bytes), key.as_bytes())? {
                    continue;
                }
                if !steps.is_empty() {
                    written |= self.nested_in_entry(row, &row.chain(part), entry, steps, value)?;
                } else if self.mode == Mode::Set {
                    let with = if found { Written::NOTHING } else { with };
                    self.push(entry.start..entry.end, row, &row.chain(part), with)?;
                    written = true;
                }
                found = true;
            }
        }
        if found || with.len() == 0 || !nested::makes_maps(steps) {
            return Ok(written);
        }
        self.append(row, with)?;
        Ok(true)
    }

    /// Sets fields of a message, numbered by the bits of `numbers`, of which one is left: `with`, or none. Where they have no presence, one
    /// that is there with its default value is as good as absent.
    fn fields(&mut self, row: &Row<'_>, numbers: u32, has_presence: bool, with: Written) -> Result<bool, EditError> {
        let mut found = false;
        for &part in row.parts() {
            let mut fields = Reader::within(row.bytes, part);
            loop {
                let start = fields.at();
                let Some(tag) = fields.tag()? else { break };
                if tag.number >= 32 || numbers >> tag.number & 1 == 0 {
                    fields.skip(tag, DEPTH_MAX)?;
                    continue;
                }
                let is_default = read_default(&mut fields, tag, start)?;
                if self.mode == Mode::Insert && (has_presence || !is_default) {
                    return Ok(false);
                }
                let with = if found { Written::NOTHING } else { with };
                self.push(start..fields.at(), row, &row.chain(part), with)?;
                found = true;
            }
        }
        if found || with.len() == 0 {
            return Ok(found);
        }
        self.append(row, with)?;
        Ok(true)
    }

    /// Adds a field at the end of a row's message.
    fn append(&mut self, row: &Row<'_>, with: Written) -> Result<(), EditError> {
        match row.parts().last() {
            Some(&part) => self.push(part.end..part.end, row, &row.chain(part), with),
            None => {
                // The message itself is not there.
                let with = self.edits.write_around(0x0a, with).ok_or(EditError::TooLarge)?;
                self.push(row.envelope.body..row.envelope.body, row, &[], with)
            }
        }
    }

    fn push(
        &mut self,
        bytes: std::ops::Range<u32>,
        row: &Row<'_>,
        chain: &[Extent],
        with: Written,
    ) -> Result<(), EditError> {
        let left = self.bytes_left.checked_sub(u64::from(with.len())).filter(|&left| left > 0);
        *self.bytes_left = left.ok_or(EditError::TooLarge)?;
        self.edits.push(bytes, &Nesting { segment: row.segment, floor: row.floor, chain }, with);
        Ok(())
    }

    /// A value in the form in which it is written, put among the edits' bytes once for neighbours. `put` returns where in it its name is;
    /// nothing is written of what is absent.
    fn encoded(
        &mut self,
        value: u32,
        number: u32,
        put: impl FnOnce((u8, &[u8]), &mut Vec<u8>) -> std::ops::Range<u32>,
    ) -> Result<Written, EditError> {
        if let Some((last, of, with)) = self.last
            && (last, of) == (value, number)
        {
            return Ok(with);
        }
        let (kind, bytes) = self.to.get(value as usize);
        let with = if kind == kind::ABSENT {
            Written::NOTHING
        } else {
            let mut name = 0..0;
            let with = self.edits.write(|to| {
                let mut field = Vec::with_capacity(bytes.len() + 32);
                name = put((kind, bytes), &mut field);
                to.extend_from_slice(&field);
            });
            with.ok_or(EditError::TooLarge)?.named(name)
        };
        self.last = Some((value, number, with));
        Ok(with)
    }
}

/// A KeyValue field; where steps follow, with the maps that lead to the value. Returns where the key is.
fn put_attribute(number: u32, key: &str, steps: &[Step], value: (u8, &[u8]), to: &mut Vec<u8>) -> std::ops::Range<u32> {
    let mut any = Vec::with_capacity(value.1.len() + 16);
    nested::put_nested(steps, value, &mut any);
    let mut entry = Vec::with_capacity(any.len() + key.len() + 16);
    put_bytes(0x0a, key.as_bytes(), &mut entry);
    let key_end = entry.len();
    put_bytes(0x12, &any, &mut entry);
    put_field(number, &entry, to);
    let end = (to.len() - entry.len() + key_end) as u32;
    end - key.len() as u32..end
}

/// Reads over a field; true if it holds nothing or zero.
fn read_default(fields: &mut Reader<'_>, tag: Tag, start: u32) -> Result<bool, EditError> {
    Ok(match tag.wire {
        VARINT => fields.varint()? == 0,
        FIXED64 => fields.fixed64()? == 0,
        FIXED32 => fields.fixed32()? == 0,
        LEN => fields.extent(start).map(|extent| extent.body == extent.end)?,
        _ => return Ok(fields.wrong_wire()?),
    })
}

/// A length-delimited field.
fn put_field(number: u32, payload: &[u8], to: &mut Vec<u8>) {
    put_varint(number << 3 | u32::from(LEN), to);
    put_varint(payload.len() as u32, to);
    to.extend_from_slice(payload);
}

/// Where the tag of a field is that was just put.
fn tag_len(number: u32) -> std::ops::Range<u32> {
    0..1 + u32::from(number > 15)
}

fn is_of_key(entry: &[u8], key: &[u8]) -> Result<bool, EditError> {
    Ok(match KeyValue::canonical(entry) {
        Some((found, _)) => found == key,
        None => KeyValue::read(entry)?.key == key,
    })
}

impl From<super::Malformed> for EditError {
    fn from(malformed: super::Malformed) -> EditError {
        EditError::Malformed(malformed)
    }
}
