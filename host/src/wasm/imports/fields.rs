//! `fields`: what a guest reads and writes, and what its effects are accounted to, opened while it is configured.

use wasmtime::component::Resource;

use crate::batch::{Field, PathError};
use crate::wasm::bindings::fields::{Host, HostField, HostRule};
use crate::wasm::fault::is_steering;
use crate::wasm::state::{FieldHandle, RuleHandle, State};

/// Fields of one instance. One scan reads all of a level, so each costs every batch.
const FIELDS_MAX: usize = 256;
/// Paths of a tuple field.
const PATHS_MAX: usize = 16;
/// Longest path.
const PATH_BYTES_MAX: usize = 1024;
/// Rules of one instance: each is a label value of a metric.
const RULES_MAX: usize = 64;
/// Longest name of a rule.
const RULE_BYTES_MAX: usize = 64;

const LATE: &str = "fields and rules are opened in `configure` only";

impl Host for State {}

impl HostField for State {
    fn open(&mut self, paths: Vec<String>) -> wasmtime::Result<Result<Resource<FieldHandle>, String>> {
        self.host_call(paths.iter().map(|path| path.len()).sum())?;
        Ok(self.open_to_read(&paths).map(Resource::new_own))
    }

    fn open_to_write(&mut self, path: String) -> wasmtime::Result<Result<Resource<FieldHandle>, String>> {
        self.host_call(path.len())?;
        Ok(self.open_one_to_write(&path).map(Resource::new_own))
    }

    fn drop(&mut self, _field: Resource<FieldHandle>) -> wasmtime::Result<()> {
        // Fields live as long as the instance: which of them exist must not depend on when a guest drops handles.
        self.host_call(0)
    }
}

impl HostRule for State {
    fn open(&mut self, name: String) -> wasmtime::Result<Result<Resource<RuleHandle>, String>> {
        self.host_call(name.len())?;
        Ok(self.open_rule(name).map(Resource::new_own))
    }

    fn drop(&mut self, _rule: Resource<RuleHandle>) -> wasmtime::Result<()> {
        self.host_call(0)
    }
}

impl State {
    fn open_to_read(&mut self, paths: &[String]) -> Result<u32, String> {
        self.check_paths(paths)?;
        self.add_field(Field::open(paths))
    }

    fn open_one_to_write(&mut self, path: &str) -> Result<u32, String> {
        self.check_paths(&[path])?;
        let number = self.add_field(Field::open_to_write(path))?;
        self.opened.to_write.push(number);
        Ok(number)
    }

    fn add_field(&mut self, field: Result<Field, PathError>) -> Result<u32, String> {
        self.opened.fields.push(field.map_err(|error| error.to_string())?);
        Ok(self.opened.fields.len() as u32 - 1)
    }

    fn check_paths(&self, paths: &[impl AsRef<str>]) -> Result<(), String> {
        if !self.is_configuring {
            return Err(LATE.to_owned());
        }
        if self.opened.fields.len() >= FIELDS_MAX {
            return Err(format!("more than {FIELDS_MAX} fields"));
        }
        if paths.is_empty() || paths.len() > PATHS_MAX {
            return Err(format!("a field has between 1 and {PATHS_MAX} paths, not {}", paths.len()));
        }
        if paths.iter().any(|path| path.as_ref().len() > PATH_BYTES_MAX) {
            return Err(format!("a path longer than {PATH_BYTES_MAX} bytes"));
        }
        Ok(())
    }

    fn open_rule(&mut self, name: String) -> Result<u32, String> {
        if !self.is_configuring {
            return Err(LATE.to_owned());
        }
        if self.opened.rules.len() >= RULES_MAX {
            return Err(format!("more than {RULES_MAX} rules"));
        }
        if name.is_empty() || name.len() > RULE_BYTES_MAX || name.chars().any(is_steering) {
            return Err(format!("a rule's name has 1 to {RULE_BYTES_MAX} bytes and no control characters"));
        }
        if self.opened.rules.contains(&name) {
            return Err(format!("rule `{name}` is opened twice"));
        }
        self.opened.rules.push(name);
        Ok(self.opened.rules.len() as u32 - 1)
    }
}
