// The room application of `rill`, seen by clients of both transports.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { after, afterEach, before, describe, it } from "node:test";
import { TRANSPORTS, ask, client, closeClients, connect } from "./harness/clients.js";
import { rill } from "./harness/server.js";
import { collect, next } from "./harness/wait.js";

let server;
before(async () => (server = await rill()));
after(() => server.end());
afterEach(closeClients);

const open = (transport = { transports: ["websocket"] }) => connect(server, transport);
const join = async (socket, ...rooms) => {
  for (const room of rooms) assert.equal((await ask(socket, "join", room)).ok, true);
  return socket;
};
/** All that a client is told until it has had an answer to one more request. */
const heard = async (socket, during) => {
  const list = [];
  const listener = (message) => list.push(message);
  socket.on("message", listener);
  await during();
  await ask(socket, "rooms");
  socket.off("message", listener);
  return list;
};
const texts = (list) => list.map((message) => message.text);

/** Rooms in no particular order, without the client's own. */
const roomsOf = async (socket) => (await ask(socket, "rooms")).rooms.filter((room) => room !== socket.id).sort();

for (const [name, transport] of TRANSPORTS) {
  describe(`rooms over ${name}`, () => {
    it("join, rooms, leave", async () => {
      const socket = await open(transport);
      assert.deepEqual(await roomsOf(socket), []);
      await join(socket, "blue", "red", "blue");
      assert.deepEqual(await roomsOf(socket), ["blue", "red"]);
      assert.equal((await ask(socket, "leave", "blue")).ok, true);
      assert.deepEqual(await roomsOf(socket), ["red"]);
    });

    it("names of rooms are any text", async () => {
      const names = ["a b", "Ωμέγα 😀", "/", "a,b", '"', "\\", "__proto__", "constructor", "0", " ", "x".repeat(1_024)];
      const socket = await join(await open(transport), ...names);
      assert.deepEqual(await roomsOf(socket), names.sort());
    });

    it("a message to a room reaches its members, the sender among them, and nobody else", async () => {
      const [one, two, outside] = [await open(transport), await open(), await open()];
      await join(one, "blue");
      await join(two, "blue", "red");
      const before = Date.now();
      const arrived = Promise.all([one, two].map((socket) => next(socket, "message")));
      const stray = await heard(outside, async () => {
        assert.equal((await ask(one, "message", { room: "blue", text: "hello blue" })).ok, true);
        for (const [message] of await arrived) {
          assert.deepEqual({ ...message, at: 0 }, { room: "blue", from: one.id, text: "hello blue", at: 0 });
          assert.ok(Number.isInteger(message.at) && message.at >= before - 1_000 && message.at <= Date.now() + 1_000);
        }
      });
      assert.deepEqual(stray, []);
    });

    it("a message without a room reaches everybody", async () => {
      const sockets = [await open(transport), await open(), await open({ transports: ["polling"] })];
      const arrived = Promise.all(sockets.map((socket) => next(socket, "message")));
      sockets[0].emit("message", { text: "all" });
      for (const [message] of await arrived) {
        assert.deepEqual([message.room, message.from, message.text], [null, sockets[0].id, "all"]);
      }
    });

    it("who has left gets nothing, and may send all the same", async () => {
      const [stays, left] = [await open(transport), await open(transport)];
      await join(stays, "blue");
      await join(left, "blue");
      await ask(left, "leave", "blue");
      const arrived = next(stays, "message");
      const stray = await heard(left, () => ask(left, "message", { room: "blue", text: "from outside" }));
      assert.equal((await arrived)[0].text, "from outside");
      assert.deepEqual(stray, []);
    });

    it("a message to a room that nobody is in goes nowhere", async () => {
      const socket = await open(transport);
      const stray = await heard(socket, () => ask(socket, "message", { room: "empty", text: "lost" }));
      assert.deepEqual(stray, []);
    });

    it("another client's own room, its id, is private to it", async () => {
      const [one, two] = [await open(transport), await open()];
      const arrived = next(two, "message");
      const stray = await heard(one, () => ask(one, "message", { room: two.id, text: "psst" }));
      assert.equal((await arrived)[0].text, "psst");
      assert.deepEqual(stray, []);
    });

    it("and can't be joined by others", async () => {
      const [one, two] = [await open(transport), await open()];
      assert.equal((await ask(one, "join", two.id)).ok, false);
      assert.deepEqual(await roomsOf(one), []);
    });

    it("each sender's messages arrive in its order, and at both receivers in the same order", async () => {
      const [one, two] = await Promise.all([open(transport), open(transport)]);
      await join(one, "order");
      await join(two, "order");
      const lists = Promise.all([one, two].map((socket) => collect(socket, "message", 600)));
      for (let i = 0; i < 300; i++) {
        one.emit("message", { room: "order", text: `one ${i}` });
        two.emit("message", { room: "order", text: `two ${i}` });
      }
      const [first, second] = (await lists).map(texts);
      assert.deepEqual(first, second);
      for (const sender of ["one", "two"]) {
        const own = first.filter((text) => text.startsWith(sender));
        assert.deepEqual(own, Array.from({ length: 300 }, (_, i) => `${sender} ${i}`));
      }
    });

    it("the acknowledgement of a message comes after the message itself", async () => {
      const socket = await join(await open(transport), "self");
      const order = [];
      socket.on("message", () => order.push("message"));
      await ask(socket, "message", { room: "self", text: "x" }).then(() => order.push("ack"));
      assert.deepEqual(order, ["message", "ack"]);
    });

    it("900 kB of text to a room", async () => {
      const socket = await join(await open(transport), "large");
      const text = "0123456789€".repeat(69_000);
      const arrived = next(socket, "message");
      await ask(socket, "message", { room: "large", text });
      assert.equal((await arrived)[0].text === text, true);
    });
  });
}

