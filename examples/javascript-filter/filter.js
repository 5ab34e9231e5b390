// Drops spans by route: {"routes": ["/health"]}.
import { drop } from 'sluicebox:telemetry/dropping@0.1.0';
import { Field, Rule } from 'sluicebox:telemetry/fields@0.1.0';

const STRING = 1; // kinds of values: wit/telemetry.wit
const decoder = new TextDecoder();
let routes, field, rule;

export const plugin = {
  configure(config) {
    const wanted = JSON.parse(config).routes;
    // A thrown text is the error that the operator sees.
    if (!Array.isArray(wanted) || !wanted.every((route) => typeof route === 'string')) {
      throw '"routes" must be a list of texts, such as ["/health"]';
    }
    routes = new Set(wanted);
    field = Field.open(['span.attributes["http.route"]']);
    rule = Rule.open('by-route');
  },
};

export const processor = {
  process(batch) {
    // Each different value is judged once, whatever the number of spans that have it.
    const { kinds, offsets, bytes } = batch.values(field);
    const which = new Uint8Array((kinds.length + 7) >> 3);
    for (let entry = 0; entry < kinds.length; entry++) {
      if (kinds[entry] === STRING && routes.has(decoder.decode(bytes.subarray(offsets[entry], offsets[entry + 1])))) {
        which[entry >> 3] |= 1 << (entry & 7);
      }
    }
    if (which.some((byte) => byte !== 0)) {
      const rows = batch.whereValues(field, which);
      drop(batch, rows, rule);
      rows[Symbol.dispose](); // else the host keeps it until garbage is collected
    }
  },
};
