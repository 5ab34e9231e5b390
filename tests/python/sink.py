"""An OTLP/gRPC destination made of the official stubs: keeps what arrives, or writes it as JSON lines.

    python sink.py --port 14317 --out arrived.jsonl
"""

import argparse
import sys
import threading
from concurrent import futures

import grpc
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

SIGNALS = ("traces", "metrics", "logs")


class Sink:
    """Serves all three signals on a port of loopback; `requests[signal]` lists the messages in order of arrival."""

    def __init__(self, port=0, arrived=None):
        self.requests = {signal: [] for signal in SIGNALS}
        self._lock = threading.Lock()
        self._arrived = arrived
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(
            self._servicer("traces", trace_service_pb2.ExportTraceServiceResponse), self._server
        )
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(
            self._servicer("metrics", metrics_service_pb2.ExportMetricsServiceResponse), self._server
        )
        logs_service_pb2_grpc.add_LogsServiceServicer_to_server(
            self._servicer("logs", logs_service_pb2.ExportLogsServiceResponse), self._server
        )
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def _servicer(self, signal, response):
        sink = self

        class Servicer:
            def Export(self, request, context):
                with sink._lock:
                    sink.requests[signal].append(request)
                    if sink._arrived:
                        sink._arrived(signal, request)
                return response()

        return Servicer()

    def messages(self, signal):
        with self._lock:
            return list(self.requests[signal])

    def stop(self):
        self._server.stop(grace=1).wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=14317)
    parser.add_argument("--out", default="-", help="a file for JSON lines; - is stdout")
    arguments = parser.parse_args()
    out = sys.stdout if arguments.out == "-" else open(arguments.out, "a", encoding="utf-8")

    def write(signal, request):
        body = MessageToJson(request, indent=None)
        print(f'{{"signal": "{signal}", "request": {body}}}', file=out, flush=True)

    sink = Sink(arguments.port, write)
    print(f"listening on 127.0.0.1:{sink.port}", file=sys.stderr)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        sink.stop()


if __name__ == "__main__":
    main()
