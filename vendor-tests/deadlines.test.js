// Clients that are too slow: each is cut when its time is over. The cases wait side by side.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { after, before, describe, it } from "node:test";
import { rill } from "./harness/server.js";
import { BINARY, Polling, Wire, closeWires, fetchOnce, frame, request, webSocket } from "./harness/wire.js";

const PATH = "/socket.io/";
let server, slow;
before(async () => ([server, slow] = await Promise.all([rill(), rill({ PING_INTERVAL_MS: "3000", PING_TIMEOUT_MS: "3000" })])));
after(async () => {
  closeWires();
  await Promise.all([server.end(), slow.end()]);
});

/** Writes one byte of `text` every 400 ms for as long as the connection lasts. */
function drip(wire, text) {
  let at = 0;
  const timer = setInterval(() => wire.ended || wire.send(text[at++ % text.length]), 400);
  wire.socket.on("close", () => clearInterval(timer));
}

/** The connection ends, after about so many seconds, with what `answer` matches. */
async function cut(wire, answer, seconds = 10) {
  const begin = Date.now();
  const last = (await wire.closed(seconds * 1_000 + 10_000)).toString("latin1");
  const took = (Date.now() - begin) / 1_000;
  assert.ok(took > seconds * 0.8 && took < seconds + 5, `after ${took} s`);
  assert.match(last, answer);
}

describe("a deadline for everything", { concurrency: true }, () => {
  it("a head that comes byte by byte: 408 or nothing", async () => {
    const wire = await Wire.to(server);
    drip(wire, "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    await cut(wire, /^$|^HTTP\/1\.1 408 /);
  });

  it("a head without an end", async () => {
    const wire = await Wire.to(server);
    wire.send("GET / HTTP/1.1\r\nHost: x\r\n");
    await cut(wire, /^$|^HTTP\/1\.1 408 /);
  });

  it("a connection that says nothing, or nothing more: 75 seconds", async () => {
    const again = await Wire.to(server);
    again.send(request("GET", "/healthz"));
    await again.response();
    await Promise.all([cut(again, /^$/, 75), cut(await Wire.to(server), /^$|^HTTP\/1\.1 408 /, 75)]);
  });

  it("a client that joins no namespace: 45 seconds", async () => {
    const socket = await webSocket(server, `${PATH}?EIO=4&transport=websocket`);
    assert.match(await socket.text(), /^0\{/);
    setTimeout(() => socket.send(frame("3")), 26_000); // its answer to the ping
    await cut(socket, /^(\x81\x012)?(\x88[^]*)?$/, 45);
  });

  it("a body that comes byte by byte: 408, and the session is gone", async () => {
    const session = await Polling.open(server, PATH);
    const wire = await Wire.to(server);
    wire.send(request("POST", session.target, { headers: { "Content-Length": 1_000 } }));
    drip(wire, "4x");
    await cut(wire, /^$|^HTTP\/1\.1 408 /);
    assert.equal((await session.get()).status, 400);
  });

  it("a body in chunks that comes byte by byte", async () => {
    const session = await Polling.open(server, PATH);
    const wire = await Wire.to(server);
    wire.send(request("POST", session.target, { headers: { "Transfer-Encoding": "chunked" } }), "5000\r\n");
    drip(wire, "4x");
    await cut(wire, /^$|^HTTP\/1\.1 408 /);
  });

  it("bodies that come slowly and go on coming are taken, after more than the time for a pong", async () => {
    const session = await Polling.open(slow, PATH);
    await session.post("40");
    await session.packets();
    const body = `420["message",{"text":"${"x".repeat(300_000)}"}]`;
    const wire = await Wire.to(slow);
    wire.send(request("POST", session.target, { headers: { "Content-Length": body.length } }));
    const begin = Date.now();
    for (let at = 0; at < body.length; at += 2_000) {
      wire.send(body.slice(at, at + 2_000));
      await new Promise((resolve) => setTimeout(resolve, begin + (at + 2_000) / 20 - Date.now()));
    }
    assert.equal((await wire.response()).body, "ok");
    assert.ok(Date.now() - begin > 14_000);
    assert.ok((await session.packets()).some((packet) => packet.startsWith('430[{"ok":true')));
  });

  it("a body of which nothing comes", async () => {
    const session = await Polling.open(server, PATH);
    const wire = await Wire.to(server);
    wire.send(request("POST", session.target, { headers: { "Content-Length": 1_000 } }));
    await cut(wire, /^$|^HTTP\/1\.1 408 /);
  });

  it("attachments that do not come (GHSA-55mf-67qm-4wpg)", async () => {
    const socket = await webSocket(server, `${PATH}?EIO=4&transport=websocket`, { pipelined: [frame("40")] });
    await socket.text();
    await socket.text();
    socket.input = Buffer.alloc(0);
    socket.send(frame('453-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1},{"_placeholder":true,"num":2}]'));
    setTimeout(() => socket.send(frame("a", { opcode: BINARY })), 4_000);
    setTimeout(() => socket.send(frame("b", { opcode: BINARY })), 8_000);
    // Each that comes gives the next ten seconds.
    await cut(socket, /^(\x88[^]*)?$/, 18);
  });

  it("a WebSocket that probes and does not take over: it is closed, polling goes on", async () => {
    const session = await Polling.open(server, PATH);
    await session.post("40");
    const socket = await webSocket(server, session.target.replace("polling", "websocket"));
    socket.send(frame("2probe"));
    assert.equal(await socket.text(), "3probe");
    await cut(socket, /^(\x88[^]*)?$/);
    assert.match((await session.packets())[0], /^40\{/);
  });

  it("a WebSocket that does not even probe", async () => {
    const session = await Polling.open(server, PATH);
    await cut(await webSocket(server, session.target.replace("polling", "websocket")), /^(\x88[^]*)?$/);
    await session.post("40");
    assert.match((await session.packets())[0], /^40\{/);
  });

  it("400 of them at once: others are served meanwhile", async () => {
    const wires = await Promise.all(Array.from({ length: 400 }, () => Wire.to(server)));
    wires.forEach((wire, i) => wire.send(i % 2 ? "GET / HT" : request("GET", "/").slice(0, -2)));
    for (let i = 0; i < 20; i++) assert.equal((await fetchOnce(server, "GET", "/healthz")).status, 200);
    await Promise.all(wires.map((wire) => cut(wire, /^$|^HTTP\/1\.1 408 /)));
  });
});
