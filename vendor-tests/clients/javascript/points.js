// The points with one version of the official client: `node points.js PACKAGE`. It keeps to what version 3.0 already had, and to what
// Node, Bun and Deno have in common. What it prints is told in ../../harness/foreign.js.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import process from "node:process";

const { io } = await import(process.argv[2]);
const { SUITE_URL, ROOMS_URL, TRANSPORT } = process.env;
const transports = TRANSPORT === "upgrade" ? ["polling", "websocket"] : [TRANSPORT];
const LIMIT = 10_000;

const say = (line) => console.log(line);
const within = (what, executor) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${what} within ${LIMIT} ms`)), LIMIT);
    executor((value) => {
      clearTimeout(timer);
      resolve(value);
    });
  });
const next = (socket, event) => within(`"${event}"`, (done) => socket.once(event, (...args) => done(args)));
const ask = (socket, event, ...args) => within(`ack of "${event}"`, (done) => socket.emit(event, ...args, done));
const open = (url, options) =>
  io(url, { forceNew: true, transports, reconnectionDelay: 50, reconnectionDelayMax: 200, auth: { token: "points" }, ...options });
const connected = async (socket) => {
  if (!socket.connected) await next(socket, "connect");
  const { engine } = socket.io;
  if (TRANSPORT === "upgrade" && engine.transport.name !== "websocket") await next(engine, "upgrade");
  return socket;
};

const suite = await connected(open(SUITE_URL));
for (const value of [1, -1.5, true, null, "", "žluťoučký кот てすと 😀", [], { a: [1, { b: null }] }, "x".repeat(100_000)]) {
  assert.deepEqual(await ask(suite, "echo", value), value);
}
say("ok acks");

const bytes = Buffer.from([0, 1, 2, 254, 255]);
const { deep } = await ask(suite, "echo", { deep: [bytes] });
assert.deepEqual(Buffer.from(deep[0]), bytes);
suite.emit("getbin");
assert.equal(Buffer.from((await next(suite, "takebin"))[0]).toString(), "asdfasdf");
suite.emit("jsonbuff", { hello: "lol", message: bytes, goodbye: "gotcha" });
await next(suite, "jsonbuff-ack");
say("ok binary");

suite.once("ack", (answer) => answer(5, { test: true }));
suite.emit("ack");
await next(suite, "got it");
say("ok asked");

const foo = suite.io.socket("/foo");
await connected(foo);
assert.equal(await ask(foo, "getId"), foo.id);
assert.notEqual(foo.id, suite.id);
say("ok namespaces");

const [refusal] = await next(suite.io.socket("/no"), "connect_error");
assert.equal(refusal.message, "Auth failed (custom namespace)");
say("ok refused");
suite.io._close();

const [one, two] = await Promise.all([connected(open(ROOMS_URL)), connected(open(ROOMS_URL))]);
const hear = (socket, text) =>
  within(`message "${text}"`, (done) => {
    const listener = (message) => {
      if (message.text !== text) return;
      socket.off("message", listener);
      done(message);
    };
    socket.on("message", listener);
  });
for (const socket of [one, two]) assert.equal((await ask(socket, "join", "tea")).ok, true);
const heard = [one, two].map((socket) => hear(socket, "hello"));
assert.equal((await ask(one, "message", { room: "tea", text: "hello" })).ok, true);
for (const message of await Promise.all(heard)) assert.deepEqual([message.room, message.from], ["tea", one.id]);
assert.equal((await ask(two, "leave", "tea")).ok, true);
const stray = [];
two.on("message", (message) => stray.push(message));
const typed = hear(one, "from the console");
say("type sendroom tea from the console");
assert.match((await typed).from, /^server:/);
assert.deepEqual((await ask(two, "rooms")).rooms, []);
assert.deepEqual(stray, []);
say("ok rooms");

const id = one.id;
for (const [point, away, back] of [["stop and start", "type stop", "type start"], ["kill", "kill"]]) {
  const gone = next(one, "disconnect");
  const returned = next(one, "connect");
  say(away);
  const [reason] = await gone;
  if (back) say(back);
  await returned;
  const { rooms } = await ask(one, "rooms");
  const recovered = one.id === id && rooms.includes("tea");
  assert.equal(recovered || (one.id !== id && rooms.length === 0), true);
  if (one.recovered !== undefined) assert.equal(one.recovered, recovered);
  say(`note ${point}: ${reason}, ${recovered ? "recovered" : "a new session"}`);
  if (!recovered) await ask(one, "join", "tea");
  const again = hear(one, point);
  await ask(one, "message", { room: "tea", text: point });
  await again;
  say(`ok ${point}`);
}
process.exit(0);
