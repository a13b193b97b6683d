// Connection state recovery with the official client: cut, frozen, late, forged.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { Manager } from "socket.io-client";
import { RETURNING, TRANSPORTS, ask, client, closeClients, connect, cut, cutAndReturn } from "./harness/clients.js";
import { closeProxies, proxyTo } from "./harness/proxy.js";
import { conformance, rill } from "./harness/server.js";
import { eventually, next, pass } from "./harness/wait.js";

const WEBSOCKET = { transports: ["websocket"] };
afterEach(closeClients);
afterEach(closeProxies);

let server;
before(async () => (server = await rill()));
after(() => server.end());

/** A client that notes every text it is told. */
async function listener(where, options, ...rooms) {
  const socket = await connect(where, { ...RETURNING, ...options });
  socket.texts = [];
  socket.on("message", ({ text }) => socket.texts.push(text));
  for (const room of rooms) await ask(socket, "join", room);
  return socket;
}

const say = (socket, text, room) => ask(socket, "message", { room, text });
const roomsOf = async (socket) => (await ask(socket, "rooms")).rooms.filter((room) => room !== socket.id).sort();
const told = (socket, text) => eventually(`${text} arrives; there are ${socket.texts}`, () => socket.texts.includes(text));

/** Cuts the client off, does `meanwhile` while it is away, and lets it come back; gives what it was before. */
async function away(socket, meanwhile) {
  const { id, _pid: pid } = socket;
  const back = next(socket, "connect", undefined, 15_000);
  socket.io.reconnection(false);
  const gone = next(socket, "disconnect");
  await cut(socket);
  await gone;
  await meanwhile();
  socket.io.reconnection(true);
  socket.connect();
  await back;
  return { id, pid };
}

function assertRecovered(socket, { id, pid }) {
  assert.deepEqual([socket.recovered, socket.id, socket._pid], [true, id, pid]);
}

function assertNew(socket, { id, pid }) {
  assert.notEqual(socket.recovered, true);
  assert.notEqual(socket.id, id);
  assert.notEqual(socket._pid, pid);
}

