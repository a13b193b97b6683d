// Three servers on one Redis: rooms, order, foreign entries, requests at the wrong server, the operator's view, stops, and what Redis is asked for.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { TRANSPORTS, ask, connect } from "./harness/clients.js";
import { POLLING, UPGRADE, WEBSOCKET, allTold, complaints, inCluster, member, numbered, readiness, redirect, upTo } from "./harness/cluster.js";
import { proxyTo } from "./harness/proxy.js";
import { eventually, next, pass } from "./harness/wait.js";
import { Polling, Wire, fetchOnce, frame, upgradeRequest, webSocket } from "./harness/wire.js";

const PATH = "/socket.io/";
const POLL = `${PATH}?EIO=4&transport=polling`;
const UNKNOWN = [400, '{"code":1,"message":"Session ID unknown"}'];
const MOST_MEMBERS_LATE_MS = 20_000; // a dead server is out of the lists by then

/** One client for each server and transport: nine, the first three on server-1. */
const everywhere = (cluster, ...rooms) =>
  Promise.all(cluster.servers.flatMap((server) => TRANSPORTS.map(([, transport]) => member(server, transport, ...rooms))));

/** Repeats a command until its output matches, and gives that output. */
async function printsAtLast(server, command, wanted, ms) {
  let output = "";
  const end = Date.now() + ms;
  while (Date.now() < end) {
    output = await server.command(command, /\n/).catch((error) => error.message);
    if (wanted(output)) return output;
    await pass(300);
  }
  throw new Error(`expected within ${ms} ms after "${command}": ${wanted}; the last was:\n${output}`);
}

describe("rooms across servers", () => {
  it("a message of any client and of any console reaches the members on all servers, once and in one order", inCluster({}, async (cluster) => {
    const [members, outside] = await Promise.all([everywhere(cluster, "blue"), everywhere(cluster)]);
    const texts = [];
    for (const [i, socket] of [...members, ...outside].entries()) {
      assert.equal((await ask(socket, "message", { room: "blue", text: `client ${i}` })).ok, true);
      texts.push(`client ${i}`);
    }
    for (const [i, server] of cluster.servers.entries()) {
      const heard = next(members[8], "message", ({ text }) => text === `console ${i}`);
      server.type(`sendroom blue console ${i}`);
      const [{ room, from }] = await heard;
      assert.deepEqual([room, from], ["blue", `server:server-${i + 1}`]);
      texts.push(`console ${i}`);
    }
    await allTold(members, "console 2");
    for (const socket of members) assert.deepEqual(socket.texts, texts);

    for (const [i, server] of cluster.servers.entries()) {
      server.type(`broadcast all ${i}`);
      await allTold([...members, ...outside], `all ${i}`);
    }
    for (const socket of outside) assert.deepEqual(socket.texts, ["all 0", "all 1", "all 2"], "expected: only what is for everybody");
    await pass(200); // for what would come twice
    for (const socket of members) assert.deepEqual(socket.texts, [...texts, "all 0", "all 1", "all 2"]);
  }));

  it("when all servers send at once, all receivers have one order", inCluster({}, async (cluster) => {
    const receivers = await everywhere(cluster, "order");
    const senders = ["anna", "boris", "carla"].map((name, i) => ({ name, sent: 200, acked: new Set(upTo(200)), socket: receivers[3 * i + 1] }));
    const answers = senders.flatMap(({ name, socket }) => numbered(name, 200).map((text) => ask(socket, "message", { room: "order", text })));
    assert.ok((await Promise.all(answers)).every(({ ok }) => ok));
    await eventually("all is told", () => receivers.every(({ texts }) => texts.length >= 600), 15_000).catch(() => {});
    assert.deepEqual(complaints(receivers, senders), []);
  }));

  it("who left gets nothing more, a private message finds its client, and a client's own room can't be joined elsewhere", inCluster({}, async (cluster) => {
    const [one, two, three] = await Promise.all(cluster.servers.map((server) => member(server, WEBSOCKET, "red")));
    await ask(two, "leave", "red");
    await ask(one, "message", { room: "red", text: "without two" });
    await ask(one, "message", { room: two.id, text: "for two" });
    await ask(one, "message", { room: three.id, text: "for three" });
    await Promise.all([allTold([two], "for two"), allTold([three], "for three")]);
    await pass(200);
    assert.deepEqual([one.texts, two.texts, three.texts], [["without two"], ["for two"], ["without two", "for three"]]);
  }));
});

