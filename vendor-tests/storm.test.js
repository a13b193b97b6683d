// 200 clients, each cut ten times at random moments while 2,000 numbered messages are sent to rooms: each has every number
// that it was meant to get, exactly once and in order.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { RETURNING, ask, closeClients, connect, cut } from "./harness/clients.js";
import { closeProxies, proxyTo } from "./harness/proxy.js";
import { rill } from "./harness/server.js";
import { eventually, next, pass } from "./harness/wait.js";

const CLIENTS = 200;
const CUTS = 10;
const MESSAGES = 2_000;
const ROOMS = ["a", "b", "c", "d"];
const EVERYBODY = 5; // every fifth message goes to no room
const SECONDS = 8;

const TRANSPORTS = [{ transports: ["websocket"] }, { transports: ["polling"] }, { transports: ["polling", "websocket"] }];

const roomOf = (n) => (n % EVERYBODY === 0 ? undefined : ROOMS[n % ROOMS.length]);

/** Random numbers that a seed repeats (mulberry32). */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

let server;
// The official client that loses its network between probe and upgrade hangs until a ping fails to come: let that be soon.
before(async () => (server = await rill({ PING_INTERVAL_MS: "2000", PING_TIMEOUT_MS: "2000" })));
after(() => server.end());
afterEach(closeClients);
afterEach(closeProxies);

describe("a storm", () => {
  it(`${CLIENTS} clients, ${CUTS} cuts each, ${MESSAGES} messages`, async () => {
    const seed = Number(process.env.STORM_SEED ?? Date.now() % 1_000_000);
    const chance = random(seed);
    const clients = [];
    for (let i = 0; i < CLIENTS; i++) {
      const proxy = i % 4 === 0 ? await proxyTo(server) : undefined;
      const rooms = ROOMS.filter((_, r) => (i >> 2) % 15 & (1 << r) || r === i % ROOMS.length);
      const socket = await connect(proxy ?? server, { ...TRANSPORTS[i % 3], ...RETURNING, timeout: 5_000 });
      const client = { i, proxy, rooms, socket, id: socket.id, numbers: [], cuts: 0 };
      socket.on("message", ({ text }) => client.numbers.push(Number(text)));
      socket.on("connect", () => (client.lost ||= !socket.recovered));
      await Promise.all(rooms.map((room) => ask(socket, "join", room)));
      clients.push(client);
    }

    const cutOff = async (client) => {
      for (; client.cuts < CUTS; client.cuts++) {
        await pass(((SECONDS * 1_000) / CUTS) * 2 * chance() * 0.9);
        if (!client.socket.connected) await next(client.socket, "connect", undefined, 60_000);
        const back = next(client.socket, "connect", undefined, 60_000);
        // By turns: the network is cut, the client's WebSocket is torn, the client closes in good order.
        if (client.proxy) client.proxy[chance() < 0.5 ? "cut" : "reset"]();
        if (chance() < 0.5) client.socket.io.engine.transport.ws?.terminate();
        await cut(client.socket);
        await back;
      }
    };

    const sender = await connect(server, { transports: ["websocket"] });
    const send = async () => {
      const perTick = 10;
      const begin = Date.now();
      for (let n = 0; n < MESSAGES; n++) {
        sender.emit("message", { room: roomOf(n), text: `${n}` });
        const due = begin + ((n + 1) / MESSAGES) * SECONDS * 1_000;
        if (n % perTick === perTick - 1 && due > Date.now()) await pass(due - Date.now());
      }
      assert.equal((await ask(sender, "rooms")).ok, true);
    };

    await Promise.all([send(), ...clients.map(cutOff)]);
    await ask(sender, "message", { text: `${MESSAGES}` });
    await eventually("everybody has the last message", () => clients.every((client) => client.numbers.includes(MESSAGES)), 20_000);

    const wrong = [];
    for (const { i, numbers, rooms, socket, id, lost } of clients) {
      const wanted = Array.from({ length: MESSAGES + 1 }, (_, n) => n).filter((n) => n === MESSAGES || n % EVERYBODY === 0 || rooms.includes(roomOf(n)));
      if (lost || socket.id !== id) wrong.push(`client ${i} was not recovered`);
      else if (numbers.join() !== wanted.join()) {
        const missing = wanted.filter((n) => !numbers.includes(n));
        const twice = numbers.filter((n, at) => numbers.indexOf(n) !== at);
        wrong.push(`client ${i}: ${missing.length} missing (${missing.slice(0, 5)}), ${twice.length} twice (${twice.slice(0, 5)}), or out of order`);
      }
    }
    assert.deepEqual(wrong, [], `seed ${seed}`);
    server.assertHealthy();
  });
});