for (const [name, transport] of TRANSPORTS) {
  describe(`recovery over ${name}`, () => {
    it("same id, same rooms, and what was missed once each and in order", async () => {
      const [socket, sender] = [await listener(server, transport, "blue", "red"), await connect(server, WEBSOCKET)];
      await say(sender, "before", "blue");
      await told(socket, "before");
      const was = await away(socket, async () => {
        for (let i = 0; i < 50; i++) await say(sender, `${i}`, ["blue", "red", undefined][i % 3]);
        await say(sender, "not for us", "green");
      });
      assertRecovered(socket, was);
      await say(sender, "after", "red");
      await told(socket, "after");
      assert.deepEqual(socket.texts, ["before", ...Array.from({ length: 50 }, (_, i) => `${i}`), "after"]);
      assert.deepEqual(await roomsOf(socket), ["blue", "red"]);
    });

    it("a client that never received an event", async () => {
      // The official server refuses it.
      const [socket, sender] = [await listener(server, transport, "quiet"), await connect(server, WEBSOCKET)];
      const was = await away(socket, () => say(sender, "missed", "quiet"));
      assertRecovered(socket, was);
      await told(socket, "missed");
      assert.deepEqual(socket.texts, ["missed"]);
      assert.deepEqual(await roomsOf(socket), ["quiet"]);
    });

    it("many times in a row, each time nothing missed and nothing twice", async () => {
      const [socket, sender] = [await listener(server, transport, "row"), await connect(server, WEBSOCKET)];
      const { id } = socket;
      for (let i = 0; i < 15; i++) {
        await say(sender, `${2 * i}`, "row");
        const back = cutAndReturn(socket);
        await say(sender, `${2 * i + 1}`, "row");
        await back;
        assert.deepEqual([socket.recovered, socket.id], [true, id]);
      }
      await told(socket, "29");
      assert.deepEqual(socket.texts, Array.from({ length: 30 }, (_, i) => `${i}`));
    });

    it("rooms joined and left before the cut stay joined and left", async () => {
      const [socket, sender] = [await listener(server, transport, "a", "b", "c"), await connect(server, WEBSOCKET)];
      await ask(socket, "leave", "b");
      const was = await away(socket, async () => {
        for (const room of ["a", "b", "c"]) await say(sender, room, room);
      });
      assertRecovered(socket, was);
      await say(sender, "end", "c");
      await told(socket, "end");
      assert.deepEqual(socket.texts, ["a", "c", "end"]);
    });

    it("who leaves deliberately does not recover", async () => {
      const [socket, sender] = [await listener(server, transport, "blue"), await connect(server, WEBSOCKET)];
      await say(sender, "before", "blue");
      await told(socket, "before");
      const was = { id: socket.id, pid: socket._pid };
      socket.disconnect();
      await say(sender, "missed", "blue");
      socket.connect();
      await next(socket, "connect");
      assertNew(socket, was);
      assert.deepEqual(await roomsOf(socket), []);
      assert.deepEqual(socket.texts, ["before"]);
    });

    it("events that the client sends while it is away arrive after its return", async () => {
      const [socket, other] = [await listener(server, transport, "up"), await listener(server, WEBSOCKET, "up")];
      await say(other, "hello", "up");
      await told(socket, "hello");
      await away(socket, async () => {
        for (let i = 0; i < 5; i++) socket.emit("message", { room: "up", text: `${i}` });
      });
      await told(other, "4");
      assert.deepEqual(other.texts, ["hello", "0", "1", "2", "3", "4"]);
    });

    it("an abrupt cut of the network", async () => {
      const proxy = await proxyTo(server);
      const [socket, sender] = [await listener(proxy, transport, "cut"), await connect(server, WEBSOCKET)];
      await say(sender, "before", "cut");
      await told(socket, "before");
      const { id } = socket;
      for (const way of ["cut", "reset"]) {
        const gone = next(socket, "disconnect");
        const back = next(socket, "connect", undefined, 15_000);
        proxy.refuse();
        proxy[way]();
        await gone;
        await say(sender, `missed ${way}`, "cut");
        proxy.refuse(false);
        await back;
        assert.deepEqual([socket.recovered, socket.id], [true, id]);
        await told(socket, `missed ${way}`);
      }
      assert.deepEqual(socket.texts, ["before", "missed cut", "missed reset"]);
    });

    it("the first message after the return has an offset that a later return can use", async () => {
      const [socket, sender] = [await listener(server, transport, "chain"), await connect(server, WEBSOCKET)];
      for (let i = 0; i < 6; i += 2) {
        assertRecovered(socket, await away(socket, () => say(sender, `${i}`, "chain")));
        await say(sender, `${i + 1}`, "chain");
        await told(socket, `${i + 1}`);
      }
      assert.deepEqual(socket.texts, ["0", "1", "2", "3", "4", "5"]);
    });
  });
}

describe("cuts while the missed events arrive", () => {
  for (const share of [0.1, 0.5, 0.9]) {
    // The official client keeps events that come before the answer to CONNECT, and still has them after a cut; the official
    // server sends the missed ones before that answer, so this client gets them twice.
    it(`after ${share * 100} % of them: each arrives once and in order all the same`, async () => {
      const proxy = await proxyTo(server);
      const [socket, sender] = [await listener(proxy, WEBSOCKET, "half"), await connect(server, WEBSOCKET)];
      await say(sender, "before", "half");
      await told(socket, "before");
      const padding = "x".repeat(10_000);
      const was = await away(socket, async () => {
        for (let i = 0; i < 50; i++) await say(sender, `${i} ${padding}`, "half");
        proxy.endAfter(share * 500_000);
        setTimeout(() => proxy.endAfter(Infinity), 300);
      });
      await told(socket, `49 ${padding}`);
      assert.deepEqual(socket.texts.map((text) => text.split(" ")[0]), ["before", ...Array.from({ length: 50 }, (_, i) => `${i}`)]);
      assertRecovered(socket, was);
    });
  }
});

