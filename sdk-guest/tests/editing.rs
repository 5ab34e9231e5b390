//! Writing into batches in memory: what is set, added, replaced, removed and renamed, which edit wins, and what is a fault.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sluicebox_guest::testing::{Outcome, TestBatch, Tester};
use sluicebox_guest::{Batch, Field, HashKey, Level, NewValue, Place, Processor, Rule, Value};

type Call = Box<dyn Fn(&Batch, &[Field], &[Rule])>;

thread_local! {
    /// The paths that the next processor opens to write, and what it does with them.
    static NEXT: RefCell<Option<(Vec<&'static str>, Call)>> = const { RefCell::new(None) };
}

struct Scripted {
    fields: Vec<Field>,
    rules: Vec<Rule>,
    call: Call,
}

impl Processor for Scripted {
    fn configure(_config: &str) -> Result<Self, String> {
        let (paths, call) = NEXT.take().ok_or("nothing to do")?;
        let fields = paths.into_iter().map(Field::open_to_write).collect::<Result<_, _>>()?;
        let rules = ["one", "two"].into_iter().map(Rule::open).collect::<Result<_, _>>()?;
        Ok(Scripted { fields, rules, call })
    }

    fn process(&mut self, batch: &Batch) -> Result<(), String> {
        (self.call)(batch, &self.fields, &self.rules);
        Ok(())
    }
}

fn run(batch: &TestBatch, paths: &[&'static str], call: impl Fn(&Batch, &[Field], &[Rule]) + 'static) -> Outcome {
    NEXT.set(Some((paths.to_vec(), Box::new(call))));
    Tester::<Scripted>::configure("{}").unwrap().process(batch).unwrap()
}

/// What a misuse that the host calls a fault says natively, where it panics.
fn fault(batch: &TestBatch, paths: &[&'static str], call: impl Fn(&Batch, &[Field], &[Rule]) + 'static) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| run(batch, paths, call))).err();
    let panic = panic.unwrap_or_else(|| panic!("there was no fault"));
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn three_spans() -> TestBatch {
    TestBatch::traces()
        .resource()
        .attribute("service.name", "shop")
        .span("a")
        .attribute("user", "ann")
        .attribute("http", NewValue::map([("route", "/a"), ("host", "h")]))
        .span("b")
        .attribute("user", "bob")
        .span("c")
}

const USER: &str = r#"span.attributes["user"]"#;
const ROUTE: &str = r#"span.attributes["http"]["route"]"#;

fn users(outcome: &Outcome) -> Vec<NewValue> {
    (0..3).map(|row| outcome.value(Level::Span, row, r#"attributes["user"]"#)).collect()
}

#[test]
fn set_writes_and_removes_in_the_rows_it_is_given() {
    let outcome = run(&three_spans(), &[USER], |batch, fields, rules| {
        batch.set(&fields[0], &batch.where_rows(Level::Span, |row| row != 0), Value::Int(7), &rules[0]);
        batch.remove(&fields[0], &batch.where_rows(Level::Span, |row| row != 1), &rules[1]);
        assert_eq!(batch.values(&fields[0]).len(), 3, "reads show the batch as it was");
    });
    assert_eq!(users(&outcome), [NewValue::Absent, NewValue::Int(7), NewValue::Absent]);
    assert_eq!(outcome.edited_by("one"), [(Level::Span, 1), (Level::Span, 2)]);
    assert_eq!(outcome.edited_by("two"), [(Level::Span, 0), (Level::Span, 2)]);
    assert!(!outcome.is_unchanged());
}

#[test]
fn set_values_asks_once_for_each_tuple_and_leaves_none_alone() {
    let outcome = run(&three_spans(), &[USER, r#"resource.attributes["service.name"]"#], |batch, fields, rules| {
        let asked = RefCell::new(Vec::new());
        batch.set_values(&fields[0], &fields[0], &rules[0], |tuple| {
            asked.borrow_mut().push(NewValue::from(tuple.get(0)));
            match tuple.get(0) {
                Value::Str("bob") => None,
                Value::Str(name) => Some(name.to_uppercase().into()),
                _ => Some(true.into()),
            }
        });
        assert_eq!(asked.into_inner(), [NewValue::Absent, "ann".into(), "bob".into()]);
        batch.insert_values(&fields[0], &fields[1], &rules[1], |tuple| Some(tuple.get(0).into()));
    });
    assert_eq!(users(&outcome), ["ANN".into(), "bob".into(), NewValue::from("shop")]);
    assert_eq!(outcome.edited_by("two"), [(Level::Span, 2)]);
}

#[test]
fn entries_are_set_by_number() {
    let outcome = run(&three_spans(), &[USER], |batch, fields, rules| {
        let values = batch.values(&fields[0]);
        let bob = values.iter().position(|value| value == "bob").unwrap() as u32;
        let entries = [(bob, Value::Int(2)), (0, Value::Bool(true)), (1, Value::Unknown)];
        batch.set_entries(&fields[0], &fields[0], entries, &rules[0]);
    });
    assert_eq!(users(&outcome), ["ann".into(), 2.into(), NewValue::from(true)]);
    assert_eq!(outcome.edited_by("one"), [(Level::Span, 1), (Level::Span, 2)]);
}

#[test]
fn insert_never_overwrites() {
    let outcome = run(&three_spans(), &[USER], |batch, fields, rules| {
        batch.insert(&fields[0], &batch.where_rows(Level::Span, |_| true), Value::Str("new"), &rules[0]);
        batch.insert(&fields[0], &batch.where_rows(Level::Span, |_| true), Value::Absent, &rules[0]);
    });
    assert_eq!(users(&outcome), ["ann".into(), "bob".into(), NewValue::from("new")]);
    assert_eq!(outcome.edited_by("one"), [(Level::Span, 2)]);
}

#[test]
fn nested_fields_are_set_in_their_map_and_maps_are_made() {
    let outcome = run(&three_spans(), &[ROUTE], |batch, fields, rules| {
        batch.set(&fields[0], &batch.where_rows(Level::Span, |row| row < 2), Value::Str("/x"), &rules[0]);
        batch.remove(&fields[0], &batch.where_rows(Level::Span, |row| row == 2), &rules[1]);
    });
    let http = |row| outcome.value(Level::Span, row, r#"attributes["http"]"#);
    assert_eq!(http(0), NewValue::map([("route", "/x"), ("host", "h")]));
    assert_eq!(http(1), NewValue::map([("route", "/x")]));
    assert_eq!(http(2), NewValue::Absent);
    assert_eq!(outcome.value(Level::Span, 0, r#"attributes["http"]["host"]"#), "h".into());
    assert_eq!(outcome.edited_by("two"), []);
}

#[test]
fn steps_into_what_is_no_map_lead_nowhere() {
    let outcome = run(&three_spans(), &[r#"span.attributes["user"]["name"]"#], |batch, fields, rules| {
        batch.set(&fields[0], &batch.where_rows(Level::Span, |row| row == 0), Value::Str("x"), &rules[0]);
    });
    assert!(outcome.is_unchanged());
    assert_eq!(users(&outcome)[0], "ann".into());
}

#[test]
fn elements_of_lists_are_set_and_removed() {
    let batch = TestBatch::logs().log(NewValue::array(["a", "b", "c"]));
    let outcome = run(&batch, &["log.body[0]", "log.body[2]", "log.body[3]"], |batch, fields, rules| {
        let all = batch.where_rows(Level::Log, |_| true);
        batch.remove(&fields[0], &all, &rules[0]);
        batch.set(&fields[1], &all, Value::Int(1), &rules[0]);
        batch.set(&fields[2], &all, Value::Int(2), &rules[1]);
    });
    assert_eq!(outcome.value(Level::Log, 0, "body"), NewValue::array::<NewValue>(["b".into(), 1.into()]));
    assert_eq!(outcome.edited_by("two"), []);
}

#[test]
fn resource_is_set_once_for_all_its_rows() {
    let outcome = run(&three_spans(), &[r#"resource.attributes["service.name"]"#], |batch, fields, rules| {
        batch.set_values(&fields[0], &fields[0], &rules[0], |tuple| tuple.get(0).as_str().map(|_| "x".into()));
    });
    assert_eq!(outcome.attributes(Level::Resource, 0), [("service.name".to_owned(), "x".into())]);
    assert_eq!(outcome.edited_by("one"), [(Level::Resource, 0)]);
}

#[test]
fn a_drop_beats_edits() {
    let outcome = run(&three_spans(), &[USER], |batch, fields, rules| {
        let first = batch.where_rows(Level::Span, |row| row == 0);
        batch.drop(&first, &rules[1]);
        batch.set(&fields[0], &first, Value::Int(1), &rules[0]);
    });
    assert_eq!(outcome.left(Level::Span), [1, 2]);
    assert_eq!(outcome.edited_by("one"), []);
}

#[test]
fn contents_show_every_text_once_with_its_place() {
    let batch = TestBatch::metrics()
        .resource()
        .set("schema_url", "u")
        .attribute("k", "v")
        .scope("s")
        .metric("m")
        .set(r#"metadata["k"]"#, "v")
        .point()
        .attribute("k", NewValue::map([("list", NewValue::array(["v", "v"])), ("n", 1.into())]))
        .set("exemplar.trace_id", NewValue::Bytes(b"0123456789abcdef".to_vec()))
        .set(r#"exemplar.attributes["e"]"#, NewValue::Empty)
        .point()
        .set("exemplar.trace_id", NewValue::Bytes(vec![200; 16]));
    run(&batch, &[], |batch, _, _| {
        use Place::*;
        let contents = batch.contents();
        let key = |number: Option<u32>| {
            number.and_then(|number| contents.key(number)).and_then(|key| key.text.as_str()).unwrap_or("-").to_owned()
        };
        let leaves: Vec<_> = contents
            .leaves()
            .map(|leaf| (leaf.place, leaf.is_nested, key(leaf.key), NewValue::from(leaf.value)))
            .collect();
        let expected = [
            (ResourceSchemaUrl, false, "-", NewValue::from("u")),
            (ResourceAttributes, false, "k", "v".into()),
            (ScopeName, false, "-", "s".into()),
            (MetricName, false, "-", "m".into()),
            (MetricMetadata, false, "k", "v".into()),
            (DatapointAttributes, true, "list", "v".into()),
            (DatapointAttributes, true, "n", 1.into()),
            (ExemplarIds, false, "-", NewValue::Bytes(b"0123456789abcdef".to_vec())),
            (ExemplarAttributes, false, "e", NewValue::Empty),
        ];
        assert_eq!(leaves, expected.map(|(place, nested, key, value)| (place, nested, key.to_owned(), value)));
        let keys: Vec<_> = contents.keys().map(|key| (key.place, key.is_nested, key.text.as_str().unwrap())).collect();
        let expected = [
            (ResourceAttributes, false, "k"),
            (MetricMetadata, false, "k"),
            (DatapointAttributes, false, "k"),
            (DatapointAttributes, true, "list"),
            (DatapointAttributes, true, "n"),
            (ExemplarAttributes, false, "e"),
        ];
        assert_eq!(keys, expected);
        assert!(contents.key(0).is_none() && contents.key(7).is_none());
    });
}

#[test]
fn leaves_and_keys_are_found_and_counted() {
    let batch = TestBatch::traces()
        .span("x")
        .attribute("a", "t")
        .attribute("b", NewValue::array(["t", "t"]))
        .event("e")
        .attribute("a", "t")
        .span("y");
    run(&batch, &[], |batch, _, _| {
        let contents = batch.contents();
        let texts: Vec<_> = contents.leaves().filter(|leaf| leaf.value == "t").map(|leaf| leaf.number).collect();
        let keys: Vec<_> = contents.keys().filter(|key| key.text == "a").map(|key| key.number).collect();
        assert_eq!(batch.leaf_counts(&texts, Level::Span), [3, 0]);
        assert_eq!(batch.leaf_counts(&texts, Level::SpanEvent), [1]);
        assert_eq!(batch.key_counts(&keys, Level::Span), [1, 0]);
        assert_eq!(batch.where_leaves(&texts, Level::Resource).count(), 1);
        assert_eq!(batch.where_leaves(&texts, Level::Span).count(), 1);
        assert_eq!(batch.where_keys(&keys, Level::SpanEvent).count(), 1);
        assert_eq!(batch.where_keys(&[], Level::Span).count(), 0);
    });
}

#[test]
fn texts_are_replaced_wherever_they_are_and_asked_about_once() {
    let batch = TestBatch::logs()
        .resource()
        .attribute("mail", "a@b")
        .log(NewValue::map([("mail", NewValue::array(["a@b", "c"])), ("n", 3.into())]))
        .attribute("mail", "a@b")
        .set("severity_text", "a@b")
        .log("a@b");
    let outcome = run(&batch, &[], |batch, _, rules| {
        let asked = RefCell::new(Vec::new());
        batch.replace_values(&rules[0], |key, text| {
            asked.borrow_mut().push(format!("{key}={text}"));
            text.contains('@').then(|| "****".to_owned())
        });
        let mut asked = asked.into_inner();
        asked.sort();
        assert_eq!(asked, ["=a@b", "mail=a@b", "mail=c"]);
    });
    let body = [("mail", NewValue::array(["****", "c"])), ("n", 3.into())];
    assert_eq!(outcome.value(Level::Log, 0, "body"), NewValue::map(body));
    assert_eq!(outcome.value(Level::Log, 0, r#"attributes["mail"]"#), "****".into());
    assert_eq!(outcome.value(Level::Log, 0, "severity_text"), "****".into());
    assert_eq!(outcome.value(Level::Log, 1, "body"), "****".into());
    assert_eq!(outcome.value(Level::Resource, 0, r#"attributes["mail"]"#), "****".into());
    assert_eq!(outcome.edited_by("one").len(), 5);
}

#[test]
fn keys_are_removed_and_renamed_at_their_place() {
    let inner = NewValue::map([("user", "x"), ("other", "y")]);
    let batch =
        TestBatch::traces().span("a").attribute("user", "x").attribute("m", inner).event("e").attribute("user", "x");
    let outcome = run(&batch, &[], |batch, _, rules| {
        let contents = batch.contents();
        for key in contents.keys().filter(|key| key.text == "user") {
            match (key.place, key.is_nested) {
                (Place::SpanAttributes, false) => batch.rename_keys(&[(key.number, "who")], &rules[0]),
                (Place::SpanAttributes, true) => batch.remove_keys(&[key.number], &rules[1]),
                _ => {}
            }
        }
    });
    let expected = [("who".to_owned(), "x".into()), ("m".to_owned(), NewValue::map([("other", "y")]))];
    assert_eq!(outcome.attributes(Level::Span, 0), expected);
    assert_eq!(outcome.attributes(Level::SpanEvent, 0), [("user".to_owned(), "x".into())]);
    assert_eq!((outcome.edited_by("one").len(), outcome.edited_by("two").len()), (1, 1));
}

#[test]
fn last_edit_of_a_place_wins_and_what_is_within_something_removed_goes() {
    let outcome = run(&three_spans(), &[USER], |batch, fields, rules| {
        let contents = batch.contents();
        let ann = contents.leaves().find(|leaf| leaf.value == "ann").unwrap();
        let route = contents.leaves().find(|leaf| leaf.value == "/a").unwrap();
        let http = contents.keys().find(|key| key.text == "http").unwrap();
        batch.set(&fields[0], &batch.where_rows(Level::Span, |row| row == 0), Value::Str("set"), &rules[0]);
        batch.replace_leaves(&[(ann.number, Value::Str("replaced")), (route.number, Value::Str("gone"))], &rules[0]);
        batch.remove_keys(&[http.number], &rules[1]);
    });
    assert_eq!(outcome.attributes(Level::Span, 0), [("user".to_owned(), "replaced".into())]);
}

#[test]
fn ids_that_hold_text_become_zeros() {
    let batch = TestBatch::traces().span("a").set("trace_id", NewValue::Bytes(b"text".to_vec()));
    let outcome = run(&batch, &[], |batch, _, rules| {
        let id = batch.contents().leaves().find(|leaf| leaf.place == Place::SpanIds).unwrap().number;
        batch.replace_leaves(&[(id, Value::Str("****"))], &rules[0]);
    });
    assert_eq!(outcome.value(Level::Span, 0, "trace_id"), NewValue::Bytes(vec![0; 16]));
}

#[test]
fn opening_to_write_is_checked() {
    let error = |path: &'static str| {
        NEXT.set(Some((vec![path], Box::new(|_, _, _| {}))));
        Tester::<Scripted>::configure("{}").err().unwrap()
    };
    assert_eq!(error("span.trace_id"), "`span.trace_id`: ids cannot be written: they hold traces together");
    assert_eq!(error("log.span_id.string"), "`log.span_id.string`: ids cannot be written: they hold traces together");
    assert_eq!(error("span.duration"), "`span.duration`: it is the difference of two times, write these");
    assert!(error("metric.type").starts_with("`metric.type`: "));
    assert!(error("span.nam").starts_with("no field is called `span.nam`"));
    assert!(error("resource.schema_url").starts_with("no field is called"));
}

#[test]
fn misuses_are_faults() {
    let all = |batch: &Batch| batch.where_rows(Level::Span, |_| true);
    let http = r#"span.attributes["http"]"#;
    let told = fault(&three_spans(), &["span.name"], move |batch, fields, rules| {
        batch.set(&fields[0], &all(batch), Value::Int(1), &rules[0]);
    });
    assert!(told.contains("`name` cannot hold such a value"), "{told}");
    let told = fault(&three_spans(), &[USER], move |batch, fields, rules| {
        batch.set(&fields[0], &all(batch).at(Level::Scope), Value::Int(1), &rules[0]);
    });
    assert!(told.contains("rows of level `scope` for a field of level `span`"), "{told}");
    let told = fault(&three_spans(), &[USER, r#"scope.attributes["x"]"#], |batch, fields, rules| {
        batch.set_values(&fields[1], &fields[0], &rules[0], |_| Some(1.into()));
    });
    assert!(told.contains("`by` is of level `span`, below `scope` or beside it"), "{told}");
    let told = fault(&three_spans(), &[USER], move |batch, fields, rules| {
        batch.set(&fields[0], &all(batch), Value::Map(&[0x0a, 1, b'x']), &rules[0]);
    });
    assert!(told.contains("the bytes of a value are not of its kind"), "{told}");
    let told = fault(&three_spans(), &[], |batch, _, rules| {
        let name = batch.contents().leaves().find(|leaf| leaf.place == Place::SpanName).unwrap().number;
        batch.replace_leaves(&[(name, Value::Int(1))], &rules[0]);
    });
    assert!(told.contains("`name` takes text only"), "{told}");
    let told = fault(&three_spans(), &[ROUTE, http], move |batch, fields, rules| {
        batch.set(&fields[0], &batch.where_rows(Level::Span, |row| row == 0), Value::Int(1), &rules[0]);
        batch.set(&fields[1], &all(batch), Value::Int(1), &rules[0]);
    });
    assert!(told.contains("a field is set in whose value an edit before changed something"), "{told}");
}

#[test]
fn numbers_are_of_this_call_and_named_once() {
    let set = |entries: &'static [(u32, Value<'static>)]| {
        fault(&three_spans(), &[USER], |batch, fields, rules| {
            batch.set_entries(&fields[0], &fields[0], entries.iter().copied(), &rules[0]);
        })
    };
    assert_eq!(set(&[(1, Value::Int(1)), (1, Value::Int(2))]), "fault: an entry of a field was named twice");
    assert_eq!(set(&[(3, Value::Int(1))]), "fault: an entry that the field does not have");
    let told = fault(&three_spans(), &[], |batch, _, rules| batch.remove_keys(&[1], &rules[0]));
    assert_eq!(told, "fault: leaves or keys were named that were not read in this call");
    let twice = |keys: &'static [u32]| {
        fault(&three_spans(), &[], |batch, _, rules| {
            batch.contents();
            batch.remove_keys(keys, &rules[0]);
        })
    };
    assert_eq!(twice(&[1, 1]), "fault: a leaf or key was named twice");
    assert_eq!(twice(&[99]), "fault: there is no leaf or key 99");
}

#[derive(Debug)]
struct Hashing(HashKey);

impl Processor for Hashing {
    fn configure(config: &str) -> Result<Self, String> {
        Ok(Hashing(HashKey::open(config)?))
    }

    fn process(&mut self, _batch: &Batch) -> Result<(), String> {
        let hashes = self.0.hmac_sha256(&[b"what do ya want for nothing?", b""]);
        let hex = |hash: &[u8; 32]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // RFC 4231, test case 2; the other from `printf '' | openssl dgst -sha256 -hmac Jefe`.
        assert_eq!(hex(&hashes[0]), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(hex(&hashes[1]), EMPTY_HASH);
        assert_eq!(hashes.len(), 2);
        Ok(())
    }
}

const EMPTY_HASH: &str = "923598ca6d64af2a5dba79dcd021a8a0fe5c5f557519adaaf0ad532d4506dd30";

#[test]
fn keyed_hashes_are_hmac_sha256_of_keys_that_the_test_declares() {
    let keys: [(&str, &[u8]); 2] = [("pepper", b"Jefe"), ("other", b"x")];
    Tester::<Hashing>::configure_with_keys("pepper", &keys).unwrap().process(&three_spans()).unwrap();
    let error = Tester::<Hashing>::configure_with_keys("salt", &keys).unwrap_err();
    assert_eq!(error, "no key is called `salt`; there are `pepper`, `other`");
    assert_eq!(Tester::<Hashing>::configure("salt").unwrap_err(), "no key is called `salt`; there are none");
    assert_eq!(HashKey::open("pepper").unwrap_err(), "keys are opened while configuring only");
}

#[test]
fn lists_and_maps_are_read_as_they_were_built() {
    let inner = NewValue::array::<NewValue>([(-1).into(), 0.5.into(), NewValue::Bytes(vec![255]), NewValue::Empty]);
    let long = "x".repeat(300);
    let map = NewValue::map([("list", inner), ("long", long.as_str().into()), ("yes", true.into())]);
    let entries: Vec<_> = map.as_value().entries().collect();
    assert_eq!(entries.len(), 3);
    assert_eq!(entries[1], (Value::Str("long"), Value::Str(&long)));
    assert_eq!(entries[2], (Value::Str("yes"), Value::Bool(true)));
    let elements: Vec<_> = entries[0].1.elements().collect();
    assert_eq!(elements, [Value::Int(-1), Value::Double(0.5), Value::Bytes(&[255]), Value::Empty]);
    assert_eq!(map.as_value().elements().count() + entries[0].1.entries().count(), 0);
    // Cut anywhere, there is less to see and nothing wrong.
    let NewValue::Map(bytes) = &map else { panic!("not a map") };
    for end in 0..bytes.len() {
        assert!(Value::Map(&bytes[..end]).entries().count() < 3);
    }
}
