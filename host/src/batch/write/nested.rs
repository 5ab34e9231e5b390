//! Writing into lists and maps.

use super::row::Row;
use super::{EditError, Mode, Writer, Written};
use crate::batch::Malformed;
use crate::batch::field::Step;
use crate::batch::new_values::{put_any_value, put_bytes};
use crate::batch::value::kind;
use crate::batch::wire::{DEPTH_MAX, Extent, LEN, Reader};

const ARRAY: u32 = 5;
const MAP: u32 = 6;

impl Writer<'_> {
    /// Within the AnyValue that is field `number` of a row's message.
    pub(super) fn within(&mut self, row: &Row<'_>, number: u32, value: u32) -> Result<bool, EditError> {
        let path = self.path;
        let mut written = false;
        for &part in row.parts() {
            let anys = each_field(row.bytes, part, number)?;
            written |= self.nested(row, &mut row.chain(part).to_vec(), &anys, &path.steps, value)?;
        }
        Ok(written)
    }

    /// Within the value of a KeyValue field; `outer` encloses it.
    pub(super) fn nested_in_entry(
        &mut self,
        row: &Row<'_>,
        outer: &[Extent],
        entry: Extent,
        steps: &[Step],
        value: u32,
    ) -> Result<bool, EditError> {
        let mut chain = outer.to_vec();
        chain.push(entry);
        let anys = each_field(row.bytes, entry, 2)?;
        self.nested(row, &mut chain, &anys, steps, value)
    }

    /// Within an AnyValue, which may be in several parts; `chain` encloses it and is left as it was.
    fn nested(
        &mut self,
        row: &Row<'_>,
        chain: &mut Vec<Extent>,
        anys: &[Extent],
        steps: &[Step],
        value: u32,
    ) -> Result<bool, EditError> {
        let Some((step, rest)) = steps.split_first() else { return Ok(false) };
        let depth = chain.len();
        let lists = lists(row.bytes, anys, if matches!(step, Step::Key(_)) { MAP } else { ARRAY })?;
        let mut written = false;
        let mut found = false;
        let mut number = 0;
        for &within in &lists {
            chain.extend(within);
            for entry in each_field(row.bytes, within[1], 1)? {
                let is_it = match step {
                    Step::Key(key) => super::is_of_key(entry.of(row.bytes), key.as_bytes())?,
                    Step::Index(index) => number == *index,
                };
                number += 1;
                if !is_it {
                    continue;
                }
                written |= match (step, rest.is_empty()) {
                    (_, true) if self.mode == Mode::Insert => false,
                    (_, true) => self.replace(row, chain, entry, step, value, found)?,
                    (Step::Key(_), false) => self.nested_in_entry(row, chain, entry, rest, value)?,
                    (Step::Index(_), false) => self.nested(row, chain, &[entry], rest, value)?,
                };
                found = true;
            }
            chain.truncate(depth);
        }
        if let (false, Some(&within), Step::Key(key)) = (found, lists.last(), step)
            && self.to.get(value as usize).0 != kind::ABSENT
            && makes_maps(rest)
        {
            chain.extend(within);
            let with = self.entry(key, rest, value)?;
            self.push(within[1].end..within[1].end, row, chain, with)?;
            chain.truncate(depth);
            written = true;
        }
        Ok(written)
    }

    /// Replaces an entry of a map or an element of a list; of a key that is there twice the second goes.
    fn replace(
        &mut self,
        row: &Row<'_>,
        chain: &[Extent],
        entry: Extent,
        step: &Step,
        value: u32,
        is_second: bool,
    ) -> Result<bool, EditError> {
        let (of_kind, bytes) = self.to.get(value as usize);
        let with = match step {
            _ if is_second || of_kind == kind::ABSENT => Written::NOTHING,
            Step::Key(key) => self.entry(key, &[], value)?,
            Step::Index(_) => {
                let mut any = Vec::with_capacity(bytes.len() + 6);
                put_any_value(of_kind, bytes, &mut any);
                self.edits.write(|to| put_bytes(0x0a, &any, to)).ok_or(EditError::TooLarge)?
            }
        };
        self.push(entry.start..entry.end, row, chain, with)?;
        Ok(true)
    }

    /// A map's entry.
    fn entry(&mut self, key: &str, steps: &[Step], value: u32) -> Result<Written, EditError> {
        let mut name = 0..0;
        let mut field = Vec::new();
        name.clone_from(&super::put_attribute(1, key, steps, self.to.get(value as usize), &mut field));
        let with = self.edits.write(|to| to.extend_from_slice(&field)).ok_or(EditError::TooLarge)?;
        Ok(with.named(name))
    }
}

/// Whether what these steps lead to can be made: lists cannot, as nobody knows what is before the element.
pub(super) fn makes_maps(steps: &[Step]) -> bool {
    steps.iter().all(|step| matches!(step, Step::Key(_)))
}

/// The AnyValue of a value, in the maps that lead to it.
pub(super) fn put_nested(steps: &[Step], value: (u8, &[u8]), to: &mut Vec<u8>) {
    let Some((Step::Key(key), rest)) = steps.split_first() else { return put_any_value(value.0, value.1, to) };
    let mut any = Vec::new();
    put_nested(rest, value, &mut any);
    let mut entry = Vec::new();
    put_bytes(0x0a, key.as_bytes(), &mut entry);
    put_bytes(0x12, &any, &mut entry);
    let mut map = Vec::new();
    put_bytes(0x0a, &entry, &mut map);
    put_bytes(0x32, &map, to);
}

/// The lists or maps (field `number`) of an AnyValue in parts, each with the part that it is in. Of a oneof the last variant stays.
fn lists(bytes: &[u8], anys: &[Extent], number: u32) -> Result<Vec<[Extent; 2]>, Malformed> {
    let mut lists = Vec::new();
    for &any in anys {
        let mut fields = Reader::within(bytes, any);
        loop {
            let start = fields.at();
            let Some(tag) = fields.tag()? else { break };
            if tag.number == number && tag.wire == LEN {
                lists.push([any, fields.extent(start)?]);
                continue;
            }
            fields.skip(tag, DEPTH_MAX)?;
            if (1..=8).contains(&tag.number) {
                lists.clear();
            }
        }
    }
    Ok(lists)
}

/// The occurrences of a field; of one that holds a number, without a payload.
pub(super) fn each_field(bytes: &[u8], message: Extent, number: u32) -> Result<Vec<Extent>, Malformed> {
    let mut found = Vec::new();
    let mut fields = Reader::within(bytes, message);
    loop {
        let start = fields.at();
        let Some(tag) = fields.tag()? else { return Ok(found) };
        if tag.number == number && tag.wire == LEN {
            found.push(fields.extent(start)?);
            continue;
        }
        fields.skip(tag, DEPTH_MAX)?;
        if tag.number == number {
            found.push(Extent { start, body: fields.at(), end: fields.at() });
        }
    }
}