describe("half-open connections", () => {
  const TIMES = { PING_INTERVAL_MS: "500", PING_TIMEOUT_MS: "400" };
  let brisk;
  before(async () => (brisk = await rill(TIMES)));
  after(() => brisk.end());

  for (const [name, transport] of TRANSPORTS) {
    // The official server has two sockets of one id then, and the end of the first takes the second out of its rooms.
    it(`the old connection hangs, over ${name}: taken over at once, and rooms outlive the old one's ping timeout`, async () => {
      const proxy = await proxyTo(brisk);
      const [socket, sender] = [await listener(proxy, transport, "lid"), await listener(brisk, WEBSOCKET)];
      await say(sender, "before", "lid");
      await told(socket, "before");
      const { id } = socket;
      proxy.freeze();
      await say(sender, "into the void", "lid");
      const begin = Date.now();
      await cutAndReturn(socket);
      assert.ok(Date.now() - begin < 450, "before the server can have noticed");
      assert.deepEqual([socket.recovered, socket.id], [true, id]);
      await told(socket, "into the void");
      await pass(1_200); // the old connection's pong has been due for a while
      await say(sender, "later", "lid");
      await told(socket, "later");
      assert.deepEqual(socket.texts, ["before", "into the void", "later"]);
      assert.deepEqual(await roomsOf(socket), ["lid"]);
    });
  }

  it("the server notices the silence first: the client recovers all the same", async () => {
    const proxy = await proxyTo(brisk);
    const [socket, sender] = [await listener(proxy, WEBSOCKET, "silent"), await listener(brisk, WEBSOCKET)];
    await say(sender, "before", "silent");
    await told(socket, "before");
    const was = { id: socket.id, pid: socket._pid };
    proxy.freeze();
    const back = next(socket, "connect", undefined, 10_000);
    const gone = next(socket, "disconnect");
    await say(sender, "into the void", "silent");
    assert.equal((await gone)[0], "ping timeout");
    await back;
    assertRecovered(socket, was);
    await told(socket, "into the void");
    assert.deepEqual(socket.texts, ["before", "into the void"]);
  });

  it("eight connections claim one session at once, 40 times: one has it in the end, and gets everything once", async () => {
    const sender = await listener(brisk, WEBSOCKET);
    for (let round = 0; round < 40; round++) {
      const room = `claim ${round}`;
      const socket = await listener(brisk, { ...WEBSOCKET, reconnection: false }, room);
      await say(sender, "before", room);
      await told(socket, "before");
      const { id, _pid: pid, _lastOffset: offset } = socket;
      const rivals = Array.from({ length: 8 }, () => client(brisk, { ...WEBSOCKET, auth: { pid, offset } }));
      const texts = ["before"];
      for (const rival of rivals) rival.on("message", ({ text }) => texts.push(text));
      // One that loses the session again before it is told that it has it, is only closed.
      await Promise.all(rivals.map((rival) => Promise.race([next(rival, "connect"), next(rival.io, "close")])));
      const owners = () => [socket, ...rivals].filter((one) => one.connected && one.id === id);
      await eventually("there is one owner", () => owners().length === 1, 1_000).catch((error) => {
        throw new Error(`${error.message}; round ${round}: ${owners().length} are connected with one id`);
      });
      await say(sender, "after", room);
      await eventually("the owner is told", () => texts.includes("after"));
      await ask(owners()[0], "rooms");
      assert.deepEqual(texts, ["before", "after"]);
    }
  });
});

