use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn csv(text: &str) -> Result<Arc<Table>, TableError> {
    Table::load(Format::Csv, "key", text.as_bytes())
}

fn json(text: &str) -> Result<Arc<Table>, TableError> {
    Table::load(Format::Json, "key", text.as_bytes())
}

fn told(outcome: Result<Arc<Table>, TableError>) -> String {
    outcome.expect_err("is refused").to_string()
}

fn value<'t>(table: &'t Table, key: &str, column: u32) -> Option<(Kind, &'t [u8])> {
    table.find(key.as_bytes()).map(|row| table.cell(row, column))
}

#[test]
fn csv_is_read_as_written() {
    let table =
        csv("\u{feff}team,key,\"of, \"\"both\"\"\"\r\nred,cart,\"a\nb\"\r\n,\"check,out\",\n").expect("a table");
    assert_eq!((table.rows(), table.columns()), (2, &["team".into(), "key".into(), "of, \"both\"".into()][..]));
    assert_eq!(value(&table, "cart", 0), Some((Kind::String, &b"red"[..])));
    assert_eq!(value(&table, "cart", 2), Some((Kind::String, &b"a\nb"[..])));
    assert_eq!(value(&table, "check,out", 0), Some((Kind::Absent, &b""[..])));
    assert_eq!(value(&table, "check,out", 1), Some((Kind::String, &b"check,out"[..])));
    assert_eq!((value(&table, "CART", 0), value(&table, "", 0)), (None, None));
    assert_eq!((table.cell(0, 3), table.cell(2, 0)), ((Kind::Absent, &b""[..]), (Kind::Absent, &b""[..])));
}

#[test]
fn json_has_kinds() {
    let table = json(
        r#"[{"key": "cart", "n": -5, "x": 0.5, "b": true, "none": null}, {"late": "", "key": 404},
            {"key": true, "n": 18446744073709551615}, {}]"#,
    );
    assert_eq!(told(table), "line 2: there is no key");
    let table = json(
        r#"[{"key": "cart", "n": -5, "x": 0.5, "b": true, "none": null}, {"late": "", "key": 404},
            {"key": true, "n": 18446744073709551615}]"#,
    )
    .expect("a table");
    assert_eq!(table.columns(), ["key", "n", "x", "b", "none", "late"]);
    assert_eq!(value(&table, "cart", 1), Some((Kind::Int, &(-5_i64).to_le_bytes()[..])));
    assert_eq!(value(&table, "cart", 2), Some((Kind::Double, &0.5_f64.to_le_bytes()[..])));
    assert_eq!(value(&table, "cart", 3), Some((Kind::Bool, &[1][..])));
    assert_eq!(
        (value(&table, "cart", 4), value(&table, "cart", 5)),
        (Some((Kind::Absent, &[][..])), Some((Kind::Absent, &[][..])))
    );
    assert_eq!(value(&table, "404", 5), Some((Kind::String, &[][..])));
    assert_eq!(value(&table, "true", 1), Some((Kind::Double, &18_446_744_073_709_551_615_f64.to_le_bytes()[..])));
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_without_values() {
    assert_eq!(told(csv("")), "it holds no table: a CSV file begins with the names of its columns");
    assert_eq!(told(csv("service,team\n\"secret")), "it has no column \"key\"; it has: service, team");
    assert_eq!(told(csv("key,team\na,1\nb\n")), "line 3: 1 values, but the header has 2");
    assert_eq!(told(csv("key,team\na,1\n\"b\n\",2\nc,3,4\n")), "line 5: 3 values, but the header has 2");
    assert_eq!(told(csv("key,team\na,1\nb,2\na,3\n")), "line 4: the key is that of line 2, too");
    assert_eq!(told(csv("key,team\na,1\n,2\n")), "line 3: there is no key");
    assert_eq!(told(csv("key,key\n")), "line 1: two columns have the same name");
    assert!(told(csv("key,\na,1\n")).starts_with("line 1: a column's name has 1 to 256 bytes"));
    assert_eq!(told(Table::load(Format::Csv, "key", b"key,team\na,1\nb,\xff\n")), "line 3: it is not UTF-8 text");

    assert_eq!(told(json("{}")), "it holds no table: a JSON file is a list of objects");
    assert_eq!(told(json("[]")), "it has no column \"key\"; it has: ");
    assert_eq!(told(json("[{\"key\": \"a\"},\n 5]")), "line 2: an object was expected");
    assert_eq!(told(json("[{\"key\": \"a\"},]")), "line 1: an object was expected");
    assert_eq!(told(json("[{\"key\": \"a\"}\n{\"key\": \"b\"}]")), "line 2: `,` or `]` was expected");
    assert_eq!(told(json("[{\"key\": \"a\"}\n")), "line 2: `,` or `]` was expected");
    assert_eq!(told(json("[{\"key\": \"a\"}]\n\nx")), "line 3: there is more after the list");
    assert_eq!(told(json("[{\"key\": \"a\"},\n{\"key\":\n\n \"secret}]")), "line 4: it cannot be read as JSON");
    assert_eq!(
        told(json("[{\"key\": \"a\"},\n{\n\"key\": \"b\", \"key\": \"c\"}]")),
        "line 2: an object has a key twice"
    );
    assert_eq!(told(json("[{\"key\": \"a\"},\n{\"key\": \"a\"}]")), "line 2: the key is that of line 1, too");
    assert!(told(json("[{\"key\": \"a\", \"x\": [1]}]")).starts_with("line 1: a value is a list or an object"));
    assert_eq!(told(json("[{\"key\": 0.5}]")), "line 1: there is no key", "doubles are no keys");
    // A number and a text that are written alike are the same key.
    assert_eq!(told(json("[{\"key\": 5},\n{\"key\": \"5\"}]")), "line 2: the key is that of line 1, too");
}

