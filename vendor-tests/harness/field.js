// A Redis of any kind and servers at it, each test's own.
import assert from "node:assert/strict";
import net from "node:net";
import { ask, closeClients } from "./clients.js";
import { WEBSOCKET, member, readiness } from "./cluster.js";
import { remove, temporary } from "./folder.js";
import { Server, freePort, listens, rillProcess } from "./server.js";
import { next, pass } from "./wait.js";
import { closeWires, fetchOnce } from "./wire.js";

export const TOLD_MS = 5_000;
const WATCHED_MS = 1_500;
export const READY_MS = 15_000;

const redisLines = (server) => server.output.split("\n").filter((line) => line.includes("[REDIS]"));

/** For `it`: what `body` starts by `begin` is ended, whatever happens. */
export function withProcesses(body) {
  return async () => {
    const started = [];
    const folder = temporary("field");
    const begin = async (server, isListening = true) => {
      started.push(await server);
      if (isListening) await listens(started.at(-1));
      return started.at(-1);
    };
    const redis = async (args = [], port) => {
      const place = port ?? (await freePort());
      const options = ["--port", String(place), "--bind", "127.0.0.1", "--save", "", "--dir", folder, ...args];
      return begin(new Server("redis-server", options, {}, place));
    };
    const rill = (env) => begin(rillProcess({ ADAPTER: "auto", ...env }), false);
    try {
      await body({ begin, redis, rill, folder });
    } finally {
      closeClients();
      closeWires();
      for (const server of started) server.child.kill("SIGKILL");
      await Promise.all(started.map((server) => server.gone()));
      remove(folder);
    }
  };
}

/** One command to Redis, and its reply as text. */
export function command(port, ...words) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, "127.0.0.1");
    let reply = "";
    socket.on("connect", () => socket.end(`*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`));
    socket.on("data", (data) => (reply += data));
    socket.on("close", () => resolve(reply));
    socket.on("error", reject);
  });
}

/** Two clients of these servers hear each other. */
export async function speak(...servers) {
  const sockets = await Promise.all(servers.map((server) => member(server, WEBSOCKET, "field")));
  const heard = sockets.map((socket) => next(socket, "message"));
  assert.deepEqual(await ask(sockets[0], "message", { room: "field", text: "hello" }), { ok: true });
  for (const [message] of await Promise.all(heard)) assert.equal(message.text, "hello");
  return sockets;
}

/** It says `said` within seconds, once, is not ready, and lets nobody in. */
export async function isTold(server, said) {
  await server.prints(said, 0, TOLD_MS);
  await pass(WATCHED_MS);
  const lines = redisLines(server);
  assert.ok(lines.length <= 2, `expected: told once; there were:\n${lines.join("\n")}`);
  assert.doesNotMatch(server.output, /initialized/);
  assert.equal(await readiness(server), 503);
  assert.equal((await fetchOnce(server, "GET", "/socket.io/?EIO=4&transport=polling")).status, 503);
}