describe("the window", () => {
  let brief;
  before(async () => (brief = await rill({ RECOVERY_WINDOW_MS: "1000" })));
  after(() => brief.end());

  it("inside: recovered", async () => {
    const socket = await listener(brief, WEBSOCKET, "window");
    await say(socket, "before", "window");
    assertRecovered(socket, await away(socket, () => pass(300)));
  });

  it("over: a new client, which is told so", async () => {
    const socket = await listener(brief, WEBSOCKET, "window");
    await say(socket, "before", "window");
    assertNew(socket, await away(socket, () => pass(2_500)));
    assert.deepEqual(await roomsOf(socket), []);
    assert.deepEqual(socket.texts, ["before"]);
  });

  it("it begins with the cut, however long the client was connected and quiet before", async () => {
    const socket = await listener(brief, WEBSOCKET, "window");
    await say(socket, "before", "window");
    await pass(2_500);
    const was = await away(socket, () => pass(300));
    // The official server forgets the last event that the client has got.
    assertRecovered(socket, was);
  });
});

describe("forged and garbled sessions", () => {
  // As long as `auth` may be, nearly: more is a connect error.
  const huge = "x".repeat(7_500);
  let genuine;
  before(async () => {
    genuine = await connect(server, WEBSOCKET);
    await ask(genuine, "join", "genuine");
    await ask(genuine, "message", { room: "genuine", text: "an offset" });
    genuine = { id: genuine.id, pid: genuine._pid, offset: genuine._lastOffset };
  });

  for (const [what, auth] of [
    ["an unknown pid", () => ({ pid: "AAAAAAAAAAAAAAAAAAAA", offset: genuine.offset })],
    ["an unknown pid without offset", () => ({ pid: "AAAAAAAAAAAAAAAAAAAA" })],
    ["the id for the pid", () => ({ pid: genuine.id, offset: genuine.offset })],
    ["the pid cut short", () => ({ pid: genuine.pid.slice(0, -1), offset: genuine.offset })],
    ["the pid with a tail", () => ({ pid: `${genuine.pid} `, offset: genuine.offset })],
    ["an empty pid", () => ({ pid: "", offset: "" })],
    ["a pid that is a number", () => ({ pid: 5, offset: genuine.offset })],
    ["a pid that is null", () => ({ pid: null, offset: null })],
    ["a pid that is an object", () => ({ pid: { pid: genuine.pid }, offset: genuine.offset })],
    ["a pid that is a list", () => ({ pid: [genuine.pid], offset: [genuine.offset] })],
    ["a pid that is a name of JavaScript", () => ({ pid: "__proto__", offset: "constructor" })],
    ["a pid with control characters", () => ({ pid: `${genuine.pid}\u0000\n\u001b[2J`, offset: genuine.offset })],
    ["a pid that is a pattern", () => ({ pid: "*", offset: "-" })],
    ["a long pid", () => ({ pid: huge, offset: huge })],
    ["an offset alone", () => ({ offset: genuine.offset })],
    ["more keys than those", () => ({ pid: "x", offset: "0-0", sid: genuine.id, rooms: ["genuine"], recovered: true })],
  ]) {
    it(`${what}: a new client`, async () => {
      const socket = await connect(server, { ...WEBSOCKET, auth: auth() });
      assertNew(socket, genuine);
      assert.deepEqual(await roomsOf(socket), []);
    });
  }

  for (const offset of ["", "garbage", "0-0", "-", "+", "$", "(1-1", "99999999999999-0", "18446744073709551615-18446744073709551615", "1-1-1", "١-١", huge, 5, null, {}, [], true]) {
    const shown = JSON.stringify(offset).slice(0, 45);
    // An offset that is none counts as absent; the official server refuses the session.
    it(`the pid with the offset ${shown}: recovered, nothing missed`, async () => {
      const [socket, sender] = [await listener(server, WEBSOCKET, `offset ${shown}`), await connect(server, WEBSOCKET)];
      await say(sender, "before", `offset ${shown}`);
      await told(socket, "before");
      const { id, _pid: pid } = socket;
      const gone = next(socket, "disconnect");
      socket.io.reconnection(false);
      await cut(socket);
      await gone;
      await say(sender, "missed", `offset ${shown}`);
      const back = client(server, { ...WEBSOCKET, auth: { pid, offset } });
      const texts = [];
      back.on("message", ({ text }) => texts.push(text));
      await next(back, "connect");
      assert.equal(back.id, id);
      assert.deepEqual(await roomsOf(back), [`offset ${shown}`]);
      assert.equal(texts.at(-1), "missed");
      assert.equal(texts.filter((text) => text === "missed").length, 1);
    });
  }

  it("private ids can't be guessed from others", async () => {
    const sockets = await Promise.all(Array.from({ length: 100 }, () => connect(server, WEBSOCKET)));
    const pids = sockets.map((socket) => socket._pid);
    for (const pid of pids) assert.match(pid, /^[\w-]{20,}$/);
    // Any piece of one that another has at the same place would be a counter or a clock: 1 in 64 characters agrees by chance.
    const agreeing = pids.flatMap((a, i) => pids.slice(0, i).flatMap((b) => [...a].filter((c, at) => c === b[at])));
    const share = agreeing.length / ((100 * 99) / 2) / pids[0].length;
    assert.ok(share < 0.03, `${share}`);
    sockets.forEach((socket, i) => assert.notEqual(socket.id, pids[i]));
  });

  it("who has the pid takes the session over, and the connection that had it is closed", async () => {
    const socket = await listener(server, WEBSOCKET);
    const { id } = socket;
    await say(socket, "own", id);
    socket.io.reconnection(false);
    const gone = next(socket, "disconnect");
    const other = await connect(server, { ...WEBSOCKET, auth: { pid: socket._pid, offset: socket._lastOffset } });
    assert.equal((await gone)[0], "transport close");
    assert.equal(other.id, id);
    assert.equal((await ask(other, "rooms")).ok, true);
  });
});

