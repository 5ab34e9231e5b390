//! Components as the file defines them, and whether a pipeline uses them.

use super::context::{Context, nearest};
use super::known::Group;
use super::names::kind_of;
use super::section::Section;
use crate::config::code::Code;
use crate::config::report::Problem;
use crate::config::source::Place;
use crate::config::tree::Node;

/// The components of a section, in file order.
pub(super) struct Definitions<'a> {
    pub(super) group: Group,
    pub(super) all: Vec<Definition<'a>>,
}

/// A component of the file.
pub(super) struct Definition<'a> {
    pub(super) id: &'a str,
    /// What stands before the slash.
    pub(super) kind: &'a str,
    pub(super) place: Place,
    pub(super) node: &'a Node,
    /// Names of what uses it: `pipeline "traces"`.
    pub(super) users: Vec<String>,
}

impl<'a> Definitions<'a> {
    pub(super) fn read(section: &Section<'a>, group: Group) -> Self {
        let mut all = Vec::new();
        for entry in section.entries() {
            if all.iter().any(|earlier: &Definition<'_>| earlier.id == entry.key) {
                continue;
            }
            if let Some(kind) = kind_of(section.context, group.singular(), &entry.key, entry.key_place) {
                let (place, node) = (entry.key_place, &entry.value);
                all.push(Definition { id: &entry.key, kind, place, node, users: Vec::new() });
            }
        }
        Self { group, all }
    }

    /// Marks a component as used; false if there is none of that name.
    pub(super) fn use_by(&mut self, id: &str, user: &str) -> bool {
        let definition = self.all.iter_mut().find(|definition| definition.id == id);
        definition.map(|definition| definition.users.push(user.to_owned())).is_some()
    }

    pub(super) fn defines(&self, id: &str) -> bool {
        self.all.iter().any(|definition| definition.id == id)
    }

    pub(super) fn ids(&self) -> Vec<&'a str> {
        self.all.iter().map(|definition| definition.id).collect()
    }

    /// Reports types that do not exist, types that are not supported yet, and what no pipeline uses.
    pub(super) fn report(&self, context: Context<'_>) {
        for definition in &self.all {
            if let Some(problem) = definition.problem(self.group) {
                context.push(problem);
            }
        }
    }
}

impl<'a> Definition<'a> {
    pub(super) fn is_used(&self) -> bool {
        !self.users.is_empty()
    }

    /// `receiver "otlp"`.
    pub(super) fn named(&self, group: Group) -> String {
        format!("{} \"{}\"", group.singular(), self.id)
    }

    /// Its map.
    pub(super) fn section(&self, group: Group, context: Context<'a>) -> Section<'a> {
        Section::open(context, self.named(group), self.place, self.node)
    }

    fn problem(&self, group: Group) -> Option<Problem> {
        let named = self.named(group);
        let supported = group.supported().contains(&self.kind);
        if !supported && !group.elsewhere().contains(&self.kind) {
            return Some(self.unknown(group));
        }
        if !self.is_used() {
            let message = match group {
                Group::Extensions => format!("{named} is not listed in \"service.extensions\""),
                _ => format!("{named} is not used by any pipeline"),
            };
            let help = match (supported, group) {
                (true, Group::Extensions) => "remove it, or list it there",
                (true, _) => "remove it, or use it",
                (false, _) => "remove it",
            };
            let problem = Problem::new(Code::Unused, self.place, message, help);
            return Some(if supported { problem } else { problem.detail("it is not supported yet either") });
        }
        if supported {
            return None;
        }
        let message = format!("{named} is not supported yet");
        let problem = Problem::new(Code::UnsupportedComponent, self.place, message, alternative(group, self.kind));
        Some(problem.detail(format!("used by {}", self.users.join(", "))))
    }

    fn unknown(&self, group: Group) -> Problem {
        let message = format!("{}: there is no {} of type \"{}\"", self.named(group), group.singular(), self.kind);
        let elsewhere = Group::ALL.iter().find(|other| **other != group && other.supported().contains(&self.kind));
        let help = match elsewhere {
            Some(other) => {
                format!("\"{}\" is a type of {}: define it under \"{}\"", self.kind, other.singular(), other.key())
            }
            None => {
                let near = nearest(self.kind, group.supported().iter().chain(group.elsewhere()).copied());
                let near = near.map_or(String::new(), |near| format!("did you mean \"{near}\"? "));
                format!("{near}{}", supported_types(group))
            }
        };
        Problem::new(Code::UnknownType, self.place, message, help)
    }
}

fn supported_types(group: Group) -> String {
    match group.supported() {
        [] => format!("no {} are supported yet", group.key()),
        types => format!("supported {}: {}", group.key(), types.join(", ")),
    }
}

/// What to use in place of a component that is not here.
fn alternative(group: Group, kind: &str) -> String {
    let direct = match (group, kind) {
        (Group::Exporters, "jaeger" | "jaeger_thrift") => "use \"otlp\": Jaeger takes OTLP on port 4317",
        (Group::Exporters, "loki") => "use \"otlphttp\" with endpoint http://HOST:3100/otlp: Loki 3 takes OTLP there",
        (Group::Exporters, "prometheusremotewrite") => {
            "use \"otlphttp\": Prometheus, Mimir and VictoriaMetrics take OTLP"
        }
        (Group::Receivers, "jaeger" | "zipkin") => "send OTLP from the application to an \"otlp\" receiver",
        (Group::Extensions, "healthcheckv2") => "use \"health_check\": it answers /livez and /readyz, too",
        _ => return format!("remove it; {}", supported_types(group)),
    };
    direct.to_owned()
}
