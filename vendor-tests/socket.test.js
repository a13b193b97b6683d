// Socket.IO with the official client: events, acknowledgements, binary data, namespaces, ends of connections.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { after, afterEach, before, describe, it } from "node:test";
import { Manager } from "socket.io-client";
import { TRANSPORTS, ask, client, closeClients, connect, engineClient, ready } from "./harness/clients.js";
import { closeProxies, proxyTo } from "./harness/proxy.js";
import { conformance } from "./harness/server.js";
import { collect, eventually, next, within } from "./harness/wait.js";

const ARGUMENTS = [
  ["none", []],
  ["numbers", [0, -1, 1.5, 1e21, 9007199254740991, -0.000001, 1e-7]],
  ["constants", [true, false, null]],
  ["texts", ["", "a", '"quoted" \\ / \b\f\n\r\t', "žluťoučký кот てすと", "😀 \u{10ffff}", "\u0000\u001f\u007f\u2028\u2029"]],
  ["containers", [[], {}, [[]], [{}], { a: { b: { c: [1, [2, [3, { d: null }]]] } } }]],
  ["what looks like protocol", [{ _placeholder: true, num: 0 }, "42[]", { sid: "x" }, "2probe"]],
  ["names that mean something in JavaScript", [JSON.parse('{"__proto__":1,"constructor":2,"toString":3}'), "__proto__"]],
  ["keys in their order", [JSON.parse('{"z":1,"a":2,"10":3,"":4}')]],
  ["halves of emoji", ["\ud83d", "hello \ud83d", "\ude00!", "\ude00\ud83d", { "\ud83d": ["\udfff", { a: "\ud800\ud83d\ude00" }] }]],
  ["sixty arguments", Array.from({ length: 60 }, (_, i) => i)],
];

const bytes = (...list) => Buffer.from(list);
const BINARY = [
  ["one", [bytes(1, 2, 3)]],
  ["empty", [bytes()]],
  ["two among others", ["a", bytes(1), 2, bytes(3), null]],
  ["nested", [{ a: [bytes(1), { b: bytes(2), c: "c" }], d: { e: [[bytes(3)]] } }]],
  ["ten", [Array.from({ length: 10 }, (_, i) => bytes(i))]],
  ["beside text with every kind of quote", [{ "key \"'\\": bytes(34, 39, 92) }, "😀"]],
];

/** The raw packets that a client receives. */
function packets(socket) {
  const list = [];
  socket.io.engine.on("packet", ({ type, data }) => type === "message" && list.push(data));
  return list;
}

let server;
before(async () => (server = await conformance("socket")));
after(() => server.end());
afterEach(closeClients);
afterEach(closeProxies);

