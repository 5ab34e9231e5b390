use crate::host;

/// A field that the component reads or writes, or a tuple of fields that it reads.
#[derive(Debug)]
pub struct Field {
    pub(crate) handle: host::Field,
    pub(crate) arity: usize,
}

impl Field {
    /// Opens the fields at these OTTL paths, such as `span.attributes["http.route"]`; more than one make a tuple.
    /// The error names the path and what exists in its place. Only while configuring.
    pub fn open(paths: &[&str]) -> Result<Field, String> {
        Ok(Field { handle: host::open_field(paths)?, arity: paths.len() })
    }

    /// Opens one field that can be written, and read too: attributes and what lies in them (`span.attributes["http"]["route"]`), a log's
    /// body and what lies in it, texts and numbers of the protocol that are not derived from others; not ids. The error names the path
    /// and says why it cannot be written. Only while configuring.
    pub fn open_to_write(path: &str) -> Result<Field, String> {
        Ok(Field { handle: host::Field::open_to_write(path)?, arity: 1 })
    }

    /// How many paths it was opened with.
    pub fn arity(&self) -> usize {
        self.arity
    }
}

/// A name to which drops, edits and decisions are accounted. It comes from configuration or code, never from telemetry.
#[derive(Debug)]
pub struct Rule {
    pub(crate) handle: host::Rule,
    /// In the order of opening.
    pub(crate) number: u32,
}

impl Rule {
    /// At most 64 rules, each of 1 to 64 bytes, all different. Only while configuring.
    pub fn open(name: &str) -> Result<Rule, String> {
        let (handle, number) = host::open_rule(name)?;
        Ok(Rule { handle, number })
    }
}
