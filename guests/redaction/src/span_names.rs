//! Names of spans that hold a path or a statement. Whether they do depends on the span, so they are read with what it says of itself.

use std::collections::HashMap;

use sluicebox_guest::{Batch, Field, NewValue, Rule, Tuple, Value, Values};

use crate::config::Config;
use crate::db::{self, Family};
use crate::rules::Reason;
use crate::url;

/// Of OTLP's `SpanKind`.
const INTERNAL: i64 = 1;
const SERVER: i64 = 2;
const CLIENT: i64 = 3;

/// Reads and writes names of spans.
#[derive(Debug)]
pub struct SpanNames {
    read: Field,
    write: Field,
    has_urls: bool,
    /// The systems whose statements are sanitized, by their names in the configuration.
    systems: Vec<(&'static str, Family)>,
}

/// What a name becomes.
#[derive(Debug, PartialEq, Eq)]
pub enum Sanitized {
    Unchanged,
    To(String, Reason),
    Hidden(Reason),
}

impl SpanNames {
    /// None if no sanitizer is for names.
    pub fn open(config: &Config) -> Result<Option<SpanNames>, String> {
        let has_urls = config.url.as_ref().is_some_and(|url| url.span_names);
        let systems: Vec<_> = if config.db.span_names {
            config.db.systems.iter().map(|system| (system.name, system.family)).collect()
        } else {
            Vec::new()
        };
        if !has_urls && systems.is_empty() {
            return Ok(None);
        }
        let paths =
            ["span.name", "span.kind", r#"span.attributes["db.system.name"]"#, r#"span.attributes["db.system"]"#];
        let (read, write) = (Field::open(&paths)?, Field::open_to_write("span.name")?);
        Ok(Some(SpanNames { read, write, has_urls, systems }))
    }

    /// The names with what they are judged by; see [`SpanNames::sanitize`].
    pub fn read(&self, batch: &Batch) -> Values {
        batch.values(&self.read)
    }

    /// A name without its variable parts.
    pub fn sanitize(&self, tuple: Tuple<'_>) -> Sanitized {
        let (Value::Str(name), Value::Int(kind)) = (tuple.get(0), tuple.get(1)) else { return Sanitized::Unchanged };
        if self.has_urls && matches!(kind, SERVER | CLIENT) && name.contains('/') {
            let new = url::sanitize(name);
            if new != name {
                return Sanitized::To(new, Reason::Url);
            }
        }
        let named = tuple.get(2).as_str().or(tuple.get(3).as_str());
        let system = named.and_then(db::system_of);
        let family = self.systems.iter().find(|(name, _)| Some(*name) == system).map(|(_, family)| *family);
        match family {
            Some(family) if matches!(kind, INTERNAL | SERVER | CLIENT) && db::is_statement(name, family) => {
                match db::sanitize(name, &[family]) {
                    Some(new) if new == name => Sanitized::Unchanged,
                    Some(new) => Sanitized::To(new, Reason::Db),
                    None => Sanitized::Hidden(Reason::Db),
                }
            }
            _ => Sanitized::Unchanged,
        }
    }

    /// Writes new names, by entries of [`SpanNames::read`].
    pub fn set(&self, batch: &Batch, names: &HashMap<u32, String>, rule: &Rule) {
        let mut entry = 0;
        batch.set_values(&self.write, &self.read, rule, |_| {
            let new = names.get(&entry).cloned().map(NewValue::Str);
            entry += 1;
            new
        });
    }
}
