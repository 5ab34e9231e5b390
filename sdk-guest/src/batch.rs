use crate::{Field, Level, Rows, Rule, Signal, Tuple, Value, Values, host};

/// The batch of the current call. Reads show it as it was when the call began; drops and edits happen after the call returned ok.
#[derive(Debug)]
pub struct Batch<'a> {
    handle: &'a host::Batch,
}

impl<'a> Batch<'a> {
    /// For [`export!`](crate::export).
    #[doc(hidden)]
    pub fn __of_call(handle: &'a host::Batch) -> Self {
        Batch { handle }
    }

    pub(crate) fn handle(&self) -> &'a host::Batch {
        self.handle
    }

    /// Its kind of telemetry.
    pub fn signal(&self) -> Signal {
        Signal::of(self.handle.signal())
    }

    /// Rows of a level. A level that the signal does not have is a fault.
    pub fn len(&self, level: Level) -> u32 {
        self.handle.len(level.as_str())
    }

    /// The different values of a field. A field that another signal has and this one has not is a fault: look at [`Batch::signal`] first.
    pub fn values(&self, field: &Field) -> Values {
        Values::new(self.handle.values(&field.handle), field.arity)
    }

    /// Rows, of the field's level, whose value is judged true. `judge` is asked once for each different value, and for absence.
    /// Of a tuple it sees the first path; for all of them see [`Batch::where_tuples`].
    pub fn where_values(&self, field: &Field, mut judge: impl FnMut(Value<'_>) -> bool) -> Rows {
        self.where_tuples(field, |tuple| judge(tuple.get(0)))
    }

    /// Rows, of the field's level, whose tuple of values is judged true. `judge` is asked once for each different tuple, and for
    /// the one that is absent throughout.
    pub fn where_tuples(&self, field: &Field, judge: impl FnMut(Tuple<'_>) -> bool) -> Rows {
        let values = self.values(field);
        let bitmap = Bitmap::of(values.tuples(), judge);
        self.rows_of(field, &bitmap)
    }

    /// Rows whose entry of [`Batch::values`] is set in the bitmap (least significant bit of byte 0 first).
    pub fn where_entries(&self, field: &Field, bitmap: &[u8]) -> Rows {
        Rows { handle: self.handle.where_values(&field.handle, bitmap) }
    }

    /// Rows of a level by number, from 0.
    pub fn where_rows(&self, level: Level, judge: impl FnMut(u32) -> bool) -> Rows {
        let bitmap = Bitmap::of(0..self.len(level), judge);
        Rows { handle: self.handle.where_rows(level.as_str(), &bitmap.bytes) }
    }

    /// Drops rows with everything below them.
    pub fn drop(&self, rows: &Rows, rule: &Rule) {
        host::drop_rows(self.handle, &rows.handle, &rule.handle);
    }

    /// Drops the rows whose value is judged true; see [`Batch::where_values`].
    pub fn drop_values(&self, field: &Field, rule: &Rule, mut judge: impl FnMut(Value<'_>) -> bool) {
        self.drop_tuples(field, rule, |tuple| judge(tuple.get(0)));
    }

    /// Drops the rows whose tuple of values is judged true; see [`Batch::where_tuples`].
    pub fn drop_tuples(&self, field: &Field, rule: &Rule, judge: impl FnMut(Tuple<'_>) -> bool) {
        let values = self.values(field);
        let bitmap = Bitmap::of(values.tuples(), judge);
        if bitmap.any {
            self.drop(&self.rows_of(field, &bitmap), rule);
        }
    }

    /// Drops rows of a level by number; see [`Batch::where_rows`].
    pub fn drop_rows(&self, level: Level, rule: &Rule, judge: impl FnMut(u32) -> bool) {
        self.drop(&self.where_rows(level, judge), rule);
    }

    /// The value of each row. Slower than judging values: prefer [`Batch::where_values`].
    pub fn rows(&self, field: &Field) -> RowValues {
        RowValues { values: self.values(field), codes: self.handle.codes(&field.handle) }
    }

    fn rows_of(&self, field: &Field, bitmap: &Bitmap) -> Rows {
        self.where_entries(field, &bitmap.bytes)
    }
}

/// The value of each row of a field's level.
#[derive(Clone, Debug)]
pub struct RowValues {
    values: Values,
    codes: Vec<u32>,
}

impl RowValues {
    /// The different values, each once.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// For each row, in order, which entry of [`RowValues::values`] it has.
    pub fn entries(&self) -> &[u32] {
        &self.codes
    }

    /// One value for each row, in order (of a tuple, the first path's).
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Value<'_>> {
        self.tuples().map(|tuple| tuple.get(0))
    }

    /// One tuple for each row, in order.
    pub fn tuples(&self) -> impl ExactSizeIterator<Item = Tuple<'_>> {
        self.codes.iter().map(|code| self.values.tuple(*code as usize))
    }
}

struct Bitmap {
    bytes: Vec<u8>,
    any: bool,
}

impl Bitmap {
    fn of<T>(items: impl ExactSizeIterator<Item = T>, mut judge: impl FnMut(T) -> bool) -> Bitmap {
        let mut bitmap = Bitmap { bytes: vec![0; items.len().div_ceil(8)], any: false };
        for (index, item) in items.enumerate() {
            if judge(item) {
                bitmap.bytes[index / 8] |= 1 << (index % 8);
                bitmap.any = true;
            }
        }
        bitmap
    }
}
