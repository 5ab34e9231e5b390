use crate::{Values, host};

/// Columns of a table that the operator configured for the stage. Needs the grant `lookup`.
#[derive(Debug)]
pub struct Table {
    handle: host::Table,
    columns: usize,
}

impl Table {
    /// The table of this name and 1 to 16 of its columns. The error names what there is. Only while configuring.
    pub fn open(name: &str, columns: &[&str]) -> Result<Table, String> {
        let wanted: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
        Ok(Table { handle: host::Table::open(name, &wanted)?, columns: columns.len() })
    }

    /// The rows of these keys: entry `i` is of entry `i` of the keys and has a position for each column, absent where there is no row, or no
    /// value in it. Keys of several paths have several rows, one after the other.
    ///
    /// Most values of a batch repeat, so this is one call of the host for a whole batch: [`Batch::values`](crate::Batch::values), `find`,
    /// [`Batch::insert_entries`](crate::Batch::insert_entries). A key is compared as text: strings and bytes as they are, ints in decimal
    /// digits, bools as `true` and `false`; other kinds have no row. Only within a call.
    pub fn find(&self, keys: &Values) -> Values {
        Values::new(self.handle.find(keys.lists()), keys.arity().saturating_mul(self.columns))
    }
}
