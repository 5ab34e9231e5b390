//! Columns: the different values of a field in a slice, and which row has which.

use std::cell::Cell;
use std::hash::{BuildHasher, Hash};
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::Batch;
use super::field::{Field, Path};
use super::levels::{Level, Slice, within};
use super::scan;
use super::value::kind;

/// What a different value takes beside its own bytes: kind, offset, and its place in the table that finds it.
const VALUE_BYTES: u64 = 16;
/// A row's code.
const CODE_BYTES: u64 = 4;

/// The columns would take more bytes than they may.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the fields' values take more bytes than they may")]
pub struct TooLarge;

/// The different values of a field in a slice, and which row has which.
///
/// kinds: 0 absent, 1 string, 2 bool (1 byte), 3 int (8 bytes LE), 4 double (8 bytes LE), 5 bytes (or invalid UTF-8),
/// 6 array and 7 map (AnyValue bytes), 8 empty. Entry 0 is always absent (for a tuple of k: entries 0..k).
/// The value at position `i` is `bytes[offsets[i]..offsets[i + 1]]`; tuple `c` has positions `c * k .. (c + 1) * k`.
/// Arrays and maps are told apart by their bytes: the same list in two encodings is two values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// Kind of each value.
    pub kinds: Vec<u8>,
    /// Where each value begins in `bytes`, closed by the length of `bytes`.
    pub offsets: Vec<u32>,
    /// The values, one after the other.
    pub bytes: Vec<u8>,
    /// Per row of the field's level.
    pub codes: Vec<u32>,
}

impl Column {
    /// No values and no rows; keeps the buffers.
    fn clear(&mut self) {
        self.kinds.clear();
        self.offsets.clear();
        self.bytes.clear();
        self.codes.clear();
    }

    fn push(&mut self, kind: u8, bytes: &[u8]) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        self.kinds.push(kind);
        self.bytes.extend_from_slice(bytes);
        self.offsets.push(self.bytes.len() as u32);
    }

    /// What it takes of what columns may take.
    fn bytes_taken(&self) -> u64 {
        self.bytes.len() as u64 + VALUE_BYTES * self.kinds.len() as u64 + CODE_BYTES * self.codes.len() as u64
    }

    /// Kind and bytes of the value at a position; absent past the last.
    pub fn value(&self, position: u32) -> (u8, &[u8]) {
        let at = position as usize;
        match (self.kinds.get(at), self.offsets.get(at..at + 2)) {
            (Some(&kind), Some(&[start, end])) => {
                (kind, self.bytes.get(start as usize..end as usize).unwrap_or_default())
            }
            _ => (kind::ABSENT, &[]),
        }
    }
}

