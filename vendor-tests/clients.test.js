// Other versions of the official client, and clients in other languages, through the points of harness/foreign.js.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { TRANSPORTS } from "./harness/clients.js";
import { POINTS, foreign } from "./harness/foreign.js";

const program = (path) => fileURLToPath(new URL(`clients/${path}`, import.meta.url));

/** Whether they know of recovery. */
const JAVASCRIPT = {
  "socket.io-client-3.0": false,
  "socket.io-client-3.1": false,
  "socket.io-client-4.0": false,
  "socket.io-client-4.5": false,
  "socket.io-client": true,
};

for (const [name, recovers] of Object.entries(JAVASCRIPT)) {
  describe(name, () => {
    for (const [transport] of TRANSPORTS) {
      it(`over ${transport}`, async () => {
        const { ok, notes } = await foreign(process.execPath, [program("javascript/points.js"), name], transport);
        assert.deepEqual(ok, POINTS);
        // A return to the same server is a recovery for clients that know of it; a log in memory ends with its server.
        assert.match(notes[0], recovers ? /, recovered$/ : /, a new session$/);
        assert.match(notes[1], /, a new session$/);
      });
    }
  });
}

for (const client of ["blocking", "async"]) {
  describe(`rust_socketio, ${client}`, () => {
    for (const [transport] of TRANSPORTS) {
      it(`over ${transport}`, async () => {
        const { ok, lacks } = await foreign(program("rust/target/debug/points"), [client], transport);
        assert.deepEqual(ok, POINTS.filter((point) => point !== "asked"));
        assert.deepEqual(lacks, ["asked"]);
      });
    }
  });
}
