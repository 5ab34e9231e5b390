//! Host state: token buckets and tallies, by their names.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::opening;

const STATES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 64;
const BUCKET_KEYS_MAX: u32 = 65_536;
const TALLY_CELLS_MAX: u64 = 1_048_576;

/// What a stage has of host state, and its clock.
#[derive(Clone, Debug, Default)]
pub struct States {
    shared: Rc<RefCell<Shared>>,
    /// What the component had that this one is to follow.
    before: Option<Rc<RefCell<Shared>>>,
}

#[derive(Clone, Debug, Default)]
struct Shared {
    now: Duration,
    is_called: bool,
    buckets: Vec<(String, Buckets)>,
    tallies: Vec<(String, Tallies)>,
}

impl States {
    /// For the next component of the stage: what it opens under the same name and of the same kind goes on from what is here.
    pub fn followed(&self) -> States {
        let shared = Shared { now: self.shared.borrow().now, ..Shared::default() };
        States { shared: Rc::new(RefCell::new(shared)), before: Some(self.shared.clone()) }
    }

    pub fn advance(&self, by: Duration) {
        self.shared.borrow_mut().now += by;
    }

    pub fn now(&self) -> Duration {
        self.shared.borrow().now
    }

    /// Runs a call. If it fails it has changed nothing.
    pub fn during<T, E>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let before = self.shared.borrow().clone();
        self.shared.borrow_mut().is_called = true;
        let result = call().inspect_err(|_| *self.shared.borrow_mut() = before);
        self.shared.borrow_mut().is_called = false;
        result
    }

    fn check_name(&self, name: &str) -> Result<(), String> {
        let shared = self.shared.borrow();
        let mut names = shared.buckets.iter().map(|(name, _)| name).chain(shared.tallies.iter().map(|(name, _)| name));
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(format!("the name `{name}` is not of 1 to {NAME_BYTES_MAX} bytes"));
        }
        if names.any(|has| has == name) {
            return Err(format!("`{name}` is already there"));
        }
        if shared.buckets.len() + shared.tallies.len() == STATES_MAX {
            return Err(format!("more than {STATES_MAX} buckets and tallies"));
        }
        Ok(())
    }

    fn before<T: Clone>(&self, name: &str, of: impl Fn(&Shared) -> &[(String, T)]) -> Option<T> {
        let before = self.before.as_ref()?.borrow();
        of(&before).iter().find(|(has, _)| has == name).map(|(_, state)| state.clone())
    }
}

impl Shared {
    fn bucket(&mut self, number: usize) -> (Duration, &mut Buckets) {
        assert!(self.is_called, "fault: host state was used outside of a call");
        (self.now, &mut self.buckets[number].1)
    }

    fn tally(&mut self, number: usize) -> (Duration, &mut Tallies) {
        assert!(self.is_called, "fault: host state was used outside of a call");
        (self.now, &mut self.tallies[number].1)
    }
}

/// Token buckets.
#[derive(Debug)]
pub struct Bucket {
    shared: Rc<RefCell<Shared>>,
    number: usize,
}

#[derive(Clone, Debug)]
struct Buckets {
    per_second: f64,
    burst: f64,
    rows: Recent<Tokens>,
}

#[derive(Clone, Copy, Debug)]
struct Tokens {
    held: f64,
    at: Duration,
}

impl Bucket {
    pub fn open(name: &str, per_second: f64, burst: f64) -> Result<Bucket, String> {
        opening::open("buckets", |states| {
            states.check_name(name)?;
            for (what, number) in [("rate", per_second), ("burst", burst)] {
                if !number.is_finite() || number < 0.0 {
                    return Err(format!("`{name}`: the {what} {number} is not a number from 0"));
                }
            }
            let rows = states.before(name, |shared| &shared.buckets).map_or_else(Recent::default, |before| before.rows);
            let buckets = &mut states.shared.borrow_mut().buckets;
            buckets.push((name.to_owned(), Buckets { per_second, burst, rows }));
            Ok(Bucket { shared: states.shared.clone(), number: buckets.len() - 1 })
        })
    }

    pub fn take(&self, keys: &[u64], costs: &[u64]) -> Vec<u8> {
        assert!(keys.len() == costs.len(), "fault: {} keys and {} costs", keys.len(), costs.len());
        let mut shared = self.shared.borrow_mut();
        let (now, Buckets { per_second, burst, rows }) = shared.bucket(self.number);
        let take = |(key, cost): (&u64, &u64)| {
            let full = Tokens { held: *burst, at: now };
            let tokens = rows.used(*key, BUCKET_KEYS_MAX, || full);
            let filled = tokens.held + *per_second * (now - tokens.at).as_secs_f64();
            let held = filled.min(*burst);
            let is_taken = held >= *cost as f64;
            *tokens = Tokens { held: if is_taken { held - *cost as f64 } else { held }, at: now };
            u8::from(is_taken)
        };
        keys.iter().zip(costs).map(take).collect()
    }
}

