//! The contents of a call's batch: read once, into reused buffers that are lent to the guest without a copy.

use std::sync::Arc;

use super::bindings::{Leaves, Values};
use super::columns::Reading;
use super::limits::KEPT_CONTENTS_BYTES_MAX;
use crate::batch::{self, Batch, Contents, EditError, Edits, Slice, Texts, TooLarge};

/// What of the batch of the call that is on can hold text.
#[derive(Debug, Default)]
pub(super) struct Shown {
    contents: Contents,
    /// The leaves, once they are read.
    lent: Option<Arc<Leaves>>,
    /// What reading took.
    bytes: u64,
}

impl Shown {
    /// Everything that can hold text, in the form in which it is lowered into a guest: shared, so that nothing is copied but into the
    /// guest's memory. It is read the first time.
    pub(super) fn read(
        &mut self,
        batch: &Batch,
        slice: &Slice,
        reading: &mut Reading,
    ) -> Result<&Arc<Leaves>, TooLarge> {
        if self.lent.is_none() {
            let before = reading.bytes_left;
            let malformed = batch.read_contents(slice, &mut self.contents, &mut reading.bytes_left)?;
            reading.malformed = reading.malformed.saturating_add(malformed);
            self.bytes = before.saturating_sub(reading.bytes_left);
        }
        let contents = &mut self.contents;
        Ok(self.lent.get_or_insert_with(|| Arc::new(lend(contents.take_leaves()))))
    }

    /// The contents, if they were read in this call.
    pub(super) fn get(&self) -> Option<&Contents> {
        self.lent.as_ref().map(|_| &self.contents)
    }

    /// Removes what could not be shown to a guest that asked for everything. Returns how many fields that are.
    pub(super) fn remove_unjudgeable(
        &self,
        batch: &Batch,
        edits: &mut Edits,
        bytes_left: &mut u64,
    ) -> Result<u64, EditError> {
        self.get().map_or(Ok(0), |contents| batch.remove_unjudgeable(contents, edits, bytes_left))
    }

    /// Forgets what was read; buffers stay unless they are unusually large, or a guest's result still holds them.
    pub(super) fn end_call(&mut self) {
        let Some(lent) = self.lent.take() else { return };
        if self.bytes > KEPT_CONTENTS_BYTES_MAX {
            self.contents = Contents::default();
        } else if let Ok(leaves) = Arc::try_unwrap(lent) {
            self.contents.give_back(take_back(leaves));
        }
    }
}

fn lend(leaves: batch::Leaves) -> Leaves {
    let values = |Texts { kinds, offsets, bytes }| Values { kinds, offsets, bytes };
    let batch::Leaves { data, keys, key_of, places, key_places } = leaves;
    Leaves { data: values(data), keys: values(keys), key_of, places, key_places }
}

fn take_back(leaves: Leaves) -> batch::Leaves {
    let texts = |Values { kinds, offsets, bytes }| Texts { kinds, offsets, bytes };
    let Leaves { data, keys, key_of, places, key_places } = leaves;
    batch::Leaves { data: texts(data), keys: texts(keys), key_of, places, key_places }
}
