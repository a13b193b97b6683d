#!/usr/bin/env node
// Runs a client program through the points, over one transport, and prints what held:
//   vendor-tests/clients/drive.js polling|websocket|upgrade COMMAND [ARGUMENT…]
// RILL_BIN and CONFORMANCE_BIN name the servers. What such a program prints is told in ../harness/foreign.js.
import { POINTS, foreign } from "../harness/foreign.js";

const [transport, command, ...args] = process.argv.slice(2);
try {
  const { ok, lacks, notes } = await foreign(command, args, transport, 60_000);
  for (const point of POINTS) console.log(`${ok.includes(point) ? "ok   " : lacks.includes(point) ? "lacks" : "--   "} ${point}`);
  for (const note of notes) console.log(`note  ${note}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
