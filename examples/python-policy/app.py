"""Keeps traces of a service that failed or took long: {"service": "checkout", "slow_ms": 500}."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports.batches import Batch
from wit_world.imports.fields import Field, Rule
from wit_world.imports.traces import TraceBatch, Verdicts

STRING = 1  # kinds of values: wit/telemetry.wit
NONE, KEEP = 0, 1  # votes
ALWAYS, NO_RULE = 0, 2**32 - 1


class Plugin(exports.Plugin):
    def configure(self, config: str) -> None:
        global service, slow_ns, field, rule
        wanted = json.loads(config)
        if not isinstance(wanted.get("service"), str) or not isinstance(wanted.get("slow_ms"), int):
            raise Err('"service" must be a text and "slow_ms" a number, such as {"service": "checkout", "slow_ms": 500}')
        service, slow_ns = wanted["service"].encode(), wanted["slow_ms"] * 1_000_000
        field = Field.open(['resource.attributes["service.name"]'])
        rule = Rule.open("slow-or-failed")


class Policy(exports.Policy):
    def decide(self, t: TraceBatch, spans: Batch) -> Verdicts:
        # Each different service is judged once, whatever the number of spans that have it.
        values = spans.values(field)
        which = bytearray((len(values.kinds) + 7) // 8)
        for entry, kind in enumerate(values.kinds):
            if kind == STRING and values.bytes[values.offsets[entry]:values.offsets[entry + 1]] == service:
                which[entry >> 3] |= 1 << (entry & 7)
        has_service = t.where_any(spans.where_values(field, bytes(which)).at("span"))
        kept = [
            bool(has_service[trace >> 3] >> (trace & 7) & 1) and (errors > 0 or end - start >= slow_ns)
            for trace, (errors, start, end) in enumerate(zip(t.error_counts(), t.starts_unix_nano(), t.ends_unix_nano()))
        ]
        # A trace that was slow, failed and had the service stays so.
        return Verdicts(
            votes=bytes(KEEP if keep else NONE for keep in kept),
            thresholds=[ALWAYS] * len(kept),
            rules=[0 if keep else NO_RULE for keep in kept],
            settled=bytes(kept),
        )
