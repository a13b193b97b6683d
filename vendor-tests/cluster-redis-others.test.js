// A Redis that is full, and what others write into it; servers that can't reach each other.
import assert from "node:assert/strict";
import net from "node:net";
import { describe, it } from "node:test";
import { ask } from "./harness/clients.js";
import { WEBSOCKET, inCluster, member, readiness } from "./harness/cluster.js";
import { READY_MS, command, speak, withProcesses } from "./harness/field.js";
import { freePort } from "./harness/server.js";
import { eventually, next, pass } from "./harness/wait.js";
import { fetchOnce } from "./harness/wire.js";

describe("A Redis without memory", () => {
  it("large messages of one client are refused to it, and small ones of others arrive", withProcesses(async ({ redis, rill }) => {
    const { port } = await redis(["--maxmemory", "24mb", "--maxmemory-policy", "noeviction"]);
    const servers = await Promise.all(["a", "b"].map((SERVER_ID) => rill({ REDIS_HOST: "127.0.0.1", REDIS_PORT: port, SERVER_ID })));
    for (const server of servers) await server.prints(/initialized/, 0, READY_MS);
    const [large, small, ear] = [await member(servers[0], WEBSOCKET), await member(servers[0], WEBSOCKET), await member(servers[1], WEBSOCKET, "chat")];
    const blob = "x".repeat(900_000);
    const answers = [];
    for (let n = 0; n < 40; n++) {
      answers.push(large.timeout(10_000).emitWithAck("message", { room: "files", text: blob }));
      if (n % 2 === 0) assert.deepEqual(await ask(small, "message", { room: "chat", text: `${n}` }), { ok: true }, `expected: small message ${n} is taken`);
      await pass(50);
    }
    const refused = (await Promise.all(answers)).filter(({ ok }) => !ok);
    assert.ok(refused.length > 0 && refused.length < 40, `expected: some are refused; ${refused.length} of 40 were`);
    for (const { error } of refused) assert.match(error, /no room left/);
    await eventually("all small messages arrive", () => ear.texts.length === 20);
    assert.match(servers[0].output, /was refused: OOM/);
    for (const server of servers) assert.equal(await readiness(server), 200);
  }));

  it("a log keeps to LOG_BYTES, and status says what is held", withProcesses(async ({ redis, rill }) => {
    const { port } = await redis();
    const server = await rill({ REDIS_HOST: "127.0.0.1", REDIS_PORT: port, LOG_BYTES: "4194304" });
    await server.prints(/initialized/, 0, READY_MS);
    const socket = await member(server, WEBSOCKET);
    for (let n = 0; n < 40; n++) {
      assert.equal((await ask(socket, "message", { room: "files", text: "x".repeat(400_000) })).ok, true);
      await pass(100);
    }
    await eventually("the log is cut", async () => Number(/\d+/.exec(await command(port, "XLEN", "socket.io#/#"))[0]) < 20, 10_000);
    assert.match(await server.command("status", /held/), /its last \d+ s are held/);
    assert.deepEqual(socket.drops, []);
  }));

  it("no key lives longer than the cluster for long", withProcesses(async ({ redis, rill }) => {
    const { port } = await redis();
    const server = await rill({ REDIS_HOST: "127.0.0.1", REDIS_PORT: port });
    await server.prints(/initialized/, 0, READY_MS);
    await speak(server);
    await pass(3_000);
    server.child.kill("SIGKILL");
    const keys = (await command(port, "KEYS", "*")).split("\r\n").filter((line) => /^(socket|sio)/.test(line));
    assert.ok(keys.length >= 4, `${keys}`);
    for (const key of keys) {
      const ttl = Number(/-?\d+/.exec(await command(port, "TTL", key))[0]);
      assert.ok(ttl > 0 && ttl < 2 * 3_600, `expected: ${key} dies by itself; its TTL is ${ttl}`);
      if (key === "socket.io#") assert.ok(ttl <= 60, `expected: the control log dies within a minute of its cluster; its TTL is ${ttl}`);
    }
  }));
});