/// Rows of numbers that fade.
#[derive(Debug)]
pub struct Tally {
    shared: Rc<RefCell<Shared>>,
    number: usize,
}

#[derive(Clone, Debug)]
struct Tallies {
    width: u32,
    half_life_seconds: f64,
    keys_max: u32,
    rows: Recent<Cells>,
}

#[derive(Clone, Debug)]
struct Cells {
    amounts: Vec<f64>,
    at: Duration,
}

impl Tally {
    pub fn open(name: &str, width: u32, half_life_seconds: f64, keys_max: u32) -> Result<Tally, String> {
        opening::open("tallies", |states| {
            states.check_name(name)?;
            if width == 0 || keys_max == 0 || u64::from(width) * u64::from(keys_max) > TALLY_CELLS_MAX {
                return Err(format!("`{name}`: {keys_max} rows of {width} cells are not 1 to {TALLY_CELLS_MAX} cells"));
            }
            if !half_life_seconds.is_finite() || half_life_seconds < 0.0 {
                return Err(format!("`{name}`: the half-life {half_life_seconds} is not a number from 0"));
            }
            let before = states.before(name, |shared| &shared.tallies).filter(|before| before.width == width);
            let mut rows = before.map_or_else(Recent::default, |before| before.rows);
            rows.forget(keys_max);
            let tallies = &mut states.shared.borrow_mut().tallies;
            tallies.push((name.to_owned(), Tallies { width, half_life_seconds, keys_max, rows }));
            Ok(Tally { shared: states.shared.clone(), number: tallies.len() - 1 })
        })
    }

    pub fn add(&self, keys: &[u64], cells: &[u32], amounts: &[f64]) {
        assert!(keys.len() == cells.len() && keys.len() == amounts.len(), "fault: lists of different lengths");
        let mut shared = self.shared.borrow_mut();
        let (now, Tallies { width, half_life_seconds, keys_max, rows }) = shared.tally(self.number);
        for ((key, cell), amount) in keys.iter().zip(cells).zip(amounts) {
            assert!(cell < width, "fault: cell {cell} of {width}");
            assert!(amount.is_finite() && *amount >= 0.0, "fault: an amount is not a number from 0");
            let row = rows.used(*key, *keys_max, || Cells { amounts: vec![0.0; *width as usize], at: now });
            *row = Cells { amounts: row.now(now, *half_life_seconds), at: now };
            let cell = &mut row.amounts[*cell as usize];
            // Never infinite: it would not fade.
            *cell = (*cell + amount).min(f64::MAX);
        }
    }

    pub fn read(&self, keys: &[u64]) -> Vec<f64> {
        let mut shared = self.shared.borrow_mut();
        let (now, Tallies { width, half_life_seconds, rows, .. }) = shared.tally(self.number);
        let zeros = vec![0.0; *width as usize];
        let row = |key: &u64| rows.find(*key).map_or_else(|| zeros.clone(), |row| row.now(now, *half_life_seconds));
        keys.iter().flat_map(row).collect()
    }

    pub fn keys(&self) -> Vec<u64> {
        self.shared.borrow_mut().tally(self.number).1.rows.by_key.keys().copied().collect()
    }
}

impl Cells {
    fn now(&self, now: Duration, half_life_seconds: f64) -> Vec<f64> {
        let half_lives = (now - self.at).as_secs_f64() / half_life_seconds;
        let left = if half_life_seconds == 0.0 { 1.0 } else { (-half_lives).exp2() };
        self.amounts.iter().map(|amount| amount * left).collect()
    }
}

/// Rows by key, each with the time of its last use.
#[derive(Clone, Debug)]
struct Recent<R> {
    uses: u64,
    by_key: HashMap<u64, (u64, R)>,
}

impl<R> Default for Recent<R> {
    fn default() -> Self {
        Recent { uses: 0, by_key: HashMap::new() }
    }
}

impl<R> Recent<R> {
    /// The row of a key, made where there is none; then the ones used least recently are forgotten.
    fn used(&mut self, key: u64, keys_max: u32, make: impl FnOnce() -> R) -> &mut R {
        if !self.by_key.contains_key(&key) {
            self.forget(keys_max - 1);
        }
        self.uses += 1;
        let row = self.by_key.entry(key).or_insert_with(|| (0, make()));
        row.0 = self.uses;
        &mut row.1
    }

    fn find(&mut self, key: u64) -> Option<&R> {
        let row = self.by_key.get_mut(&key)?;
        self.uses += 1;
        row.0 = self.uses;
        Some(&row.1)
    }

    fn forget(&mut self, keys_max: u32) {
        while self.by_key.len() > keys_max as usize {
            let oldest = self.by_key.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key);
            oldest.map(|key| self.by_key.remove(&key));
        }
    }
}
