//! The columns of the fields an instance opened: one scan of a batch reads all of one level, once per call, into reused buffers.

use std::sync::Arc;

use super::bindings::Values;
use super::limits::KEPT_BYTES_MAX;
use crate::batch::{Batch, Column, Field, Level, Slice, TooLarge};
use crate::signal::Signal;

/// A field's column in the form in which it is lowered into a guest: shared, so that nothing is copied but into the guest's memory.
#[derive(Debug)]
struct Cell {
    group: usize,
    values: Arc<Values>,
    codes: Arc<Vec<u32>>,
}

/// Fields that one scan reads.
#[derive(Debug)]
struct Group {
    signal: Option<Signal>,
    level: Level,
    /// Which fields, by their number.
    members: Vec<usize>,
    fields: Vec<Field>,
    /// Read into, then handed to the cells.
    scratch: Vec<Column>,
    is_read: bool,
}

/// What the host may still take for a call, and what it came across.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// For columns and row sets together, in bytes.
    pub(super) bytes_left: u64,
    /// Messages that could not be read: their fields are absent to the guest, and the call's effects must not be applied.
    pub(super) malformed: u32,
}

/// A field's different values, and which of them each row has.
pub(super) type Shared<'a> = (&'a Arc<Values>, &'a Arc<Vec<u32>>);

/// Columns of all fields of an instance, by field number.
#[derive(Debug, Default)]
pub(super) struct Columns {
    cells: Vec<Cell>,
    groups: Vec<Group>,
}

impl Columns {
    /// Places for these fields' columns.
    pub(super) fn new(fields: &[Field]) -> Self {
        let mut columns = Self::default();
        for (number, field) in fields.iter().enumerate() {
            let group = columns.group_for(field);
            columns.groups[group].members.push(number);
            columns.groups[group].fields.push(field.clone());
            columns.groups[group].scratch.push(Column::default());
            columns.cells.push(Cell::empty(group));
        }
        columns
    }

    fn group_for(&mut self, field: &Field) -> usize {
        let (signal, level) = (field.signal(), field.level());
        if let Some(group) = self.groups.iter().position(|group| (group.signal, group.level) == (signal, level)) {
            return group;
        }
        self.groups.push(Group {
            signal,
            level,
            members: Vec::new(),
            fields: Vec::new(),
            scratch: Vec::new(),
            is_read: false,
        });
        self.groups.len() - 1
    }

    /// Forgets what was read; buffers stay unless they are unusually large.
    pub(super) fn end_call(&mut self) {
        let mut kept = 0;
        for group in self.groups.iter_mut().filter(|group| group.is_read) {
            group.is_read = false;
            for &member in &group.members {
                let Some(cell) = self.cells.get_mut(member) else { continue };
                kept += cell.bytes();
                if kept > KEPT_BYTES_MAX {
                    *cell = Cell::empty(cell.group);
                }
            }
        }
    }

    /// Levels that fields of this signal need.
    pub(super) fn levels(&self, signal: Signal) -> impl Iterator<Item = Level> + '_ {
        self.groups
            .iter()
            .filter(move |group| group.signal.is_none_or(|other| other == signal))
            .map(|group| group.level)
    }

    /// The different values of a field, and which of them each row has. The field is one of those given to [`Columns::new`],
    /// readable in this batch.
    pub(super) fn column(
        &mut self,
        field: usize,
        batch: &Batch,
        slice: &Slice,
        reading: &mut Reading,
    ) -> Result<Option<Shared<'_>>, TooLarge> {
        let group = self.cells.get(field).and_then(|cell| self.groups.get_mut(cell.group));
        if let Some(group) = group.filter(|group| !group.is_read) {
            group.take_buffers(&mut self.cells);
            let fields: Vec<&Field> = group.fields.iter().collect();
            let malformed = batch.columns(slice, &fields, &mut group.scratch, &mut reading.bytes_left)?;
            reading.malformed = reading.malformed.saturating_add(malformed);
            group.is_read = true;
            group.hand_over(&mut self.cells);
        }
        Ok(self.cells.get(field).map(|cell| (&cell.values, &cell.codes)))
    }
}

impl Cell {
    fn empty(group: usize) -> Self {
        let values = Values { kinds: Vec::new(), offsets: Vec::new(), bytes: Vec::new() };
        Self { group, values: Arc::new(values), codes: Arc::default() }
    }

    /// Bytes of its buffers.
    fn bytes(&self) -> u64 {
        let values = &self.values;
        let words = values.offsets.capacity() + self.codes.capacity();
        (values.kinds.capacity() + values.bytes.capacity() + 4 * words) as u64
    }
}

impl Group {
    /// Takes the cells' buffers back for reading into, unless a guest's result still holds them.
    fn take_buffers(&mut self, cells: &mut [Cell]) {
        for (&member, column) in self.members.iter().zip(&mut self.scratch) {
            let cell = &mut cells[member];
            if let (Some(values), Some(codes)) = (Arc::get_mut(&mut cell.values), Arc::get_mut(&mut cell.codes)) {
                swap(values, codes, column);
            }
        }
    }

    fn hand_over(&mut self, cells: &mut [Cell]) {
        for (&member, column) in self.members.iter().zip(&mut self.scratch) {
            let cell = &mut cells[member];
            match (Arc::get_mut(&mut cell.values), Arc::get_mut(&mut cell.codes)) {
                (Some(values), Some(codes)) => swap(values, codes, column),
                _ => {
                    let Column { kinds, offsets, bytes, codes } = std::mem::take(column);
                    cell.values = Arc::new(Values { kinds, offsets, bytes });
                    cell.codes = Arc::new(codes);
                }
            }
        }
    }
}

fn swap(values: &mut Values, codes: &mut Vec<u32>, column: &mut Column) {
    std::mem::swap(&mut values.kinds, &mut column.kinds);
    std::mem::swap(&mut values.offsets, &mut column.offsets);
    std::mem::swap(&mut values.bytes, &mut column.bytes);
    std::mem::swap(codes, &mut column.codes);
}
