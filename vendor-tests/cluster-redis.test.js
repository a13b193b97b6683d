// Redis dies, comes late, or does not let the servers in.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { POLLING, UPGRADE, WEBSOCKET, allTold, inCluster, member, readiness, redirect } from "./harness/cluster.js";
import { eventually, next, pass } from "./harness/wait.js";
import { fetchOnce } from "./harness/wire.js";

const MESSAGES = 200;
const SEND_EVERY_MS = 25;
const KILL_AFTER = 70; // messages
const AWAY_MS = 2_000;
const WATCHED_MS = 10_000;
const MOST_LINES = 6; // within WATCHED_MS: about one every few seconds, and the first ones

const redisLines = (server) => server.output.split("\n").filter((line) => line.includes("[REDIS]"));
const isReady = (server, status, ms) => eventually(`/readyz says ${status} on port ${server.port}`, async () => (await readiness(server)) === status, ms);
const isHealthy = async (server) => assert.equal((await fetchOnce(server, "GET", "/healthz")).status, 200, "expected: /healthz does not mind Redis");

describe("Redis goes away", () => {
  it(`for ${AWAY_MS / 1_000} s under load: no message is lost, no client is dropped`, inCluster({}, async (cluster) => {
    const { redis, servers } = cluster;
    const receivers = await Promise.all(servers.flatMap((server) => [WEBSOCKET, UPGRADE, POLLING].map((transport) => member(server, transport, "load"))));
    const sender = await member(servers[0], WEBSOCKET);
    const answers = [];
    const sending = async () => {
      for (let n = 0; n < MESSAGES; n++) {
        answers.push(sender.timeout(20_000).emitWithAck("message", { room: "load", text: `${n}` }));
        await pass(SEND_EVERY_MS);
      }
    };
    const failing = async () => {
      await eventually(`message ${KILL_AFTER} is sent`, () => answers.length > KILL_AFTER, 20_000);
      await redis.kill();
      const back = pass(AWAY_MS).then(() => redis.start());
      await Promise.all(servers.map((server) => isReady(server, 503, AWAY_MS)));
      await Promise.all(servers.map(isHealthy));
      await back;
      await Promise.all(servers.map((server) => isReady(server, 200, 10_000)));
    };
    await Promise.all([sending(), failing()]);
    const refused = (await Promise.all(answers)).filter(({ ok }) => !ok);
    assert.deepEqual(refused, [], "expected: every message is taken");
    await allTold(receivers, `${MESSAGES - 1}`);
    await pass(500); // for what would come twice
    const all = Array.from({ length: MESSAGES }, (_, n) => `${n}`);
    for (const [i, { texts }] of receivers.entries()) assert.deepEqual(texts, all, `expected: ${MESSAGES} of ${MESSAGES} in order for receiver ${i}, on server-${Math.floor(i / 3) + 1}`);
    assert.deepEqual([...receivers, sender].flatMap(({ drops }) => drops), [], "expected: no client is dropped");
    for (const server of servers) assert.ok(redisLines(server).length >= 2, "expected: the log tells of it");
  }));
});

describe("Redis is not there yet", () => {
  it("the servers say so now and then, and begin when it is there", inCluster({}, async (cluster) => {
    const { redis } = cluster;
    const servers = await Promise.all([0, 1, 2].map((i) => cluster.spawn(i)));
    const lost = new RegExp(`\\[REDIS\\].*127\\.0\\.0\\.1:${redis.port}.*refused`, "i");
    for (const server of servers) await server.prints(lost, 0, 5_000);
    await pass(WATCHED_MS);
    for (const server of servers) {
      const lines = redisLines(server);
      assert.ok(lines.length <= MOST_LINES, `expected: at most ${MOST_LINES} lines in ${WATCHED_MS / 1_000} s; there were ${lines.length}:\n${lines.join("\n")}`);
      assert.doesNotMatch(server.output, /Redis Streams adapter initialized/);
      await isHealthy(server);
      await isReady(server, 503);
    }
    await redis.start();
    await Promise.all([0, 1, 2].map((i) => cluster.isReady(i)));
    const sockets = await Promise.all(servers.map((server) => member(server, WEBSOCKET)));
    servers[1].type("broadcast at last");
    await allTold(sockets, "at last");
    for (const { texts } of sockets) assert.deepEqual(texts, ["at last"]);
  }, { started: false }));

  for (const [what, env, said] of [
    ["a wrong password", { REDIS_PASSWORD: "wrong-one" }, /\[REDIS\].*(password|WRONGPASS|auth)/i],
    ["no password", { REDIS_USERNAME: "", REDIS_PASSWORD: "" }, /\[REDIS\].*(password|NOAUTH|auth)/i],
    ["an unknown user", { REDIS_USERNAME: "nobody" }, /\[REDIS\].*(password|WRONGPASS|auth)/i],
    ["a user that may do nothing", { REDIS_USERNAME: "idle" }, /\[REDIS\].*(NOPERM|permission|not allowed|may not)/i],
  ]) {
    it(`${what}: the log says so, and not all the time`, inCluster({}, async (cluster) => {
      const { redis } = cluster;
      await redis.start();
      await redis.cli("ACL", "SETUSER", "idle", "on", ">secret", "+auth");
      const server = await cluster.spawn(0, env);
      await server.prints(said, 0, 5_000);
      await pass(4_000);
      assert.ok(redisLines(server).length <= MOST_LINES, `expected: at most ${MOST_LINES} lines; there were:\n${redisLines(server).join("\n")}`);
      assert.doesNotMatch(server.output, /wrong-one|Redis Streams adapter initialized/, "expected: no password in the log, and no success");
      if (!server.ended) await isReady(server, 503);
      server.child.kill("SIGKILL");
      await server.gone();
      await redis.cli("ACL", "LOG", "RESET"); // it has refused this one, as it should
    }, { started: false }));
  }
});

