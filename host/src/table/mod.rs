//! Tables that components look things up in: the rows of a CSV or JSON file, each found by the text of one column.
//!
//! A table never changes. One that is loaded again with the same content is the same table, however many stages and generations have it.

mod csv;
mod json;

use std::fmt::Write as _;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use sha2::{Digest as _, Sha256};

/// Largest file.
pub const FILE_BYTES_MAX: u64 = 64 << 20;
/// Most rows.
pub const ROWS_MAX: usize = 1_000_000;
/// Most columns.
pub const COLUMNS_MAX: usize = 64;
/// Most cells: each costs five bytes beside its value.
pub const CELLS_MAX: usize = 8 << 20;
/// Longest name of a column.
const COLUMN_BYTES_MAX: usize = 256;
/// Most columns that an error names.
const COLUMNS_SHOWN_MAX: usize = 16;

/// Tables in use.
static LOADED: Mutex<Vec<Weak<Table>>> = Mutex::new(Vec::new());

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180 with a header; every value is a string, an empty one is absent.
    Csv,
    /// A list of objects whose values are strings, numbers, bools, or null for absent.
    Json,
}

impl Format {
    /// By the ending of a file's name.
    pub fn of_name(name: &str) -> Option<Self> {
        let (_, ending) = name.rsplit_once('.')?;
        match ending.to_ascii_lowercase().as_str() {
            "csv" => Some(Format::Csv),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

/// Rows by the text of their key.
#[derive(Debug)]
pub struct Table {
    identity: [u8; 32],
    columns: Vec<String>,
    key: usize,
    /// Cells, row by row.
    kinds: Vec<Kind>,
    /// Where each cell ends in `bytes`; it begins where the one before ends.
    ends: Vec<u32>,
    bytes: Vec<u8>,
    /// Numbers of rows.
    index: HashTable<u32>,
    hasher: RandomState,
}

/// Kinds of values, by their numbers in the contract (wit/telemetry.wit, `batches.values`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// No bytes.
    Absent = 0,
    /// UTF-8.
    String = 1,
    /// One byte, 0 or 1.
    Bool = 2,
    /// 8 bytes, signed, little endian.
    Int = 3,
    /// 8 bytes, IEEE 754, little endian.
    Double = 4,
}

/// A file that is no table.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TableError {
    /// No header, no list.
    #[error("it holds no table: {0}")]
    Empty(&'static str),
    /// Text that is not of its format.
    #[error("line {line}: {what}")]
    Syntax {
        /// From 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// A row that is shorter or longer than the header.
    #[error("line {line}: {found} values, but the header has {expected}")]
    Width {
        /// From 1.
        line: u64,
        /// Columns.
        expected: u64,
        /// Values.
        found: u64,
    },
    /// The column of keys is not there.
    #[error("it has no column \"{key}\"; it has: {columns}")]
    NoKeyColumn {
        /// As configured.
        key: String,
        /// Those that there are.
        columns: String,
    },
    /// A row without a key.
    #[error("line {line}: there is no key")]
    NoKey {
        /// From 1.
        line: u64,
    },
    /// Two rows of one key.
    #[error("line {line}: the key is that of line {first}, too")]
    Duplicate {
        /// From 1.
        line: u64,
        /// Of the first row with this key.
        first: u64,
    },
    /// More than a table may hold.
    #[error("line {line}: more than {max} {what}")]
    TooMany {
        /// From 1.
        line: u64,
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
}

impl Table {
    /// The table that a file's bytes hold; one with the same content that is in use is taken.
    ///
    /// # Errors
    /// See [`TableError`]; no value of the file is in it.
    pub fn load(format: Format, key: &str, file: &[u8]) -> Result<Arc<Self>, TableError> {
        let identity = identity(format, key, file);
        if let Some(known) = known(&identity) {
            return Ok(known);
        }
        let table = Arc::new(Self::parse(format, key, file, identity)?);
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|table| table.strong_count() > 0);
        loaded.push(Arc::downgrade(&table));
        Ok(table)
    }

    fn parse(format: Format, key: &str, file: &[u8], identity: [u8; 32]) -> Result<Self, TableError> {
        match format {
            Format::Csv => csv::parse(key, file)?.finish(key, identity),
            Format::Json => json::parse(file)?.finish(key, identity),
        }
    }

    /// SHA-256 of what it was made of: two of the same are the same.
    pub fn identity(&self) -> &[u8; 32] {
        &self.identity
    }

    /// Names of all columns, the key's among them.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.kinds.len().checked_div(self.columns.len()).unwrap_or(0)
    }

    /// Bytes of memory that it takes.
    pub fn memory_bytes(&self) -> u64 {
        let cells = self.kinds.capacity() * size_of::<Kind>() + self.ends.capacity() * size_of::<u32>();
        (size_of::<Self>() + cells + self.bytes.capacity() + self.index.allocation_size()) as u64
    }

    /// The number of the row with this key.
    pub fn find(&self, key: &[u8]) -> Option<u32> {
        self.index.find(self.hasher.hash_one(key), |&row| self.is_key(row, key)).copied()
    }

    /// A value; absent past the ends.
    pub fn cell(&self, row: u32, column: u32) -> (Kind, &[u8]) {
        let column = column as usize;
        if column >= self.columns.len() {
            return (Kind::Absent, &[]);
        }
        let at = (row as usize).saturating_mul(self.columns.len()).saturating_add(column);
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let bytes = self.ends.get(at).and_then(|&end| self.bytes.get(start as usize..end as usize));
        self.kinds.get(at).copied().zip(bytes).unwrap_or((Kind::Absent, &[]))
    }

    fn hash_of(&self, row: u32) -> u64 {
        let mut text = KeyText::default();
        self.hasher.hash_one(text.of(self.cell(row, self.key as u32)).unwrap_or_default())
    }

    fn is_key(&self, row: u32, key: &[u8]) -> bool {
        let mut text = KeyText::default();
        text.of(self.cell(row, self.key as u32)) == Some(key)
    }
}

/// The same content is the same table.
impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

/// The text that a value is compared by.
#[derive(Debug, Default)]
pub struct KeyText(String);

impl KeyText {
    /// None for what cannot be a key: what is absent or a double.
    pub fn of<'a>(&'a mut self, (kind, bytes): (Kind, &'a [u8])) -> Option<&'a [u8]> {
        match kind {
            Kind::String => Some(bytes),
            Kind::Bool => Some(if bytes.first().is_some_and(|&byte| byte != 0) { b"true" } else { b"false" }),
            Kind::Int => {
                self.0.clear();
                // Writing to a String cannot fail.
                let _infallible = write!(self.0, "{}", i64::from_le_bytes(bytes.try_into().ok()?));
                Some(self.0.as_bytes())
            }
            Kind::Absent | Kind::Double => None,
        }
    }
}

/// A table while it is read.
#[derive(Debug, Default)]
struct Builder {
    columns: Vec<String>,
    kinds: Vec<Kind>,
    ends: Vec<u32>,
    bytes: Vec<u8>,
    /// Where each row begins in the file.
    lines: Vec<u64>,
}

impl Builder {
    /// Adds a column; None where there is one of this name.
    fn column(&mut self, line: u64, name: &str) -> Result<Option<usize>, TableError> {
        if name.is_empty() || name.len() > COLUMN_BYTES_MAX || name.chars().any(char::is_control) {
            let what = format!("a column's name has 1 to {COLUMN_BYTES_MAX} bytes and no control characters");
            return Err(TableError::Syntax { line, what });
        }
        if self.columns.iter().any(|known| known == name) {
            return Ok(None);
        }
        if self.columns.len() == COLUMNS_MAX {
            return Err(TableError::TooMany { line, what: "columns", max: COLUMNS_MAX });
        }
        self.columns.push(name.to_owned());
        Ok(Some(self.columns.len() - 1))
    }

    /// Begins a row of `cells` values.
    fn row(&mut self, line: u64, cells: usize) -> Result<(), TableError> {
        if self.lines.len() == ROWS_MAX {
            return Err(TableError::TooMany { line, what: "rows", max: ROWS_MAX });
        }
        if self.kinds.len().saturating_add(cells) > CELLS_MAX {
            return Err(TableError::TooMany { line, what: "values", max: CELLS_MAX });
        }
        self.lines.push(line);
        Ok(())
    }

    /// Adds a value to the row. All of them come from a file of [`FILE_BYTES_MAX`], and a number has at most eight bytes for each of its own.
    fn cell(&mut self, kind: Kind, bytes: &[u8]) {
        self.kinds.push(kind);
        self.bytes.extend_from_slice(bytes);
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }

    fn finish(mut self, key: &str, identity: [u8; 32]) -> Result<Table, TableError> {
        let Some(key) = self.columns.iter().position(|column| column == key) else {
            return Err(TableError::NoKeyColumn { key: key.to_owned(), columns: shown(&self.columns) });
        };
        self.kinds.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.bytes.shrink_to_fit();
        let Self { columns, kinds, ends, bytes, lines } = self;
        let (index, hasher) = (HashTable::with_capacity(lines.len()), RandomState::default());
        let mut table = Table { identity, columns, key, kinds, ends, bytes, index, hasher };
        let mut text = KeyText::default();
        let mut index = std::mem::take(&mut table.index);
        for (row, &line) in (0_u32..).zip(&lines) {
            let key = text.of(table.cell(row, key as u32)).filter(|key| !key.is_empty());
            let key = key.ok_or(TableError::NoKey { line })?;
            let hash = table.hasher.hash_one(key);
            if let Some(&first) = index.find(hash, |&row| table.is_key(row, key)) {
                let first = lines.get(first as usize).copied().unwrap_or_default();
                return Err(TableError::Duplicate { line, first });
            }
            index.insert_unique(hash, row, |&row| table.hash_of(row));
        }
        table.index = index;
        Ok(table)
    }
}

/// Names of columns, for an error.
pub fn shown(columns: &[String]) -> String {
    let more = if columns.len() > COLUMNS_SHOWN_MAX { ", ..." } else { "" };
    columns.iter().take(COLUMNS_SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ") + more
}

fn identity(format: Format, key: &str, file: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update([format as u8]);
    hash.update((key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(file);
    hash.finalize().into()
}

fn known(identity: &[u8; 32]) -> Option<Arc<Table>> {
    let loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    loaded.iter().filter_map(Weak::upgrade).find(|table| table.identity == *identity)
}

#[cfg(test)]
mod tests;