describe("a client that comes back to another server", () => {
  for (const [name, transport] of TRANSPORTS) {
    it(`is recovered with its rooms, over ${name}`, inCluster({}, async (cluster) => {
      const socket = await member(cluster.servers[0], transport, "a", "b");
      const sender = await member(cluster.servers[2], WEBSOCKET);
      const { id, _pid: pid } = socket;
      const texts = [];
      const say = async (text, room) => {
        texts.push(text);
        assert.equal((await ask(sender, "message", { room, text })).ok, true);
      };
      for (const round of [1, 2, 0]) {
        socket.io.reconnection(false);
        const gone = next(socket, "disconnect");
        socket.io.engine.close();
        await gone;
        await say(`missed in a, ${round}`, "a");
        await say(`missed by all, ${round}`);
        redirect(socket, cluster.servers[round]);
        socket.io.reconnection(true);
        socket.connect();
        await next(socket, "connect", undefined, 10_000);
        assert.deepEqual([socket.recovered, socket.id, socket._pid], [true, id, pid]);
        await say(`later in b, ${round}`, "b");
        await allTold([socket], texts.at(-1));
      }
      assert.deepEqual(socket.texts, texts);
      assert.deepEqual((await ask(socket, "rooms")).rooms.filter((room) => room !== id).sort(), ["a", "b"]);
      const lines = () => cluster.servers.map(({ output }) => output.split(`[RECOVERY] Client reconnected (recovered): ${id}`).length - 1);
      await eventually("each log tells of its return", () => lines().every((count) => count > 0)).catch(() => {});
      assert.deepEqual(lines(), [1, 1, 1], "expected: each server's log tells of its one return");
    }));
  }

  it("while its old server still believes in its old connection: taken over, and the old one takes nothing with it", inCluster({ PING_INTERVAL_MS: "1000", PING_TIMEOUT_MS: "1000" }, async (cluster) => {
    const proxy = await proxyTo(cluster.servers[0]);
    const [socket, sender] = [await member(proxy, WEBSOCKET, "lid"), await member(cluster.servers[2], WEBSOCKET)];
    const { id } = socket;
    proxy.freeze();
    await ask(sender, "message", { room: "lid", text: "into the void" });
    redirect(socket, cluster.servers[1]);
    const back = next(socket, "connect", undefined, 10_000);
    socket.io.engine.close();
    await back;
    assert.deepEqual([socket.recovered, socket.id], [true, id]);
    await allTold([socket], "into the void");
    await pass(2_500); // the old connection's pong has been due for a while
    await ask(sender, "message", { room: "lid", text: "later" });
    await allTold([socket], "later");
    assert.deepEqual(socket.texts, ["into the void", "later"]);
  }));
});