describe("Redis is emptied", () => {
  it("what is sent afterwards arrives, and who comes back then is recovered wholly or told that it is new", inCluster({}, async (cluster) => {
    const { redis, servers } = cluster;
    const [stays, across, later] = await Promise.all(servers.map((server) => member(server, WEBSOCKET, "blue")));
    const sender = await member(servers[0], WEBSOCKET);
    const say = async (text) => assert.equal((await sender.timeout(10_000).emitWithAck("message", { room: "blue", text })).ok, true);
    const leaves = async (socket) => {
      const gone = next(socket, "disconnect");
      socket.io.reconnection(false);
      socket.io.engine.close();
      await gone;
    };
    const returns = async (socket, id, missed) => {
      redirect(socket, servers[0]);
      socket.io.reconnection(true);
      socket.connect();
      await next(socket, "connect", undefined, 15_000);
      if (socket.recovered) {
        await allTold([socket], missed.at(-1));
        assert.deepEqual(socket.texts, missed, "expected of a client that is recovered: everything");
      } else assert.notEqual(socket.id, id, "expected of a client that is not recovered: a new id");
    };

    const ids = [across.id, later.id];
    await say("before");
    await allTold([stays, across, later], "before");
    await leaves(across);
    await say("missed");
    await redis.cli("FLUSHALL");
    await say("after");
    await allTold([stays, later], "after", 20_000);
    await leaves(later);
    await say("late");
    await returns(across, ids[0], ["before", "missed", "after", "late"]);
    await returns(later, ids[1], ["before", "missed", "after", "late"]);
    await allTold([stays], "late");
    assert.deepEqual([stays.texts, stays.drops], [["before", "missed", "after", "late"], []]);
    await Promise.all(servers.map((server) => isReady(server, 200, 10_000)));
  }));
});

describe("start and stop", () => {
  /** The servers' connections; the tests' own look in through a Unix socket. */
  const connections = async (redis) => (await redis.cli("CLIENT", "LIST")).split("\n").filter((line) => line.includes(" addr=127.0.0.1:"));

  it("start connects to Redis, stop disconnects from it; status, broadcast and rooms all say so; clients recover elsewhere, and here after start", inCluster({ AUTOSTART: "0" }, async (cluster) => {
    const { redis } = cluster;
    await redis.start();
    const server = await cluster.spawn(0);
    const other = await cluster.spawn(1, { AUTOSTART: "1" });
    await cluster.isReady(1);
    const connected = async (count) => eventually(`${count} connections`, async () => (await connections(redis)).length === count);
    await server.prints(/SERVER> /);
    await connected(2); // the other's
    const NOT = /log +in Redis [^\n]*, not connected: start connects/;
    await server.command("status", NOT);
    await server.command("rooms all", /not running: the others are asked over Redis/);
    await server.command("broadcast hello", /not sent: not running/);
    server.type("start");
    await cluster.isReady(0);
    await connected(4);
    await server.command("status", /log +in Redis [^\n]*, connected[^]*others +1 server/);
    const here = await member(server, WEBSOCKET, "tea");
    const { id } = here;
    await server.command("stop", /\[SERVER\] stopped/);
    await connected(2);
    assert.doesNotMatch(await server.command("status", NOT), /others|server-2/);
    await eventually("the other server knows", async () => /others +0 servers/.test(await other.command("status", /others/)));
    redirect(here, other);
    await eventually("the client is back", () => here.connected, 10_000);
    assert.deepEqual([here.recovered, here.id], [true, id]);
    const from = server.output.length;
    server.type("start");
    await server.prints(/\[REDIS\] Redis Streams adapter initialized/, from, 10_000);
    await connected(4);
    const back = await member(server, WEBSOCKET, "tea");
    await other.command("sendroom tea again", /sent/);
    await allTold([here, back], "again");
    assert.doesNotMatch(server.output, /stood still|lost entries|can't use/);
    await server.command("stop", /\[SERVER\] stopped/);
    await other.command("stop", /\[SERVER\] stopped/);
    await connected(0);
    server.type("exit");
    assert.deepEqual(await server.gone(5_000), { code: 0, signal: null });
    assert.doesNotMatch(server.output, /could not be written/);
  }, { started: false }));

  it("what is wrong with Redis is said before `start`", inCluster({ AUTOSTART: "0" }, async (cluster) => {
    await cluster.redis.start();
    const server = await cluster.spawn(0, { REDIS_PASSWORD: "wrong-one" });
    await server.prints(/\[REDIS\] can't use .*password.*`start` tries again/i, 0, 3_000);
    assert.equal((await connections(cluster.redis)).length, 0);
    await cluster.redis.cli("ACL", "LOG", "RESET"); // it has refused this one, as it should
  }, { started: false }));
});
