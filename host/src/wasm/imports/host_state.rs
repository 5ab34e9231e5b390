//! `host-state`: numbers that the host keeps.

use wasmtime::Trap;
use wasmtime::component::Resource;

use crate::wasm::bindings::host_state::{Host, HostBucket, HostTally};
use crate::wasm::fault::{bad_output, over_budget};
use crate::wasm::host_state::{Fading, Kind, Rate, StateSpec, Wrong};
use crate::wasm::state::{BucketHandle, State, TallyHandle};

/// States of one instance.
const STATES_MAX: usize = 64;
/// Longest name of a state.
const STATE_BYTES_MAX: usize = 64;
/// Numbers that are worked on between two looks at the guest's deadline: at most 100 us, for which others may wait for the state.
const NUMBERS_PER_LOOK: usize = 1024;
/// What the host keeps for each cell that a call adds to, until it is over.
const ADDED_BYTES: u64 = 48;
/// The same for each token that it takes.
const TAKEN_BYTES: u64 = 24;

type Bucket = Resource<BucketHandle>;
type Tally = Resource<TallyHandle>;

impl Host for State {}

impl HostBucket for State {
    fn open(&mut self, name: String, per_second: f64, burst: f64) -> wasmtime::Result<Result<Bucket, String>> {
        self.host_call(name.len())?;
        let rate = Rate::new(per_second, burst).map(Kind::Bucket);
        Ok(self.open_state(name, rate).map(Resource::new_own))
    }

    fn take(&mut self, bucket: Bucket, keys: Vec<u64>, costs: Vec<u64>) -> wasmtime::Result<Vec<u8>> {
        self.host_call(size_of_val(keys.as_slice()).saturating_add(size_of_val(costs.as_slice())))?;
        if keys.len() != costs.len() {
            return Err(bad_output("costs that are not one for each key"));
        }
        self.host_state.now().map_err(wrong)?;
        self.host_took((keys.len() as u64).saturating_mul(TAKEN_BYTES))?;
        let mut answers = Vec::with_capacity(keys.len());
        for (keys, costs) in keys.chunks(NUMBERS_PER_LOOK).zip(costs.chunks(NUMBERS_PER_LOOK)) {
            self.look(answers.len())?;
            answers.append(&mut self.host_state.take(bucket.rep(), keys, costs).map_err(wrong)?);
        }
        Ok(answers)
    }

    fn drop(&mut self, _bucket: Bucket) -> wasmtime::Result<()> {
        // States live as long as the instance, as fields do.
        self.host_call(0)
    }
}

impl HostTally for State {
    fn open(
        &mut self,
        name: String,
        width: u32,
        half_life_seconds: f64,
        keys_max: u32,
    ) -> wasmtime::Result<Result<Tally, String>> {
        self.host_call(name.len())?;
        let fading = Fading::new(width, half_life_seconds, keys_max).map(Kind::Tally);
        Ok(self.open_state(name, fading).map(Resource::new_own))
    }

    fn add(&mut self, tally: Tally, keys: Vec<u64>, cells: Vec<u32>, amounts: Vec<f64>) -> wasmtime::Result<()> {
        self.host_call(
            size_of_val(keys.as_slice())
                .saturating_add(size_of_val(cells.as_slice()))
                .saturating_add(size_of_val(amounts.as_slice())),
        )?;
        if keys.len() != cells.len() || keys.len() != amounts.len() {
            return Err(bad_output("cells or amounts that are not one for each key"));
        }
        self.host_state.width(tally.rep()).map_err(wrong)?;
        self.host_took((keys.len() as u64).saturating_mul(ADDED_BYTES))?;
        let chunks = keys.chunks(NUMBERS_PER_LOOK).zip(cells.chunks(NUMBERS_PER_LOOK));
        for (number, ((keys, cells), amounts)) in chunks.zip(amounts.chunks(NUMBERS_PER_LOOK)).enumerate() {
            self.look(number)?;
            self.host_state.add(tally.rep(), keys, cells, amounts).map_err(wrong)?;
        }
        Ok(())
    }

    fn read(&mut self, tally: Tally, keys: Vec<u64>) -> wasmtime::Result<Vec<f64>> {
        self.host_call(size_of_val(keys.as_slice()))?;
        let width = self.host_state.width(tally.rep()).map_err(wrong)? as usize;
        let numbers = keys.len().saturating_mul(width);
        self.host_took((numbers as u64).saturating_mul(size_of::<f64>() as u64))?;
        let mut rows = Vec::with_capacity(numbers);
        for keys in keys.chunks((NUMBERS_PER_LOOK / width).max(1)) {
            self.look(rows.len())?;
            self.host_state.read(tally.rep(), keys, &mut rows).map_err(wrong)?;
        }
        Ok(rows)
    }

    fn keys(&mut self, tally: Tally) -> wasmtime::Result<Vec<u64>> {
        self.host_call(0)?;
        let keys = self.host_state.keys_len(tally.rep()).map_err(wrong)?;
        self.host_took((keys as u64).saturating_mul(size_of::<u64>() as u64))?;
        self.look(keys)?;
        self.host_state.keys(tally.rep()).map_err(wrong)
    }

    fn drop(&mut self, _tally: Tally) -> wasmtime::Result<()> {
        self.host_call(0)
    }
}

impl State {
    fn open_state(&mut self, name: String, kind: Result<Kind, String>) -> Result<u32, String> {
        if !self.is_configuring {
            return Err("buckets and tallies are opened in `configure` only".to_owned());
        }
        let states = &mut self.opened.states;
        if states.len() >= STATES_MAX {
            return Err(format!("more than {STATES_MAX} buckets and tallies"));
        }
        if name.is_empty() || name.len() > STATE_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(format!("a state's name has 1 to {STATE_BYTES_MAX} bytes and no control characters"));
        }
        if states.iter().any(|state| state.name == name) {
            return Err(format!("state `{name}` is opened twice"));
        }
        states.push(StateSpec { name, kind: kind? });
        Ok(states.len() as u32 - 1)
    }

    /// Host work is on the guest's time. Before the first piece of it nothing is looked at: most calls have one.
    fn look(&mut self, done: usize) -> wasmtime::Result<()> {
        if done > 0 && self.deadline.is_over() { Err(wasmtime::Error::from(Trap::Interrupt)) } else { Ok(()) }
    }
}

fn wrong(wrong: Wrong) -> wasmtime::Error {
    match wrong {
        Wrong::Use(text) => bad_output(text),
        Wrong::Amount(text) => over_budget(text),
    }
}
