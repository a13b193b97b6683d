// Clients that move from server to server while numbered messages are sent and a server dies: each is told everything once, all in one order.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ask, cut } from "./harness/clients.js";
import { POLLING, UPGRADE, WEBSOCKET, allTold, complaints, inCluster, member, redirect } from "./harness/cluster.js";
import { proxyTo } from "./harness/proxy.js";
import { next, pass } from "./harness/wait.js";

const MOVERS = 12;
const SECONDS = 20;
const MOVE_EVERY_MS = 100;
const SEND_EVERY_MS = 40;
const MESSAGES = (SECONDS * 1_000) / SEND_EVERY_MS; // of each sender
const KILL_AFTER_MS = 7_000;
const AWAY_MS = 3_000;
const SHOWN = 20; // failures
const DOOMED = 1; // one of the senders is on it

// A client that loses its network between probe and upgrade hangs until a ping fails to come: let that be soon.
const TIMES = { PING_INTERVAL_MS: "2000", PING_TIMEOUT_MS: "2000" };
const TRANSPORTS = [WEBSOCKET, UPGRADE, POLLING];

/** A slow machine comes late, and catches up. */
const until = (due) => pass(Math.max(0, due - Date.now()));

/** A receiver. By turns: it connects to a server itself; a proxy before it picks its server; a balancer before it has none in mind. */
async function mover(cluster, i) {
  const home = cluster.servers[i % 3];
  const way = ["itself", "proxy", "balancer"][Math.floor(i / 3) % 3];
  const backend = way === "balancer" ? cluster.balancer : { port: home.port };
  const proxy = way === "itself" ? undefined : await proxyTo(backend);
  const socket = await member(proxy ?? home, TRANSPORTS[i % 3], "moving");
  /** Where it comes back. */
  const aim = (server) => {
    if (way === "itself") redirect(socket, server);
    if (way === "proxy") backend.port = server.port;
    self.server = server;
  };
  const self = { i, way, proxy, socket, aim, server: home, id: socket.id, moves: 0, moving: false };
  return self;
}

/** Cuts the mover off, and waits until it is back at another server over another transport. */
async function move(self, to) {
  const { socket, proxy, i } = self;
  self.moving = true;
  const back = next(socket, "connect", undefined, 30_000).catch((error) => {
    throw new Error(`mover ${i} (${self.way}) did not come back to port ${self.server.port}: ${error.message}; its drops: ${socket.drops.slice(-3)}`);
  });
  self.moves++;
  self.aim(to);
  socket.io.opts.transports = [...TRANSPORTS[(i + self.moves) % 3].transports];
  // By turns: a reset, an end of the connection; who has no proxy tears its WebSocket, or closes its polling session.
  if (proxy) proxy[self.moves % 2 === 0 ? "cut" : "reset"]();
  else socket.io.engine.transport.ws?.terminate();
  await cut(socket);
  await back;
  self.moving = false;
}

/** Sends a number every so often; notes which of them were acknowledged. */
async function send(sender, begin) {
  const waiting = [];
  while (sender.sent < MESSAGES) {
    await until(begin + sender.sent * SEND_EVERY_MS);
    const n = sender.sent++;
    const answer = sender.socket.timeout(30_000).emitWithAck("message", { room: "moving", text: `${sender.name} ${n}` });
    // Refused with the connection's end: it may have arrived or not, and is not sent again.
    waiting.push(answer.then(({ ok, error }) => (ok ? sender.acked.add(n) : sender.errors.push(`${n}: ${error}`)), () => sender.lost.push(n)));
  }
  await Promise.all(waiting);
}