#[test]
fn a_table_has_bounds() {
    let columns: Vec<String> = (0..65).map(|n| format!("c{n}")).collect();
    assert_eq!(told(csv(&columns.join(","))), "line 1: more than 64 columns");
    let rows: String = (0..=ROWS_MAX).map(|n| format!("{n}\n")).collect();
    assert_eq!(told(csv(&format!("key\n{rows}"))), "line 1000002: more than 1000000 rows");
    let wide = (0..62).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",");
    let rows: String = (0..140_000).map(|n| format!("{n}{}\n", ",".repeat(62))).collect();
    assert!(told(csv(&format!("key,{wide}\n{rows}"))).ends_with("more than 8388608 values"));
    // One object names all the columns, so that all rows have them.
    let first = (0..60).map(|n| format!("\"c{n}\": 1")).collect::<Vec<_>>().join(", ");
    let rows: String = (0..140_000).map(|n| format!(", {{\"key\": {n}}}")).collect();
    assert!(told(json(&format!("[{{\"key\": \"x\", {first}}}{rows}]"))).ends_with("more than 8388608 values"));
}

#[test]
fn the_same_content_is_the_same_table() {
    let text = "key,x\nof this test,1\n";
    let (one, other) = (csv(text).expect("a table"), csv(text).expect("a table"));
    assert!(Arc::ptr_eq(&one, &other));
    let by_x = Table::load(Format::Csv, "x", text.as_bytes()).expect("a table");
    assert!(*by_x != *one && by_x.find(b"1").is_some());
    let weak = Arc::downgrade(&one);
    drop((one, other));
    assert_eq!(weak.strong_count(), 0, "nothing keeps a table that nobody uses");
}

#[test]
fn its_memory_is_counted() {
    let rows: String = (0..10_000).map(|n| format!("key {n},a value of row {n}\n")).collect();
    let table = csv(&format!("key,value\n{rows}")).expect("a table");
    let (least, most) = (rows.len() as u64 - 20_000, 2 * rows.len() as u64 + 200_000);
    assert!((least..most).contains(&table.memory_bytes()), "{} of {}", table.memory_bytes(), rows.len());
}

