//! `grants` and `tables` of a stage: what its component may do beyond its role, and what it may look things up in.

use std::path::PathBuf;
use std::sync::Arc;

use super::context::suggest;
use super::section::Section;
use crate::config::code::Code;
use crate::config::files::digest_of;
use crate::config::model::{Capability, Grants, StageRole};
use crate::config::report::Problem;
use crate::config::source::Place;
use crate::config::tree::{Node, shortened};
use crate::table::{FILE_BYTES_MAX, Format, Table};

/// Most tables of a stage.
const TABLES_MAX: usize = 16;
/// Longest name of a table.
const NAME_BYTES_MAX: usize = 64;

const HELP: &str = "write {file: ./owners.csv, key: COLUMN}";

/// Tables by name, in the order of the file.
pub(super) type Tables = Vec<(String, Arc<Table>)>;

/// Reads what is granted.
pub(super) fn grants(section: &mut Section<'_>, role: StageRole) -> Grants {
    let mut grants = Grants::NONE;
    for (name, node) in section.texts("grants").unwrap_or_default() {
        let Some(capability) = Capability::ALL.into_iter().find(|known| known.as_str() == name) else {
            let message = format!("{} asks for \"{}\", which cannot be granted", section.owner, shortened(name));
            let known = Capability::ALL.map(Capability::as_str);
            section.context.tell(Code::UnsupportedGrant, node.place, message, suggest(name, "grants", &known));
            continue;
        };
        if grants.has(capability) {
            no_effect(section, node, "it is granted already");
        } else if (capability, role) == (Capability::State, StageRole::Policy) {
            no_effect(section, node, "policies may keep state anyway");
        }
        grants = grants.and(capability);
    }
    grants
}

fn no_effect(section: &Section<'_>, node: &Node, why: &str) {
    let message = format!("{} of {} has no effect", node.found(), section.named("grants"));
    section.context.push(Problem::new(Code::NoEffect, node.place, message, "remove it").detail(why));
}

/// Reads the tables of a stage that may look things up if `grants` say so.
pub(super) fn tables(section: &mut Section<'_>, grants: Grants) -> Tables {
    let Some(all) = section.child_if_present("tables") else { return Vec::new() };
    if all.entries().len() > TABLES_MAX {
        let message = format!("\"tables\" of {} names more than {TABLES_MAX} tables", all.owner);
        all.context.tell(Code::OutOfRange, all.place, message, "keep those that the component opens");
        return Vec::new();
    }
    if !grants.has(Capability::Lookup) && !all.entries().is_empty() {
        let message = format!("\"tables\" of {} has no effect", all.owner);
        let problem = Problem::new(Code::NoEffect, all.place, message, "add \"lookup\" to \"grants\", or remove it");
        all.context.push(problem.detail("the component may not look anything up"));
    }
    let mut tables = Vec::new();
    for entry in all.entries() {
        if !is_name(&entry.key) {
            let message = format!("\"{}\" cannot be the name of a table of {}", shortened(&entry.key), all.owner);
            let help = "use up to 64 letters, digits, \"_\", \"-\" and \".\"";
            all.context.tell(Code::BadName, entry.key_place, message, help);
            continue;
        }
        let mut one = all.item_of(&entry.key, entry.key_place, &entry.value);
        let table = table(&mut one);
        one.finish();
        tables.extend(table.map(|table| (entry.key.clone(), table)));
    }
    tables
}

/// One table. None if there is none, which has been told.
fn table(section: &mut Section<'_>) -> Option<Arc<Table>> {
    if section.is_broken() {
        return None;
    }
    let file = section.required("file", HELP);
    let key = section.required("key", "name the column whose text a row is found by");
    let (file, key) = (file?, section.text_of("key", key?)?);
    let name = section.text_of("file", file)?;
    let Some(format) = Format::of_name(name) else {
        let message = format!("{} is neither CSV nor JSON by its name: {}", section.named("file"), file.found());
        section.context.tell(Code::BadTable, file.place, message, "name a file that ends in .csv or .json");
        return None;
    };
    let path = section.context.directory(file.place).join(name);
    load(section, path, file.place, |bytes| Table::load(format, key, bytes).map_err(|error| error.to_string()))
}

fn load(
    section: &Section<'_>,
    path: PathBuf,
    place: Place,
    parse: impl FnOnce(&[u8]) -> Result<Arc<Table>, String>,
) -> Option<Arc<Table>> {
    let named = format!("file \"{}\" of {}", path.display(), section.title());
    let read = section.context.environment.read(&path, FILE_BYTES_MAX + 1);
    section.context.note(path, read.as_ref().ok().map(|bytes| digest_of(bytes)));
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("{named} cannot be read: {}", error.kind());
            section.context.tell(Code::Unreadable, place, message, "check the path and its permissions");
            return None;
        }
    };
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!("{named} is larger than {} MiB", FILE_BYTES_MAX >> 20);
        section.context.tell(Code::TooLarge, place, message, "leave out rows and columns that are not looked up");
        return None;
    }
    let table = parse(&bytes).map_err(|wrong| {
        let help = "correct the file; what serves now goes on until then";
        let problem = Problem::new(Code::BadTable, place, format!("{named} is no table"), help);
        section.context.push(problem.detail(wrong));
    });
    table.ok()
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}