describe("the oracle", () => {
  const SENDERS = [{ name: "a", sent: 3, acked: new Set([0, 2]) }, { name: "b", sent: 2, acked: new Set([0]) }];
  for (const [what, lists, wrong] of [
    ["all is there", [["a 0", "a 1", "b 0", "a 2", "b 1"], ["a 0", "a 1", "b 0", "a 2", "b 1"]], []],
    ["what was not acknowledged is with nobody", [["a 0", "b 0", "a 2"], ["a 0", "b 0", "a 2"]], []],
    ["what was not acknowledged is with one alone", [["a 0", "b 0", "a 2", "b 1"], ["a 0", "b 0", "a 2"]], [/receiver 1 misses 1 \(b 1\)/]],
    ["what was acknowledged is with nobody", [["a 0", "b 0"], ["a 0", "b 0"]], [/nobody was told these of a.* 1 \(a 2\)/]],
    ["twice", [["a 0", "b 0", "a 2"], ["a 0", "a 0", "b 0", "a 2"]], [/receiver 1 was told twice 1 \(a 0\)/, /another order/]],
    ["a sender's order", [["a 2", "a 0", "b 0"], ["a 2", "a 0", "b 0"]], [/receiver 0 was told out of a's order: 1 \(0\)/, /receiver 1/]],
    ["two orders", [["a 0", "b 0", "a 2"], ["a 0", "a 2", "b 0"]], [/receiver 1 has another order/]],
    ["what nobody sent", [["a 0", "b 0", "a 2", "a 3"], ["a 0", "b 0", "a 2", "a 3"]], [/nobody sent: 1 \(a 3\)/]],
  ]) {
    it(what, () => {
      const found = complaints(lists.map((texts) => ({ texts })), SENDERS);
      assert.equal(found.length, wrong.length, found.join("; "));
      wrong.forEach((pattern, i) => assert.match(found[i], pattern));
    });
  }
});

describe("movers", () => {
  it(`${MOVERS} clients, ${1_000 / MOVE_EVERY_MS} moves a second for ${SECONDS} s, two senders, a server killed and started again`, inCluster(TIMES, async (cluster) => {
    const movers = await Promise.all(Array.from({ length: MOVERS }, (_, i) => mover(cluster, i)));
    const senders = [];
    for (const [name, i] of [["anna", 0], ["boris", DOOMED]]) {
      const socket = await member(cluster.servers[i], WEBSOCKET);
      senders.push({ name, socket, id: socket.id, sent: 0, acked: new Set(), lost: [], errors: [] });
    }

    const failures = [];
    const begin = Date.now();
    const end = begin + SECONDS * 1_000;
    const alive = () => cluster.servers.filter((server) => !server.ended && server !== cluster.dying);
    const moving = async () => {
      const moves = [];
      for (let turn = 0; Date.now() < end; turn++) {
        await until(begin + turn * MOVE_EVERY_MS);
        const self = [...movers.slice(turn % MOVERS), ...movers.slice(0, turn % MOVERS)].find(({ socket, moving }) => socket.connected && !moving);
        const others = alive().filter((server) => server !== self?.server);
        if (self) moves.push(move(self, others[turn % others.length]).catch((error) => failures.push(error.message)));
      }
      await Promise.all(moves);
    };
    const dying = async () => {
      await pass(KILL_AFTER_MS);
      const doomed = (cluster.dying = cluster.servers[DOOMED]);
      for (const self of movers) if (self.server === doomed) self.aim(cluster.servers[2]);
      redirect(senders[1].socket, cluster.servers[2]);
      await cluster.kill(DOOMED);
      await pass(AWAY_MS);
      await cluster.add(DOOMED);
    };
    await Promise.all([moving(), dying(), ...senders.map((sender) => send(sender, begin))]);
    for (const sender of senders) {
      const n = sender.sent++;
      assert.equal((await ask(sender.socket, "message", { room: "moving", text: `${sender.name} ${n}` })).ok, true);
      sender.acked.add(n);
      await allTold(movers.map(({ socket }) => socket), `${sender.name} ${n}`).catch((error) => failures.push(error.message));
    }

    failures.unshift(...complaints(movers.map(({ socket }) => socket), senders));
    for (const { socket, id, i } of [...movers, ...senders]) {
      const who = i === undefined ? "a sender" : `mover ${i}`;
      const fresh = socket.returns.filter((recovered) => recovered !== true).length;
      if (fresh > 0) failures.push(`${who} came back ${socket.returns.length} times, ${fresh} times without being recovered`);
      if (socket.id !== id) failures.push(`${who} was ${id} and is ${socket.id}`);
    }
    for (const { name, errors } of senders) if (errors.length > 0) failures.push(`${name} was refused ${errors.length} messages: ${errors[0]}`);
    assert.ok(failures.length === 0, `expected: everything once, in one order, and every return recovered; but:\n${failures.slice(0, SHOWN).join("\n")}`);

    const moves = movers.reduce((sum, self) => sum + self.moves, 0);
    assert.ok(moves >= 100, `expected: at least 100 moves; there were ${moves}`);
    for (const { name, sent, acked } of senders) {
      assert.ok(acked.size > 0.9 * sent, `expected: most is acknowledged; ${name} sent ${sent}, ${acked.size} were`);
    }
    assert.ok(senders[1].socket.returns.length > 0, "expected: the second sender was cut off by the end of its server");
  }));
});
