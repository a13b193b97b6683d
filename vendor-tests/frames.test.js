// WebSocket streams, frame by frame, to this server and to ws, which the official server uses: what each answers is the same.
// Where RFC 6455 leaves no choice the answer stands here too. Each stream goes out in one piece, and byte by byte if it is short.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { after, afterEach, before, describe, it } from "node:test";
import { WebSocketServer } from "ws";
import { conformance } from "./harness/server.js";
import { next } from "./harness/wait.js";
import { BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, closeWires, frame, webSocket } from "./harness/wire.js";

const PATH = "/engine.io/?EIO=4&transport=websocket";
const bytes = (...list) => Buffer.from(list);
const MOST = 1_000_000;

let server, official;
before(async () => {
  server = await conformance("engine-client"); // says hi, and then echoes; a message has at most 100 bytes
  official = new WebSocketServer({ port: 0, host: "127.0.0.1", maxPayload: 100 });
  official.on("connection", (socket) => {
    socket.on("error", () => {});
    socket.on("message", (data, binary) => socket.send(data, { binary }));
    socket.send("0");
    socket.send("4hi");
  });
  await next(official, "listening");
  official.at = { port: official.address().port };
});
after(() => server.end());
after(() => official.close());
afterEach(closeWires);

const END = [frame("end", { opcode: PING }), frame("4end")];

/** What comes back: echoes, pongs, and how the connection ended, if it did before both ends were heard. */
async function answers(where, stream, slowly) {
  const socket = await webSocket(where, PATH);
  assert.match((await socket.frame()).payload.toString(), /^0/);
  assert.equal((await socket.frame()).payload.toString(), "4hi");
  if (slowly) await socket.trickle(stream);
  else socket.send(stream);
  const got = { messages: [], pongs: [], end: "" };
  while (got.messages.at(-1) !== "text 4end" || got.pongs.at(-1) !== "pong 656e64") {
    const { opcode, payload, masked, fin, rsv } = await socket.frame().catch(() => ({ opcode: "hung up" }));
    if (opcode === "hung up") return { ...got, end: opcode };
    assert.deepEqual([masked, fin, rsv], [false, true, 0]);
    const code = payload.length === 0 ? "close" : `close ${payload.length < 2 ? "?" : payload.readUInt16BE()}`;
    if (opcode === CLOSE) return { ...got, end: code };
    if (opcode === PONG) got.pongs.push(`pong ${payload.toString("hex")}`);
    if (opcode === BINARY) got.messages.push(`binary ${payload.toString("hex")}`);
    if (opcode === TEXT && payload.toString() !== "2") got.messages.push(`text ${payload}`); // but for pings of Engine.IO
  }
  return got;
}

/**
 * A stream that both answer in the same way, and how. Echoes and pongs may overtake each other; what a connection still owes its client
 * when it fails is lost on it here, and not with ws.
 */
function same(what, frames, want) {
  const messages = want.filter((answer) => /^(text|binary) /.test(answer));
  const pongs = want.filter((answer) => answer.startsWith("pong "));
  const end = want.find((answer) => answer.startsWith("close"));
  const whole = { messages: [...messages, "text 4end"], pongs: [...pongs, "pong 656e64"], end: "" };
  it(what, async () => {
    const stream = Buffer.concat([...frames, ...END]);
    const check = (got, { mayOwe }) => {
      if (end === undefined) return assert.deepEqual(got, whole);
      assert.equal(got.end, end);
      const known = mayOwe ? messages.slice(0, got.messages.length) : messages;
      assert.deepEqual(got.messages, known);
      assert.deepEqual(got.pongs, pongs);
    };
    check(await answers(official.at, stream), { mayOwe: false });
    check(await answers(server, stream), { mayOwe: true });
    if (stream.length <= 200) check(await answers(server, stream, true), { mayOwe: true });
  });
}