impl Batch {
    /// Reads all these fields in one scan of each message that holds any of them. `out` has one column per field, its
    /// buffers are reused. Fields of another signal, and fields of events or links that were not made available by `ensure`,
    /// have no values (the latter no rows either).
    ///
    /// A tuple repeats the values of its parts, so columns can be far larger than what they are read from: what they take is taken
    /// from `bytes_left`, which never reaches 0. It is looked at where a column gets its rows and where it gets another value.
    ///
    /// Returns how many messages were malformed where the scan looked: what it read of them is absent.
    pub fn columns(
        &self,
        slice: &Slice,
        fields: &[&Field],
        out: &mut [Column],
        bytes_left: &mut u64,
    ) -> Result<u32, TooLarge> {
        let left = Left(Cell::from_mut(bytes_left));
        let mut paths: Vec<&Path> = Vec::new();
        for path in fields.iter().flat_map(|field| field.paths()) {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        let position = |path: &Path| paths.iter().position(|known| *known == path).unwrap_or_default();
        let mut interners: Vec<Interner<'_>> = Vec::with_capacity(paths.len());
        for path in &paths {
            // A field of this path alone lends its buffers.
            let lent = fields.iter().zip(out.iter_mut()).find(|(field, _)| matches!(field.paths(), [p] if p == *path));
            let column = lent.map(|(_, column)| std::mem::take(column)).unwrap_or_default();
            interners.push(Interner::new(column, self.rows(slice, path.level), left)?);
        }
        let malformed = scan::scan(self, slice, &paths, &mut interners);
        left.check()?;
        let mut columns: Vec<Option<Column>> = interners.into_iter().map(|interner| Some(interner.column)).collect();
        // Tuples first: they need the columns that single fields take away.
        for (field, out) in fields.iter().zip(out.iter_mut()).filter(|(field, _)| field.arity() != 1) {
            let parts: Vec<(Level, &Column)> = field
                .paths()
                .iter()
                .filter_map(|path| Some((path.level, columns.get(position(path))?.as_ref()?)))
                .collect();
            self.tuples(slice, field.level(), &parts, out, left)?;
        }
        for (index, field) in fields.iter().enumerate() {
            let [path] = field.paths() else { continue };
            let first = fields.iter().position(|field| matches!(field.paths(), [p] if p == path)).unwrap_or_default();
            if first == index {
                if let (Some(to), Some(column)) = (out.get_mut(index), columns.get_mut(position(path))) {
                    *to = column.take().unwrap_or_default();
                }
            } else if let Some((before, [to, ..])) = out.split_at_mut_checked(index)
                && let Some(column) = before.get(first)
            {
                left.take(column.bytes_taken())?;
                to.clone_from(column);
            }
        }
        Ok(malformed)
    }

    /// Makes one column of several, each of its own level.
    fn tuples(
        &self,
        slice: &Slice,
        level: Level,
        parts: &[(Level, &Column)],
        out: &mut Column,
        left: Left<'_>,
    ) -> Result<(), TooLarge> {
        let rows = self.rows(slice, level) as usize;
        let arity = parts.len();
        // The codes of the parts, and those of the tuples.
        left.take(CODE_BYTES * rows as u64 * (arity as u64 + 1))?;
        // Row by row, the codes of the parts.
        let mut codes = vec![0; rows * arity];
        for (part, &(from, column)) in parts.iter().enumerate() {
            self.lower(slice, from, level, &column.codes, |row, code| {
                if let Some(to) = codes.get_mut(row * arity + part) {
                    *to = code;
                }
            });
        }
        out.clear();
        let absent = vec![0; arity];
        let mut table: HashTable<u32> = HashTable::new();
        let hasher = RandomState::default();
        // The row where each different tuple was met first; of the tuple of all absent, none.
        let mut firsts: Vec<&[u32]> = vec![&absent];
        table.insert_unique(hasher.hash_one(absent.as_slice()), 0, |_| 0);
        let mut last = 0;
        for tuple in codes.chunks_exact(arity.max(1)) {
            if firsts.get(last as usize) != Some(&tuple) {
                let hash = hasher.hash_one(tuple);
                let same = |code: &u32| firsts.get(*code as usize) == Some(&tuple);
                last = match table.find(hash, same) {
                    Some(&code) => code,
                    None => {
                        let code = firsts.len() as u32;
                        firsts.push(tuple);
                        let again =
                            |code: &u32| hasher.hash_one(firsts.get(*code as usize).copied().unwrap_or_default());
                        table.insert_unique(hash, code, again);
                        code
                    }
                };
            }
            out.codes.push(last);
        }
        for tuple in firsts {
            for (&code, (_, column)) in tuple.iter().zip(parts) {
                let (kind, bytes) = column.value(code);
                left.take(VALUE_BYTES + bytes.len() as u64)?;
                out.push(kind, bytes);
            }
        }
        Ok(())
    }

    /// Calls `set` with each row of `to` in the slice and the code of the row of `from` above it.
    pub(crate) fn lower(&self, slice: &Slice, from: Level, to: Level, codes: &[u32], mut set: impl FnMut(usize, u32)) {
        let (Some(above), Some(below)) = (self.index.rows_of(slice, from), self.index.rows_of(slice, to)) else {
            return;
        };
        for (row, &code) in above.zip(codes) {
            let rows = self.index.below(row..row + 1, from, to).unwrap_or_default();
            within(&rows, &below).for_each(|row| set(row as usize, code));
        }
    }
}

/// What columns may still take; 0 once they wanted more.
#[derive(Clone, Copy, Debug)]
struct Left<'a>(&'a Cell<u64>);