/// A cell as JSON has it.
fn cells() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        (-1e9..1e9_f64).prop_map(|double| (double + 0.5).into()),
        any::<String>().prop_map(Into::into),
    ]
}

proptest! {
    /// Beside a map of rows: what is in it is found, nothing else is.
    #[test]
    fn csv_holds_what_a_map_holds(rows in prop::collection::vec(("[a-d\"\n, é]{1,3}", any::<String>(), ".*"), 0..30)) {
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let mut model = HashMap::new();
        let mut text = "one,key,two\n".to_owned();
        let mut first_duplicate = None;
        let mut line = 2;
        let mut lines = HashMap::new();
        for (key, one, two) in &rows {
            text += &format!("{},{},{}\n", quoted(one), quoted(key), quoted(two));
            if model.insert(key.clone(), (one.clone(), two.clone())).is_some() && first_duplicate.is_none() {
                first_duplicate = Some((line, lines[key]));
            }
            lines.entry(key.clone()).or_insert(line);
            line += 1 + (key.clone() + one + two).matches('\n').count() as u64;
        }
        let outcome = csv(&text);
        if let Some((line, first)) = first_duplicate {
            prop_assert_eq!(outcome.expect_err("a duplicate"), TableError::Duplicate { line, first });
            return Ok(());
        }
        let table = outcome.expect("a table");
        prop_assert_eq!(table.rows(), model.len());
        for key in rows.iter().map(|(key, ..)| key.as_str()).chain(["a", "b", "zz", "a,"]) {
            let found = table.find(key.as_bytes()).map(|row| [0, 1, 2].map(|column| table.cell(row, column).1));
            let expected = model.get(key).map(|(one, two)| [one.as_bytes(), key.as_bytes(), two.as_bytes()]);
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn json_holds_what_a_map_holds(
        rows in prop::collection::btree_map("[a-z0-9]{1,3}", prop::collection::hash_map("[abc]", cells(), 0..3), 1..30),
        pretty: bool,
    ) {
        let objects: Vec<serde_json::Value> = rows.iter().map(|(key, cells)| {
            let named = cells.iter().map(|(name, cell)| (name.clone(), cell.clone()));
            serde_json::Value::Object(named.chain([("key".to_owned(), key.clone().into())]).collect())
        }).collect();
        let text = if pretty { serde_json::to_string_pretty(&objects) } else { serde_json::to_string(&objects) };
        let table = json(&text.expect("is JSON")).expect("a table");
        for (key, cells) in &rows {
            let row = table.find(key.as_bytes()).expect("is there");
            for (column, name) in (0..).zip(table.columns()).filter(|(_, name)| *name != "key") {
                let (kind, bytes) = table.cell(row, column);
                let value = match kind {
                    Kind::Absent => serde_json::Value::Null,
                    Kind::String => String::from_utf8(bytes.to_vec()).expect("UTF-8").into(),
                    Kind::Bool => (bytes == [1]).into(),
                    Kind::Int => i64::from_le_bytes(bytes.try_into().expect("8 bytes")).into(),
                    Kind::Double => f64::from_le_bytes(bytes.try_into().expect("8 bytes")).into(),
                };
                prop_assert_eq!(&value, cells.get(name).unwrap_or(&serde_json::Value::Null));
            }
        }
        prop_assert_eq!(table.find(b"ABC"), None);
    }

    /// Whatever a file holds, it is a table or refused.
    #[test]
    fn arbitrary_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..200), is_json: bool) {
        let format = if is_json { Format::Json } else { Format::Csv };
        if let Ok(table) = Table::load(format, "a", &bytes) {
            prop_assert!(table.columns().iter().any(|column| column == "a"));
        }
    }
}
