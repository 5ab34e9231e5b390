//! A graph as Mermaid and as DOT text, and numbers as people read them.

use std::fmt::Write as _;

use super::graph::{Graph, GraphEdge, GraphNode, NodeKind};
use crate::observe::rates::Rate;

/// Mermaid's `flowchart`. Node names are quoted, and what steers its syntax is written as entity codes
/// (mermaid.js.org, "Flowcharts Syntax", "Entity codes to escape characters").
pub fn mermaid(graph: &Graph) -> String {
    let mut text = "flowchart LR\n".to_owned();
    each(
        graph,
        &mut text,
        |text, id, node| {
            let label = mermaid_text(&label(node).join("\n"));
            let (open, close) = match node.kind {
                NodeKind::Receiver => ("([", "])"),
                NodeKind::Exporter => ("[[", "]]"),
                NodeKind::Sampler => ("{{", "}}"),
                NodeKind::Merge => ("[/", "/]"),
                NodeKind::Stage => ("[", "]"),
                NodeKind::Dropped => ("((", "))"),
            };
            writeln!(text, "  {id}{open}\"{label}\"{close}")
        },
        |text, from, to, edge, said| {
            let arrow = if edge.drop.is_some() { "-.->" } else { "-->" };
            match said {
                Some(said) => writeln!(text, "  {from} {arrow}|\"{}\"| {to}", mermaid_text(&said)),
                None => writeln!(text, "  {from} {arrow} {to}"),
            }
        },
    );
    text
}

/// Graphviz.
pub fn dot(graph: &Graph) -> String {
    let mut text = "digraph sluicebox {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
    each(
        graph,
        &mut text,
        |text, id, node| {
            let label = dot_text(&label(node).join("\n"));
            let shape = match node.kind {
                NodeKind::Receiver => " shape=cds",
                NodeKind::Exporter => " shape=component",
                NodeKind::Sampler => " shape=hexagon",
                NodeKind::Merge => " shape=parallelogram",
                NodeKind::Stage => "",
                NodeKind::Dropped => " shape=point",
            };
            writeln!(text, "  {id} [label=\"{label}\"{shape}];")
        },
        |text, from, to, edge, said| {
            let style = if edge.drop.is_some() { " style=dashed" } else { "" };
            let said = said.map(|said| format!("label=\"{}\"", dot_text(&said))).unwrap_or_default();
            match format!("{said}{style}").trim() {
                "" => writeln!(text, "  {from} -> {to};"),
                attributes => writeln!(text, "  {from} -> {to} [{attributes}];"),
            }
        },
    );
    text.push_str("}\n");
    text
}

/// Nodes, then edges. What is dropped gets a node for each edge, at its end: all of them at one would be a knot.
fn each(
    graph: &Graph,
    text: &mut String,
    node: impl Fn(&mut String, &str, &GraphNode) -> std::fmt::Result,
    edge: impl Fn(&mut String, &str, &str, &GraphEdge, Option<String>) -> std::fmt::Result,
) {
    let shown: Vec<_> = graph.nodes.iter().filter(|node| node.kind != NodeKind::Dropped).collect();
    let id = |of: &str| shown.iter().position(|node| node.id == of).map(|number| format!("n{number}"));
    let mut write = || -> std::fmt::Result {
        for (number, of) in shown.iter().enumerate() {
            node(text, &format!("n{number}"), of)?;
        }
        for (number, of) in graph.edges.iter().enumerate() {
            let Some(from) = id(&of.from) else { continue };
            let to = id(&of.to).unwrap_or_else(|| format!("d{number}"));
            if of.drop.is_some() {
                node(text, &to, &GraphNode::new(String::new(), NodeKind::Dropped, "dropped"))?;
            }
            edge(text, &from, &to, of, said(of))?;
        }
        Ok(())
    };
    // Writing to a String cannot fail.
    let _infallible = write();
}

/// Lines of a node.
fn label(node: &GraphNode) -> Vec<String> {
    let mut lines = vec![node.name.clone()];
    lines.extend(node.pipeline.iter().map(|pipeline| format!("in {pipeline}")));
    lines.extend(node.policies.iter().map(|policy| format!("- {policy}")));
    if let Some(state) = node.state.as_ref().filter(|state| *state != "ok") {
        lines.push(state.clone());
    }
    if let Some(numbers) = &node.numbers {
        let faults: u64 = numbers.faults.iter().map(|fault| fault.rate.count).sum();
        lines.extend((faults > 0).then(|| format!("{faults} faults")));
        let spent =
            numbers.guest_nanoseconds_per_item.map(|nanoseconds| format!("{nanoseconds:.0} ns/item in the guest"));
        lines.extend(spent);
        let waiting = numbers.waiting.filter(|&waiting| waiting > 0);
        lines.extend(waiting.map(|waiting| format!("{waiting} waiting")));
    }
    lines
}

/// What stands at an edge.
fn said(edge: &GraphEdge) -> Option<String> {
    let rate = edge.rate.map(per_second);
    let Some(drop) = &edge.drop else { return rate };
    let rule = if drop.rule.is_empty() { String::new() } else { format!(" {}", drop.rule) };
    Some(format!("{}{rule}: {}", drop.reason, rate.unwrap_or_default()))
}

/// `1234/s`, `12.3/s`, `<0.1/s`: never 0 where something came.
pub fn per_second(rate: Rate) -> String {
    format!("{}/s", number(rate.per_second))
}

/// As [`per_second`], without its unit.
pub fn number(number: f64) -> String {
    match number {
        number if number <= 0.0 => "0".to_owned(),
        number if number < 0.1 => "<0.1".to_owned(),
        number if number < 100.0 => format!("{number:.1}"),
        number => format!("{number:.0}"),
    }
}

fn mermaid_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _infallible = match c {
            '\n' => write!(out, "<br/>"),
            '"' | '#' | '<' | '>' | '&' | ';' | '`' => write!(out, "#{};", u32::from(c)),
            c if c.is_control() => write!(out, " "),
            c => write!(out, "{c}"),
        };
    }
    out
}

fn dot_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_never_shown_as_0_where_something_came() {
        let shown = |per_second| super::per_second(Rate { count: 1, per_second, total: 1 });
        assert_eq!(
            [0.0, 1e-9, 0.09, 0.1, 9.96, 99.94, 1_234.5].map(shown),
            ["0/s", "<0.1/s", "<0.1/s", "0.1/s", "10.0/s", "99.9/s", "1234/s"]
        );
    }

    #[test]
    fn texts_steer_neither_form() {
        assert_eq!(mermaid_text("a\"]; b <br> #1\n\u{7}c"), "a#34;]#59; b #60;br#62; #35;1<br/> c");
        assert_eq!(dot_text("a\"]; \\n\nb"), "a\\\"]; \\\\n\\nb");
    }
}
