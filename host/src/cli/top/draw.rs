//! How `top` looks.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::Ui;
use super::model::Model;

const PIPELINES: [&str; 6] = ["PIPELINE", "in/s", "out/s", "dropped/s", "unintended/s", "inside"];
const STAGES: [&str; 9] = ["STAGE", "state", "items/s", "drops/s", "faults/s", "CPU", "ns/item", "p99 us", "memory"];
const SAMPLERS: [&str; 5] = ["SAMPLER", "waiting", "in/s", "kept/s", "dropped/s"];
/// Lines of advice that are shown at once.
const ADVICE_MAX: usize = 4;

/// One screen.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, ui: &Ui) {
    let height = |rows: usize| u16::try_from(if rows == 0 { 0 } else { rows + 2 }).unwrap_or(u16::MAX);
    let advice: Vec<_> = model.advice.iter().take(ADVICE_MAX).collect();
    let [title, pipelines, samplers, stages, smells, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(height(model.pipelines.len())),
        Constraint::Length(height(model.samplers.len())),
        Constraint::Min(2),
        Constraint::Length(u16::try_from(advice.len()).unwrap_or(u16::MAX)),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(model.title.as_str()).style(Style::new().add_modifier(Modifier::BOLD)), title);
    let rows = model.pipelines.iter().map(|row| {
        let style = if row.is_ready { Style::new() } else { Style::new().fg(Color::Red) };
        (cells(&row.pipeline, &row.cells), style)
    });
    table(frame, pipelines, &PIPELINES, 24, rows);
    table(
        frame,
        samplers,
        &SAMPLERS,
        40,
        model.samplers.iter().map(|row| (cells(&row.sampler, &row.cells), Style::new())),
    );
    draw_stages(frame, stages, model, ui);
    let lines: Vec<_> = advice.into_iter().map(|line| Line::raw(format!("! {line}"))).collect();
    frame.render_widget(Paragraph::new(Text::from(lines)).style(Style::new().fg(Color::Yellow)), smells);
    frame.render_widget(Paragraph::new(foot_line(model, ui)), foot);
}

/// As many rows as there is room for, the chosen one among them.
fn draw_stages(frame: &mut Frame<'_>, area: Rect, model: &Model, ui: &Ui) {
    let room = usize::from(area.height).saturating_sub(1);
    let chosen = model.place_of(ui.chosen.as_deref()).unwrap_or(0);
    let first = chosen.saturating_sub(room.saturating_sub(1));
    let rows = model.stages.iter().enumerate().skip(first).take(room).map(|(place, row)| {
        let colour = if row.is_unwell { Style::new().fg(Color::Red) } else { Style::new() };
        let style = if place == chosen { colour.add_modifier(Modifier::REVERSED) } else { colour };
        (row.cells().to_vec(), style)
    });
    table(frame, area, &STAGES, 24, rows);
}

fn table(
    frame: &mut Frame<'_>,
    area: Rect,
    headings: &[&str],
    name_width: u16,
    rows: impl Iterator<Item = (Vec<String>, Style)>,
) {
    let aligned = |(column, cell): (usize, String)| {
        let alignment = if column == 0 { Alignment::Left } else { Alignment::Right };
        Cell::from(Text::from(cell).alignment(alignment))
    };
    let row = |cells: Vec<String>| Row::new(cells.into_iter().enumerate().map(aligned));
    let mut widths = vec![Constraint::Min(name_width)];
    widths.extend(
        headings.iter().skip(1).map(|heading| Constraint::Length(u16::try_from(heading.len().max(11)).unwrap_or(11))),
    );
    let headings = row(headings.iter().map(|&heading| heading.to_owned()).collect());
    let header = headings.style(Style::new().add_modifier(Modifier::UNDERLINED));
    let rows = rows.map(|(cells, style)| row(cells).style(style));
    frame.render_widget(Table::new(rows, widths).header(header), area);
}

fn cells(name: &str, cells: &[String]) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(cells.iter().cloned()).collect()
}

fn foot_line(model: &Model, ui: &Ui) -> String {
    if let Some(stage) = &ui.asks_to_pause {
        return format!("pause {stage}? y/n");
    }
    if let Some(said) = &ui.said {
        return said.clone();
    }
    let paused = model.chosen(ui.chosen.as_deref()).is_some_and(|stage| stage.is_paused);
    let pause = if paused { "p resume" } else { "p pause" };
    format!("q quit  up/down choose  {pause}  s sort ({})", ui.sort.as_str())
}
