"""Which traces a list of tail-sampling policies keeps: tail_expected.py TRACES POLICIES

TRACES is what tests/src/traces.rs writes, one trace per line; POLICIES a JSON list of policies with the Collector's keys (a `type` beside
the block of its name, or the block alone). Prints the id of each kept trace. Late spans decide nothing.

Knows nothing of the engine: it is what the engine is compared with. Policies whose answer depends on anything but the trace itself, such
as rate limits, are not here.
"""

import json
import re
import sys

NANOS_PER_MS = 1_000_000
# Randomness has 56 bits (W3C Trace Context level 2).
RANDOMNESS_END = 1 << 56


class Trace:
    """The spans of a trace that count, and what policies ask of them."""

    def __init__(self, line):
        told = json.loads(line)
        self.id = told["id"]
        self.tracestate = told["tracestate"]
        self.spans = [span for span in told["spans"] if not span["late"]]

    def duration_ms(self):
        start = min(span["start"] for span in self.spans)
        return (max(span["end"] for span in self.spans) - start) // NANOS_PER_MS

    def randomness(self):
        stated = re.search(r"(?:^|,)\s*ot=(?:[^,]*;)?rv:([0-9a-f]{14})(?:[;,]|$)", self.tracestate)
        return int(stated.group(1) if stated else self.id[-14:], 16)

    def values(self, key):
        """The values of an attribute, of spans and of their resources."""
        for span in self.spans:
            if key in span["attributes"]:
                yield span["attributes"][key]
            if key == "service.name":
                yield span["service"]


def status_code(keys, trace):
    return any(span["status"] in keys["status_codes"] for span in trace.spans)


def latency(keys, trace):
    threshold, upper = keys["threshold_ms"], keys.get("upper_threshold_ms", 0)
    duration = trace.duration_ms()
    return threshold < duration <= upper if upper else duration >= threshold


def probabilistic(keys, trace):
    threshold = round((1 - keys["sampling_percentage"] / 100) * RANDOMNESS_END)
    return trace.randomness() >= threshold


def string_attribute(keys, trace):
    texts = [value for value in trace.values(keys["key"]) if isinstance(value, str)]
    if keys.get("enabled_regex_matching"):
        found = any(re.search(pattern, text) for pattern in keys["values"] for text in texts)
    else:
        found = any(text in keys["values"] for text in texts)
    return found != keys.get("invert_match", False)


def numeric_attribute(keys, trace):
    numbers = [value for value in trace.values(keys["key"]) if type(value) is int]
    low, high = keys.get("min_value", -(1 << 63)), keys.get("max_value", (1 << 63) - 1)
    found = any(low <= number <= high for number in numbers)
    return found != keys.get("invert_match", False)


def boolean_attribute(keys, trace):
    found = any(value is keys["value"] for value in trace.values(keys["key"]))
    return found != keys.get("invert_match", False)


def span_count(keys, trace):
    high = keys.get("max_spans", 0)
    return keys.get("min_spans", 0) <= len(trace.spans) and (not high or len(trace.spans) <= high)


def all_of(keys, trace):
    return all(keeps(policy, trace) for policy in keys["and_sub_policy"])


def none_of(keys, trace):
    return not keeps(keys["not_sub_policy"], trace)


def dropped_by(keys, trace):
    return all(keeps(policy, trace) for policy in keys["drop_sub_policy"])


TYPES = {
    "always_sample": lambda keys, trace: True,
    "status_code": status_code,
    "latency": latency,
    "probabilistic": probabilistic,
    "string_attribute": string_attribute,
    "numeric_attribute": numeric_attribute,
    "boolean_attribute": boolean_attribute,
    "span_count": span_count,
    "and": all_of,
    "not": none_of,
    "drop": dropped_by,
}


def type_of(policy):
    if "type" in policy:
        return policy["type"]
    (name,) = [key for key in policy if key in TYPES]
    return name


def keeps(policy, trace):
    """Whether a policy votes to keep; one that drops never does."""
    name = type_of(policy)
    return name != "drop" and TYPES[name](policy.get(name) or {}, trace)


def is_kept(policies, trace):
    """A vote to drop beats votes to keep."""
    drops = [policy for policy in policies if type_of(policy) == "drop"]
    if any(dropped_by(policy["drop"], trace) for policy in drops):
        return False
    return any(keeps(policy, trace) for policy in policies)


def main():
    traces_file, policies_file = sys.argv[1:]
    with open(policies_file, encoding="utf-8") as file:
        policies = json.load(file)
    with open(traces_file, encoding="utf-8") as file:
        for line in file:
            trace = Trace(line)
            if is_kept(policies, trace):
                print(trace.id)


if __name__ == "__main__":
    main()