describe("recovery as the official client suite wants it", () => {
  let suite;
  before(async () => (suite = await conformance("client")));
  after(() => suite.end());

  it("after an event: recovered", async () => {
    const socket = await connect(suite, { ...WEBSOCKET, ...RETURNING });
    socket.emit("hi");
    await next(socket, "hi");
    assertRecovered(socket, await away(socket, async () => {}));
  });

  it("before any event: a new client", async () => {
    const socket = await connect(suite, { ...WEBSOCKET, ...RETURNING });
    assertNew(socket, await away(socket, async () => {}));
  });

  it("each namespace has a session of its own, and one may end while the other is recovered", async () => {
    const manager = new Manager(suite.url, { ...WEBSOCKET, ...RETURNING });
    const [main, abc] = ["/", "/abc"].map((nsp) => manager.socket(nsp));
    const handshake = next(abc, "handshake");
    await Promise.all([main, abc].map((socket) => next(socket, "connect")));
    await handshake;
    assert.notEqual(main._pid, abc._pid);
    const was = { id: abc.id, pid: abc._pid };
    const mainWas = { id: main.id, pid: main._pid };
    const back = Promise.all([main, abc].map((socket) => next(socket, "connect")));
    manager.engine.close();
    await back;
    assertRecovered(abc, was);
    assertNew(main, mainWas);
    manager._close();
  });

  it("the pid of one namespace is worth nothing in another", async () => {
    const abc = await connect(suite, { ...WEBSOCKET, ...RETURNING }, "/abc");
    const [, offset] = abc._lastOffset ? [null, abc._lastOffset] : await next(abc, "handshake");
    const other = await connect(suite, { ...WEBSOCKET, auth: { pid: abc._pid, offset } });
    assertNew(other, { id: abc.id, pid: abc._pid });
  });
});
