//! A list of objects (RFC 8259). It is read object by object: a file of many MiB as one tree would take many times its size.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Builder, CELLS_MAX, Kind, TableError};

pub(super) fn parse(file: &[u8]) -> Result<Builder, TableError> {
    let mut text = Text { file, at: 0, line: 1 };
    let mut given = Given::default();
    if text.next() != Some(b'[') {
        return Err(TableError::Empty("a JSON file is a list of objects"));
    }
    text.skip();
    let mut is_first = true;
    loop {
        match text.next() {
            Some(b']') if is_first => break,
            Some(b'{') => {}
            _ => return Err(text.wrong("an object was expected")),
        }
        is_first = false;
        let line = text.line;
        given.row(line, text.object()?)?;
        match text.next() {
            Some(b',') => text.skip(),
            Some(b']') => break,
            _ => return Err(text.wrong("`,` or `]` was expected")),
        }
    }
    text.skip();
    if text.next().is_some() {
        return Err(text.wrong("there is more after the list"));
    }
    given.fill()
}

/// Values as they came: which columns there are is known at the end.
#[derive(Default)]
struct Given {
    cells: Builder,
    /// The column of each value.
    columns: Vec<u8>,
    /// How many values each row has.
    widths: Vec<u8>,
}

impl Given {
    fn row(&mut self, line: u64, Row(values): Row) -> Result<(), TableError> {
        self.cells.row(line, values.len())?;
        let mut row = Vec::with_capacity(values.len());
        for (name, cell) in values {
            row.push((place(&mut self.cells, line, &name)?, cell));
        }
        row.sort_unstable_by_key(|(column, _)| *column);
        if row.iter().zip(row.iter().skip(1)).any(|((one, _), (next, _))| one == next) {
            return Err(TableError::Syntax { line, what: "an object has a key twice".to_owned() });
        }
        // No more than there are columns.
        self.widths.push(row.len() as u8);
        for (column, cell) in row {
            self.columns.push(column as u8);
            match cell {
                Cell::Absent => self.cells.cell(Kind::Absent, &[]),
                Cell::String(text) => self.cells.cell(Kind::String, text.as_bytes()),
                Cell::Bool(bool) => self.cells.cell(Kind::Bool, &[u8::from(bool)]),
                Cell::Int(int) => self.cells.cell(Kind::Int, &int.to_le_bytes()),
                Cell::Double(double) => self.cells.cell(Kind::Double, &double.to_le_bytes()),
                Cell::Nested => {
                    let what = "a value is a list or an object; it can be a string, a number, true, false or null";
                    return Err(TableError::Syntax { line, what: what.to_owned() });
                }
            }
        }
        Ok(())
    }

    /// All rows have all columns.
    fn fill(self) -> Result<Builder, TableError> {
        let Builder { columns, kinds, ends, bytes, lines } = self.cells;
        let width = columns.len();
        if lines.len().saturating_mul(width) > CELLS_MAX {
            let line = lines.last().copied().unwrap_or(1);
            return Err(TableError::TooMany { line, what: "values", max: CELLS_MAX });
        }
        let mut table = Builder { columns, lines, ..Builder::default() };
        let starts = [0].into_iter().chain(ends.iter().copied());
        let cells = starts.zip(&ends).zip(&kinds).map(|((start, &end), &kind)| (start as usize..end as usize, kind));
        let mut cells = self.columns.iter().zip(cells);
        for of_row in self.widths {
            let mut row = cells.by_ref().take(of_row.into()).peekable();
            for column in 0..width {
                match row.next_if(|(of, _)| usize::from(**of) == column) {
                    Some((_, (range, kind))) => table.cell(kind, bytes.get(range).unwrap_or_default()),
                    None => table.cell(Kind::Absent, &[]),
                }
            }
        }
        Ok(table)
    }
}

/// The number of a column, which is made where there is none.
fn place(table: &mut Builder, line: u64, name: &str) -> Result<usize, TableError> {
    if let Some(known) = table.columns.iter().position(|column| column == name) {
        return Ok(known);
    }
    Ok(table.column(line, name)?.unwrap_or_default())
}

/// What is left of the file.
struct Text<'a> {
    file: &'a [u8],
    at: usize,
    line: u64,
}

impl Text<'_> {
    /// The next byte that is no white space, which stays.
    fn next(&mut self) -> Option<u8> {
        while let Some(&byte) = self.file.get(self.at) {
            match byte {
                b'\n' => self.line += 1,
                b' ' | b'\t' | b'\r' => {}
                _ => return Some(byte),
            }
            self.at += 1;
        }
        None
    }

    fn skip(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn object(&mut self) -> Result<Row, TableError> {
        let rest = self.file.get(self.at..).unwrap_or_default();
        let mut objects = serde_json::Deserializer::from_slice(rest).into_iter::<Row>();
        let read = objects.next().unwrap_or(Ok(Row(Vec::new())));
        let row = read.map_err(|error| {
            let line = self.line.saturating_add(error.line().saturating_sub(1) as u64);
            TableError::Syntax { line, what: "it cannot be read as JSON".to_owned() }
        })?;
        let taken = rest.get(..objects.byte_offset()).unwrap_or_default();
        self.line += taken.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.at = self.at.saturating_add(taken.len());
        Ok(row)
    }

    fn wrong(&self, what: &str) -> TableError {
        TableError::Syntax { line: self.line, what: what.to_owned() }
    }
}

/// An object. Only objects are read as one.
struct Row(Vec<(String, Cell)>);

#[derive(Debug)]
enum Cell {
    Absent,
    String(String),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// A list or an object, which no cell can be.
    Nested,
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RowVisitor)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Row;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
        let mut values = Vec::new();
        while let Some(entry) = map.next_entry::<String, Cell>()? {
            values.push(entry);
        }
        Ok(Row(values))
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

impl<'de> Visitor<'de> for CellVisitor {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Absent)
    }

    fn visit_bool<E>(self, bool: bool) -> Result<Cell, E> {
        Ok(Cell::Bool(bool))
    }

    fn visit_i64<E>(self, int: i64) -> Result<Cell, E> {
        Ok(Cell::Int(int))
    }

    #[allow(clippy::cast_precision_loss, reason = "a number that no int holds is a double")]
    fn visit_u64<E>(self, int: u64) -> Result<Cell, E> {
        Ok(i64::try_from(int).map_or(Cell::Double(int as f64), Cell::Int))
    }

    fn visit_f64<E>(self, double: f64) -> Result<Cell, E> {
        Ok(Cell::Double(double))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cell, E> {
        Ok(Cell::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Cell, E> {
        Ok(Cell::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Cell, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Cell::Nested)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cell::Nested)
    }
}