impl Left<'_> {
    fn take(self, bytes: u64) -> Result<(), TooLarge> {
        self.0.set(self.0.get().saturating_sub(bytes));
        self.check()
    }

    fn check(self) -> Result<(), TooLarge> {
        if self.0.get() == 0 { Err(TooLarge) } else { Ok(()) }
    }
}

/// Builds the column of one path: each different value gets a code.
#[derive(Debug)]
pub(super) struct Interner<'a> {
    column: Column,
    left: Left<'a>,
    table: HashTable<u32>,
    hasher: RandomState,
    /// The value before: neighbours are often the same.
    last: u32,
    last_kind: u8,
    last_bytes: Range<usize>,
}

impl<'a> Interner<'a> {
    fn new(mut column: Column, rows: u32, left: Left<'a>) -> Result<Interner<'a>, TooLarge> {
        left.take(CODE_BYTES * u64::from(rows) + VALUE_BYTES)?;
        column.clear();
        column.push(kind::ABSENT, &[]);
        column.codes.resize(rows as usize, 0);
        Ok(Interner {
            column,
            left,
            table: HashTable::new(),
            hasher: RandomState::default(),
            last: 0,
            last_kind: kind::ABSENT,
            last_bytes: 0..0,
        })
    }

    /// Sets the value of a row. Text of kind string may be any bytes: what is not UTF-8 becomes kind bytes.
    #[inline]
    pub(super) fn set(&mut self, row: u32, kind: u8, bytes: &[u8]) {
        if self.last_kind != kind || self.column.bytes.get(self.last_bytes.clone()) != Some(bytes) {
            self.find(kind, bytes);
        }
        if let Some(code) = self.column.codes.get_mut(row as usize) {
            *code = self.last;
        }
    }

    /// Makes a row absent.
    pub(super) fn unset(&mut self, row: u32) {
        if let Some(code) = self.column.codes.get_mut(row as usize) {
            *code = 0;
        }
    }

    fn find(&mut self, kind: u8, bytes: &[u8]) {
        let hash = hash(&self.hasher, kind, bytes);
        let column = &self.column;
        let code = match self.table.find(hash, |&code| column.value(code) == (kind, bytes)) {
            Some(&code) => code,
            None if kind == kind::STRING && std::str::from_utf8(bytes).is_err() => {
                return self.find(kind::BYTES, bytes);
            }
            None => self.add(hash, kind, bytes),
        };
        self.last = code;
        self.last_kind = kind;
        let at = code as usize;
        if let Some(&[start, end]) = self.column.offsets.get(at..at + 2) {
            self.last_bytes = start as usize..end as usize;
        }
    }

    fn add(&mut self, hash: u64, kind: u8, bytes: &[u8]) -> u32 {
        // The scan goes on, but nothing is added to any column any more; `columns` returns the error when it is over.
        if self.left.take(VALUE_BYTES + bytes.len() as u64).is_err() {
            return 0;
        }
        let code = self.column.kinds.len() as u32;
        self.column.push(kind, bytes);
        let (column, hasher) = (&self.column, &self.hasher);
        self.table.insert_unique(hash, code, |&code| {
            let (kind, bytes) = column.value(code);
            self::hash(hasher, kind, bytes)
        });
        code
    }
}

fn hash(hasher: &RandomState, kind: u8, bytes: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    bytes.hash(&mut state);
    kind.hash(&mut state);
    std::hash::Hasher::finish(&state)
}