describe("Servers among themselves", () => {
  it("each announces the address that it listens on; one that can't be reached is named, counted and marked", withProcesses(async ({ redis, rill }) => {
    const { port } = await redis();
    const [a, b, c] = [await freePort(), await freePort(), await freePort()];
    const at = { REDIS_HOST: "127.0.0.1", REDIS_PORT: port };
    const one = await rill({ ...at, HOST: "127.0.0.2", PORT: a, SERVER_ID: "one" });
    const two = await rill({ ...at, PORT: b, SERVER_ID: "two", ADVERTISE_ADDR: `127.0.0.1:${await freePort()}` });
    const three = await rill({ ...at, PORT: c, SERVER_ID: "three" });
    for (const server of [one, two, three]) await server.prints(/initialized/, 0, READY_MS);
    await pass(3_000); // heartbeats
    assert.match(await three.command("status", /Cluster/), new RegExp(`one +127\\.0\\.0\\.2:${a},`));
    const sid = async (host, of) => (await (await fetch(`http://${host}:${of}/socket.io/?EIO=4&transport=polling`)).text()).match(/"sid":"([^"]+)"/)[1];
    const across = async (id) => (await fetch(`http://127.0.0.1:${c}/socket.io/?EIO=4&transport=polling&sid=${id}`)).status;
    // The first GET of a session would wait for packets: its answer is a ping at the latest; a POST is answered at once.
    const post = async (id) => (await fetch(`http://127.0.0.1:${c}/socket.io/?EIO=4&transport=polling&sid=${id}`, { method: "POST", body: "40" })).status;
    assert.equal(await post(await sid("127.0.0.2", a)), 200);
    const lost = await sid("127.0.0.1", b);
    for (let n = 0; n < 3; n++) assert.equal(await across(lost), 400);
    await three.prints(/\[CLUSTER\] can't reach two at 127\.0\.0\.1:\d+ \(.*refused/);
    assert.equal(three.output.match(/can't reach two/g).length, 1);
    assert.match(await three.command("status", /Cluster/), /two .*NOT REACHED/);
    assert.match((await fetchOnce(three, "GET", "/metrics")).body.toString(), /rill_forwards_failed_total 3\n/);
  }));

  it("what others write under a server's name silences nobody, and the last possible id stops nothing", inCluster({}, async (cluster) => {
    const { redis, servers } = cluster;
    const sockets = await speak(...servers);
    const log = await redis.cli("XREVRANGE", "socket.io#/#", "+", "-", "COUNT", "50");
    const uids = new Set([...log.matchAll(/uid\n([0-9a-f]{16})\n/g)].map(([, uid]) => uid));
    for (const uid of uids) {
      for (const seq of ["18446744073709551615", "9223372036854775807"]) await redis.cli("XADD", "socket.io#/#", "*", "uid", uid, "nsp", "/", "type", "2", "seq", seq);
    }
    for (const [i, socket] of sockets.entries()) {
      const heard = sockets.map((other) => next(other, "message", ({ text }) => text === `still ${i}`));
      assert.deepEqual(await ask(socket, "message", { room: "field", text: `still ${i}` }), { ok: true });
      await Promise.all(heard);
    }
    await redis.cli("XADD", "socket.io#/#", "18446744073709551615-18446744073709551615", "uid", "emitter", "nsp", "/", "type", "1");
    await sockets[0].timeout(5_000).emitWithAck("message", { text: "lost" }).catch(() => {});
    for (const server of servers) await eventually("the log is read again", async () => (await readiness(server)) === 200, READY_MS);
    await eventually("clients are back", () => sockets.every((socket) => socket.connected), READY_MS);
    await eventually("messages arrive again", async () => {
      const text = `${Math.random()}`;
      const [answer] = await Promise.all([sockets[0].timeout(3_000).emitWithAck("message", { text }).catch(() => ({})), pass(300)]);
      return answer.ok && sockets.every((socket) => socket.texts.includes(text));
    }, READY_MS);
    assert.ok(servers.some((server) => /holds the last possible id/.test(server.output)));
  }));

  it("with CLUSTER_SECRET a made-up server gets no request", inCluster({ CLUSTER_SECRET: "sesame" }, async (cluster) => {
    const { redis, servers } = cluster;
    await speak(...servers);
    await eventually("the servers know each other", async () => /others +2 servers/.test(await servers[0].command("status", /Cluster/)), READY_MS);
    const asked = [];
    const evil = net.createServer((socket) => socket.on("data", (data) => asked.push(String(data))));
    await new Promise((resolve) => evil.listen(0, "127.0.0.1", resolve));
    const member = { name: "evil", tag: "Z", address: `127.0.0.1:${evil.address().port}`, clients: 0 };
    const beat = (data) => redis.cli("XADD", "socket.io#", "*", "uid", "evil", "nsp", "/", "type", "23", "data", JSON.stringify(data), "seq", "1");
    // And one with the proof of another.
    const control = await redis.cli("XREVRANGE", "socket.io#", "+", "-", "COUNT", "9");
    const [, proof] = /"proof":"([^"]+)"/.exec(control);
    await beat(member);
    await beat({ ...member, proof });
    await servers[0].prints(/evil has not proved/);
    const response = await fetch(`${servers[0].url}/socket.io/?EIO=4&transport=polling&sid=Zabcdefghijklmnopqrs`, { headers: { cookie: "session=secret" } });
    assert.equal(response.status, 400);
    evil.close();
    assert.deepEqual(asked, []);
  }));
});
