//! Tables to look things up in.

use super::{Values, encode, opening};
use crate::{NewValue, Value};

const TABLES_MAX: usize = 64;
const COLUMNS_MAX: usize = 16;

/// A table for tests.
///
/// ```
/// # use sluicebox_guest::testing::TestTable;
/// let owners = TestTable::new("owners", "service", &["service", "team"]).row(["cart", "red"]).row(["checkout", "blue"]);
/// # drop(owners);
/// ```
#[derive(Clone, Debug)]
pub struct TestTable {
    name: String,
    key: usize,
    columns: Vec<String>,
    rows: Vec<Vec<NewValue>>,
}

impl TestTable {
    /// An empty table whose rows are found by the column `key`.
    ///
    /// # Panics
    /// If there is no such column.
    pub fn new(name: &str, key: &str, columns: &[&str]) -> TestTable {
        let Some(key) = columns.iter().position(|column| *column == key) else { panic!("there is no column `{key}`") };
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        TestTable { name: name.to_owned(), key, columns, rows: Vec::new() }
    }

    /// Adds a row, with a value for each column.
    ///
    /// # Panics
    /// If there are more or fewer values than columns.
    pub fn row<T: Into<NewValue>>(mut self, values: impl IntoIterator<Item = T>) -> TestTable {
        let row: Vec<NewValue> = values.into_iter().map(Into::into).collect();
        assert!(row.len() == self.columns.len(), "{} values for {} columns", row.len(), self.columns.len());
        self.rows.push(row);
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn find(&self, key: &[u8]) -> Option<&Vec<NewValue>> {
        self.rows.iter().find(|row| key_text(row[self.key].as_value()).as_deref() == Some(key))
    }
}

/// The text that a key is compared by.
fn key_text(value: Value<'_>) -> Option<Vec<u8>> {
    match value {
        Value::Str(text) => Some(text.as_bytes().to_vec()),
        Value::Bytes(bytes) => Some(bytes.to_vec()),
        Value::Int(int) => Some(int.to_string().into_bytes()),
        Value::Bool(bool) => Some(bool.to_string().into_bytes()),
        _ => None,
    }
}

/// Columns of a table.
#[derive(Debug)]
pub struct Table {
    table: TestTable,
    columns: Vec<usize>,
}

impl Table {
    pub fn open(name: &str, columns: &[String]) -> Result<Table, String> {
        opening::with_table(name, TABLES_MAX, |table| {
            if columns.is_empty() || columns.len() > COLUMNS_MAX {
                return Err(format!("{} columns are not 1 to {COLUMNS_MAX}", columns.len()));
            }
            let place = |wanted: &String| {
                let place = table.columns.iter().position(|column| column == wanted);
                place.ok_or_else(|| {
                    format!("table `{name}` has no column `{wanted}`; it has: {}", table.columns.join(", "))
                })
            };
            let columns = columns.iter().map(place).collect::<Result<_, _>>()?;
            Ok(Table { table: table.clone(), columns })
        })
    }

    pub fn find(&self, keys: &Values) -> Values {
        let mut found = Values::default();
        for (kind, bytes) in keys.encoded() {
            let key = key_text(Value::decode(kind, &bytes));
            let row = key.and_then(|key| self.table.find(&key));
            for column in &self.columns {
                found.push(&row.map_or((0, Vec::new()), |row| encode(row[*column].as_value())));
            }
        }
        found
    }
}
