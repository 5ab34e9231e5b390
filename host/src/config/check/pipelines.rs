//! `service.pipelines`: signals, and names that must be defined.

use super::context::{Context, nearest};
use super::definitions::Definitions;
use super::known::Group;
use super::names::kind_of;
use super::section::Section;
use crate::config::code::Code;
use crate::config::source::Place;
use crate::config::tree::shortened;
use crate::signal::Signal;

/// A pipeline as the file has it.
pub(super) struct Draft<'a> {
    pub(super) name: &'a str,
    /// None if it is not one of ours, which has been reported.
    pub(super) signal: Option<Signal>,
    pub(super) place: Place,
    pub(super) receivers: Vec<Reference<'a>>,
    pub(super) processors: Vec<Reference<'a>>,
    pub(super) exporters: Vec<Reference<'a>>,
}

/// A component's name in a pipeline.
pub(super) struct Reference<'a> {
    pub(super) id: &'a str,
    pub(super) place: Place,
}

/// Reads `service.pipelines`.
pub(super) fn drafts<'a>(section: &Section<'a>) -> Vec<Draft<'a>> {
    let mut drafts = Vec::new();
    for entry in section.entries() {
        let (name, place) = (entry.key.as_str(), entry.key_place);
        let mut pipeline = Section::open(section.context, format!("pipeline \"{name}\""), place, &entry.value);
        drafts.push(Draft {
            name,
            signal: signal(section.context, name, place),
            place,
            receivers: references(&mut pipeline, Group::Receivers),
            processors: references(&mut pipeline, Group::Processors),
            exporters: references(&mut pipeline, Group::Exporters),
        });
        pipeline.refuse(&["storage"], "remove it: requests are acknowledged from memory");
        pipeline.finish();
    }
    if drafts.is_empty() && !section.is_broken() {
        let help = "define one, such as \"traces: {receivers: [otlp], exporters: [debug]}\"";
        section.context.tell(Code::NoPipelines, section.place, "no pipeline is defined", help);
    }
    drafts
}

fn signal(context: Context<'_>, name: &str, place: Place) -> Option<Signal> {
    let kind = kind_of(context, "pipeline", name, place)?;
    let signal = Signal::ALL.into_iter().find(|signal| signal.as_str() == kind);
    if signal.is_none() {
        let known = Signal::ALL.map(Signal::as_str);
        let (message, help) = match kind {
            "profiles" => (format!("pipeline \"{name}\": profiles are not supported yet"), "remove it".to_owned()),
            _ => {
                let near = nearest(kind, known).map_or(String::new(), |near| format!("did you mean \"{near}\"? "));
                let help = format!("{near}signals: {}; a name may follow a slash", known.join(", "));
                (format!("pipeline \"{}\" is of no known signal", shortened(name)), help)
            }
        };
        context.tell(Code::UnknownSignal, place, message, help);
    }
    signal
}

fn references<'a>(section: &mut Section<'a>, group: Group) -> Vec<Reference<'a>> {
    let listed = section.get(group.key()).is_some();
    let mut references: Vec<Reference<'a>> = Vec::new();
    let texts = section.texts(group.key());
    let broken = listed && texts.is_none();
    for (id, node) in texts.unwrap_or_default() {
        if references.iter().any(|reference| reference.id == id) {
            let message = format!("{} \"{id}\" stands twice in {}", group.singular(), section.owner);
            section.context.tell(Code::NamedTwice, node.place, message, "keep one");
            continue;
        }
        references.push(Reference { id, place: node.place });
    }
    if references.is_empty() && !broken && group != Group::Processors {
        let place = section.entry(group.key()).map_or(section.place, |entry| entry.key_place);
        let message = format!("{} has no {}", section.owner, group.key());
        let help = format!("list at least one: \"{}: [...]\"", group.key());
        section.context.tell(Code::NoEnds, place, message, help);
    }
    references
}

/// Marks what pipelines use, and reports names that are not defined. A connector is both a receiver and an exporter.
pub(super) fn resolve(context: Context<'_>, drafts: &[Draft<'_>], groups: &mut [Definitions<'_>]) {
    for draft in drafts {
        let lists = [
            (Group::Receivers, &draft.receivers),
            (Group::Processors, &draft.processors),
            (Group::Exporters, &draft.exporters),
        ];
        for (group, references) in lists {
            for reference in references {
                let user = format!("pipeline \"{}\"", draft.name);
                let found = groups.iter_mut().any(|definitions| {
                    let fits = definitions.group == group
                        || (definitions.group == Group::Connectors && group != Group::Processors);
                    fits && definitions.use_by(reference.id, &user)
                });
                if !found {
                    undefined(context, draft, group, reference, groups);
                }
            }
        }
    }
}

fn undefined(
    context: Context<'_>,
    draft: &Draft<'_>,
    group: Group,
    reference: &Reference<'_>,
    groups: &[Definitions<'_>],
) {
    let id = reference.id;
    let kind = id.split_once('/').map_or(id, |(kind, _)| kind);
    let defined = groups.iter().find(|definitions| definitions.group == group).map_or(Vec::new(), Definitions::ids);
    let elsewhere = groups.iter().find(|definitions| definitions.defines(id)).map(|definitions| definitions.group);
    let help = if let Some(other) = elsewhere {
        format!("\"{id}\" is defined under \"{}\"; list it there or define it under \"{}\"", other.key(), group.key())
    } else if let Some(near) = nearest(id, defined.iter().copied()) {
        format!("did you mean \"{near}\"?")
    } else if group.supported().contains(&kind) {
        format!("define it: add \"{id}:\" to \"{}\"", group.key())
    } else {
        format!("remove it, or define it under \"{}\"; defined: {}", group.key(), or_nothing(&defined))
    };
    let message = format!("{} \"{}\" of pipeline \"{}\" is not defined", group.singular(), shortened(id), draft.name);
    context.tell(Code::Undefined, reference.place, message, help);
}

fn or_nothing(names: &[&str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
