// Engine.IO with the official client and with ws: what goes in comes back, over every transport.
// The server echoes; its pings are 300 ms apart and it waits 200 ms for the pong.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { after, afterEach, before, describe, it } from "node:test";
import { Socket as EngineSocket } from "engine.io-client";
import { WebSocket } from "ws";
import { TRANSPORTS, closeClients, engineClient } from "./harness/clients.js";
import { closeProxies, proxyTo } from "./harness/proxy.js";
import { conformance } from "./harness/server.js";
import { collect, eventually, next } from "./harness/wait.js";
import { Wire, closeWires, fetchOnce, upgradeRequest } from "./harness/wire.js";

const TEXTS = [
  ["empty", ""],
  ["one character", "a"],
  ["two-byte and three-byte characters", "žluťoučký кот てすと €"],
  ["astral characters", "😀 𝒳 👩‍👩‍👧‍👦 \u{10ffff}"],
  ["control characters and line ends", "\u0000\t\r\n\u001f\u007f\u0085\u2028\u2029"],
  ["what looks like a packet", "4hello"],
  ["what looks like base64", "bAQIDBA=="],
  ["a backslash and n, and a real line end", "\\n\n\\\\n"],
  ["a noncharacter and a byte order mark", "\uffff\ufeff"],
];

const pattern = (size) => Buffer.from(Uint8Array.from({ length: size }, (_, i) => (i * 31 + (i >> 8)) & 255));

let server;
before(async () => (server = await conformance("engine")));
after(() => server.end());
afterEach(closeClients);
afterEach(closeProxies);
afterEach(closeWires);

for (const [name, transport] of TRANSPORTS) {
  const polls = name === "polling";

  describe(`Engine.IO over ${name}`, () => {
    const connect = (options) => engineClient(server, { ...transport, ...options });

    for (const [what, text] of TEXTS) {
      it(`text comes back: ${what}`, async () => {
        const socket = await connect();
        socket.send(text);
        const [data = ""] = await next(socket, "message"); // the client has no empty text, but undefined
        assert.equal(data, text);
      });
    }

    for (const size of [0, 1, 125, 126, 127, 65_535, 65_536, 65_537]) {
      it(`binary comes back: ${size} bytes`, async () => {
        const socket = await connect();
        socket.send(pattern(size));
        const [data] = await next(socket, "message");
        assert.ok(Buffer.isBuffer(data), "it stays binary");
        assert.ok(data.equals(pattern(size)));
      });
    }

    it("200 kB of text and of binary come back", async () => {
      const socket = await connect();
      const text = "0123456789€".repeat(15_000);
      socket.send(text);
      assert.equal((await next(socket, "message"))[0] === text, true);
      socket.send(pattern(200_000));
      assert.ok((await next(socket, "message"))[0].equals(pattern(200_000)));
    });

    it("4,000 small messages come back in order, text and binary mixed", async () => {
      const socket = await connect();
      const all = collect(socket, "message", 4_000);
      for (let i = 0; i < 4_000; i++) socket.send(i % 3 === 0 ? Buffer.from(`${i}`) : `${i}`);
      const list = await all;
      list.forEach((data, i) => assert.equal(`${typeof data}${data}`, `${i % 3 === 0 ? "object" : "string"}${i}`));
    });

    it("messages sent while the connection is made arrive once and in order", async () => {
      const socket = new EngineSocket(server.url, transport);
      const all = collect(socket, "message", 300);
      let i = 0;
      const timer = setInterval(() => {
        for (let n = 0; n < 10 && i < 300; n++) socket.send(`${i++}`);
      }, 2);
      const list = await all;
      clearInterval(timer);
      socket.close();
      assert.deepEqual(list, Array.from({ length: 300 }, (_, n) => `${n}`));
    });

    it("a client that answers pings stays, through five of them", async () => {
      const socket = await connect();
      await collect(socket, "ping", 5);
      socket.send("still here");
      assert.deepEqual(await next(socket, "message"), ["still here"]);
    });

    it("the client's close reaches the server", async () => {
      const socket = await connect();
      const closed = next(socket, "close");
      const target = `/engine.io/?EIO=4&transport=${socket.transport.name}&sid=${socket.id}`;
      socket.close();
      assert.equal((await closed)[0], "forced close");
      await eventually("the session is unknown", async () => {
        const { status, body } = await fetchOnce(server, "GET", target);
        return status === 400 && body === '{"code":1,"message":"Session ID unknown"}';
      });
    });

    it("a frozen network ends in a ping timeout on the client's side", async () => {
      const proxy = await proxyTo(server);
      const socket = await engineClient(proxy, transport);
      const closed = next(socket, "close");
      proxy.freeze();
      proxy.refuse();
      assert.match((await closed)[0], polls ? /ping timeout|transport error/ : /ping timeout/);
    });

    it("a cut network is a closed transport", async () => {
      const proxy = await proxyTo(server);
      const socket = await engineClient(proxy, transport);
      const closed = next(socket, "close");
      proxy.refuse();
      proxy.cut();
      assert.equal((await closed)[0], polls ? "transport error" : "transport close");
    });
  });
}

