//! What conditions read of a batch, and what they say of it.

use sluicebox_guest::{Batch, Field, Level, RowValues, Rows, Tuple, Value, Values};

use super::eval::{EvalError, eval};
use super::parser::Condition;
use super::path::Path;
use super::{Expr, SyntaxError};

/// A tuple of fields, opened. Conditions that read the same can share it.
#[derive(Debug)]
pub struct Source {
    paths: Vec<Path>,
    level: Level,
    field: Field,
}

/// What a condition says of the different tuples of a batch.
#[derive(Debug)]
pub struct Judged {
    /// Entries that it is true of.
    pub matched: Bitmap,
    /// Entries that it cannot be answered for.
    pub failed: Bitmap,
    /// Why it cannot, where there is such an entry.
    pub error: Option<EvalError>,
}

impl Source {
    /// Opens fields, to be read together. The error names the path. Only while configuring.
    pub fn of(paths: &[Path]) -> Result<Source, String> {
        let texts: Vec<&str> = paths.iter().map(|path| path.text.as_str()).collect();
        let field = Field::open(&texts)?;
        let level = paths.iter().map(|path| path.level).max().unwrap_or(Level::Resource);
        Ok(Source { paths: paths.to_vec(), level, field })
    }

    /// Opens the fields that a condition reads; None if it reads nothing. Only while configuring.
    pub fn open(condition: &Condition) -> Result<Option<Source>, SyntaxError> {
        if condition.paths.is_empty() {
            return Ok(None);
        }
        Source::of(&condition.paths).map(Some).map_err(|why| SyntaxError::new(place_of(&why, condition), why))
    }

    /// Whether these are what it reads.
    pub fn is_of(&self, paths: &[Path]) -> bool {
        self.paths == paths
    }

    /// The lowest level that its paths name: that of its rows.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The different tuples of a batch.
    pub fn values(&self, batch: &Batch) -> Values {
        batch.values(&self.field)
    }

    /// The entries of [`Source::values`] whose first value is judged true.
    pub fn select(&self, values: &Values, mut judge: impl FnMut(Value<'_>) -> bool) -> Bitmap {
        let mut selected = Bitmap::new(values.len());
        for (entry, tuple) in values.tuples().enumerate() {
            if judge(self.read(tuple, 0)) {
                selected.set(entry);
            }
        }
        selected
    }

    /// Each row of [`Source::level`] with its tuple. Slower than judging tuples.
    pub fn row_values(&self, batch: &Batch) -> RowValues {
        batch.rows(&self.field)
    }

    /// Evaluates a condition once for each of [`Source::values`].
    pub fn judge(&self, expr: &Expr, values: &Values) -> Judged {
        let mut judged = Judged { matched: Bitmap::new(values.len()), failed: Bitmap::new(values.len()), error: None };
        for (entry, tuple) in values.tuples().enumerate() {
            match eval(expr, &|position| self.read(tuple, position)) {
                Ok(true) => judged.matched.set(entry),
                Ok(false) => {}
                Err(why) => {
                    judged.failed.set(entry);
                    judged.error = judged.error.or(Some(why));
                }
            }
        }
        judged
    }

    /// The rows, of [`Source::level`], that have these entries; None where no entry is set, which costs no call.
    pub fn rows(&self, batch: &Batch, entries: &Bitmap) -> Option<Rows> {
        entries.any.then(|| batch.where_entries(&self.field, &entries.bytes))
    }

    /// An id of zeros is none.
    fn read<'a>(&self, tuple: Tuple<'a>, position: usize) -> Value<'a> {
        match tuple.get(position) {
            Value::Bytes(id) if self.paths[position].is_id() && id.iter().all(|byte| *byte == 0) => Value::Bytes(&[]),
            value => value,
        }
    }
}

/// A set of entries of [`Values`].
#[derive(Clone, Debug)]
pub struct Bitmap {
    bytes: Vec<u8>,
    any: bool,
}

impl Bitmap {
    /// An empty one.
    pub fn new(len: usize) -> Bitmap {
        Bitmap { bytes: vec![0; len.div_ceil(8)], any: false }
    }

    /// Adds an entry, which is below its length.
    pub fn set(&mut self, index: usize) {
        self.bytes[index / 8] |= 1 << (index % 8);
        self.any = true;
    }
}

/// Where the path stands that an error of the host names, which is before it names others that there are; the first, if it names none.
fn place_of(error: &str, condition: &Condition) -> usize {
    let named = |path: &Path| error.find(&path.text).or_else(|| error.find(&format!("{:?}", path.text)));
    let named = condition.paths.iter().zip(&condition.places).filter_map(|(path, place)| Some((named(path)?, *place)));
    let first = named.min_by_key(|(at, _)| *at).map(|(_, place)| place);
    first.or_else(|| condition.places.first().copied()).unwrap_or(0)
}
