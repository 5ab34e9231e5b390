//! An enricher that uses every capability, rightly and wrongly, for tests of the runtime. See README.md.

#![cfg(target_arch = "wasm32")]

mod bindings;

use std::cell::RefCell;

use bindings::exports::sluicebox::telemetry::{plugin, processor};
use bindings::{
    Batch, Counter, Field, Gauge, Histogram, Line, Rule, Severity, Signal, Table, Values, insert_values, now_unix_nano,
    write_log,
};
use serde_json::Value;

/// What an instance has opened.
struct Instance {
    behaviour: String,
    name: Field,
    found: Field,
    rule: Rule,
    lines: Vec<Line>,
    counters: Vec<Counter>,
    gauges: Vec<Gauge>,
    histograms: Vec<Histogram>,
    tables: Vec<(Table, usize)>,
}

thread_local! {
    static INSTANCE: RefCell<Option<Instance>> = const { RefCell::new(None) };
}

struct Misbehaving;

impl plugin::Guest for Misbehaving {
    fn configure(config: String) -> Result<(), String> {
        let config: Value = serde_json::from_str(&config).map_err(|error| error.to_string())?;
        let behaviour = text(&config, "behaviour");
        for said in list(&config, "say") {
            write_log(Severity::Info, said.as_str().unwrap_or_default());
        }
        let open_line = |line: &Value| Line::open(Severity::Warn, line.as_str().unwrap_or_default());
        let mut instance = Instance {
            name: Field::open(&["span.name".to_owned()])?,
            found: Field::open_to_write("span.attributes[\"found\"]")?,
            rule: Rule::open("found")?,
            lines: list(&config, "lines").iter().map(open_line).collect::<Result<_, _>>()?,
            counters: Vec::new(),
            gauges: Vec::new(),
            histograms: Vec::new(),
            tables: Vec::new(),
            behaviour,
        };
        for metric in list(&config, "metrics") {
            open_metric(&mut instance, metric)?;
        }
        for table in list(&config, "tables") {
            let columns = texts(table, "columns");
            instance.tables.push((Table::open(&text(table, "name"), &columns)?, columns.len()));
        }
        match instance.behaviour.as_str() {
            "configure_trap" => trap(),
            "configure_add" => instance.counters[0].add(1),
            "configure_find" => drop(instance.tables[0].0.find(&none())),
            "configure_error" => return Err("it does not please me".to_owned()),
            _ => {}
        }
        INSTANCE.set(Some(instance));
        Ok(())
    }
}

fn open_metric(instance: &mut Instance, metric: &Value) -> Result<(), String> {
    let (name, help) = (text(metric, "name"), text(metric, "help"));
    let label = |pair: &Value| (said(&pair[0]), said(&pair[1]));
    let labels: Vec<(String, String)> = list(metric, "labels").iter().map(label).collect();
    let bounds: Vec<f64> = list(metric, "bounds").iter().map(|bound| bound.as_f64().unwrap_or(f64::NAN)).collect();
    match text(metric, "kind").as_str() {
        "gauge" => instance.gauges.push(Gauge::open(&name, &help, &labels)?),
        "histogram" => instance.histograms.push(Histogram::open(&name, &help, &bounds, &labels)?),
        _ => instance.counters.push(Counter::open(&name, &help, &labels)?),
    }
    Ok(())
}

impl processor::Guest for Misbehaving {
    fn process(batch: &Batch) -> Result<(), String> {
        INSTANCE.with_borrow(|instance| match instance {
            // The probe's batch is no batch of the tests; what is to be seen begins when it is over.
            Some(instance) if is_probe(instance, batch) && instance.behaviour != "probe_all" => Ok(()),
            Some(instance) => act(instance, batch),
            None => Err("process was called before configure".to_owned()),
        })
    }
}

