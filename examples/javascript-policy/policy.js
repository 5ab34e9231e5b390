// Keeps traces of a service that failed or took long: {"service": "checkout", "slow_ms": 500}.
import { Field, Rule } from 'sluicebox:telemetry/fields@0.1.0';

const STRING = 1; // kinds of values: wit/telemetry.wit
const KEEP = 1; // votes
const NO_RULE = 0xffffffff;
const decoder = new TextDecoder();
let service, slowNanos, field;

export const plugin = {
  configure(config) {
    const wanted = JSON.parse(config);
    // A thrown text is the error that the operator sees.
    if (typeof wanted.service !== 'string' || !Number.isInteger(wanted.slow_ms)) {
      throw '"service" must be a text and "slow_ms" a number, such as {"service": "checkout", "slow_ms": 500}';
    }
    service = wanted.service;
    slowNanos = BigInt(wanted.slow_ms) * 1_000_000n;
    field = Field.open(['resource.attributes["service.name"]']);
    Rule.open('slow-or-failed');
  },
};

export const policy = {
  decide(traces, spans) {
    // Each different service is judged once, whatever the number of spans that have it.
    const { kinds, offsets, bytes } = spans.values(field);
    const which = new Uint8Array((kinds.length + 7) >> 3);
    for (let entry = 0; entry < kinds.length; entry++) {
      if (kinds[entry] === STRING && decoder.decode(bytes.subarray(offsets[entry], offsets[entry + 1])) === service) {
        which[entry >> 3] |= 1 << (entry & 7);
      }
    }
    const resources = spans.whereValues(field, which);
    const rows = resources.at('span');
    const hasService = traces.whereAny(rows);
    rows[Symbol.dispose](); // else the host keeps it until garbage is collected
    resources[Symbol.dispose]();

    const [errors, starts, ends] = [traces.errorCounts(), traces.startsUnixNano(), traces.endsUnixNano()];
    const votes = new Uint8Array(errors.length);
    const thresholds = new BigUint64Array(errors.length); // 0: every such trace is kept
    const rules = new Uint32Array(errors.length).fill(NO_RULE);
    for (let trace = 0; trace < errors.length; trace++) {
      const isKept = (hasService[trace >> 3] >> (trace & 7)) & 1;
      if (isKept && (errors[trace] > 0 || ends[trace] - starts[trace] >= slowNanos)) {
        votes[trace] = KEEP;
        rules[trace] = 0; // the first that was opened
      }
    }
    // A trace that was slow, failed and had the service stays so.
    return { votes, thresholds, rules, settled: votes.slice() };
  },
};
