//! `lookup`: rows of the stage's tables by key, many at a time.

use std::sync::Arc;

use wasmtime::Trap;
use wasmtime::component::Resource;

use crate::table::{KeyText, Kind, Table, shown};
use crate::wasm::bindings::Values;
use crate::wasm::bindings::lookup::{Host, HostTable};
use crate::wasm::fault::bad_output;
use crate::wasm::state::{OpenedTable, State, TableHandle};

/// Tables of one instance.
const TABLES_MAX: usize = 64;
/// Columns of an opened table.
const COLUMNS_MAX: usize = 16;
/// Keys between two looks at the guest's deadline: about 100 us of work where rows are not in the processor's cache.
const KEYS_PER_LOOK: usize = 512;
/// What a value takes beside its bytes: its kind and its end.
const VALUE_BYTES: u64 = 5;

/// Kinds of values that can be keys, and are no kinds of a table's cells (wit/telemetry.wit, `batches.values`).
const KIND_BYTES: u8 = 5;

impl Host for State {}

impl HostTable for State {
    fn open(&mut self, name: String, columns: Vec<String>) -> wasmtime::Result<Result<Resource<TableHandle>, String>> {
        self.host_call(columns.iter().map(String::len).sum::<usize>().saturating_add(name.len()))?;
        Ok(self.open_table(name, &columns).map(Resource::new_own))
    }

    fn find(&mut self, table: Resource<TableHandle>, keys: Values) -> wasmtime::Result<Values> {
        let offsets_bytes = size_of_val(keys.offsets.as_slice());
        self.host_call(keys.kinds.len().saturating_add(offsets_bytes).saturating_add(keys.bytes.len()))?;
        self.call()?;
        if keys.offsets.len() != keys.kinds.len().saturating_add(1) {
            return Err(bad_output("keys whose offsets are not one more than their kinds"));
        }
        let opened = self.opened.tables.get(table.rep() as usize);
        let opened = opened.ok_or_else(|| bad_output("a table that was not opened"))?;
        let (columns, table) = (Arc::clone(&opened.columns), self.given.tables.get(&opened.name));
        let table = Arc::clone(table.ok_or_else(|| bad_output("a table that was not opened"))?);
        let len = keys.kinds.len().saturating_mul(columns.len());
        // Charged before it is allocated.
        self.host_took((len as u64).saturating_mul(VALUE_BYTES))?;
        let mut found = Found::new(len);
        let mut text = KeyText::default();
        for (number, (&kind, ends)) in keys.kinds.iter().zip(keys.offsets.windows(2)).enumerate() {
            if number > 0 && number.is_multiple_of(KEYS_PER_LOOK) && self.deadline.is_over() {
                return Err(Trap::Interrupt.into());
            }
            let bytes = match ends {
                &[start, end] => keys.bytes.get(start as usize..end as usize),
                _ => None,
            };
            let bytes = bytes.ok_or_else(|| bad_output("keys whose offsets do not fit their bytes"))?;
            let row = key_of(kind, bytes, &mut text)?.and_then(|key| table.find(key));
            let cells =
                columns.iter().map(|&column| row.map_or((Kind::Absent, &[][..]), |row| table.cell(row, column)));
            self.host_took(cells.clone().map(|(_, bytes)| bytes.len() as u64).sum())?;
            cells.for_each(|(kind, bytes)| found.push(kind, bytes));
        }
        Ok(found.0)
    }

    fn drop(&mut self, _table: Resource<TableHandle>) -> wasmtime::Result<()> {
        // Tables live as long as the instance, as fields do.
        self.host_call(0)
    }
}

/// The text of a key; None for kinds that cannot be one.
fn key_of<'a>(kind: u8, bytes: &'a [u8], text: &'a mut KeyText) -> wasmtime::Result<Option<&'a [u8]>> {
    const STRING: u8 = Kind::String as u8;
    const BOOL: u8 = Kind::Bool as u8;
    const INT: u8 = Kind::Int as u8;
    match (kind, bytes.len()) {
        (STRING | KIND_BYTES, _) => Ok(Some(bytes)),
        (BOOL, 1) => Ok(text.of((Kind::Bool, bytes))),
        (INT, 8) => Ok(text.of((Kind::Int, bytes))),
        (BOOL | INT, _) => Err(bad_output("a key whose bytes are not of its kind")),
        _ => Ok(None),
    }
}

/// Values as they are found.
struct Found(Values);

impl Found {
    fn new(len: usize) -> Self {
        let mut offsets = Vec::with_capacity(len.saturating_add(1));
        offsets.push(0);
        Self(Values { kinds: Vec::with_capacity(len), offsets, bytes: Vec::new() })
    }

    fn push(&mut self, kind: Kind, bytes: &[u8]) {
        self.0.kinds.push(kind as u8);
        self.0.bytes.extend_from_slice(bytes);
        // A call's budget is far below 4 GiB.
        self.0.offsets.push(u32::try_from(self.0.bytes.len()).unwrap_or(u32::MAX));
    }
}

impl State {
    fn open_table(&mut self, name: String, wanted: &[String]) -> Result<u32, String> {
        if !self.is_configuring {
            return Err("tables are opened in `configure` only".to_owned());
        }
        if self.opened.tables.len() >= TABLES_MAX {
            return Err(format!("more than {TABLES_MAX} tables"));
        }
        if wanted.is_empty() || wanted.len() > COLUMNS_MAX {
            return Err(format!("between 1 and {COLUMNS_MAX} columns can be opened, not {}", wanted.len()));
        }
        let tables = &self.given.tables;
        let table: &Table = tables.get(&name).ok_or_else(|| match tables.names().collect::<Vec<_>>().as_slice() {
            [] => format!("no table is named `{name}`: the stage has no `tables`"),
            names => format!("no table is named `{name}`; `tables` has: {}", names.join(", ")),
        })?;
        let column = |wanted: &String| {
            let place = (0_u32..).zip(table.columns()).find(|(_, column)| *column == wanted);
            place
                .map(|(place, _)| place)
                .ok_or_else(|| format!("table `{name}` has no column `{wanted}`; it has: {}", shown(table.columns())))
        };
        let columns = wanted.iter().map(column).collect::<Result<_, _>>()?;
        self.opened.tables.push(OpenedTable { name, columns });
        Ok(self.opened.tables.len() as u32 - 1)
    }
}
