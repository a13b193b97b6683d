// Where one request ends and the next begins: a table of what has been used to smuggle, each against what must come of it.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { after, afterEach, before, describe, it } from "node:test";
import { conformance } from "./harness/server.js";
import { CASES, SID } from "./harness/http-cases.js";
import { pass } from "./harness/wait.js";
import { Polling, Wire, closeWires } from "./harness/wire.js";

const QUIET_MS = 40; // nothing more will come

let server;
before(async () => (server = await conformance("engine")));
after(() => server.end());
afterEach(closeWires);

/** The statuses that answer these bytes, and whether the connection stays. */
async function answers(bytes, pieces) {
  const wire = await Wire.to(server);
  if (pieces) await wire.trickle(bytes);
  else wire.send(bytes);
  for (let seen = -1; !wire.ended && seen !== wire.input.length; await pass(QUIET_MS)) seen = wire.input.length;
  const statuses = [...wire.input.toString("latin1").matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
  return { statuses, stays: !wire.ended };
}

describe("requests on which readers have disagreed", () => {
  for (const pieces of [false, true]) {
    for (const [name, text, statuses, packets, stays] of CASES) {
      it(`${name}${pieces ? ", byte by byte" : ""}: ${statuses}`, async () => {
        const session = await Polling.open(server);
        const found = await answers(Buffer.from(text.replaceAll(SID, session.sid), "latin1"), pieces);
        assert.deepEqual(found.statuses.filter((status) => status !== 100), statuses);
        assert.equal(found.stays, stays, "whether the connection stays");
        const all = packets.map((packet) => `4${packet}`);
        // A body that breaks off ends its session; what is hidden in it must not have been heard before.
        if ((await session.post("4after")).status !== 200) return assert.deepEqual([all, stays], [[], false]);
        assert.deepEqual(await session.packets(), [...all, "4after"]);
      });
    }
  }
});