describe("entries that others write into the log", () => {
  const LOG = "socket.io#/#";
  const OPTS = { rooms: [], except: [], flags: {} };
  const event = (...data) => ({ packet: { type: 2, data }, opts: OPTS });
  const entry = (type, data) => ["uid", "emitter", "nsp", "/", "type", String(type), ...(data === undefined ? [] : ["data", data])];

  it("one XADD reaches all clients on all servers", inCluster({}, async (cluster) => {
    const sockets = await everywhere(cluster, "blue");
    const heard = Promise.all(sockets.map((socket) => next(socket, "news")));
    await cluster.redis.cli("XADD", LOG, "*", ...entry(3, JSON.stringify(event("news", "hello"))));
    for (const [text, offset] of await heard) {
      assert.equal(text, "hello");
      assert.match(offset, /^\d+-\d+$/, "expected: an offset as last argument");
    }
    await ask(sockets[0], "leave", "blue");
    const strays = [];
    sockets[0].on("news", (text) => strays.push(text));
    const inBlue = Promise.all(sockets.slice(1).map((socket) => next(socket, "news")));
    await cluster.redis.cli("XADD", LOG, "*", ...entry(3, JSON.stringify({ ...event("news", { to: "blue" }), opts: { ...OPTS, rooms: ["blue"] } })));
    for (const [news] of await inBlue) assert.deepEqual(news, { to: "blue" });
    await ask(sockets[0], "rooms");
    assert.deepEqual(strays, [], "expected: nothing for who is not in the room");
  }));

  it("poisoned entries stop nothing", inCluster({}, async (cluster) => {
    const sockets = await everywhere(cluster, "blue");
    const news = sockets.map(() => []);
    sockets.forEach((socket, i) => socket.on("news", (n) => news[i].push(n)));
    const good = JSON.stringify(event("bad", "news"));
    const many = (length, value) => Array.from({ length }, (_, i) => value ?? `room ${i}`);
    const poisons = [
      entry(3), // this one stops a Node reader for good
      entry(3, ""),
      entry(3, "{"),
      entry(3, "null"),
      entry(3, good.slice(0, -1)),
      entry(3, `${good}}`),
      entry(3, "{}"),
      entry(3, JSON.stringify({ packet: event("x").packet })),
      entry(3, JSON.stringify({ ...event("x"), opts: null })),
      entry(3, JSON.stringify({ ...event("x"), opts: { rooms: "blue", except: 5, flags: [] } })),
      entry(3, JSON.stringify({ ...event("bad"), opts: { ...OPTS, rooms: many(100_000) } })),
      entry(3, JSON.stringify({ ...event("bad"), opts: { ...OPTS, rooms: ["x".repeat(1_000_000)] } })),
      entry(3, JSON.stringify({ packet: { type: 2, data: { a: 1 } }, opts: OPTS })),
      entry(3, JSON.stringify({ packet: { type: 99, data: ["x"] }, opts: OPTS })),
      entry(3, JSON.stringify({ packet: { type: 2, data: [] }, opts: OPTS })),
      entry(3, `{"packet":{"type":2,"data":${"[".repeat(50_000)}${"]".repeat(50_000)}},"opts":{"rooms":[],"except":[],"flags":{}}}`),
      entry(3, Buffer.from(many(3_000, 0).map((_, i) => (i * 7919) % 256)).toString("base64")),
      entry(3, Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]).toString("base64")), // msgpack: a list of 4 billion
      entry(3, Buffer.from([0x83, 0xa6, 0x70, 0x61]).toString("base64")),
      entry(3, Buffer.alloc(10_000, 0x91).toString("base64")), // msgpack: a list in a list in a list …
      entry(3, "not base64 at all, \u0000 \u001b[2J"),
      entry(0, good),
      entry(99, good),
      entry("three", good),
      entry("", good),
      entry(4, "{}"),
      entry(4, JSON.stringify({ opts: OPTS, rooms: "blue" })),
      entry(5, JSON.stringify({ opts: { rooms: 5 }, rooms: [null] })),
      entry(6, "[]"),
      entry(7, JSON.stringify({ opts: OPTS, requestId: 5 })),
      entry(8, JSON.stringify({ requestId: "nobody asked", sockets: [{}, null, 5] })),
      entry(9, JSON.stringify({ packet: "x" })),
      entry(12, JSON.stringify({ requestId: "nobody asked", packet: 1 })),
      ["uid", "", "nsp", "/", "type", "3", "data", good.replace("bad", "")],
      ["uid", "emitter", "type", "3", "data", good],
      ["uid", "emitter", "nsp", "", "type", "3", "data", good],
      ["uid", "emitter", "nsp", "/nowhere", "type", "3", "data", good],
      ["data", good],
      ["x", ""],
    ];
    for (const [i, fields] of poisons.entries()) {
      for (const key of [LOG, "socket.io#"]) {
        // The last argument is handed over as input; redis-cli takes an empty one for none.
        if (fields.at(-1) === "") await cluster.redis.cli("XADD", key, "*", ...fields);
        else await cluster.redis.cli("-x", "XADD", key, "*", ...fields);
      }
      await cluster.redis.cli("XADD", LOG, "*", ...entry(3, JSON.stringify(event("news", i))));
    }
    const last = poisons.length - 1;
        await eventually("the news after the last poison arrive everywhere", () => news.every((list) => list.includes(last)), 15_000).catch((error) => {
      throw new Error(`${error.message}; the last poison before silence: ${news.map((list) => String(poisons[list.length]).slice(0, 100)).join(" | ")}`);
    });
    for (const list of news) assert.deepEqual(list, upTo(poisons.length), "expected: the news between the poisons, once each and in order");
    assert.ok((await ask(sockets[4], "message", { room: "blue", text: "still here" })).ok);
    await allTold(sockets, "still here");
    assert.deepEqual(sockets.flatMap(({ drops }) => drops), [], "expected: no client is dropped");
    const before = cluster.servers.map((server) => server.cpuSeconds());
    await pass(1_000);
    for (const [i, server] of cluster.servers.entries()) assert.ok(server.cpuSeconds() - before[i] < 0.5, `expected: server-${i + 1} does not spin`);
  }));
});

