//! CSV with a header (RFC 4180).

use csv::{ByteRecord, ErrorKind, ReaderBuilder};

use super::{Builder, Kind, TableError};

/// What spreadsheets put before a file's text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub(super) fn parse(key: &str, file: &[u8]) -> Result<Builder, TableError> {
    let file = file.strip_prefix(BYTE_ORDER_MARK).unwrap_or(file);
    let mut reader = ReaderBuilder::new().has_headers(false).from_reader(file);
    let mut table = Builder::default();
    let mut record = ByteRecord::new();
    if !read(&mut reader, &mut record)? {
        return Err(TableError::Empty("a CSV file begins with the names of its columns"));
    }
    let line = line_of(&record);
    for name in &record {
        if table.column(line, text(line, name)?)?.is_none() {
            let what = "two columns have the same name".to_owned();
            return Err(TableError::Syntax { line, what });
        }
    }
    // Before its rows are read: one mistake explains all that follows of it.
    if table.columns.iter().all(|column| column != key) {
        return Ok(table);
    }
    while read(&mut reader, &mut record)? {
        let line = line_of(&record);
        table.row(line, record.len())?;
        for cell in &record {
            let kind = if cell.is_empty() { Kind::Absent } else { Kind::String };
            table.cell(kind, text(line, cell)?.as_bytes());
        }
    }
    Ok(table)
}

fn read(reader: &mut csv::Reader<&[u8]>, record: &mut ByteRecord) -> Result<bool, TableError> {
    reader.read_byte_record(record).map_err(|error| {
        let line = error.position().map_or(1, csv::Position::line);
        match error.kind() {
            ErrorKind::UnequalLengths { expected_len, len, .. } => {
                TableError::Width { line, expected: *expected_len, found: *len }
            }
            _ => TableError::Syntax { line, what: "it cannot be read as CSV".to_owned() },
        }
    })
}

fn line_of(record: &ByteRecord) -> u64 {
    record.position().map_or(1, csv::Position::line)
}

fn text(line: u64, bytes: &[u8]) -> Result<&str, TableError> {
    std::str::from_utf8(bytes).map_err(|_| TableError::Syntax { line, what: "it is not UTF-8 text".to_owned() })
}
