use crate::memory::{self, TestTable};

/// What a stage has besides its configuration: keys for [`HashKey`](crate::HashKey), tables for [`Table`](crate::Table).
#[derive(Clone, Debug, Default)]
pub struct Given {
    keys: Vec<(String, Vec<u8>)>,
    tables: Vec<TestTable>,
}

impl Given {
    /// Nothing.
    pub fn new() -> Given {
        Given::default()
    }

    /// Adds a key.
    pub fn key(mut self, name: &str, secret: &[u8]) -> Given {
        self.keys.push((name.to_owned(), secret.to_vec()));
        self
    }

    /// Adds a table.
    pub fn table(mut self, table: TestTable) -> Given {
        self.tables.push(table);
        self
    }

    pub(super) fn to_memory(&self) -> memory::Given {
        memory::Given { secrets: self.keys.clone(), tables: self.tables.clone() }
    }
}
