//! What `adding` and `editing` have in common: which row gets which value, and the account of what was written.

use wasmtime::component::Resource;

use super::no_call;
use crate::batch::{EditError, Level, Mode, NewValues};
use crate::wasm::bindings::Values;
use crate::wasm::fault::bad_output;
use crate::wasm::limits::EDIT_BYTES;
use crate::wasm::state::{Call, FieldHandle, RowsHandle, RuleHandle, State, too_large};

type Field = Resource<FieldHandle>;

/// Bytes of what a guest passed to be written.
pub(super) fn bytes_of(to: &Values, which: &[u32]) -> usize {
    to.kinds.len() + to.bytes.len() + size_of_val(to.offsets.as_slice()) + size_of_val(which)
}

/// The values, checked, of which there have to be `len`.
pub(super) fn new_values(to: &Values, len: usize) -> wasmtime::Result<NewValues<'_>> {
    let values = NewValues::new(&to.kinds, &to.offsets, &to.bytes).map_err(refused)?;
    if values.len() == len { Ok(values) } else { Err(bad_output("not one value for each of what was named")) }
}

impl State {
    /// Writes value `i` of `to` in the rows whose entry of `by` is `which[i]`.
    pub(super) fn write_by(
        &mut self,
        field: &Field,
        by: &Field,
        which: &[u32],
        to: &Values,
        why: &Resource<RuleHandle>,
        mode: Mode,
    ) -> wasmtime::Result<()> {
        self.host_call(bytes_of(to, which))?;
        let values = new_values(to, which.len())?;
        let choice = self.choose_by(field, by, which)?;
        self.write(field, &choice, &values, why, mode)
    }

    /// Writes the only value of `to` in these rows.
    pub(super) fn write_rows(
        &mut self,
        field: &Field,
        rows: &Resource<RowsHandle>,
        to: &Values,
        why: &Resource<RuleHandle>,
        mode: Mode,
    ) -> wasmtime::Result<()> {
        self.host_call(bytes_of(to, &[]))?;
        let values = new_values(to, 1)?;
        let level = self.field(field.rep())?.level();
        let rows = self.rows.get(rows.rep())?;
        if rows.level() != level {
            return Err(bad_output("rows of another level than the field's"));
        }
        let mut choice = vec![0; rows.len() as usize];
        for row in rows.iter() {
            if let Some(chosen) = choice.get_mut(row as usize) {
                *chosen = 1;
            }
        }
        self.write(field, &choice, &values, why, mode)
    }

    /// For each row of the field's level, 0 or one more than the place in `which` of its entry of `by`.
    fn choose_by(&mut self, field: &Field, by: &Field, which: &[u32]) -> wasmtime::Result<Vec<u32>> {
        let to = self.field(field.rep())?.level();
        let by_field = self.field(by.rep())?;
        let (from, arity) = (by_field.level(), by_field.arity().max(1));
        if !is_at_or_above(from, to) {
            return Err(bad_output("values were set by a field that is not of the field's level or one above"));
        }
        let State { columns, call: Some(Call { batch, slice, reading, .. }), .. } = self else {
            return Err(no_call());
        };
        let (values, codes) =
            columns.column(by.rep() as usize, batch, slice, reading).map_err(|_| too_large())?.ok_or_else(no_call)?;
        let mut chosen_of = vec![0; values.kinds.len() / arity];
        for (chosen, &entry) in (1..).zip(which) {
            match chosen_of.get_mut(entry as usize) {
                Some(place @ 0) => *place = chosen,
                Some(_) => return Err(bad_output("an entry of a field was named twice")),
                None => return Err(bad_output("an entry that the field does not have")),
            }
        }
        let mut choice = vec![0; batch.rows(slice, to) as usize];
        batch.lower(slice, from, to, codes, |row, code| {
            if let (Some(choice), Some(&chosen)) = (choice.get_mut(row), chosen_of.get(code as usize)) {
                *choice = chosen;
            }
        });
        Ok(choice)
    }

    fn write(
        &mut self,
        field: &Field,
        choice: &[u32],
        to: &NewValues<'_>,
        why: &Resource<RuleHandle>,
        mode: Mode,
    ) -> wasmtime::Result<()> {
        if !self.opened.is_to_write(field.rep()) {
            return Err(bad_output("a field was written that was not opened to be written"));
        }
        let State { opened, call: Some(call), .. } = self else { return Err(no_call()) };
        let Some(field) = opened.fields.get(field.rep() as usize) else { return Err(no_call()) };
        let Call { batch, slice, effects, reading, .. } = call;
        let written = batch.set(slice, field, choice, to, mode, &mut effects.edits, &mut reading.bytes_left);
        if let Ok(places) = &written {
            self.host_took(places.saturating_mul(EDIT_BYTES))?;
        }
        self.written(why, written)
    }

    /// Accounts places that were written to a rule.
    pub(super) fn written(
        &mut self,
        why: &Resource<RuleHandle>,
        written: Result<u64, EditError>,
    ) -> wasmtime::Result<()> {
        let rule = self.rule(why)?;
        let places = match written {
            Ok(places) => places,
            Err(EditError::Malformed(_)) => {
                // As where such a message is read: the call goes on, and none of its effects hold.
                let reading = &mut self.call()?.reading;
                reading.malformed = reading.malformed.saturating_add(1);
                return Ok(());
            }
            Err(error) => return Err(refused(error)),
        };
        if places > 0 {
            self.call()?.effects.edited.push((rule, places));
        }
        Ok(())
    }
}

fn refused(error: EditError) -> wasmtime::Error {
    match error {
        EditError::BadValue(text) | EditError::Conflict(text) => bad_output(text),
        EditError::TooLarge => too_large(),
        EditError::Malformed(_) => bad_output("a value that is not valid protobuf"),
    }
}

/// Whether each row of `level` has one row of `from` above it, or is one.
fn is_at_or_above(from: Level, level: Level) -> bool {
    match from {
        Level::Resource => true,
        Level::Scope => level != Level::Resource,
        Level::Item => !matches!(level, Level::Resource | Level::Scope),
        Level::Event | Level::Link | Level::Point => from == level,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_see_what_is_above_them() {
        for level in Level::ALL {
            assert!(is_at_or_above(level, level) && is_at_or_above(Level::Resource, level));
        }
        assert!(!is_at_or_above(Level::Item, Level::Scope) && !is_at_or_above(Level::Scope, Level::Resource));
        assert!(!is_at_or_above(Level::Event, Level::Link) && !is_at_or_above(Level::Event, Level::Item));
        assert!(is_at_or_above(Level::Item, Level::Point) && is_at_or_above(Level::Scope, Level::Event));
    }
}
