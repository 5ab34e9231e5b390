//! Log records.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use super::page::{Any, Inline, Page, id, number, text};

pub(super) fn print(page: &mut Page, request: &ExportLogsServiceRequest, bytes: usize) {
    let records: usize = request.resource_logs.iter().flat_map(|r| &r.scope_logs).map(|s| s.log_records.len()).sum();
    page.line(0, format_args!("logs: {} resources, {records} log records, {bytes} bytes", request.resource_logs.len()));
    if page.is_basic() {
        return;
    }
    for resource in &request.resource_logs {
        if page.is_detailed() {
            page.resource(resource.resource.as_ref(), &resource.schema_url);
        }
        for scope in &resource.scope_logs {
            if page.is_detailed() {
                page.scope(scope.scope.as_ref(), &scope.schema_url);
            }
            for record in &scope.log_records {
                if page.is_detailed() {
                    detailed(page, record);
                } else {
                    page.line(0, format_args!("{}{}", Any(record.body.as_ref()), Inline(&record.attributes)));
                }
            }
        }
    }
}

fn detailed(page: &mut Page, record: &LogRecord) {
    page.line(2, "log record");
    page.field(3, "time_unix_nano", number(record.time_unix_nano));
    page.field(3, "observed_time_unix_nano", number(record.observed_time_unix_nano));
    page.field(3, "severity_number", number(record.severity_number));
    page.field(3, "severity_text", text(&record.severity_text));
    page.field(3, "event_name", text(&record.event_name));
    page.line(3, format_args!("body: {}", Any(record.body.as_ref())));
    page.attributes(3, &record.attributes);
    page.field(3, "dropped_attributes_count", number(record.dropped_attributes_count));
    page.field(3, "flags", number(record.flags));
    page.field(3, "trace_id", id(&record.trace_id));
    page.field(3, "span_id", id(&record.span_id));
}