describe("Engine.IO, other clients' ways", () => {
  it("a client that forces base64 gets base64 on both transports", async () => {
    for (const [, transport] of TRANSPORTS) {
      const socket = await engineClient(server, { ...transport, forceBase64: true });
      socket.send(pattern(1_000));
      assert.ok((await next(socket, "message"))[0].equals(pattern(1_000)));
    }
  });

  it("a client that may not upgrade stays on polling", async () => {
    const socket = await engineClient(server, { upgrade: false });
    socket.send("x");
    await next(socket, "message");
    assert.equal(socket.transport.name, "polling");
  });

  it("two clients on one server do not hear each other", async () => {
    const [one, two] = [await engineClient(server), await engineClient(server)];
    one.send("from one");
    two.send("from two");
    await eventually("both have their echo", () => one.early.length && two.early.length);
    assert.deepEqual([one.early, two.early], [["from one"], ["from two"]]);
  });

  const raw = async (options) => {
    const socket = new WebSocket(`${server.url.replace("http", "ws")}/engine.io/?EIO=4&transport=websocket`, options);
    const open = JSON.parse((await next(socket, "message"))[0].toString().slice(1));
    assert.deepEqual(Object.keys(open).sort(), ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"]);
    return socket;
  };

  it("ws: a message in many fragments is one message", async () => {
    const socket = await raw();
    const parts = ["4", "frag", "mented ", "€".repeat(100), "!"];
    parts.forEach((part, i) => socket.send(part, { fin: i === parts.length - 1 }));
    const [data, binary] = await next(socket, "message", (data) => `${data}` !== "2");
    assert.deepEqual([`${data}`, binary], [parts.join(""), false]);
    socket.terminate();
  });

  it("ws: a binary message in fragments, with pings of WebSocket between them", async () => {
    const socket = await raw();
    socket.send(Buffer.of(1, 2), { fin: false });
    socket.ping("between");
    socket.send(Buffer.of(3), { fin: true });
    const pong = next(socket, "pong");
    const [data, binary] = await next(socket, "message", (_, binary) => binary);
    assert.deepEqual([data, binary], [Buffer.of(1, 2, 3), true]);
    assert.equal(`${(await pong)[0]}`, "between");
    socket.terminate();
  });

  // As the official server: ws takes the first.
  it("ws: the first of the offered subprotocols is chosen", async () => {
    for (const [offered, chosen] of [[["my-app"], "my-app"], [["chat.v2", "chat.v1"], "chat.v2"], [[], ""]]) {
      const socket = new WebSocket(`${server.url.replace("http", "ws")}/engine.io/?EIO=4&transport=websocket`, offered);
      assert.match((await next(socket, "message"))[0].toString(), /^0\{/);
      assert.equal(socket.protocol, chosen);
      socket.terminate();
    }
  });

  for (const [name, transport] of TRANSPORTS) {
    it(`a client with the option protocols connects, over ${name}`, async () => {
      const socket = await engineClient(server, { ...transport, protocols: ["my-app", "other"] });
      socket.send("hello");
      assert.deepEqual(await next(socket, "message"), ["hello"]);
      if (name !== "polling") assert.equal(socket.transport.ws.protocol, "my-app");
    });
  }

  for (const offered of ["", "a,", ",a", "a,,b", "a b", "a, a", "a/b", '"a"']) {
    it(`ws: subprotocols ${JSON.stringify(offered)} are refused`, async () => {
      const wire = await Wire.to(server);
      wire.send(upgradeRequest("/engine.io/?EIO=4&transport=websocket", { "Sec-WebSocket-Protocol": offered }));
      const { status, headers, body } = await wire.response();
      assert.deepEqual([status, body, headers["sec-websocket-version"]], [400, "Bad request", "13"]);
    });
  }

  it("ws: a refused version is told which is understood", async () => {
    for (const version of ["8", "7", "14", "", "13, 8", "x"]) {
      const wire = await Wire.to(server);
      wire.send(upgradeRequest("/engine.io/?EIO=4&transport=websocket", { "Sec-WebSocket-Version": version }));
      const { status, headers } = await wire.response();
      assert.deepEqual([status, headers["sec-websocket-version"]], [400, "13"], version);
    }
  });

  it("ws: an offered compression is not taken up", async () => {
    const socket = await raw({ perMessageDeflate: { threshold: 0 } });
    assert.equal(socket.extensions, "");
    socket.send("4" + "compressible ".repeat(1_000));
    const [data] = await next(socket, "message", (data) => `${data}` !== "2");
    assert.equal(data.length, 13_001);
    socket.terminate();
  });

  it("ws: a close frame is answered by one", async () => {
    const socket = await raw();
    socket.close(1000, "bye");
    assert.equal((await next(socket, "close"))[0], 1000);
  });

  it("ws: a message above the limit closes with 1009", async () => {
    const socket = await raw();
    socket.send("4" + "x".repeat(1_000_000));
    assert.equal((await next(socket, "close"))[0], 1009);
  });

  it("ws: a message of exactly the limit comes back", async () => {
    const socket = await raw();
    socket.send("4" + "x".repeat(999_999));
    const [data] = await next(socket, "message", (data) => `${data}` !== "2");
    assert.equal(data.length, 1_000_000);
    socket.terminate();
  });
});

describe("Engine.IO, a limit of 100 bytes and cookies", () => {
  let small;
  before(async () => (small = await conformance("engine-client")));
  after(() => small.end());

  it("says hi", async () => {
    const socket = await engineClient(small, { transports: ["websocket"] });
    await eventually("hi", () => socket.early.includes("hi"));
  });

  for (const [name, transport] of TRANSPORTS.slice(0, 2)) {
    it(`99 bytes of multibyte text fit, over ${name}`, async () => {
      const socket = await engineClient(small, transport);
      socket.send("€".repeat(33));
      await next(socket, "message", (data) => data === "€".repeat(33));
    });

    it(`101 bytes do not, over ${name}`, async () => {
      const socket = await engineClient(small, transport);
      const closed = next(socket, "close");
      socket.send("x".repeat(100));
      assert.match((await closed)[0], name === "polling" ? /transport error/ : /transport close/);
    });
  }

  it("text and binary on request", async () => {
    const socket = await engineClient(small, { transports: ["websocket"] });
    socket.send("give binary");
    await next(socket, "message", (data) => Buffer.isBuffer(data) && data.equals(Buffer.of(0, 1, 2, 3, 4)));
    socket.send("give utf8");
    await next(socket, "message", (data) => data === "пойду спать всем спокойной ночи");
  });

  it("cookies of the handshake come back in later requests, but for those that have expired", async () => {
    const socket = await engineClient(small, { transports: ["polling"], withCredentials: true });
    socket.send("sendHeaders");
    const [headers] = await next(socket, "message", (data) => data.startsWith("{"));
    assert.equal(JSON.parse(headers).cookie, "1=1; 2=2");
  });
});