describe("requests at a server that does not have the session", () => {
  /** A session that was opened at server-1, seen from server `i`. */
  const seenFrom = (cluster, sid) => cluster.servers.map((server) => new Polling(server, PATH, sid));

  it("polling: each request at another server", inCluster({}, async (cluster) => {
    const { sid } = await Polling.open(cluster.servers[0], PATH);
    const [one, two, three] = seenFrom(cluster, sid);
    const sends = async (where, body) => assert.deepEqual(await where.post(body).then(({ status, body }) => [status, body]), [200, "ok"]);
    await sends(two, "40");
    assert.match((await three.packets())[0], /^40\{"sid":"/);
    await sends(three, '420["join","blue"]');
    assert.match((await two.packets())[0], /^430\[\{"ok":true/);
    // A GET that waits at one server is answered when something comes from another.
    const waiting = two.packets();
    await pass(300);
    cluster.servers[2].type("sendroom blue hello");
    assert.match((await waiting)[0], /^42\["message",\{.*"hello"/);
    const large = "x".repeat(900_000);
    await sends(two, `421["message",{"room":"blue","text":"${large}"}]`);
    let packets = [];
    while (packets.length < 2) packets.push(...(await three.packets()));
    assert.ok(packets.some((packet) => packet.includes(large)), "expected: 900 kB come back through another server");
    assert.ok(packets.some((packet) => packet.startsWith('431[{"ok":true')), "expected: their acknowledgement");
    await sends(one, "1");
    assert.equal((await two.get()).status, 400, "expected: the session is closed for all");
  }));

  it("the upgrade at another server than the polling", inCluster({}, async (cluster) => {
    const { sid } = await Polling.open(cluster.servers[0], PATH);
    const [, two, three] = seenFrom(cluster, sid);
    await two.post("40");
    await three.packets();
    const socket = await webSocket(cluster.servers[1], `${PATH}?EIO=4&transport=websocket&sid=${sid}`);
    socket.send(frame("2probe"));
    assert.equal(await socket.text(), "3probe");
    socket.send(frame("5"));
    socket.send(frame('420["join","blue"]'));
    assert.match(await socket.text(), /^430\[\{"ok":true/);
    cluster.servers[2].type("sendroom blue hello");
    assert.match(await socket.text(), /^42\["message",\{.*"hello"/);
    assert.equal((await three.get()).status, 400, "expected: polling is over after the upgrade");
  }));

  it("official clients behind a balancer without stickiness", inCluster({}, async (cluster) => {
    const proxy = await proxyTo(cluster.balancer);
    const sockets = await Promise.all(Array.from({ length: 9 }, (_, i) => member(proxy, TRANSPORTS[i % 3][1], "blue")));
    for (let n = 0; n < 30; n++) await ask(sockets[n % 9], "message", { room: "blue", text: `${n}` });
    await allTold(sockets, "29");
    for (const socket of sockets) assert.deepEqual(socket.texts, Array.from({ length: 30 }, (_, n) => `${n}`));
    assert.deepEqual(sockets.flatMap(({ drops }) => drops), [], "expected: no client is dropped");
  }));

  it("the session of a server that was killed is unknown, and that is said quickly", inCluster({}, async (cluster) => {
    const { sid } = await Polling.open(cluster.servers[0], PATH);
    const [, two, three] = seenFrom(cluster, sid);
    await two.post("40");
    await three.packets();
    const waiting = two.get({ ms: 3_000 }).then(({ status }) => status, (error) => error.message);
    await pass(200);
    await cluster.kill(0);
    const cut = await waiting;
    assert.ok(cut === 400 || cut >= 500 || /ended/.test(cut), `expected: the GET that was waiting ends; it gave ${cut}`);
    const target = `${POLL}&sid=${sid}`;
    const upgrade = async (server) => {
      const wire = await Wire.to(server);
      wire.send(upgradeRequest(`${PATH}?EIO=4&transport=websocket&sid=${sid}`));
      return wire.response({ ms: 3_000 });
    };
    const requests = [
      ["GET", (server) => fetchOnce(server, "GET", target, { ms: 3_000 })],
      ["POST", (server) => fetchOnce(server, "POST", target, { body: "3", ms: 3_000 })],
      ["upgrade", upgrade],
    ];
    const isUnknown = async (servers) => {
      for (const [what, request] of requests) {
        for (const server of servers) {
          const { status, body } = await request(server);
          // A refused WebSocket gets the message alone, as from the official server.
          const unknown = what === "upgrade" ? [400, "Session ID unknown"] : UNKNOWN;
          assert.deepEqual([status, body], unknown, `expected of a ${what} on port ${server.port}`);
        }
      }
    };
    await isUnknown(cluster.servers.slice(1));
    await cluster.add(0); // with the old name, at the old address
    await isUnknown(cluster.servers);
  }));

  it("a made-up session is unknown everywhere", inCluster({}, async (cluster) => {
    const { sid } = await Polling.open(cluster.servers[0], PATH);
    for (const made of [`${sid.slice(0, -4)}AAAA`, sid.slice(1), "A".repeat(sid.length), "A".repeat(4_000), "..%2F..", "127.0.0.1:6379"]) {
      for (const server of cluster.servers) {
        const { status, body } = await fetchOnce(server, "GET", `${POLL}&sid=${made}`, { ms: 3_000 });
        assert.deepEqual([status, body], UNKNOWN, `expected for ${made.slice(0, 60)}`);
      }
    }
  }));
});

describe("the operator's view", () => {
  it("clients, rooms and members of all servers; who is killed vanishes", inCluster({}, async (cluster) => {
    const sockets = await Promise.all(cluster.servers.map((server, i) => member(server, i % 2 ? POLLING : WEBSOCKET, "the-room", `room-of-${i + 1}`)));
    const [one, two, three] = cluster.servers;
    const lists = (...wanted) => (output) => wanted.every((text) => output.includes(text));
    for (const server of cluster.servers) {
      await printsAtLast(server, "clients all", lists(...sockets.map(({ id }) => id)), 10_000);
      await printsAtLast(server, "rooms all", lists("the-room", "room-of-1", "room-of-2", "room-of-3"), 10_000);
      await printsAtLast(server, "status", lists("server-1", "server-2", "server-3"), 10_000);
    }
    assert.match(await printsAtLast(one, "rooms all", lists("the-room"), 5_000), /the-room\D*3\b/, "expected: three clients in the room");
    // Without "all" it is the server's own clients.
    await printsAtLast(two, "clients", (output) => sockets.every(({ id }, i) => output.includes(id) === (i === 1)), 5_000);

    await cluster.kill(2);
    const gone = (text, ...others) => (output) => !output.includes(text) && lists(...others)(output);
    const begin = Date.now();
    await printsAtLast(one, "status", gone("server-3", "server-1", "server-2"), MOST_MEMBERS_LATE_MS);
    const left = () => begin + MOST_MEMBERS_LATE_MS - Date.now();
    await printsAtLast(one, "clients all", gone(sockets[2].id, sockets[0].id, sockets[1].id), left() + 5_000);
    await printsAtLast(two, "status", gone("server-3", "server-1", "server-2"), left() + 5_000);
    assert.equal(three.ended, true);
  }));
});

describe("the end of one server", () => {
  for (const [command, ends] of [["stop", false], ["exit", true]]) {
    it(`${command}: its clients go elsewhere and recover`, inCluster({}, async (cluster) => {
      const leaving = await Promise.all(TRANSPORTS.map(([, transport]) => member(cluster.servers[1], transport, "blue")));
      const staying = await member(cluster.servers[0], WEBSOCKET, "blue");
      const sender = await member(cluster.servers[2], WEBSOCKET);
      const ids = leaving.map(({ id }) => id);
      const say = async (from, to) => {
        for (let n = from; n < to; n++) {
          assert.equal((await ask(sender, "message", { room: "blue", text: `${n}` })).ok, true);
          await pass(10);
        }
      };
      await say(0, 20);
      leaving.forEach((socket, i) => redirect(socket, cluster.servers[i % 2 ? 0 : 2]));
      const back = Promise.all(leaving.map((socket) => next(socket, "connect", undefined, 15_000)));
      back.catch(() => {}); // it is awaited below
      cluster.servers[1].type(command);
      await say(20, 120);
      await back;
      await say(120, 130);
      await allTold([...leaving, staying], "129");
      assert.deepEqual(leaving.map(({ returns }) => returns), [[true], [true], [true]], "expected: one return each, recovered");
      assert.deepEqual(leaving.map(({ id }) => id), ids);
      assert.deepEqual(complaints([...leaving, staying].map(({ texts }) => ({ texts: texts.map((text) => ` ${text}`) })), [{ name: "", sent: 130, acked: new Set(upTo(130)) }]), []);
      assert.deepEqual(staying.drops, [], "expected: the others' clients notice nothing");

      const server = cluster.servers[1];
      if (ends) {
        assert.deepEqual(await server.gone(), { code: 0, signal: null });
        await cluster.add(1);
      } else {
        await server.command("start", /listening/);
        await eventually("it is ready again", async () => (await readiness(server)) === 200);
      }
      const late = await member(cluster.servers[1], UPGRADE, "blue");
      await say(130, 131);
      await allTold([late, ...leaving], "130");
    }));
  }

  it("SIGKILL: its clients recover elsewhere, with what they missed", inCluster({}, async (cluster) => {
    const orphans = await Promise.all(TRANSPORTS.map(([, transport]) => member(cluster.servers[1], transport, "blue")));
    const quiet = await member(cluster.servers[1], WEBSOCKET); // was never told anything, and is in no room
    const sender = await member(cluster.servers[0], WEBSOCKET);
    const say = async (text, room) => assert.equal((await ask(sender, "message", { room, text })).ok, true);
    await say("before", "blue");
    await allTold(orphans, "before");
    const ids = [...orphans, quiet].map(({ id }) => id);
    [...orphans, quiet].forEach((socket, i) => {
      socket.io.reconnectionDelay(500);
      redirect(socket, cluster.servers[i % 2 ? 0 : 2]);
    });
    const back = Promise.all([...orphans, quiet].map((socket) => next(socket, "connect", undefined, 15_000)));
    back.catch(() => {}); // it is awaited below
    await pass(700); // a session is written half a second after it began
    await cluster.kill(1);
    await say("missed", "blue");
    await say("missed by all");
    await back;
    await say("after");
    await allTold([...orphans, quiet], "after");
    assert.deepEqual([...orphans, quiet].map(({ id, recovered }) => [id, recovered]), ids.map((id) => [id, true]));
    for (const socket of orphans) assert.deepEqual(socket.texts, ["before", "missed", "missed by all", "after"]);
    assert.deepEqual(quiet.texts, ["missed by all", "after"]);
  }));
});

describe("what Redis is asked for", () => {
  const ALLOWED = ["AUTH", "XADD", "XREAD", "XTRIM", "EXPIRE"];
  const KEY = /^(socket\.io#.*|sio:session:[\w-]+)$/;
  const keysOf = ({ name, args }) => {
    if (name === "AUTH") return [];
    if (name !== "XREAD") return args.slice(0, 1);
    const streams = args.slice(args.findIndex((word) => word.toUpperCase() === "STREAMS") + 1);
    return streams.slice(0, streams.length / 2);
  };

  it("five commands, two kinds of keys, and no session stays for ever", inCluster({ RECOVERY_WINDOW_MS: "2000" }, async (cluster) => {
    const { redis } = cluster;
    const monitor = await redis.monitor();
    const sessions = async () => (await redis.cli("--scan", "--pattern", "sio:session:*")).split("\n").filter((key) => key !== "");
    await cluster.kill(2);
    await cluster.add(2);
    const sockets = await everywhere(cluster, "blue");
    await Promise.all(sockets.map((socket) => ask(socket, "message", { room: "blue", text: "hello" })));
    await ask(sockets[0], "leave", "blue");
    for (const command of ["broadcast hello", "sendroom blue hello", "rooms all", "clients all", "status"]) await cluster.servers[0].command(command, /\n/);
    const moved = next(sockets[1], "connect", undefined, 10_000);
    redirect(sockets[1], cluster.servers[1]);
    sockets[1].io.engine.close();
    await moved;
    assert.equal(sockets[1].recovered, true);

    // Twice the window: the sessions of connected clients stay, and each will die some day by itself.
    for (let i = 0; i < 8; i++) {
      const keys = await sessions();
      assert.equal(keys.length, sockets.length, "expected: a session for each client that is connected");
      for (const key of keys) assert.ok(Number(await redis.cli("TTL", key)) >= 0, `expected: ${key} dies by itself`);
      await pass(500);
    }
    sockets[0].disconnect();
    await eventually("the session of who left deliberately is deleted", async () => (await sessions()).length === sockets.length - 1);
    for (const socket of sockets) socket.io.reconnection(false);
    for (const socket of sockets.slice(1, 5)) socket.io.engine.close(); // these could still come back
    for (const socket of sockets.slice(5)) socket.disconnect();
    await eventually("no session is left when the window is over", async () => (await sessions()).length === 0, 20_000);
    assert.match(await redis.cli("KEYS", "*"), /^socket\.io#/, "expected: the logs are there");

    const commands = await monitor.stop();
    const names = new Set(commands.map(({ name }) => name));
    assert.deepEqual([...names].filter((name) => !ALLOWED.includes(name)), [], `expected: ${ALLOWED.join(", ")} and nothing else`);
    for (const name of ["AUTH", "XADD", "XREAD", "EXPIRE"]) assert.ok(names.has(name), `expected: ${name} is among what was seen: ${[...names]}`);
    const strange = commands.filter((command) => !keysOf(command).every((key) => KEY.test(key)));
    assert.deepEqual(strange, [], "expected: keys of these two kinds alone");
  }));
});
