// nginx with the project's configuration before three servers: any request may go to any of them.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { TRANSPORTS, ask } from "./harness/clients.js";
import { POLLING, WEBSOCKET, allTold, complaints, inCluster, member, upTo } from "./harness/cluster.js";
import { nginx } from "./harness/nginx.js";
import { proxyTo } from "./harness/proxy.js";
import { eventually, pass } from "./harness/wait.js";
import { Polling, fetchOnce } from "./harness/wire.js";

const CLIENTS = 24;
const SECONDS = 12; // of messages without a drop
const SEND_EVERY_MS = 40;

/** For `inCluster`: the body gets an nginx too, whose log is shown with the others'. */
const behindNginx = (body) => async (cluster) => {
  const balancer = await nginx(cluster.servers);
  cluster.logs.push(["nginx", balancer]);
  await body(cluster, balancer);
  balancer.assertHealthy();
};

/** How many clients each server has. */
const shares = (cluster) =>
  Promise.all(cluster.servers.map(async (server) => Number(/clients\W+(\d+)/i.exec(await server.command("status", /clients/i))[1])));

describe("behind nginx", () => {
  it(`${CLIENTS} clients over all transports: no drop, and everybody is told everything; servers end, die and come back: their clients recover`, inCluster({}, behindNginx(async (cluster, balancer) => {
    const receivers = await Promise.all(upTo(CLIENTS).map((i) => member(balancer, TRANSPORTS[i % 3][1], "tea")));
    const ids = receivers.map(({ id }) => id);
    // The sender's own way is not what is tested.
    const sender = { name: "anna", sent: 0, acked: new Set(), socket: await member(cluster.servers[0], WEBSOCKET) };
    const say = async () => {
      const n = sender.sent++;
      const { ok } = await ask(sender.socket, "message", { room: "tea", text: `anna ${n}` });
      if (ok) sender.acked.add(n);
    };
    const sayFor = async (ms) => {
      for (const end = Date.now() + ms; Date.now() < end; await pass(SEND_EVERY_MS)) await say();
    };
    const counts = await shares(cluster);
    assert.ok(counts.every((count) => count >= CLIENTS / 6), `expected: the clients are spread over the servers; there are ${counts}`);

    await sayFor(SECONDS * 1_000);
    await allTold(receivers, `anna ${sender.sent - 1}`);
    assert.deepEqual(receivers.map(({ drops }) => drops).filter((drops) => drops.length > 0), [], "expected: no client is dropped");

    for (const [signal, i, end] of [["SIGTERM", 2, { code: 0, signal: null }], ["SIGKILL", 1, { code: null, signal: "SIGKILL" }]]) {
      const sending = sayFor(4_000);
      sending.catch(() => {}); // it is awaited below
      await pass(500);
      cluster.servers[i].child.kill(signal);
      assert.deepEqual(await cluster.servers[i].gone(), end, `expected: ${signal} ends a server like that`);
      await pass(1_000);
      await cluster.add(i);
      await sending;
    }
    await eventually("all clients are connected", () => receivers.every(({ connected }) => connected), 15_000);
    await say();
    await allTold(receivers, `anna ${sender.sent - 1}`);

    assert.equal(sender.acked.size, sender.sent, "expected: every message is acknowledged");
    assert.deepEqual(complaints(receivers, [sender]), [], "expected: everything once and in order");
    assert.ok(receivers.some(({ drops }) => drops.length > 0), "expected: the ends of two servers have dropped clients");
    assert.deepEqual(receivers.flatMap(({ returns }) => returns).filter((recovered) => !recovered), [], "expected: every return is recovered");
    assert.deepEqual(receivers.map(({ id }) => id), ids, "expected: the same ids");
  })));

  // A balancer may repeat a GET whose answer it did not get from one server at another. Long-polling acknowledges nothing: who takes the
  // repeated GET for the next one skips what was in the lost answer.
  it("an answer that is lost between nginx and a server is not skipped by the next one", inCluster({}, async (cluster) => {
    const lossy = await Promise.all(cluster.servers.map(proxyTo));
    const balancer = await nginx(lossy);
    cluster.logs.push(["nginx", balancer]);
    const receivers = await Promise.all(upTo(6).map(() => member(balancer, POLLING, "tea")));
    const sender = { name: "anna", sent: 0, acked: new Set(), socket: await member(cluster.servers[0], WEBSOCKET) };
    const sayFor = async (ms) => {
      for (const end = Date.now() + ms; Date.now() < end; await pass(SEND_EVERY_MS)) {
        const n = sender.sent++;
        if ((await ask(sender.socket, "message", { room: "tea", text: `anna ${n}` })).ok) sender.acked.add(n);
      }
    };
    for (const proxy of [...lossy, ...lossy]) {
      proxy.endAfter(0);
      proxy.cut();
      await sayFor(400);
      proxy.endAfter(Infinity);
      await sayFor(400);
    }
    await eventually("all clients are connected", () => receivers.every(({ connected }) => connected), 15_000);
    await sayFor(1);
    await allTold(receivers, `anna ${sender.sent - 1}`).catch(() => {}); // the complaints say more
    const fresh = receivers.flatMap(({ returns }) => returns).filter((recovered) => !recovered);
    assert.deepEqual([...complaints(receivers, [sender]), ...fresh], [], "expected: everything once and in order, and every return recovered");
  }));

  it("long-polling, each request over a connection of its own", inCluster({}, behindNginx(async (cluster, balancer) => {
    const sessions = await Promise.all(upTo(9).map(() => Polling.open(balancer, "/socket.io/")));
    for (const session of sessions) {
      assert.equal((await session.post("40")).status, 200);
      assert.match((await session.packets())[0], /^40\{"sid":"/);
      assert.equal((await session.post('420["join","blue"]')).status, 200);
      assert.match((await session.packets())[0], /^430\[\{"ok":true/);
    }
    // Polls that wait are answered when there is something, not when nginx has collected enough.
    const waiting = sessions.map((session) => session.packets());
    await pass(300);
    cluster.servers[0].type("sendroom blue hello");
    for (const packets of await Promise.all(waiting)) assert.match(packets[0], /^42\["message",\{.*"hello"/);
    const large = "x".repeat(900_000);
    assert.equal((await sessions[0].post(`42["message",{"room":"blue","text":"${large}"}]`)).status, 200, "expected: a body of 900 kB passes");
    for (const session of sessions) assert.ok((await session.packets())[0].includes(large));
  })));

  it("the pages are passed on too", inCluster({}, behindNginx(async (cluster, balancer) => {
    assert.equal((await fetchOnce(balancer, "GET", "/")).status, 200);
    assert.equal((await fetchOnce(balancer, "GET", "/socket.io/?EIO=4&transport=none")).status, 400);
  })));
});