const text = (payload, options) => frame(payload, { opcode: TEXT, ...options });
const binary = (payload, options) => frame(payload, { opcode: BINARY, ...options });
const more = (payload, options) => frame(payload, { opcode: CONTINUATION, fin: false, ...options });
const last = (payload, options) => frame(payload, { opcode: CONTINUATION, ...options });
const begin = (payload, opcode = TEXT) => frame(payload, { opcode, fin: false });
const control = (opcode, payload = "", options) => frame(payload, { opcode, ...options });
const closing = (code, reason = "") => control(CLOSE, Buffer.concat([bytes(code >> 8, code & 255), Buffer.from(reason)]));

describe("masks", () => {
  for (const key of [[0, 0, 0, 0], [255, 255, 255, 255], [1, 2, 3, 4], [0x34, 0x34, 0x34, 0x34], [0, 0, 0, 1]]) {
    const data = Buffer.from("4masked by itself");
    same(`key ${key}`, [Buffer.concat([bytes(0x81, 0x80 | data.length, ...key), data.map((byte, i) => byte ^ key[i & 3])])], ["text 4masked by itself"]);
  }
  for (const [what, stream] of [
    ["text", text("4x", { masked: false })],
    ["empty text", text("", { masked: false })],
    ["binary", binary("x", { masked: false })],
    ["a continuation", Buffer.concat([begin("4"), last("x", { masked: false })])],
    ["a ping", control(PING, "x", { masked: false })],
    ["a pong", control(PONG, "", { masked: false })],
    ["a close frame", control(CLOSE, bytes(3, 232), { masked: false })],
  ]) same(`none: ${what}`, [stream], ["close 1002"]);
});

describe("reserved bits and opcodes", () => {
  for (let rsv = 1; rsv < 8; rsv++) {
    for (const [what, opcode] of [["text", TEXT], ["binary", BINARY], ["a ping", PING], ["a pong", PONG], ["a close frame", CLOSE]]) same(`RSV ${rsv} in ${what}`, [frame("4x", { opcode, rsv })], ["close 1002"]);
    same(`RSV ${rsv} in a continuation`, [begin("4"), last("x", { rsv })], ["close 1002"]);
  }
  for (const opcode of [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]) {
    same(`opcode ${opcode}`, [frame("x", { opcode })], ["close 1002"]);
    same(`opcode ${opcode}, empty and not final`, [frame("", { opcode, fin: false })], ["close 1002"]);
    same(`opcode ${opcode} inside a message`, [begin("4a"), frame("", { opcode })], ["close 1002"]);
  }
});

describe("lengths", () => {
  for (const size of [0, 1, 2, 99, 100]) same(`${size} bytes of binary`, [binary(Buffer.alloc(size, 7))], [`binary ${"07".repeat(size)}`]);
  same("100 bytes of text", [text(`4${"x".repeat(99)}`)], [`text 4${"x".repeat(99)}`]);
  for (const size of [101, 125, 126, 127, 65_535, 65_536, MOST]) same(`${size} bytes are too many`, [binary(Buffer.alloc(size))], ["close 1009"]);
  same("101 bytes in two fragments", [begin("4".padEnd(60)), last("x".repeat(41))], ["close 1009"]);
  for (const length of [2 ** 31, 2 ** 32, 2 ** 53 - 1]) same(`${length} announced`, [binary("x", { length })], ["close 1009"]);
  for (const [what, ...eight] of [["2^53", 0, 0x20, 0, 0, 0, 0, 0, 0], ["2^62", 0x40, 0, 0, 0, 0, 0, 0, 0], ["2^63", 0x80, 0, 0, 0, 0, 0, 0, 0], ["2^64 - 1", 255, 255, 255, 255, 255, 255, 255, 255]]) {
    same(`${what} announced`, [bytes(0x82, 0xff, ...eight, 1, 2, 3, 4)], ["close 1009"]);
  }
  // "The minimal number of bytes MUST be used to encode the length" (5.2): ws takes the others, this server doesn't.
  for (const [what, head, size] of [["5 in two bytes", [0xfe, 0, 5], 5], ["5 in eight", [0xff, 0, 0, 0, 0, 0, 0, 0, 5], 5], ["0 in two", [0xfe, 0, 0], 0], ["100 in two", [0xfe, 0, 100], 100], ["100 in eight", [0xff, 0, 0, 0, 0, 0, 0, 0, 100], 100]]) {
    it(`${what}: refused here alone`, async () => {
      const stream = Buffer.concat([bytes(0x82, ...head, 0, 0, 0, 0), Buffer.alloc(size), ...END]);
      assert.equal((await answers(server, stream)).end, "close 1002");
      assert.deepEqual((await answers(official.at, stream)).messages, [`binary ${"00".repeat(size)}`, "text 4end"]);
    });
  }
});

