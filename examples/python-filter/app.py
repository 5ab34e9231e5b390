"""Drops spans by route: {"routes": ["/health"]}."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports.batches import Batch
from wit_world.imports.dropping import drop
from wit_world.imports.fields import Field, Rule

STRING = 1  # kinds of values: wit/telemetry.wit


class Plugin(exports.Plugin):
    def configure(self, config: str) -> None:
        global routes, field, rule
        wanted = json.loads(config).get("routes")
        if not isinstance(wanted, list) or not all(isinstance(route, str) for route in wanted):
            raise Err('"routes" must be a list of texts, such as ["/health"]')
        routes = {route.encode() for route in wanted}
        field = Field.open(['span.attributes["http.route"]'])
        rule = Rule.open("by-route")


class Processor(exports.Processor):
    def process(self, b: Batch) -> None:
        # Each different value is judged once, whatever the number of spans that have it.
        values = b.values(field)
        which = bytearray((len(values.kinds) + 7) // 8)
        start = 0
        for entry, end in enumerate(values.offsets[1:]):
            if values.kinds[entry] == STRING and values.bytes[start:end] in routes:
                which[entry >> 3] |= 1 << (entry & 7)
            start = end
        if any(which):
            drop(b, b.where_values(field, bytes(which)), rule)
