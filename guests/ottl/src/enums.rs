//! OTTL's enums, which are ints (pkg/ottl/contexts: span, log, metric, datapoint).

/// The value of an enum symbol.
pub fn value(symbol: &str) -> Option<i64> {
    if let Some(severity) = symbol.strip_prefix("SEVERITY_NUMBER_") {
        return severity_number(severity);
    }
    ENUMS.iter().find(|(name, _)| *name == symbol).map(|(_, value)| *value)
}

const ENUMS: [(&str, i64); 20] = [
    ("SPAN_KIND_UNSPECIFIED", 0),
    ("SPAN_KIND_INTERNAL", 1),
    ("SPAN_KIND_SERVER", 2),
    ("SPAN_KIND_CLIENT", 3),
    ("SPAN_KIND_PRODUCER", 4),
    ("SPAN_KIND_CONSUMER", 5),
    ("STATUS_CODE_UNSET", 0),
    ("STATUS_CODE_OK", 1),
    ("STATUS_CODE_ERROR", 2),
    ("METRIC_DATA_TYPE_NONE", 0),
    ("METRIC_DATA_TYPE_GAUGE", 1),
    ("METRIC_DATA_TYPE_SUM", 2),
    ("METRIC_DATA_TYPE_HISTOGRAM", 3),
    ("METRIC_DATA_TYPE_EXPONENTIAL_HISTOGRAM", 4),
    ("METRIC_DATA_TYPE_SUMMARY", 5),
    ("AGGREGATION_TEMPORALITY_UNSPECIFIED", 0),
    ("AGGREGATION_TEMPORALITY_DELTA", 1),
    ("AGGREGATION_TEMPORALITY_CUMULATIVE", 2),
    ("FLAG_NONE", 0),
    ("FLAG_NO_RECORDED_VALUE", 1),
];

/// `INFO` is 9, `INFO2` 10, and so on; six names of four numbers each.
fn severity_number(name: &str) -> Option<i64> {
    if name == "UNSPECIFIED" {
        return Some(0);
    }
    let (base, step) = match name.as_bytes() {
        [.., digit @ b'2'..=b'4'] => (&name[..name.len() - 1], i64::from(digit - b'1')),
        _ => (name, 0),
    };
    let first = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"].iter().position(|known| *known == base)?;
    Some(first as i64 * 4 + 1 + step)
}
