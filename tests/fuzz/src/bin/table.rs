//! Tables: whatever a file holds is a table or refused. A table finds each of its rows by its key, and nothing else; one of JSON holds what
//! the file decodes to, and one written anew as CSV is the same.
#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use sluicebox_fuzz::Choices;
use sluicebox_fuzz::table::{Format, Kind, Table};

const KEY: &str = "k";

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices(bytes);
    let is_json = choices.byte() & 1 == 1;
    let file = choices.0;
    let format = if is_json { Format::Json } else { Format::Csv };
    let Ok(table) = Table::load(format, KEY, file) else { return };
    assert!(table.rows() * table.columns().len() <= file.len() * 64);
    if is_json {
        decodes_to_the_same(file, &table);
    } else {
        is_the_same_written_anew(&table);
    }
});

fn key_column(table: &Table) -> u32 {
    table.columns().iter().position(|column| column == KEY).expect("was found") as u32
}

fn decodes_to_the_same(file: &[u8], table: &Table) {
    let rows: Vec<HashMap<String, Value>> = serde_json::from_slice(file).expect("what is read is JSON");
    assert_eq!(rows.len(), table.rows());
    for object in rows {
        let key = match &object[KEY] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let row = table.find(key.as_bytes()).expect("a row is found by its key");
        for (column, name) in (0..).zip(table.columns()) {
            let (kind, bytes) = table.cell(row, column);
            let number = || bytes.try_into().expect("8 bytes");
            match object.get(name).unwrap_or(&Value::Null) {
                Value::Null => assert_eq!(kind, Kind::Absent),
                Value::Bool(bool) => assert_eq!((kind, bytes), (Kind::Bool, &[u8::from(*bool)][..])),
                Value::String(text) => assert_eq!((kind, bytes), (Kind::String, text.as_bytes())),
                Value::Number(value) => match value.as_i64() {
                    Some(int) => assert_eq!((kind, i64::from_le_bytes(number())), (Kind::Int, int)),
                    None => assert_eq!((kind, Some(f64::from_le_bytes(number()))), (Kind::Double, value.as_f64())),
                },
                other => panic!("a cell is {other}"),
            }
        }
    }
}

fn is_the_same_written_anew(table: &Table) {
    let quoted = |bytes: &[u8]| format!("\"{}\"", std::str::from_utf8(bytes).expect("UTF-8").replace('"', "\"\""));
    let columns = 0..table.columns().len() as u32;
    let header: Vec<String> = table.columns().iter().map(|column| quoted(column.as_bytes())).collect();
    let mut text = header.join(",") + "\n";
    for row in 0..table.rows() as u32 {
        let key = table.cell(row, key_column(table)).1;
        assert_eq!(table.find(key), Some(row));
        assert_eq!(table.find(&[key, b"\0"].concat()).filter(|other| *other == row), None);
        let cells: Vec<String> = columns.clone().map(|column| quoted(table.cell(row, column).1)).collect();
        text += &(cells.join(",") + "\n");
    }
    let again = Table::load(Format::Csv, KEY, text.as_bytes()).expect("what is written can be read");
    assert_eq!((again.rows(), again.columns()), (table.rows(), table.columns()));
    for row in 0..table.rows() as u32 {
        for column in columns.clone() {
            assert_eq!(again.cell(row, column), table.cell(row, column));
        }
    }
}
