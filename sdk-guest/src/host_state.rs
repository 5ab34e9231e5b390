use crate::host;

/// Token buckets that the host keeps, one for each key: shared by all instances of a stage, and kept when the component or its
/// configuration is replaced.
#[derive(Debug)]
pub struct Bucket {
    handle: host::Bucket,
}

impl Bucket {
    /// Each bucket is filled by `per_second` tokens a second up to `burst`, and is full at first. At most 65,536 keys, the ones used
    /// least recently are forgotten. Names are of 1 to 64 bytes, all different. Only while configuring.
    pub fn open(name: &str, per_second: f64, burst: f64) -> Result<Bucket, String> {
        Ok(Bucket { handle: host::Bucket::open(name, per_second, burst)? })
    }

    /// In order, takes a cost out of the bucket of a key: true where it held as much, else nothing is taken.
    pub fn take(&self, costs: &[(u64, u64)]) -> Vec<bool> {
        let (keys, costs): (Vec<u64>, Vec<u64>) = costs.iter().copied().unzip();
        self.handle.take(&keys, &costs).into_iter().map(|taken| taken != 0).collect()
    }
}

/// Rows of numbers that the host keeps and that fade, one row for each key: shared by all instances of a stage, and kept when the component
/// or its configuration is replaced.
#[derive(Debug)]
pub struct Tally {
    handle: host::Tally,
    width: u32,
}

impl Tally {
    /// Rows of `width` cells, all 0 at first, which lose half of their value in each half-life (0: they do not fade). At most `keys_max`
    /// rows, the ones used least recently are forgotten; `width` times `keys_max` is at most 1,048,576. Names are of 1 to 64 bytes, all
    /// different. Only while configuring.
    pub fn open(name: &str, width: u32, half_life_seconds: f64, keys_max: u32) -> Result<Tally, String> {
        Ok(Tally { handle: host::Tally::open(name, width, half_life_seconds, keys_max)?, width })
    }

    /// Adds amounts: a key, a cell of its row, and how much. Negative amounts and cells past the width are faults.
    pub fn add(&self, amounts: &[(u64, u32, f64)]) {
        let keys: Vec<u64> = amounts.iter().map(|(key, ..)| *key).collect();
        let cells: Vec<u32> = amounts.iter().map(|(_, cell, _)| *cell).collect();
        let amounts: Vec<f64> = amounts.iter().map(|(.., amount)| *amount).collect();
        self.handle.add(&keys, &cells, &amounts);
    }

    /// The rows of these keys, as they are now with what the call has added; zeros where there is none.
    pub fn read(&self, keys: &[u64]) -> TallyRows {
        TallyRows { cells: self.handle.read(keys), width: self.width as usize }
    }

    /// Keys that have a row, in no particular order.
    pub fn keys(&self) -> Vec<u64> {
        self.handle.keys()
    }
}

/// Rows of a [`Tally`], in the order in which they were asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct TallyRows {
    cells: Vec<f64>,
    width: usize,
}

impl TallyRows {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.cells.len() / self.width.max(1)
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The cells of the row that was asked for at this position; none past the end.
    pub fn get(&self, position: usize) -> &[f64] {
        self.cells.chunks_exact(self.width.max(1)).nth(position).unwrap_or_default()
    }

    /// All rows.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.cells.chunks_exact(self.width.max(1))
    }
}