describe("control frames", () => {
  for (const size of [0, 1, 124, 125]) {
    same(`a ping of ${size} bytes`, [control(PING, "p".repeat(size))], [`pong ${"70".repeat(size)}`]);
    same(`a pong of ${size} bytes`, [control(PONG, "p".repeat(size)), text("4x")], ["text 4x"]);
  }
  for (const opcode of [PING, PONG, CLOSE]) {
    for (const size of [126, 127, 65_535, 65_536]) same(`opcode ${opcode} of ${size} bytes`, [control(opcode, Buffer.alloc(size, 3))], ["close 1002"]);
    same(`opcode ${opcode}, not final`, [control(opcode, bytes(3, 232), { fin: false })], ["close 1002"]);
    same(`opcode ${opcode}, not final, inside a message`, [begin("4"), control(opcode, "", { fin: false })], ["close 1002"]);
  }
  same("a ping that is not UTF-8", [control(PING, bytes(0xff, 0))], ["pong ff00"]);
  same("many pings", Array.from({ length: 50 }, (_, i) => control(PING, `${i}`)), Array.from({ length: 50 }, (_, i) => `pong ${Buffer.from(`${i}`).toString("hex")}`));
});

describe("fragments", () => {
  same("two", [begin("4a"), last("b")], ["text 4ab"]);
  same("of binary", [begin(bytes(1), BINARY), more(bytes(2)), last(bytes(3))], ["binary 010203"]);
  same("one byte each", [begin("4"), ..."abcdefgh".split("").map((c) => more(c)), last("i")], ["text 4abcdefghi"]);
  same("empty ones", [begin(""), more(""), more("4x"), more(""), last("")], ["text 4x"]);
  same("all empty, of binary", [begin("", BINARY), more(""), last("")], ["binary "]);
  same("pings between", [begin("4a"), control(PING, "1"), more("b"), control(PING, "2"), last("c")], ["pong 31", "pong 32", "text 4abc"]);
  same("pongs between", [begin("4a"), control(PONG, "1"), last("c")], ["text 4ac"]);
  same("a ping of 125 bytes between", [begin("4".padEnd(50)), control(PING, "p".repeat(125)), last("c")], [`pong ${"70".repeat(125)}`, `text ${"4".padEnd(50)}c`]);
  same("a close frame between", [begin("4a"), closing(1000), last("c")], ["close 1000"]);
  same("a message behind one in fragments", [begin("4a"), last("b"), text("4c"), begin("4d"), last("")], ["text 4ab", "text 4c", "text 4d"]);
  same("text inside", [begin("4a"), text("4b")], ["close 1002"]);
  same("text begins inside", [begin("4a"), begin("4b")], ["close 1002"]);
  same("binary inside", [begin("4a"), binary("b")], ["close 1002"]);
  same("binary begins inside binary", [begin("a", BINARY), begin("b", BINARY)], ["close 1002"]);
  same("a continuation of nothing", [last("x")], ["close 1002"]);
  same("an empty one", [last("")], ["close 1002"]);
  same("one that is not final", [more("x")], ["close 1002"]);
  same("a continuation behind a whole message", [text("4a"), last("x")], ["text 4a", "close 1002"]);
  same("a continuation behind the last fragment", [begin("4a"), last("b"), last("c")], ["text 4ab", "close 1002"]);
});

