"""Sends telemetry of every kind with the OpenTelemetry SDK, and remembers each request as the exporter serialised it.

    python send.py grpc 127.0.0.1:4317
    python send.py http 127.0.0.1:4318
"""

import sys
import time

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc import _log_exporter as grpc_logs
from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc_metrics
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http import _log_exporter as http_logs
from opentelemetry.exporter.otlp.proto.http import metric_exporter as http_metrics
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_traces
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

ROUTES = ("/health", "/cart", "/checkout", "/health", "/products")
EVERY_TYPE = {
    "text": "Grüße, 世界",
    "empty": "",
    "bool": False,
    "int": -9_007_199_254_740_993,
    "zero": 0,
    "double": 2.5e-300,
    "bytes": b"\x00\xff\x10",
    "texts": ["a", "", "c"],
    "bools": [True, False],
    "ints": [1, 2**53 + 1],
    "doubles": [0.1, -0.0],
    "none": [],
}
NESTED = {"order": {"id": "o-1", "lines": [{"sku": "x", "count": 2}, {"sku": "y", "note": None}]}, "raw": b"\x01\x02"}


class Sender:
    """One service that speaks one protocol. `requests[signal]` are the messages that were handed to the wire."""

    def __init__(self, protocol, address, compress):
        self.requests = {"traces": [], "metrics": [], "logs": []}
        self.failures = []
        exporters = _exporters(protocol, address, compress)
        encoders = {"traces": encode_spans, "metrics": encode_metrics, "logs": encode_logs}
        for signal, exporter in exporters.items():
            self._remember(signal, exporter, encoders[signal])
        resource = Resource.create({"service.name": f"shop-{protocol}", "service.instance.id": "1", "zone": "eu"})
        self._traces = TracerProvider(resource=resource)
        self._traces.add_span_processor(BatchSpanProcessor(exporters["traces"]))
        reader = PeriodicExportingMetricReader(exporters["metrics"], export_interval_millis=3_600_000)
        views = [View(instrument_type=Histogram, instrument_name="size", aggregation=ExponentialBucketHistogramAggregation())]
        self._metrics = MeterProvider([reader], resource=resource, views=views)
        self._logs = LoggerProvider(resource=resource)
        self._logs.add_log_record_processor(BatchLogRecordProcessor(exporters["logs"]))

    def _remember(self, signal, exporter, encode):
        export = exporter.export

        def remembering(batch, *args, **kwargs):
            self.requests[signal].append(encode(batch))
            result = export(batch, *args, **kwargs)
            if result.name != "SUCCESS":
                self.failures.append((signal, result.name))
            return result

        exporter.export = remembering

    def traces(self, count):
        tracer = self._traces.get_tracer("shop.web", "1.2.3", schema_url="https://opentelemetry.io/schemas/1.37.0")
        earlier = None
        for number in range(count):
            route = ROUTES[number % len(ROUTES)]
            links = [Link(earlier, {"why": "retry"})] if earlier else []
            with tracer.start_as_current_span(f"GET {route}", kind=SpanKind.SERVER, links=links) as span:
                span.set_attributes({"http.route": route, "number": number, **EVERY_TYPE})
                earlier = span.get_span_context()
                with tracer.start_as_current_span("SELECT", kind=SpanKind.CLIENT, attributes={"number": number}) as child:
                    child.add_event("row", {"index": 1, "bytes": b"\x01"})
                    if number % 7 == 0:
                        child.record_exception(ValueError("no such row"))
                        child.set_status(Status(StatusCode.ERROR, "no such row"))

    def metrics(self):
        meter = self._metrics.get_meter("shop.meter", "2.0", attributes={"team": "orders"})
        counter = meter.create_counter("orders", unit="{order}", description="Orders placed")
        balance = meter.create_up_down_counter("balance")
        duration = meter.create_histogram("duration", unit="ms")
        size = meter.create_histogram("size", unit="By")
        gauge = meter.create_gauge("temperature")
        for number, route in enumerate(ROUTES * 4):
            attributes = {"http.route": route, "big": 2**60, "flag": True, "ratio": 0.25, "list": ["a", "b"]}
            counter.add(number, attributes)
            balance.add(-number * 0.5, attributes)
            duration.record(number * 13.7, attributes)
            size.record(10**number % 1_000_007, attributes)
            gauge.set(-273.15 + number, attributes)

    def logs(self, count):
        logger = self._logs.get_logger("shop.log", "3.1")
        bodies = ("plain text", 42, 4.5, True, b"\x00\x01", ["a", 1, None], NESTED, None)
        for number in range(count):
            severity = (SeverityNumber.DEBUG, SeverityNumber.INFO, SeverityNumber.ERROR)[number % 3]
            with trace.use_span(trace.INVALID_SPAN):
                logger.emit(
                    LogRecord(
                        timestamp=time.time_ns(),
                        observed_timestamp=time.time_ns(),
                        severity_number=severity,
                        severity_text=severity.name,
                        body=bodies[number % len(bodies)],
                        attributes={"number": number, "http.route": ROUTES[number % 5], "nested": NESTED, **EVERY_TYPE},
                        event_name="shop.event" if number % 2 else None,
                    )
                )

    def finish(self):
        """Sends everything and ends; the failures, which should be none."""
        for provider in (self._traces, self._metrics, self._logs):
            provider.force_flush()
            provider.shutdown()
        return self.failures


def _exporters(protocol, address, compress):
    if protocol == "grpc":
        import grpc

        options = {"endpoint": address, "insecure": True, "compression": grpc.Compression.Gzip if compress else None}
        return {
            "traces": grpc_traces.OTLPSpanExporter(**options),
            "metrics": grpc_metrics.OTLPMetricExporter(**options),
            "logs": grpc_logs.OTLPLogExporter(**options),
        }
    compression = Compression.Gzip if compress else Compression.NoCompression
    url = f"http://{address}/v1/"
    return {
        "traces": http_traces.OTLPSpanExporter(url + "traces", compression=compression),
        "metrics": http_metrics.OTLPMetricExporter(url + "metrics", compression=compression),
        "logs": http_logs.OTLPLogExporter(url + "logs", compression=compression),
    }


def send_everything(protocol, address, compress):
    sender = Sender(protocol, address, compress)
    sender.traces(50)
    sender.metrics()
    sender.logs(60)
    failures = sender.finish()
    if failures:
        raise RuntimeError(f"{protocol}: the exporter reports {failures}")
    return sender.requests


if __name__ == "__main__":
    send_everything(sys.argv[1], sys.argv[2], compress=False)