for (const [name, transport] of TRANSPORTS) {
  describe(`Socket.IO over ${name}`, () => {
    const open = (options, nsp) => connect(server, { ...transport, ...options }, nsp);

    for (const [what, args] of ARGUMENTS) {
      it(`an event's arguments come back: ${what}`, async () => {
        const socket = await open();
        socket.emit("message", ...args);
        assert.deepEqual(await next(socket, "message-back"), args);
      });

      it(`an acknowledgement's arguments come back: ${what}`, async () => {
        const socket = await open();
        const answer = new Promise((resolve) => socket.emit("message-with-ack", ...args, (...back) => resolve(back)));
        assert.deepEqual(await within(5_000, "ack", answer), args);
      });
    }

    for (const [what, args] of BINARY) {
      it(`binary data come back in an event: ${what}`, async () => {
        const socket = await open();
        socket.emit("message", ...args);
        assert.deepEqual(await next(socket, "message-back"), args);
      });

      it(`binary data come back in an acknowledgement: ${what}`, async () => {
        const socket = await open();
        const answer = new Promise((resolve) => socket.emit("message-with-ack", ...args, (...back) => resolve(back)));
        assert.deepEqual(await within(5_000, "ack", answer), args);
      });
    }

    it("acknowledgements and events keep the order of the requests", async () => {
      const socket = await open();
      const seen = [];
      socket.on("message-back", (i) => seen.push(i));
      for (let i = 0; i < 100; i += 2) {
        socket.emit("message", i);
        socket.emit("message-with-ack", i + 1, (answer) => seen.push(answer));
      }
      await eventually("all answers", () => seen.length === 100);
      assert.deepEqual(seen, Array.from({ length: 100 }, (_, i) => i));
    });

    it("an acknowledgement is sent once", async () => {
      const socket = await open();
      const raw = packets(socket);
      await ask(socket, "message-with-ack", "once");
      await ask(socket, "message-with-ack", "later");
      assert.deepEqual(raw, ['30["once"]', '31["later"]']);
    });

    it("an event that nobody handles is not acknowledged: the client's timeout runs out", async () => {
      const socket = await open();
      await assert.rejects(socket.timeout(150).emitWithAck("unknown", 1), /timed out/);
      await assert.rejects(socket.timeout(150).emitWithAck("unknown", bytes(1)), /timed out/);
    });

    it("an acknowledgement within the client's timeout", async () => {
      const socket = await open();
      assert.equal(await socket.timeout(3_000).emitWithAck("message-with-ack", "in time"), "in time");
    });

    it("volatile events arrive while connected, and are dropped while not", async () => {
      const socket = client(server, { ...transport, autoConnect: false });
      const seen = [];
      socket.on("message-back", (data) => seen.push(data));
      socket.volatile.emit("message", "dropped");
      socket.connect();
      await ready(socket);
      const back = next(socket, "message-back");
      // The client drops a volatile event as well while its transport is busy.
      const timer = setInterval(() => socket.volatile.emit("message", "kept"), 20);
      await back;
      clearInterval(timer);
      assert.equal(seen[0], "kept");
    });

    for (const [what, auth, want] of [
      ["none", undefined, {}],
      ["an object", { token: "123", nested: { a: [1, null] } }, { token: "123", nested: { a: [1, null] } }],
      ["a function's", (done) => done({ token: "später 😀" }), { token: "später 😀" }],
      ["keys and values with escapes", { 'a"b': "\n", "C:\\x": "\\", "\u0000": 1 }, { 'a"b': "\n", "C:\\x": "\\", "\u0000": 1 }],
      ["halves of emoji, read as U+FFFD", { "key \ud83d": "\ude00", token: "t" }, { "key \ufffd": "\ufffd", token: "t" }],
    ]) {
      it(`auth of the CONNECT packet: ${what}`, async () => {
        const socket = client(server, { ...transport, auth });
        const order = [];
        socket.on("connect", () => order.push("connect"));
        socket.on("auth", () => order.push("auth"));
        assert.deepEqual(await next(socket, "auth"), [want]);
        assert.deepEqual(order, ["connect", "auth"], "the answer to CONNECT comes before what the handler emits");
      });
    }

    it("an event named by half an emoji ends nothing", async () => {
      const socket = await connect(server, transport);
      for (const name of ["\ud83d", "\ude00 x", "x \ud83d\ud83d\ude00"]) socket.emit(name, name);
      socket.emit("message-with-ack", "alive", (answer) => socket.emit("message", answer));
      assert.deepEqual(await next(socket, "message-back"), ["alive"]);
    });

    it("each namespace has an id of its own, which is not the connection's", async () => {
      const manager = new Manager(server.url, { ...transport, reconnection: false });
      const sockets = ["/", "/custom"].map((nsp) => manager.socket(nsp));
      await Promise.all(sockets.map((socket) => next(socket, "connect")));
      assert.equal(new Set([...sockets.map((socket) => socket.id), manager.engine.id]).size, 3);
      manager._close();
    });

    it("namespaces share a connection, and one may leave and return", async () => {
      const manager = new Manager(server.url, { ...transport, reconnection: false });
      const [main, custom] = ["/", "/custom"].map((nsp) => manager.socket(nsp, { auth: { nsp } }));
      await Promise.all([main, custom].map((socket) => next(socket, "connect")));
      const engine = manager.engine.id;
      custom.disconnect();
      assert.equal(await ask(main, "message-with-ack", "alone"), "alone");
      const auth = next(custom, "auth");
      custom.connect();
      assert.deepEqual(await auth, [{ nsp: "/custom" }]);
      // The official server closes the connection when it finds DISCONNECT and CONNECT in one read; Rill goes packet by packet.
      main.disconnect();
      main.connect();
      await next(main, "connect");
      assert.equal(await ask(main, "message-with-ack", "again"), "again");
      assert.equal(manager.engine.id, engine);
      manager._close();
    });

    it("an unknown namespace is refused, and the connection lives on", async () => {
      const manager = new Manager(server.url, { ...transport, reconnection: false });
      const [main, unknown] = ["/", "/nowhere"].map((nsp) => manager.socket(nsp));
      const [error] = await next(unknown, "connect_error");
      assert.deepEqual([error.message, error.data], ["Invalid namespace", undefined]);
      assert.equal(unknown.connected, false);
      assert.equal(await ask(main, "message-with-ack", 1), 1);
      manager._close();
    });

    it("a namespace's name may have a query, and must be exact", async () => {
      const socket = await open({}, "/custom?a=b");
      socket.disconnect();
      for (const nsp of ["/Custom", "/custom/", "/custom/x", "/%63ustom", "/__proto__", "/constructor", `/${"x".repeat(2_000)}`]) {
        const [error] = await next(client(server, transport, nsp), "connect_error");
        assert.equal(typeof error.message, "string", nsp);
      }
    });

    it("the client leaves: its own reason, and no answer", async () => {
      const socket = await open();
      const left = next(socket, "disconnect");
      socket.disconnect();
      assert.equal((await left)[0], "io client disconnect");
    });

    it("a cut network, as the client sees it", async () => {
      const proxy = await proxyTo(server);
      const socket = await connect(proxy, transport);
      const left = next(socket, "disconnect");
      proxy.refuse();
      proxy.cut();
      assert.equal((await left)[0], name === "polling" ? "transport error" : "transport close");
    });

    it("a frozen network, as the client sees it", async () => {
      const proxy = await proxyTo(server);
      const socket = await connect(proxy, transport);
      const left = next(socket, "disconnect");
      proxy.refuse();
      proxy.freeze();
      assert.match((await left)[0], name === "polling" ? /ping timeout|transport error/ : /ping timeout/);
    });

    it("after a protocol error the server closes the connection", async () => {
      const socket = await open();
      const left = next(socket, "disconnect");
      socket.io.engine.write("2{}");
      assert.match((await left)[0], /transport (close|error)/);
    });

    it("a client that joins no namespace is closed after a second", async () => {
      const begin = Date.now();
      const socket = await engineClient(server, { ...transport, path: "/socket.io/" });
      await next(socket, "close");
      const took = Date.now() - begin;
      assert.ok(took > 800 && took < 3_000, `${took} ms`);
    });
  });
}