describe("UTF-8", () => {
  const characters = "4$é€😀\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{fffd}\u{ffff}\u{10000}\u{10ffff}";
  const data = Buffer.from(characters);
  same("of every length", [text(data)], [`text ${characters}`]);
  for (let at = 0; at <= data.length; at++) same(`in two fragments, cut at ${at}`, [begin(data.subarray(0, at)), last(data.subarray(at))], [`text ${characters}`]);
  same("in fragments of a byte", [begin(data.subarray(0, 1)), ...Array.from(data.subarray(1, -1), (byte) => more(bytes(byte))), last(data.subarray(-1))], [`text ${characters}`]);
  same("in fragments of a byte, with pings between", [begin(data.subarray(0, 6)), control(PING, "1"), more(data.subarray(6, 8)), control(PING, "2"), last(data.subarray(8))], ["pong 31", "pong 32", `text ${characters}`]);
  for (const [what, ...bad] of [
    ["a continuation byte alone", 0x80],
    ["two of them", 0xbf, 0x80],
    ["nothing behind a first of two", 0xc3],
    ["nothing behind a first of three", 0xe2],
    ["one behind a first of three", 0xe2, 0x82],
    ["nothing behind a first of four", 0xf0],
    ["two behind a first of four", 0xf0, 0x9f, 0x98],
    ["a letter inside two", 0xc3, 0x61],
    ["a letter inside four", 0xf0, 0x9f, 0x61, 0x80],
    ["an overlong NUL", 0xc0, 0x80],
    ["an overlong slash", 0xc0, 0xaf],
    ["an overlong DEL", 0xc1, 0xbf],
    ["overlong in three", 0xe0, 0x80, 0xaf],
    ["the longest overlong in three", 0xe0, 0x9f, 0xbf],
    ["overlong in four", 0xf0, 0x80, 0x80, 0xaf],
    ["the longest overlong in four", 0xf0, 0x8f, 0xbf, 0xbf],
    ["the first surrogate", 0xed, 0xa0, 0x80],
    ["the last surrogate", 0xed, 0xbf, 0xbf],
    ["a pair of surrogates", 0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80],
    ["beyond U+10FFFF", 0xf4, 0x90, 0x80, 0x80],
    ["a first of five", 0xf8, 0x88, 0x80, 0x80, 0x80],
    ["a first of six", 0xfc, 0x84, 0x80, 0x80, 0x80, 0x80],
    ["FE", 0xfe],
    ["FF", 0xff],
  ]) {
    same(`${what}: refused`, [text(bytes(0x34, ...bad))], ["close 1007"]);
    same(`${what}, cut by a fragment: refused`, [begin(bytes(0x34, bad[0])), last(bytes(...bad.slice(1)))], ["close 1007"]);
    same(`${what}, in binary: no matter`, [binary(bytes(...bad))], [`binary ${bytes(...bad).toString("hex")}`]);
  }
});

describe("close frames", () => {
  same("without a code", [control(CLOSE)], ["close"]);
  same("of one byte", [control(CLOSE, "x")], ["close 1002"]);
  for (const code of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]) same(`code ${code}`, [closing(code)], [`close ${code}`]);
  for (const code of [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]) same(`code ${code}: illegal`, [closing(code)], ["close 1002"]);
  same("a reason", [closing(1000, "bye 😀")], ["close 1000"]);
  same("a reason of 123 bytes", [closing(1000, "x".repeat(123))], ["close 1000"]);
  same("a reason of 124 bytes", [closing(1000, "x".repeat(124))], ["close 1002"]);
  same("a reason that is not UTF-8", [control(CLOSE, bytes(3, 232, 0xff))], ["close 1007"]);
  same("a reason cut inside a character", [control(CLOSE, bytes(3, 232, 0xe2, 0x82))], ["close 1007"]);
  same("messages behind it are not heard", [closing(1000), text("4x"), control(PING, "x"), binary("y")], ["close 1000"]);
  same("nonsense behind it neither", [closing(1001), bytes(255, 255, 255, 255, 255)], ["close 1001"]);
  same("two of them", [closing(1000), closing(1001)], ["close 1000"]);
});