fn act(this: &Instance, batch: &Batch) -> Result<(), String> {
    // What is in the data, to be smuggled out.
    let telemetry = || String::from_utf8_lossy(&batch.values(&this.name).bytes).into_owned();
    match this.behaviour.as_str() {
        "count" | "probe_all" => count(this),
        "count_and_trap" => {
            count(this);
            trap();
        }
        "count_and_fail" => {
            count(this);
            return Err(telemetry());
        }
        "say" => this.lines.iter().for_each(|line| line.write(&[f64::from(batch.len("span")), 0.5])),
        "say_and_trap" => {
            this.lines.iter().for_each(|line| line.write(&[f64::from(batch.len("span")), 0.5]));
            trap();
        }
        "say_much" => (0..100).for_each(|number| this.lines[0].write(&[f64::from(number), 0.5])),
        "say_wrong" => this.lines[0].write(&[1.0]),
        "say_telemetry" => write_log(Severity::Error, &telemetry()),
        "open_line" => drop(Line::open(Severity::Error, &telemetry())?),
        "open_metric" => drop(Counter::open("late", &telemetry(), &[("name".to_owned(), telemetry())])?),
        "open_table" => drop(Table::open(&telemetry(), &[telemetry()])?),
        "clock" => {
            let (one, other) = (now_unix_nano(), now_unix_nano());
            let spent: u64 = (0..1_000_000).fold(0, |sum, n| std::hint::black_box(sum ^ n));
            if one != other || now_unix_nano() != one || spent == 1 {
                return Err("time passed within a call".to_owned());
            }
            this.gauges[0].set(one as f64 / 1e9);
        }
        "set_nan" => this.gauges[0].set(f64::NAN),
        "observe_infinity" => this.histograms[0].observe(&[1.0, f64::INFINITY]),
        other => return look_up(this, batch, other),
    }
    Ok(())
}

fn look_up(this: &Instance, batch: &Batch, behaviour: &str) -> Result<(), String> {
    let Some((table, columns)) = this.tables.first() else { return Err("no table was opened".to_owned()) };
    let keys = batch.values(&this.name);
    match behaviour {
        "find" => {
            let rows = table.find(&keys);
            let mut to = Values { kinds: Vec::new(), offsets: vec![0], bytes: Vec::new() };
            let mut which = Vec::new();
            for key in 0..keys.kinds.len() {
                let first = key * columns;
                if rows.kinds[first] != 0 {
                    which.push(key as u32);
                    to.kinds.push(rows.kinds[first]);
                    to.bytes.extend(&rows.bytes[rows.offsets[first] as usize..rows.offsets[first + 1] as usize]);
                    to.offsets.push(to.bytes.len() as u32);
                }
            }
            insert_values(batch, &this.found, &this.name, &which, &to, &this.rule);
        }
        "find_without_offsets" => drop(table.find(&Values { offsets: Vec::new(), ..keys })),
        "find_past_the_end" => {
            let offsets = keys.offsets.iter().map(|offset| offset + 1_000_000).collect();
            table.find(&Values { offsets, ..keys });
        }
        "find_backwards" => drop(table.find(&Values { kinds: vec![1], offsets: vec![1, 0], bytes: vec![0] })),
        "find_short_int" => drop(table.find(&Values { kinds: vec![3], offsets: vec![0, 1], bytes: vec![0] })),
        "find_odd_kinds" => {
            let kinds: Vec<u8> = (0..=255).collect();
            let offsets = (0..=256).map(|n| if n > 4 { 8 } else { 0 }).collect();
            let kinds = kinds.into_iter().map(|kind| if matches!(kind, 2 | 3) { 0 } else { kind }).collect();
            let found = table.find(&Values { kinds, offsets, bytes: vec![b'x'; 8] });
            if found.kinds.iter().any(|kind| *kind != 0) {
                return Err("there was a row".to_owned());
            }
        }
        // One key, again and again, of which each row is as long as the table allows.
        "find_large" => {
            let many = 100_000;
            let offsets = (0..=many).map(|n| n * 4).collect();
            let bytes = b"long".repeat(many as usize);
            table.find(&Values { kinds: vec![1; many as usize], offsets, bytes });
        }
        "find_often" => loop {
            table.find(&none());
        },
        other => return Err(format!("no behaviour `{other}`")),
    }
    Ok(())
}

fn count(this: &Instance) {
    this.counters.iter().for_each(|counter| counter.add(3));
    this.gauges.iter().for_each(|gauge| gauge.set(-1.5));
    this.histograms.iter().for_each(|histogram| histogram.observe(&[0.5, 1.0, 1.5, 100.0]));
}

fn none() -> Values {
    Values { kinds: Vec::new(), offsets: vec![0], bytes: Vec::new() }
}

fn is_probe(this: &Instance, batch: &Batch) -> bool {
    batch.signal() != Signal::Traces || batch.values(&this.name).bytes == b"probe"
}

fn said(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn text(config: &Value, key: &str) -> String {
    said(&config[key])
}

fn texts(config: &Value, key: &str) -> Vec<String> {
    list(config, key).iter().map(said).collect()
}

fn list<'v>(config: &'v Value, key: &str) -> &'v [Value] {
    config[key].as_array().map_or(&[], Vec::as_slice)
}

fn trap() -> ! {
    core::arch::wasm32::unreachable()
}

#[allow(unsafe_code, reason = "generated")]
mod exports {
    crate::bindings::export!(Misbehaving with_types_in crate::bindings);

    use crate::Misbehaving;
}