describe("Socket.IO over both transports at once", () => {
  it("an event with binary data is not torn by an upgrade", async () => {
    const socket = client(server, { transports: ["polling", "websocket"] });
    const all = collect(socket, "message-back", 500);
    let i = 0;
    const timer = setInterval(() => {
      for (let n = 0; n < 10 && i < 500; n++, i++) socket.emit("message", { i, data: [Buffer.from(`${i}`), bytes(i & 255)] });
    }, 2);
    const list = await all;
    clearInterval(timer);
    list.forEach((event, n) => assert.deepEqual(event, { i: n, data: [Buffer.from(`${n}`), bytes(n & 255)] }));
    assert.equal(socket.io.engine.transport.name, "websocket");
  });
});

describe("Socket.IO with the official client suite's server", () => {
  let suite;
  before(async () => (suite = await conformance("client")));
  after(() => suite.end());

  const withoutOffset = (args) => args.slice(0, -1);

  for (const [name, transport] of TRANSPORTS) {
    const open = (options, nsp) => connect(suite, { ...transport, ...options }, nsp);

    it(`every kind of event, over ${name}`, async () => {
      const socket = await open();
      socket.emit("getUtf8");
      assert.deepEqual(await collect(socket, "takeUtf8", 5), ["てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"]);
      socket.emit("doge");
      assert.deepEqual(withoutOffset(await next(socket, "doge")), [Buffer.from("asdfasdf")]);
      socket.emit("buffa", Buffer.from("asdfasdf"));
      await next(socket, "buffack");
      socket.emit("jsonbuff", { hello: "lol", message: Buffer.from("howdy"), goodbye: "gotcha" });
      await next(socket, "jsonbuff-ack");
      socket.emit("abuff1", Buffer.from("abuff1"));
      socket.emit("abuff2", "please arrive second");
      await next(socket, "abuff2-ack");
      socket.emit("false");
      assert.deepEqual(withoutOffset(await next(socket, "false")), [false]);
      socket.emit("getDateObj");
      const [{ date }] = await next(socket, "takeDateObj");
      assert.ok(Math.abs(Date.parse(date) - Date.now()) < 10_000, date);
      assert.equal(await ask(socket, "getId"), socket.id);
      assert.equal(await ask(socket, "echo", null), null);
    });

    it(`900 kB of text come back, over ${name}`, async () => {
      const socket = await open();
      const text = "0123456789€".repeat(69_000);
      assert.equal((await ask(socket, "echo", text)) === text, true);
    });

    // In a POST, binary data are base64, a third larger; the body is limited to 1,000,000 bytes.
    const most = name === "polling" ? 740 : 900;
    it(`${most} kB of binary come back, over ${name}`, async () => {
      const socket = await open();
      const data = Buffer.alloc(most * 1_000, "binary");
      assert.ok((await ask(socket, "echo", data)).equals(data));
    });

    it(`ten attachments of ${most} kB come back in one event, over ${name}`, async () => {
      const socket = await open();
      const data = Array.from({ length: 10 }, (_, i) => Buffer.alloc(most * 1_000, `${i}`));
      const back = await ask(socket, "echo", data);
      assert.ok(back.length === 10 && back.every((one, i) => one.equals(data[i])));
    });

    it(`3,000 events come back in order, every fifth with binary data, over ${name}`, async () => {
      const socket = await open();
      const seen = [];
      for (let i = 0; i < 3_000; i++) socket.emit("echo", i % 5 === 0 ? Buffer.from(`${i}`) : `${i}`, (data) => seen.push(`${data}`));
      await eventually("all are back", () => seen.length === 3_000, 20_000);
      assert.deepEqual(seen, Array.from({ length: 3_000 }, (_, i) => `${i}`));
    });

    it(`the server asks for an acknowledgement, over ${name}`, async () => {
      const socket = await open();
      socket.on("ack", (answer) => answer(5, { test: true }));
      const got = next(socket, "got it");
      socket.emit("ack");
      await got;
    });

    it(`the handshake as the server saw it, over ${name}`, async () => {
      const socket = await open({ query: { "&a": "&=?a", e: "f" }, auth: { a: "b" }, extraHeaders: { "x-test": "1" } });
      const handshake = await ask(socket, "getHandshake");
      assert.equal(handshake.query["&a"], "&=?a");
      assert.equal(handshake.query.EIO, "4");
      assert.equal(handshake.headers["x-test"], "1");
      assert.deepEqual(handshake.auth, { a: "b" });
      assert.equal(handshake.query.a, undefined);
      assert.ok(Math.abs(handshake.issued - Date.now()) < 10_000);
      assert.deepEqual([handshake.xdomain, handshake.secure], [false, false]);
      assert.match(handshake.address, /127\.0\.0\.1/);
      assert.match(handshake.url, /^\/socket\.io\/\?/);
    });

    it(`a namespace refuses by its middleware, over ${name}`, async () => {
      const [error] = await next(client(suite, transport, "/no"), "connect_error");
      assert.deepEqual([error.message, error.data], ["Auth failed (custom namespace)", undefined]);
    });

    it(`the main namespace refuses by the query, over ${name}`, async () => {
      const [error] = await next(client(suite, { ...transport, query: { fail: "1" } }), "connect_error");
      assert.equal(error.message, "Auth failed (main namespace)");
    });

    it(`a client that repeats what was not acknowledged gets it answered, over ${name}`, async () => {
      const socket = await open({ retries: 3, ackTimeout: 100 });
      await assert.rejects(ask(socket, "unknown"), /timed out/);
      const answers = await Promise.all([1, 2, 3, 4].map((i) => ask(socket, "echo", i)));
      assert.deepEqual(answers, [1, 2, 3, 4]);
    });
  }

  it("50 clients at once, each has its own answers", async () => {
    const clients = await Promise.all(Array.from({ length: 50 }, (_, i) => connect(suite, TRANSPORTS[i % 3][1])));
    const answers = await Promise.all(clients.map((socket, i) => ask(socket, "echo", i)));
    assert.deepEqual(answers, clients.map((_, i) => i));
  });

  it("every event without ack id ends with an offset, each a new one", async () => {
    const socket = await connect(suite, { transports: ["websocket"] });
    const raw = packets(socket);
    socket.emit("hi");
    socket.emit("getUtf8");
    socket.emit("doge");
    await ask(socket, "echo", "done");
    const offsets = raw.map((packet) => /,"([^"]+)"\]$/.exec(packet)?.[1]).filter(Boolean);
    assert.deepEqual(raw.map((packet) => String(packet).slice(0, 6)), ['2["hi"', ...Array(5).fill('2["tak'), '51-["d', "asdfas", '30["do']);
    assert.equal(new Set(offsets).size, 7);
  });
});
