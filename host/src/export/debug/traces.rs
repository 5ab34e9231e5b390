//! Spans.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use super::page::{Hex, Inline, Page, id, number, text};

pub(super) fn print(page: &mut Page, request: &ExportTraceServiceRequest, bytes: usize) {
    let spans: usize = request.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum();
    page.line(0, format_args!("traces: {} resources, {spans} spans, {bytes} bytes", request.resource_spans.len()));
    if page.is_basic() {
        return;
    }
    for resource in &request.resource_spans {
        if page.is_detailed() {
            page.resource(resource.resource.as_ref(), &resource.schema_url);
        }
        for scope in &resource.scope_spans {
            if page.is_detailed() {
                page.scope(scope.scope.as_ref(), &scope.schema_url);
            }
            for span in &scope.spans {
                if page.is_detailed() { detailed(page, span) } else { line(page, span) }
            }
        }
    }
}

fn line(page: &mut Page, span: &Span) {
    page.line(
        0,
        format_args!("{:?} {} {}{}", span.name, Hex(&span.trace_id), Hex(&span.span_id), Inline(&span.attributes)),
    );
}

fn detailed(page: &mut Page, span: &Span) {
    page.line(2, "span");
    page.field(3, "name", text(&span.name));
    page.field(3, "trace_id", id(&span.trace_id));
    page.field(3, "span_id", id(&span.span_id));
    page.field(3, "parent_span_id", id(&span.parent_span_id));
    page.field(3, "trace_state", text(&span.trace_state));
    page.field(3, "kind", SpanKind::try_from(span.kind).ok().map(|kind| kind.as_str_name()));
    page.field(3, "start_time_unix_nano", Some(span.start_time_unix_nano));
    page.field(3, "end_time_unix_nano", Some(span.end_time_unix_nano));
    page.field(3, "flags", number(span.flags));
    if let Some(status) = &span.status {
        page.field(3, "status", StatusCode::try_from(status.code).ok().map(|code| code.as_str_name()));
        page.field(3, "status_message", text(&status.message));
    }
    page.attributes(3, &span.attributes);
    page.field(3, "dropped_attributes_count", number(span.dropped_attributes_count));
    for event in &span.events {
        page.line(3, "event");
        page.field(4, "name", text(&event.name));
        page.field(4, "time_unix_nano", Some(event.time_unix_nano));
        page.attributes(4, &event.attributes);
        page.field(4, "dropped_attributes_count", number(event.dropped_attributes_count));
    }
    page.field(3, "dropped_events_count", number(span.dropped_events_count));
    for link in &span.links {
        page.line(3, "link");
        page.field(4, "trace_id", id(&link.trace_id));
        page.field(4, "span_id", id(&link.span_id));
        page.field(4, "trace_state", text(&link.trace_state));
        page.field(4, "flags", number(link.flags));
        page.attributes(4, &link.attributes);
        page.field(4, "dropped_attributes_count", number(link.dropped_attributes_count));
    }
    page.field(3, "dropped_links_count", number(span.dropped_links_count));
}
