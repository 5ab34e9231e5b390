"""The official SDK -> the engine with filters -> the official stubs: what must be dropped is, all else is the same, field by field.

    SLUICEBOX_BIN=target/release/sluicebox target/venv/bin/python tests/python/e2e.py

`--direct` leaves the engine out, to test the test.
"""

import argparse
import collections
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from google.protobuf.json_format import MessageToDict

from send import send_everything
from sink import SIGNALS, Sink

START_BOUND = 120
ARRIVE_BOUND = 30
CONFIG = """
admin: {{ address: "127.0.0.1:{admin}" }}
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: "127.0.0.1:{grpc}" }}, http: {{ endpoint: "127.0.0.1:{http}" }} }} }}
processors:
  filter/health:
    error_mode: ignore
    traces: {{ span: ['attributes["http.route"] == "/health"'] }}
    metrics: {{ datapoint: ['attributes["http.route"] == "/health"'] }}
    logs: {{ log_record: ['attributes["http.route"] == "/health"', 'severity_number < SEVERITY_NUMBER_INFO'] }}
exporters:
  otlp: {{ endpoint: "127.0.0.1:{sink}", tls: {{ insecure: true }}, compression: {compression} }}
service:
  telemetry: {{ metrics: {{ address: "127.0.0.1:{metrics}" }} }}
  pipelines:
    traces: {{ receivers: [otlp], processors: [filter/health], exporters: [otlp] }}
    metrics: {{ receivers: [otlp], processors: [filter/health], exporters: [otlp] }}
    logs: {{ receivers: [otlp], processors: [filter/health], exporters: [otlp] }}
"""
SHAPES = {
    "traces": ("resource_spans", "scope_spans", "spans"),
    "metrics": ("resource_metrics", "scope_metrics", "metrics"),
    "logs": ("resource_logs", "scope_logs", "log_records"),
}
METRIC_KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")


def items(signal, request):
    """Each span, log record and data point with all that surrounds it, as plain data."""
    resources, scopes, rows = SHAPES[signal]
    for resource in as_dict(request).get(resources, []):
        for scope in resource.get(scopes, []):
            around = {
                "resource": resource.get("resource"),
                "resource_schema": resource.get("schema_url"),
                "scope": scope.get("scope"),
                "scope_schema": scope.get("schema_url"),
            }
            for row in scope.get(rows, []):
                if signal != "metrics":
                    yield {**around, "item": row}
                    continue
                kind = next(kind for kind in METRIC_KINDS if kind in row)
                metric = {key: value for key, value in row.items() if key != kind}
                data = {key: value for key, value in row[kind].items() if key != "data_points"}
                for point in row[kind].get("data_points", []):
                    yield {**around, "metric": metric, "kind": kind, "data": data, "item": point}


def as_dict(message):
    return MessageToDict(message, preserving_proto_field_name=True)


def must_drop(signal, item):
    attributes = {a["key"]: a.get("value", {}).get("string_value") for a in item["item"].get("attributes", [])}
    if attributes.get("http.route") == "/health":
        return True
    return signal == "logs" and item["item"].get("severity_number") == "SEVERITY_NUMBER_DEBUG"


def texts(found):
    return collections.Counter(json.dumps(item, sort_keys=True) for item in found)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Engine:
    def __init__(self, directory, sink, compression):
        root = pathlib.Path(__file__).resolve().parents[2]
        binary = pathlib.Path(os.environ.get("SLUICEBOX_BIN", root / "target/release/sluicebox"))
        if not binary.is_file():
            sys.exit(f"{binary} is missing: run `make build` first")
        self.grpc, self.http, self.metrics, admin = free_ports(4)
        ports = {"grpc": self.grpc, "http": self.http, "metrics": self.metrics, "admin": admin}
        config = pathlib.Path(directory, "sluicebox.yaml")
        config.write_text(CONFIG.format(sink=sink, compression=compression, **ports), encoding="utf-8")
        self._log = open(pathlib.Path(directory, "stderr"), "w+", encoding="utf-8")
        self._process = subprocess.Popen([binary, "--config", config], stderr=self._log, stdout=self._log)
        try:
            self._until_ready()
        except BaseException:
            self.stop()
            raise

    def _until_ready(self):
        end = time.monotonic() + START_BOUND
        for port in (self.grpc, self.http, self.metrics):
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    if self._process.poll() is not None or time.monotonic() > end:
                        raise RuntimeError(f"the engine does not listen on {port}:\n{self.log()}") from None
                    time.sleep(0.05)

    def log(self):
        self._log.seek(0)
        return self._log.read()

    def dropped(self, signal):
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10).read().decode()
        name = "sluicebox_pipeline_dropped_items_total{"
        lines = (line for line in text.splitlines() if line.startswith(name) and f'signal="{signal}"' in line)
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines)

    def stop(self):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def compare(name, sent, sink, engine):
    """Problems, none if all is well."""
    problems = []
    for kind in SIGNALS:
        all_sent = [item for request in sent[kind] for item in items(kind, request)]
        expected = texts(item for item in all_sent if engine is None or not must_drop(kind, item))
        end = time.monotonic() + ARRIVE_BOUND
        while True:
            arrived = texts(item for request in sink.messages(kind) for item in items(kind, request))
            if arrived.total() >= expected.total() or time.monotonic() > end:
                break
            time.sleep(0.05)
        dropped = len(all_sent) - expected.total()
        print(f"{name}, {kind}: {len(all_sent)} sent, {dropped} to be dropped, {arrived.total()} arrived")
        if not all_sent or (engine and not dropped):
            problems.append(f"{kind}: the test sent nothing to judge")
        for text in list((expected - arrived).elements())[:3]:
            problems.append(f"{kind}: missing or changed: {text}")
        for text in list((arrived - expected).elements())[:3]:
            problems.append(f"{kind}: should not be there: {text}")
        if engine and engine.dropped(kind) != dropped:
            problems.append(f"{kind}: /metrics says {engine.dropped(kind)} dropped, not {dropped}")
    return problems


def round_trip(protocol, compress, direct):
    name = f"{protocol}{' gzip' if compress else ''}"
    sink = Sink()
    with tempfile.TemporaryDirectory() as directory:
        engine = None if direct else Engine(directory, sink.port, "gzip" if compress else "none")
        try:
            port = sink.port if direct else getattr(engine, protocol)
            sent = send_everything(protocol, f"127.0.0.1:{port}", compress)
            problems = compare(name, sent, sink, engine)
            if problems and engine:
                problems.append(engine.log())
            return [f"{name}: {problem}" for problem in problems]
        finally:
            if engine:
                engine.stop()
            sink.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--direct", action="store_true", help="no engine, nothing is dropped, gRPC only")
    arguments = parser.parse_args()
    problems = []
    for protocol in ("grpc",) if arguments.direct else ("grpc", "http"):
        for compress in (False, True):
            problems += round_trip(protocol, compress, arguments.direct)
    if problems:
        sys.exit("\n".join(problems))
    print("everything that had to arrive arrived unchanged")


if __name__ == "__main__":
    main()