describe("requests that make no sense", () => {
  for (const [what, ...request] of [
    ["join nothing", "join"],
    ["join a number", "join", 5],
    ["join null", "join", null],
    ["join an object", "join", { room: "x" }],
    ["join a list", "join", ["x"]],
    ["join with an empty name", "join", ""],
    ["join with a name that is too long", "join", "x".repeat(1_025)],
    ["join with binary data", "join", Buffer.from("room")],
    ["leave nothing", "leave"],
    ["leave a number", "leave", 5],
    ["message without argument", "message"],
    ["message that is text alone", "message", "hello"],
    ["message without text", "message", { room: "x" }],
    ["message whose text is a number", "message", { text: 5 }],
    ["message whose text is binary", "message", { text: Buffer.from("x") }],
    ["message whose room is a number", "message", { room: 5, text: "x" }],
    ["message that is null", "message", null],
  ]) {
    it(`${what}: an error in the answer`, async () => {
      const socket = await open();
      const answer = await ask(socket, ...request);
      assert.equal(answer.ok, false);
      assert.equal(typeof answer.error, "string");
      assert.notEqual(answer.error, "");
    });

    it(`${what}, without asking for an answer: ignored`, async () => {
      const socket = await open();
      socket.emit(...request);
      assert.deepEqual((await ask(socket, "rooms")).ok, true);
    });
  }

  it("room 1,001 of a client", async () => {
    const socket = await open();
    for (let i = 0; i < 999; i++) socket.emit("join", `room ${i}`);
    await ask(socket, "rooms");
    // Whether the client's own room counts is not said anywhere.
    const answers = [await ask(socket, "join", "room 999"), await ask(socket, "join", "room 1000")];
    assert.equal(answers[1].ok, false);
    assert.equal(typeof answers[1].error, "string");
    assert.equal((await ask(socket, "leave", "room 0")).ok, true);
    assert.equal((await ask(socket, "join", "room 1001")).ok, true);
  });

  it("events of other names", async () => {
    const socket = await open();
    socket.emit("nothing", 1, { a: Buffer.from("x") });
    socket.emit("error", "x");
    socket.emit("__proto__");
    assert.equal((await ask(socket, "rooms")).ok, true);
  });

  it("an unknown namespace", async () => {
    const [error] = await next(client(server, {}, "/nowhere"), "connect_error");
    assert.equal(error.message, "Invalid namespace");
  });
});
