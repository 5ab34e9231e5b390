//! Writing the fields of the protocol that hold one text or number.

use super::nested::each_field;
use super::row::Row;
use super::{EditError, Mode, Writer, Written, put_field, tag_len};
use crate::batch::catalog::{Message, Scalar};
use crate::batch::new_values::word;
use crate::batch::value::kind;
use crate::batch::wire::{FIXED32, FIXED64, VARINT, put_varint, put_varint64};

/// Span.status.
const STATUS: u32 = 15;
const AS_DOUBLE: u32 = 4;
const AS_INT: u32 = 6;

impl Writer<'_> {
    pub(super) fn scalar(&mut self, row: &Row<'_>, scalar: Scalar, value: u32) -> Result<bool, EditError> {
        let Some(field) = FieldForm::of(scalar, row.message) else { return Ok(false) };
        let (of_kind, bytes) = self.to.get(value as usize);
        if of_kind != kind::ABSENT && !field.form.takes(of_kind, bytes) {
            return Err(EditError::BadValue("a value that the field cannot hold"));
        }
        let put = |(_, bytes): (u8, &[u8]), to: &mut Vec<u8>| {
            field.put(bytes, to);
            tag_len(field.number)
        };
        if !matches!(scalar, Scalar::StatusCode | Scalar::StatusMessage) {
            let with = self.encoded(value, field.number, put)?;
            return self.fields(row, field.replaces, field.has_presence, with);
        }
        let whole = self.encoded(value, STATUS, |value, to| {
            let mut status = Vec::with_capacity(value.1.len() + 16);
            let name = put(value, &mut status);
            put_field(STATUS, &status, to);
            let before = (to.len() - status.len()) as u32;
            before + name.start..before + name.end
        })?;
        self.status(row, &field, whole, value)
    }

    /// A field of Span.status, which may be there in several parts: they are merged when they are read.
    fn status(&mut self, row: &Row<'_>, field: &FieldForm, whole: Written, value: u32) -> Result<bool, EditError> {
        let statuses = each_field(row.bytes, row.envelope, STATUS)?;
        let bytes = self.to.get(value as usize).1;
        let mut found = Vec::new();
        for &status in &statuses {
            for extent in each_field(row.bytes, status, field.number)? {
                found.push((status, extent));
            }
        }
        if found.is_empty() {
            if whole.len() > 0 {
                // Another part, which is merged with those that there are.
                self.append(row, whole)?;
            }
            return Ok(whole.len() > 0);
        }
        if self.mode == Mode::Insert {
            return Ok(false);
        }
        let mut with = if whole.len() == 0 {
            Written::NOTHING
        } else {
            self.edits.write(|to| field.put(bytes, to)).ok_or(EditError::TooLarge)?
        };
        for (status, extent) in found {
            self.push(extent.start..extent.end, row, &[status], with)?;
            with = Written::NOTHING;
        }
        Ok(true)
    }
}

/// How a field is written.
#[derive(Clone, Copy, Debug)]
struct FieldForm {
    number: u32,
    /// A bit for each field that it takes the place of: itself, and others of a oneof.
    replaces: u32,
    /// Whether it can be there with its default value.
    has_presence: bool,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    /// An enum or another int32 as a varint.
    Int32,
    Uint32,
    Fixed32,
    /// A uint64 or an int64; guests have the latter only.
    Fixed64,
    Double,
}

impl FieldForm {
    /// None where the message does not have the field.
    fn of(scalar: Scalar, message: Message) -> Option<FieldForm> {
        let is_number = message == Message::NumberPoint;
        let plain = |number, form| Some(FieldForm { number, replaces: 1 << number, has_presence: false, form });
        let oneof =
            |number, form| Some(FieldForm { number, replaces: 1 << AS_DOUBLE | 1 << AS_INT, has_presence: true, form });
        match scalar {
            Scalar::Text(number) => plain(number, Form::Text),
            Scalar::Int32(number) => plain(number, Form::Int32),
            Scalar::Uint32(number) => plain(number, Form::Uint32),
            Scalar::Fixed32(number) => plain(number, Form::Fixed32),
            Scalar::Fixed64(number) => plain(number, Form::Fixed64),
            Scalar::StatusCode => plain(3, Form::Int32),
            Scalar::StatusMessage => plain(2, Form::Text),
            Scalar::PointFlags => plain(message.point_flags(), Form::Uint32),
            Scalar::PointDouble if is_number => oneof(AS_DOUBLE, Form::Double),
            Scalar::PointInt if is_number => oneof(AS_INT, Form::Fixed64),
            Scalar::PointCount if !is_number => plain(4, Form::Fixed64),
            // Of summaries it is a plain double, of histograms one with presence.
            Scalar::PointSum if !is_number => {
                let has_presence = message != Message::SummaryPoint;
                Some(FieldForm { number: 5, replaces: 1 << 5, has_presence, form: Form::Double })
            }
            _ => None,
        }
    }

    /// The field with its tag, from legal bytes of the kind that it takes.
    fn put(&self, bytes: &[u8], to: &mut Vec<u8>) {
        let tag = |wire: u8| self.number << 3 | u32::from(wire);
        match self.form {
            Form::Text => put_field(self.number, bytes, to),
            Form::Int32 | Form::Uint32 => {
                put_varint(tag(VARINT), to);
                put_varint64(word(bytes), to);
            }
            Form::Fixed32 => {
                put_varint(tag(FIXED32), to);
                to.extend_from_slice(&(word(bytes) as u32).to_le_bytes());
            }
            Form::Fixed64 | Form::Double => {
                put_varint(tag(FIXED64), to);
                to.extend_from_slice(&word(bytes).to_le_bytes());
            }
        }
    }
}

impl Form {
    fn takes(self, kind: u8, bytes: &[u8]) -> bool {
        let number = word(bytes).cast_signed();
        match self {
            Form::Text => kind == kind::STRING,
            Form::Double => kind == kind::DOUBLE,
            Form::Fixed64 => kind == kind::INT,
            Form::Int32 => kind == kind::INT && i32::try_from(number).is_ok(),
            Form::Uint32 | Form::Fixed32 => kind == kind::INT && u32::try_from(number).is_ok(),
        }
    }
}
