//! What to look for in the messages of one type, found in one scan of each.

use super::Malformed;
use super::catalog::{Message, Read};
use super::column::Interner;
use super::field::{Path, Step};
use super::scalars::{Scalars, Values};
use super::value::{KeyValue, resolve};
use super::wire::{DEPTH_MAX, LEN, Reader, gather};

/// Attributes that one scan looks for: a bit each.
const ATTRIBUTES_MAX: usize = 64;

/// What to look for in messages of one type.
pub(super) struct Plan<'a> {
    /// The field number of the message's attributes.
    attributes_field: u32,
    attributes: Vec<Attribute<'a>>,
    /// A bit for each of `attributes`.
    all: u64,
    /// A bit for each length that a wanted key has; 63 stands for anything longer.
    key_lengths: u64,
    scalars: Scalars,
    /// AnyValues that are not attributes, all of one field (a log's body): its number, steps, interner.
    values: Vec<(u32, &'a [Step], usize)>,
}

struct Attribute<'a> {
    key: &'a [u8],
    steps: &'a [Step],
    /// Which interner it goes to.
    number: usize,
}

impl<'a> Plan<'a> {
    /// One plan, or more where more attributes are wanted than a scan can look for.
    pub(super) fn of(message: Message, wanted: &[(usize, &'a Path)]) -> Vec<Plan<'a>> {
        let mut attributes = Vec::new();
        let mut values = Vec::new();
        let mut scalars = Scalars::new(message);
        for &(number, path) in wanted {
            match (path.read, path.steps.split_first()) {
                (Read::Attribute, Some((Step::Key(key), steps))) => {
                    attributes.push(Attribute { key: key.as_bytes(), steps, number });
                }
                (Read::AnyValue(field), _) => values.push((field, path.steps.as_slice(), number)),
                (Read::Scalar(scalar), _) => scalars.want(scalar, number),
                (Read::Attribute | Read::Metric(_), _) => {}
            }
        }
        let mut plans = Vec::new();
        loop {
            let rest = attributes.split_off(attributes.len().min(ATTRIBUTES_MAX));
            if attributes.is_empty() && scalars.is_empty() && values.is_empty() {
                return plans;
            }
            plans.push(Plan {
                attributes_field: message.attributes(),
                all: u64::MAX.checked_shr(64 - attributes.len() as u32).unwrap_or(0),
                key_lengths: attributes.iter().fold(0, |bits, wanted| bits | length_bit(wanted.key)),
                attributes: std::mem::replace(&mut attributes, rest),
                scalars: std::mem::replace(&mut scalars, Scalars::new(message)),
                values: std::mem::take(&mut values),
            });
        }
    }

    fn read(
        &self,
        message: &[u8],
        row: u32,
        values: &mut Values,
        interners: &mut [Interner<'_>],
    ) -> Result<(), Malformed> {
        let mut pending = self.all;
        values.clear();
        let whole = !self.scalars.is_empty() || !self.values.is_empty();
        // The last occurrence of each AnyValue field is enough unless there are several.
        let mut value: Option<(&[u8], u32)> = None;
        let mut fields = Reader::new(message);
        while pending != 0 || whole {
            let Some(tag) = fields.tag()? else { break };
            if tag.number == self.attributes_field && pending != 0 {
                if tag.wire != LEN {
                    return fields.wrong_wire();
                }
                pending &= !self.attribute(fields.bytes()?, pending, row, interners)?;
            } else if !whole {
                fields.skip(tag, DEPTH_MAX - 3)?;
            } else if self.values.iter().any(|(field, ..)| *field == tag.number) {
                if tag.wire != LEN {
                    return fields.wrong_wire();
                }
                value = Some((fields.bytes()?, value.map_or(1, |(_, parts)| parts + 1)));
            } else if !self.scalars.field(tag, &mut fields, values)? {
                fields.skip(tag, DEPTH_MAX - 3)?;
            }
        }
        if let Some((last, parts)) = value {
            for &(field, steps, number) in &self.values {
                let Some(interner) = interners.get_mut(number) else { continue };
                let mut found = |kind, bytes: &[u8]| interner.set(row, kind, bytes);
                match parts {
                    1 => resolve(last, steps, &mut found)?,
                    _ => resolve(&gather(message, field)?, steps, &mut found)?,
                }
            }
        }
        self.scalars.end(message, values, row, interners)
    }

    /// Reads one KeyValue; returns the bits of the attributes that it is.
    #[inline(always)]
    fn attribute(
        &self,
        message: &[u8],
        pending: u64,
        row: u32,
        interners: &mut [Interner<'_>],
    ) -> Result<u64, Malformed> {
        if let Some((key, value)) = KeyValue::canonical(message) {
            if self.key_lengths & length_bit(key) == 0 {
                return Ok(0);
            }
            return self.attribute_of(key, value, pending, row, interners);
        }
        let key_value = KeyValue::read(message)?;
        self.attribute_of(key_value.key, &key_value.value, pending, row, interners)
    }

    fn attribute_of(
        &self,
        key: &[u8],
        value: &[u8],
        pending: u64,
        row: u32,
        interners: &mut [Interner<'_>],
    ) -> Result<u64, Malformed> {
        let mut found = 0;
        for (bit, wanted) in self.attributes.iter().enumerate() {
            if pending >> bit & 1 == 1 && wanted.key == key {
                found |= 1 << bit;
                if let Some(interner) = interners.get_mut(wanted.number) {
                    resolve(value, wanted.steps, &mut |kind, bytes| interner.set(row, kind, bytes))?;
                }
            }
        }
        Ok(found)
    }

    /// Takes back what was read of a message that turned out to be malformed.
    fn unset(&self, row: u32, interners: &mut [Interner<'_>]) {
        let attributes = self.attributes.iter().map(|wanted| wanted.number);
        let values = self.values.iter().map(|(.., number)| *number);
        for number in attributes.chain(values).chain(self.scalars.numbers()) {
            if let Some(interner) = interners.get_mut(number) {
                interner.unset(row);
            }
        }
    }
}

/// Returns 1 if the message is malformed, else 0.
pub(super) fn run(
    plans: &[Plan<'_>],
    message: &[u8],
    row: u32,
    values: &mut Values,
    interners: &mut [Interner<'_>],
) -> u32 {
    if plans.iter().all(|plan| plan.read(message, row, values, interners).is_ok()) {
        return 0;
    }
    plans.iter().for_each(|plan| plan.unset(row, interners));
    1
}

fn length_bit(key: &[u8]) -> u64 {
    1 << key.len().min(63)
}
