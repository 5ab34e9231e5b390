//! A policy that decides as no policy should, for tests of the runtime. `behaviour` in its config picks the misdeed.

#![cfg(target_arch = "wasm32")]

mod bad;
mod bindings;
mod honest;

use std::cell::RefCell;

use bindings::exports::sluicebox::telemetry::{plugin, policy};
use bindings::{Batch, Bucket, Field, Rows, Rule, Tally, TraceBatch, Verdicts};

/// When the probe's traces are decided.
const PROBE_UNIX_NANO: u64 = 1_767_225_600_000_000_000;
/// Behaviours that open no field, and so see no spans.
const WITHOUT_SPANS: [&str; 7] = ["keep", "numbers", "checksum", "take", "tally", "peek", "probe_take"];

/// What an instance remembers.
struct Instance {
    behaviour: String,
    /// A field and a route, where it reads spans.
    fields: Option<(Field, Field)>,
    bucket: Bucket,
    tally: Tally,
    kept: RefCell<Vec<Rows>>,
    _rules: [Rule; 2],
}

thread_local! {
    static INSTANCE: RefCell<Option<Instance>> = const { RefCell::new(None) };
}

struct Policy;

impl plugin::Guest for Policy {
    fn configure(config: String) -> Result<(), String> {
        let behaviour = text_of(&config, "behaviour").ok_or("the config has no `behaviour`")?;
        let per_second = number_of(&config, "per_second").unwrap_or(0.0);
        let burst = number_of(&config, "burst").unwrap_or(10.0);
        let width = number_of(&config, "width").unwrap_or(4.0) as u32;
        let instance = Instance {
            fields: if WITHOUT_SPANS.contains(&behaviour.as_str()) { None } else { Some(fields()?) },
            bucket: Bucket::open("bucket", per_second, burst)?,
            tally: Tally::open("tally", width, 0.0, 100)?,
            kept: RefCell::default(),
            _rules: [Rule::open("first")?, Rule::open("second")?],
            behaviour,
        };
        configure_badly(&instance)?;
        INSTANCE.set(Some(instance));
        Ok(())
    }
}

impl policy::Guest for Policy {
    fn decide(traces: &TraceBatch, spans: &Batch) -> Result<Verdicts, String> {
        INSTANCE.with_borrow(|instance| {
            let this = instance.as_ref().ok_or("decide was called before configure")?;
            let is_probe = traces.now_unix_nano() == PROBE_UNIX_NANO;
            match this.behaviour.as_str() {
                "probe_take" if is_probe => {
                    this.bucket.take(&[1], &[10]);
                    this.tally.add(&[7], &[0], &[1.0]);
                }
                "probe_short" if is_probe => return Ok(short(traces)),
                "probe_error" if is_probe => return Err("the probe displeases me".to_owned()),
                _ => {}
            }
            if is_probe {
                return Ok(honest::keep(traces));
            }
            honest::decide(this, traces, spans).unwrap_or_else(|| {
                // What must not hold afterwards.
                this.bucket.take(&[1, 2], &[10, 3]);
                this.tally.add(&[7, 8], &[0, 1], &[5.0, 6.0]);
                bad::decide(this, traces, spans)
            })
        })
    }
}

fn fields() -> Result<(Field, Field), String> {
    let route = "span.attributes[\"http.route\"]".to_owned();
    Ok((Field::open(&["span.name".to_owned()])?, Field::open(&[route])?))
}

fn configure_badly(this: &Instance) -> Result<(), String> {
    match this.behaviour.as_str() {
        "configure_rate_of_nan" => drop(Bucket::open("other", f64::NAN, 1.0)?),
        "configure_rate_below_zero" => drop(Bucket::open("other", -1.0, 1.0)?),
        "configure_half_life_below_zero" => drop(Tally::open("other", 1, -1.0, 1)?),
        "configure_no_cells" => drop(Tally::open("other", 0, 1.0, 1)?),
        "configure_too_many_cells" => drop(Tally::open("other", 1 << 11, 1.0, 1 << 10)?),
        "configure_name_twice" => drop(Tally::open("bucket", 1, 1.0, 1)?),
        "configure_long_name" => drop(Bucket::open(&"x".repeat(65), 1.0, 1.0)?),
        "configure_no_name" => drop(Bucket::open("", 1.0, 1.0)?),
        "configure_large_state" => drop(Tally::open("large", 1 << 10, 1.0, 1 << 10)?),
        "configure_many_states" => {
            for number in 0..100 {
                Tally::open(&number.to_string(), 1, 1.0, 1)?;
            }
        }
        "configure_take" => drop(this.bucket.take(&[1], &[1])),
        "configure_add" => this.tally.add(&[1], &[0], &[1.0]),
        "configure_read" => drop(this.tally.read(&[1])),
        "configure_differs" => {
            // What another instance took of the process's memory is the one thing an instance can see of it.
            let rate = if core::arch::wasm32::memory_grow(0, 512) == usize::MAX { 1.0 } else { 2.0 };
            Bucket::open("other", rate, 1.0)?;
        }
        _ => {}
    }
    Ok(())
}

fn short(traces: &TraceBatch) -> Verdicts {
    let mut verdicts = honest::keep(traces);
    verdicts.settled.pop();
    verdicts
}

fn text_of(config: &str, key: &str) -> Option<String> {
    let (_, rest) = config.split_once(&format!("\"{key}\""))?;
    rest.split('"').nth(1).map(str::to_owned)
}

fn number_of(config: &str, key: &str) -> Option<f64> {
    let (_, rest) = config.split_once(&format!("\"{key}\":"))?;
    rest.split([',', '}']).next()?.trim().parse().ok()
}

#[allow(unsafe_code, reason = "generated")]
mod exports {
    crate::bindings::export!(Policy with_types_in crate::bindings);

    use crate::Policy;
}
