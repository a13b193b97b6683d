// Known attacks on servers of this kind: the attacker is cut off or gets an error, and nobody else notices.
// After each case a new client is served, and the process runs and has not panicked.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { after, afterEach, before, describe, it } from "node:test";
import { ask, closeClients, connect } from "./harness/clients.js";
import { conformance, rill } from "./harness/server.js";
import { eventually, next, pass } from "./harness/wait.js";
import { BINARY, CLOSE, CONTINUATION, PING, PONG, Polling, TEXT, Wire, closeWires, fetchOnce, frame, request, upgradeRequest, webSocket } from "./harness/wire.js";

const PATH = "/socket.io/";
const WEBSOCKET = `${PATH}?EIO=4&transport=websocket`;
const bytes = (...list) => Buffer.from(list);

// Its pings are 2 s apart and it waits 20 s for the pong: whoever is closed sooner is closed for what it did.
let server;
before(async () => (server = await conformance("client")));
after(() => server.end());
afterEach(async () => {
  closeWires();
  try {
    server.assertHealthy();
  } catch (error) {
    server.child.kill("SIGKILL"); // so that the next case says something about itself
    server = await conformance("client");
    throw error;
  }
  const socket = await connect(server, { transports: ["websocket"] });
  assert.equal(await ask(socket, "echo", "healthy"), "healthy");
  const polling = await connect(server, { transports: ["polling"] });
  assert.equal(await ask(polling, "echo", "healthy"), "healthy");
  closeClients();
});

/** A Socket.IO client without a library, in the main namespace. */
async function joined(where = server) {
  const socket = await webSocket(where, WEBSOCKET);
  assert.match(await socket.text(), /^0\{/);
  socket.send(frame("40"));
  assert.match(await socket.text(), /^40\{"sid":"/);
  return socket;
}

/** The socket still works: it gets an answer to an event. */
async function works(socket) {
  socket.send(frame('421["echo","works"]'));
  assert.equal(await socket.text(), '431["works"]');
}

/** The session is unknown; before that the client may fetch what waited for it, up to the close packet. */
async function assertGone(session) {
  const bodies = [];
  for (let response = await session.get(); response.status === 200; response = await session.get()) bodies.push(response.body);
  assert.ok(bodies.length <= 2, bodies.join("\n"));
  if (bodies.length > 0) assert.match(bodies.at(-1), /(^|\x1e)1$/);
}

/** What an attack costs the server: seconds of processor time, and MiB of memory afterwards. */
async function cost(where, attack) {
  const [cpu, memory] = [where.cpuSeconds(), where.memory()];
  await attack();
  return { cpu: where.cpuSeconds() - cpu, memory: where.memory() - memory };
}

function assertCheap({ cpu, memory }, most = { cpu: 0.5, memory: 16 }) {
  assert.ok(cpu <= most.cpu, `${cpu.toFixed(2)} s of processor time`);
  assert.ok(memory <= most.memory, `${memory.toFixed(1)} MiB more memory`);
}

describe("WebSocket frames against the rules, in the same segment as the request (CVE-2022-21676)", () => {
  for (const [what, ...frames] of [
    ["RSV1", frame("4x", { rsv: 4 })],
    ["RSV2", frame("4x", { rsv: 2 })],
    ["RSV3", frame("4x", { rsv: 1 })],
    ["not masked", frame("4x", { masked: false })],
    ["opcode 3", frame("4x", { opcode: 3 })],
    ["opcode 7", frame("4x", { opcode: 7 })],
    ["opcode 11", frame("", { opcode: 11 })],
    ["opcode 15", frame("", { opcode: 15 })],
    ["a ping of 126 bytes", frame("x".repeat(126), { opcode: PING })],
    ["a pong of 70,000 bytes", frame("x".repeat(70_000), { opcode: PONG })],
    ["a fragmented ping", frame("x", { opcode: PING, fin: false })],
    ["a close frame of one byte", frame("x", { opcode: CLOSE })],
    ["close code 0", frame(bytes(0, 0), { opcode: CLOSE })],
    ["close code 1005", frame(bytes(3, 237), { opcode: CLOSE })],
    ["a close reason that is not UTF-8", frame(bytes(3, 232, 255, 254), { opcode: CLOSE })],
    ["a continuation of nothing", frame("x", { opcode: CONTINUATION })],
    ["a message inside a message", frame("4x", { fin: false }), frame("4y")],
    ["text that is not UTF-8", frame(bytes(52, 0xff, 0xfe))],
    ["text with an overlong form", frame(bytes(52, 0xc0, 0xaf))],
    ["text with a surrogate", frame(bytes(52, 0xed, 0xa0, 0x80))],
    ["text cut inside a character", frame(bytes(52, 0xe2, 0x82))],
    ["a length of 2^62", frame("4x", { length: 2 ** 62 })],
    ["a length of 2^63, which is negative", Buffer.concat([bytes(0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0), bytes(1, 2, 3, 4, 52)])],
    ["a length of 1,000,001", frame("4x", { length: 1_000_001 })],
    ["a message of two halves, too large together", frame("x".repeat(600_000), { fin: false }), frame("x".repeat(600_000), { opcode: CONTINUATION })],
    ["HTTP in place of frames", Buffer.from(request("GET", "/"))],
  ]) {
    it(`${what}: the connection is closed`, async () => {
      const socket = await webSocket(server, WEBSOCKET, { pipelined: frames });
      await socket.over();
    });
  }

  it("a client that does not answer the close frame is hung up on", async () => {
    const socket = await webSocket(server, WEBSOCKET, { pipelined: [frame("4x", { rsv: 4 })] });
    await socket.closed(35_000);
  });

  it("the same on a probing WebSocket: polling goes on", async () => {
    const session = await Polling.open(server, PATH);
    await session.post("40");
    const socket = await webSocket(server, session.target.replace("polling", "websocket"), { pipelined: [frame("2probe", { rsv: 4 })] });
    await socket.over();
    assert.match((await session.packets())[0], /^40\{"sid"/);
  });

  it("a length that needs fewer bytes, and masks of zero, are no crime", async () => {
    const socket = await joined();
    const text = '421["echo","x"]';
    socket.send(Buffer.concat([bytes(0x81, 0x80 | text.length, 0, 0, 0, 0), Buffer.from(text)]));
    assert.equal(await socket.text(), '431["x"]');
  });
});

describe("the ends of connections (CVE-2022-41940)", () => {
  const requests = {
    "an upgrade": upgradeRequest(WEBSOCKET),
    "an upgrade on another path": upgradeRequest("/elsewhere"),
    "an upgrade that is refused": upgradeRequest(`${PATH}?EIO=4&transport=abc`),
    "a handshake": request("GET", `${PATH}?EIO=4&transport=polling`),
    "a POST with half a body": request("POST", `${PATH}?EIO=4&transport=polling&sid=x`, { headers: { "Content-Length": 10 } }) + "4x",
  };
  for (const [what, text] of Object.entries(requests)) {
    it(`a reset at each moment of ${what}`, async () => {
      for (let i = 0; i < 40; i++) {
        const wire = await Wire.to(server);
        if (i % 4 === 1) wire.send(text.slice(0, text.length / 2));
        if (i % 4 >= 2) wire.send(text);
        if (i % 4 === 3) await wire.until((input) => input.length > 0 || undefined, "an answer", 50).catch(() => {});
        wire.socket.resetAndDestroy();
      }
    });
  }

  it("a reset of an open WebSocket with data on the way in both directions", async () => {
    for (let i = 0; i < 20; i++) {
      const socket = await joined();
      for (let n = 0; n < 20; n++) socket.send(frame(`42["message","${"x".repeat(10_000)}"]`));
      socket.socket.resetAndDestroy();
    }
  });
});

describe("heads of requests", () => {
  for (const name of ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Sec-WebSocket-Version", "Connection", "Cookie", "Origin"]) {
    it(`15 kB of spaces and commas in ${name} take linear time (CVE-2021-32640)`, async () => {
      const value = `a${" ".repeat(7_000)}${",\t".repeat(3_900)}b`;
      const spent = await cost(server, async () => {
        for (let i = 0; i < 20; i++) {
          const wire = await Wire.to(server);
          wire.send(upgradeRequest(WEBSOCKET, { [name]: value }));
          await wire.response();
          wire.socket.destroy();
        }
      });
      assertCheap(spent);
    });
  }

  it("each of 100 POSTs of octets is answered (CVE-2026-59725)", async () => {
    const statuses = await Promise.all(Array.from({ length: 100 }, async () => {
      const session = await Polling.open(server, PATH);
      return (await session.post("4x", { "Content-Type": "application/octet-stream" })).status;
    }));
    assert.deepEqual(new Set(statuses), new Set([400]));
  });
});

describe("names of transports and sessions that mean something elsewhere (CVE-2023-31125)", () => {
  for (const name of ["constructor", "__proto__", "toString", "hasOwnProperty", "prototype", "valueOf", "", "polling,websocket", "websocket\u0000", "../polling"]) {
    it(`transport ${JSON.stringify(name)}, plain and as upgrade`, async () => {
      const target = `${PATH}?EIO=4&transport=${encodeURIComponent(name)}`;
      assert.equal((await fetchOnce(server, "GET", target)).body, '{"code":0,"message":"Transport unknown"}');
      const wire = await Wire.to(server);
      wire.send(upgradeRequest(target));
      const { status, body } = await wire.response();
      assert.deepEqual([status, body], [400, "Transport unknown"]);
    });
  }

  for (const query of ["transport=polling&transport=constructor", "transport[]=polling", "transport[__proto__]=polling", "__proto__[transport]=polling"]) {
    it(query, async () => {
      const { status, body } = await fetchOnce(server, "GET", `${PATH}?EIO=4&${query}`);
      assert.deepEqual([status, body], [400, '{"code":0,"message":"Transport unknown"}']);
    });
  }

  for (const sid of ["__proto__", "constructor", "toString", "", "%00", "x".repeat(10_000)]) {
    it(`sid ${sid.slice(0, 20)}`, async () => {
      const { status, body } = await fetchOnce(server, "GET", `${PATH}?EIO=4&transport=polling&sid=${sid}`);
      if (sid === "" && status === 200) return; // as good as none
      assert.deepEqual([status, body], [400, '{"code":1,"message":"Session ID unknown"}']);
    });
  }
});

// The official parser lets a few of these pass: 42, 451-, 43[], a count with a sign or an exponent.
describe("packets against the rules close the connection", () => {
  const LONG = "1".repeat(100_000);
  for (const packet of [
    "4", "4abc", "47", "48[]", "49", "4-", "4 2[\"a\"]",
    "42", "42abc", "42{}", '42"x"', "42null", '42["a"', '42["a"]x', '42["a"],', '42["a",]', '42["a" "b"]', "42[,]", "42['a']", '42["a\u0000"]', "42[NaN]", "42[01]", "42[+1]", "42[.5]", '42["\\x"]',
    // CVE-2023-32695 and its kin: what stands for the name of an event
    "42[]", "42[{}]", "42[null]", "42[true]", '42[["message"]]', '42[{"toString":1}]',
    ...["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"].map((name) => `42["${name}"]`),
    '42["disc\\u006fnnect"]', '42/asd,["connect"]',
    // CVE-2026-69185, CVE-2026-33151 and malformed counts
    "45", "45-", "451", "451-", '450-["x"]', '4500-["x"]', '4511-["x"]', '451.5-["x"]', '45-1-["x"]', '45+1-["x"]', '451e0-["x"]', '45 1-["x"]', '45["x"]', '451["x"]', '45111111111111-["x"]', `45${LONG}-["x"]`, `45${LONG}`, '451-{"_placeholder":true,"num":0}', "46", "461-", "460-1[]", "4611-1[]",
    "40[]", '40"x"', "401", "40null", "40true", "40{", "40{}x", "40", "40{}", "40/", "40,", "41x", '41{"a":1}', "41/asd", "42/nowhere,[\"a\"]", "42/asd,[\"a\"]",
    "43[]", "43-1[]", '431"x"', "431{}", "431", "43/asd,1[]", '44{"message":"x"}', "44",
    "2", "6abc\u0000", "9", "b!!!", "x".repeat(1_000),
  ]) {
    it(`${JSON.stringify(packet.slice(0, 40))}${packet.length > 40 ? "…" : ""}`, async () => {
      const socket = await joined();
      socket.send(frame(packet));
      if (packet === "6abc\u0000") return works(socket); // a noop with data is a noop
      await socket.over();
    });
  }

  for (const [what, ...frames] of [
    ["a lone binary frame", frame(bytes(1, 2, 3), { opcode: BINARY })],
    ["an empty binary frame", frame("", { opcode: BINARY })],
    ["text where an attachment is due", frame('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'), frame('42["message"]')],
    ["one attachment too many", frame('451-["message",{"_placeholder":true,"num":0}]'), frame(bytes(1), { opcode: BINARY }), frame(bytes(2), { opcode: BINARY })],
    ["attachments for a namespace that is not joined", frame('451-/asd,["message",{"_placeholder":true,"num":0}]'), frame(bytes(1), { opcode: BINARY })],
    ["an attachment larger than a message may be", frame('451-["message",{"_placeholder":true,"num":0}]'), frame(Buffer.alloc(1_000_001), { opcode: BINARY })],
  ]) {
    it(what, async () => {
      const socket = await joined();
      socket.send(...frames);
      await socket.over();
    });
  }

  // CVE-2022-2421
  for (const num of ["-1", "1.5", '"0"', "1e9", "1e400", "99999999999999999999999", "2", "null", "true", "{}", "[]", '"constructor"', undefined]) {
    it(`a placeholder with num ${num ?? "missing"}`, async () => {
      const socket = await joined();
      const placeholder = num === undefined ? '{"_placeholder":true}' : `{"_placeholder":true,"num":${num}}`;
      socket.send(frame(`452-["message",${placeholder},{"a":[${placeholder}]}]`), ...[1, 2].map((n) => frame(bytes(n), { opcode: BINARY })));
      await socket.over();
    });
  }

  for (const body of ['42["connect"]', "4abc", '450-["x"]', "bAQID", "42[{}]", "40"]) {
    it(`${body} over polling: the session is gone`, async () => {
      const session = await Polling.open(server, PATH);
      await session.post("40");
      await session.packets();
      assert.equal((await session.post(body)).status, 200);
      await assertGone(session);
    });
  }

  for (const body of ['42["message"]', "40\x1e40", "40\x1e42{}", "41", "40/nowhere,\x1e42/nowhere,[\"x\"]"]) {
    it(`${JSON.stringify(body)} over polling, first of all: the session is gone`, async () => {
      const session = await Polling.open(server, PATH);
      assert.equal((await session.post(body)).status, 200);
      await assertGone(session);
    });
  }
});

describe("a limit that is broken is named with its number, to the client and in the log", () => {
  let strict;
  before(async () => (strict = await rill()));
  after(() => strict.end());
  const placeholder = (num) => `{"_placeholder":true,"num":${num}}`;
  // The official client's suite wants no reason where a message or body is too large; the open packet has told the client how large it may be.
  for (const [what, code, logged, ...frames] of [
    ["a message", 1009, "message larger than 1000000 bytes", frame("x".repeat(1_000_001))],
    ["a message in fragments", 1009, "message larger than 1000000 bytes", frame("x".repeat(600_000), { fin: false }), frame("x".repeat(400_001), { opcode: CONTINUATION })],
    ["fragments", 1009, "message of more than 1000 fragments", frame("4", { fin: false }), ...Array(1_000).fill(frame("", { fin: false, opcode: CONTINUATION }))],
    ["the number of attachments", 1009, "more than 10 attachments", frame('4511-["x"]')],
    ["a rule of frames", 1002, "reserved bits", frame("4", { rsv: 1 })],
    ["a packet", 1008, "invalid JSON", frame('42["x"')],
    ["a text for an attachment", 1008, "got plaintext data when reconstructing a packet", frame(`451-["x",${placeholder(0)}]`), frame('42["x"]')],
  ]) {
    it(what, async () => {
      const socket = await joined(strict);
      socket.send(...frames);
      const close = await socket.frame();
      const reason = logged.startsWith("message larger") ? "" : logged;
      assert.deepEqual([close.opcode, close.payload.readUInt16BE(), close.payload.subarray(2).toString()], [CLOSE, code, reason]);
      await strict.prints(new RegExp(`\\[CLIENT\\] .* closed: ${logged}`));
    });
  }

  it("a body", async () => {
    const session = await Polling.open(strict, PATH);
    await session.post("40");
    const { status, body } = await session.post("x".repeat(1_000_001));
    assert.deepEqual([status, body], [413, ""]);
    await strict.prints(/\[HTTP\] .* refused, body larger than 1000000 bytes/);
  });

  it("packets of a body", async () => {
    const session = await Polling.open(strict, PATH);
    await session.post("40");
    await session.post("6\x1e".repeat(10_001));
    await strict.prints(/\[CLIENT\] .* closed: more than 10000 packets in one body/);
    await assertGone(session);
  });

  it("an attachment of which nothing comes for ten seconds", async () => {
    const socket = await joined(strict);
    const begin = Date.now();
    socket.send(frame(`452-["x",${placeholder(0)},${placeholder(1)}]`));
    const large = frame(Buffer.alloc(1_000), { opcode: BINARY });
    for (let i = 0; i < 6; i++) {
      await pass(1_000);
      socket.send(large.subarray(i * 150, (i + 1) * 150));
    }
    const reason = "nothing of an attachment that is due for 10000 ms";
    let close;
    do close = await socket.frame(20_000); while (close.opcode !== CLOSE);
    assert.deepEqual([close.payload.readUInt16BE(), close.payload.subarray(2).toString()], [1008, reason]);
    const taken = Date.now() - begin;
    assert.ok(taken > 15_500 && taken < 18_500, `${taken} ms`);
    await strict.prints(new RegExp(`closed: ${reason}`));
  });
});

describe("packets that look bad and are harmless", () => {
  for (const packet of [
    '42["__proto__"]', '42["constructor"]', '42["toString"]', '42["hasOwnProperty"]', '42["error"]', '42["error",{"message":"x"}]', // CVE-2024-38355
    "42[1]", "42[-1.5e3]", '42[""]', '42["nothing",{"_placeholder":true,"num":99}]', '42["a","\\ud800"]', '42["\\ud800"]', '42["\\udfff\\ud800","\\\\ud800"]', '42["a",{"x":1,"x":2}]', '42["a",1e400]', '42[ "a" , 1 ]',
    "4399[]", "43999999999[1]", "439007199254740991[]", '42["a",1]\n',
  ]) {
    it(JSON.stringify(packet), async () => {
      const socket = await joined();
      socket.send(frame(packet));
      await works(socket);
      assert.equal(socket.ended, false, "it stays");
    });
  }

  it("keys of JavaScript in data come back as they are, and in nobody's prototype", async () => {
    const socket = await joined();
    socket.send(frame('421["echo",{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}]'));
    assert.equal(await socket.text(), '431[{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}]');
  });

  it("acknowledgement ids up to 2^53 come back exactly; larger ones are refused or answered", async () => {
    const socket = await joined();
    socket.send(frame('429007199254740991["echo",1]'));
    assert.equal(await socket.text(), "439007199254740991[1]");
    socket.send(frame(`42${"9".repeat(30)}["echo",1]`));
    await socket.until((input, ended) => input.length > 0 || ended || undefined, "an answer or the end");
  });

  for (const nsp of ["/\u0000", "/a\u0000b", "/,", "//", `/${"x".repeat(1_025)}`, `/${"x".repeat(900_000)}`, "/\u001b[2J", "/__proto__", "/..", "/😀", '/"', "/{}", "/1", "/nowhere?token=x"]) {
    it(`CONNECT to ${JSON.stringify(nsp.slice(0, 20))}: an error for that namespace, or the end`, async () => {
      const socket = await joined();
      socket.send(frame(`40${nsp},`));
      const answer = await socket.text().catch(() => "closed");
      assert.match(answer, /^44\/|^closed/);
      if (answer !== "closed") await works(socket);
    });
  }

  it("a thousand CONNECTs to namespaces that are not there", async () => {
    const socket = await joined();
    const spent = await cost(server, async () => {
      socket.send(...Array.from({ length: 1_000 }, (_, i) => frame(`40/n${i},`)));
      for (let i = 0; i < 1_000; i++) assert.match(await socket.text(), /^44\/n\d+,\{"message":"Invalid namespace"\}$/);
    });
    assertCheap(spent);
    await works(socket);
  });

  // As the official server reads it: what is no UTF-8 becomes U+FFFD, and then it is a packet or not.
  it("lone surrogates and invalid UTF-8 in a POST body are read as U+FFFD", async () => {
    const event = (...argument) => Buffer.concat([Buffer.from('421["echo","'), bytes(...argument), Buffer.from('"]')]);
    for (const [body, answer] of [
      [event(0xff, 0xfe), '431["\ufffd\ufffd"]'],
      [event(0xed, 0xa0, 0x80), '431["\ufffd\ufffd\ufffd"]'],
      [event(97, 0xe2, 0x82), '431["a\ufffd"]'],
      [Buffer.from('421["echo","\\udfff"]'), '431["\\udfff"]'],
    ]) {
      const session = await Polling.open(server, PATH);
      await session.post("40");
      assert.match((await session.packets())[0], /^40\{"sid"/);
      assert.equal((await session.post(body)).status, 200);
      assert.deepEqual(await session.packets(), [answer]);
    }
    for (const body of [bytes(0xc3, 0x28), bytes(52, 48, 0x1e, 0xed, 0xa0, 0x80)]) {
      const session = await Polling.open(server, PATH);
      assert.equal((await session.post(body)).status, 200);
      await assertGone(session);
    }
  });
});

describe("much from little", () => {
  const tiny = {
    "pings": "2\x1e",
    "pongs": "3\x1e",
    "noops": "6\x1e",
    "messages of nothing": "4\x1e",
    "separators": "\x1e",
    "CONNECTs": "40\x1e",
    "events": '42["x"]\x1e',
    "empty binary": "b\x1e",
    "CONNECTs to other namespaces": "40/x,\x1e",
  };
  for (const [what, packet] of Object.entries(tiny)) {
    it(`a payload of a megabyte of ${what} (CVE-2020-36048)`, async () => {
      const session = await Polling.open(server, PATH);
      const body = packet.repeat(Math.floor(999_999 / packet.length));
      const spent = await cost(server, () => session.post(body).catch(() => {}));
      assertCheap(spent);
    });
  }

  for (const [what, make] of [
    ["digits for an acknowledgement id", (n) => `42${"1".repeat(n)}["x"]`],
    ["digits for a number of attachments", (n) => `45${"1".repeat(n)}-["x"]`],
    ["characters of a namespace", (n) => `42/${"a".repeat(n)}`],
    ["spaces before the arguments", (n) => `42${" ".repeat(n)}["x"]`],
    ["spaces inside the arguments", (n) => `42["x"${" ".repeat(n)}]`],
    ["commas", (n) => `42["x"${",".repeat(n)}]`],
    ["backslashes", (n) => `42["${"\\\\".repeat(n / 2)}"]`],
    ["quotes", (n) => `42["${'\\"'.repeat(n / 2)}"]`],
    ["digits of a number", (n) => `42["x",${"1".repeat(n)}]`],
    ["digits behind the point", (n) => `42["x",0.${"1".repeat(n)}]`],
    ["placeholders", (n) => `451-["x",${'{"_placeholder":true,"num":0},'.repeat(n / 31)}1]`],
    ["keys", (n) => `42["x",{${'"a":1,'.repeat(n / 6)}"a":1}]`],
    ["namespaces in a CONNECT", (n) => `40/${",".repeat(n)}`],
    ["keys of auth", (n) => `40/asd,{${'"a":1,'.repeat(n / 6)}"a":1}`],
  ]) {
    it(`one packet of a megabyte of ${what} takes linear time (CVE-2020-36049)`, async () => {
      const socket = await joined();
      const spent = await cost(server, async () => {
        socket.send(frame(make(990_000)), frame('421["echo","works"]'));
        await socket.until((input, ended) => input.includes("works") || ended || undefined, "an answer or the end");
      });
      assertCheap(spent);
    });
  }

  for (const [what, open, close] of [["lists", "[", "]"], ["objects", '{"a":', "}"], ["lists without an end", "[", ""]]) {
    for (const [where, head, tail] of [["an event", '42["message",', "]"], ["auth", '40/asd,{"a":', "}"], ["an acknowledgement", "431[", "]"], ["a binary event", '451-["message",{"_placeholder":true,"num":0},', "]"]]) {
      it(`${where} with ${what} 100,000 deep`, async () => {
        const socket = await joined();
        socket.send(frame(`${head}${open.repeat(100_000)}1${close.repeat(100_000)}${tail}`));
        await socket.over();
      });
    }
  }

  it("1-byte fragments up to a megabyte (CVE-2026-48779)", async () => {
    const socket = await webSocket(server, WEBSOCKET);
    const flood = Buffer.concat([frame("4", { fin: false }), ...Array.from({ length: 140_000 }, () => frame("x", { fin: false, opcode: CONTINUATION }))]);
    const spent = await cost(server, async () => {
      socket.send(flood);
      await socket.over(5_000);
    });
    assertCheap(spent);
  });

  it("empty fragments without an end", async () => {
    const socket = await webSocket(server, WEBSOCKET);
    const flood = Buffer.concat([frame("4", { fin: false }), ...Array.from({ length: 140_000 }, () => frame("", { fin: false, opcode: CONTINUATION }))]);
    const spent = await cost(server, async () => {
      socket.send(flood);
      await socket.over(5_000);
    });
    assertCheap(spent);
  });

  it("a large frame byte by byte", async () => {
    const socket = await joined();
    const spent = await cost(server, () => socket.trickle(frame(`421["echo","${"x".repeat(5_000)}"]`)));
    assert.equal((await socket.text()).length, 5_007);
    assertCheap(spent);
  });

  for (const [what, packet] of [["pongs of WebSocket", frame("", { opcode: PONG })], ["pongs of Engine.IO", frame("3")], ["noops", frame("6")]]) {
    it(`100,000 ${what} that nobody asked for (CVE-2026-48802)`, async () => {
      const socket = await joined();
      const flood = Buffer.concat(Array.from({ length: 100_000 }, () => packet));
      const spent = await cost(server, async () => {
        socket.send(flood);
        await works(socket);
      });
      assertCheap(spent, { cpu: 0.5, memory: 8 });
    });
  }

  it("20,000 pings of WebSocket in one piece are all answered, in order", async () => {
    const socket = await joined();
    const pings = Array.from({ length: 20_000 }, (_, i) => frame(i % 3 === 0 ? "" : `${i}`, { opcode: PING, masked: true }));
    socket.send(Buffer.concat(pings));
    for (let i = 0; i < 20_000; i++) {
      const { opcode, payload } = await socket.frame();
      assert.deepEqual([opcode, payload.toString()], [PONG, i % 3 === 0 ? "" : `${i}`]);
    }
    await works(socket);
  });

  it("100,000 pings of WebSocket from a client that does not read the pongs", async () => {
    const socket = await joined();
    socket.socket.pause();
    const flood = Buffer.concat(Array.from({ length: 100_000 }, () => frame("x".repeat(125), { opcode: PING })));
    const spent = await cost(server, async () => {
      socket.send(flood);
      await pass(600);
    });
    assertCheap(spent, { cpu: 1, memory: 24 });
    // It is not cut for that: when it reads, it finds the answer to the last one, and is served.
    socket.socket.resume();
    socket.send(frame("last", { opcode: PING }), frame('421["echo","works"]'));
    await socket.until((input) => input.includes('431["works"]') && input.includes("last") ? true : undefined, "the last pong");
  });

  it("3,000 sessions that are opened and left: their memory comes back", async () => {
    const brisk = await conformance("socket"); // gives up on them after half a second
    const burst = async () => {
      for (let i = 0; i < 30; i++) {
        const wire = await Wire.to(brisk);
        wire.send(request("GET", `${PATH}?EIO=4&transport=polling`).repeat(50));
        await wire.until((input) => input.toString("latin1").split("HTTP/1.1 200").length === 51 || undefined, "50 answers");
        wire.socket.destroy();
        const sockets = await Promise.all(Array.from({ length: 50 }, () => webSocket(brisk, WEBSOCKET)));
        sockets.forEach((socket) => socket.socket.destroy());
      }
      await pass(700);
    };
    await burst(); // what the allocator keeps after the first is not a leak
    const spent = await cost(brisk, burst);
    await brisk.end();
    assertCheap(spent, { cpu: 2, memory: 8 });
  });

  it("20,000 changes between namespaces on one connection: their memory comes back", async () => {
    const socket = await joined();
    const change = async (count) => {
      socket.send(Buffer.concat(Array.from({ length: count }, () => [frame("40/asd,"), frame("41/asd,")]).flat()));
      await eventually("all changes are done", () => {
        if (socket.ended) throw new Error("closed");
        return socket.input.toString("latin1").split("40/asd,{").length > count;
      }, 10_000);
      socket.input = Buffer.alloc(0);
    };
    await change(5_000);
    const spent = await cost(server, () => change(15_000));
    assertCheap(spent, { cpu: 2, memory: 4 });
    await works(socket);
  });
});

describe("clients that do not read", () => {
  const BOUND = 4; // MiB, for each
  const SLACK = 24;

  it("an echo that is not read: the server's memory keeps its bound, and others go on", async () => {
    const echo = await conformance("client");
    const socket = await joined(echo);
    const other = await connect(echo, { transports: ["websocket"] });
    socket.socket.pause();
    const large = frame(`421["echo","${"x".repeat(500_000)}"]`);
    const before = echo.memory();
    let most = 0;
    for (let i = 0; i < 120 && !socket.ended; i++) {
      socket.send(large);
      if (i % 10 === 0) assert.equal(await ask(other, "echo", i), i);
      most = Math.max(most, echo.memory() - before);
    }
    await pass(300);
    assert.equal(await ask(other, "echo", "done"), "done");
    most = Math.max(most, echo.memory() - before);
    assert.ok(most < BOUND + SLACK, `${most.toFixed(1)} MiB more`);
    await echo.end();
  });

  it("ten members of a room do not read while 60 MB are sent to it: they are cut, others get everything", async () => {
    // The log keeps what was sent, for those who may come back: 60 MB with or without the ten.
    const text = "x".repeat(300_000);
    const measure = async (stalled) => {
      const room = await rill();
      const [sender, reader] = await Promise.all([1, 2].map(() => connect(room, { transports: ["websocket"] })));
      await ask(reader, "join", "room");
      let heard = 0;
      reader.on("message", () => heard++);
      const sockets = [];
      for (let i = 0; i < stalled; i++) {
        const socket = await joined(room);
        socket.send(frame('421["join","room"]'));
        assert.match(await socket.text(), /^431\[\{"ok":true/);
        socket.socket.pause();
        sockets.push(socket);
      }
      const before = room.memory();
      for (let i = 0; i < 200; i++) await ask(sender, "message", { room: "room", text });
      await eventually("the reader has everything", () => heard === 200);
      const grown = room.memory() - before;
      if (stalled > 0) {
        const clients = () => room.command("status", /clients/i);
        await eventually("those who do not read are gone", async () => /clients\W+2\b/i.test(await clients()));
        assert.match(room.output, /\[CLIENT\].*(cut|bytes)/, "and the log says why");
        sockets.forEach((socket) => socket.socket.resume());
        await Promise.all(sockets.map((socket) => socket.closed()));
      }
      await room.end();
      return grown;
    };
    const [without, withTen] = [await measure(0), await measure(10)];
    // What waits for the ten is one and the same.
    assert.ok(withTen - without < 2 * BOUND + SLACK, `${without.toFixed(1)} MiB more without them, ${withTen.toFixed(1)} MiB with them`);
  });

  it("a client that was cut because it did not read recovers when it can read again, or is told that it can't", async () => {
    const room = await rill();
    const [sender, socket] = await Promise.all([1, 2].map(() => connect(room, { transports: ["websocket"], reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 50 })));
    await ask(socket, "join", "room");
    const numbers = [];
    socket.on("message", ({ text }) => numbers.push(parseInt(text)));
    const { id } = socket;
    const raw = socket.io.engine.transport.ws._socket;
    raw.pause();
    const gone = next(socket, "disconnect", undefined, 20_000);
    const back = next(socket, "connect", undefined, 20_000);
    for (let i = 0; i < 60; i++) await ask(sender, "message", { room: "room", text: `${i} ${"x".repeat(300_000)}` });
    raw.resume();
    await gone;
    await back;
    await ask(sender, "message", { room: "room", text: "60" });
    if (socket.recovered) {
      assert.equal(socket.id, id);
      await eventually("the last message", () => numbers.at(-1) === 60);
      assert.deepEqual(numbers, Array.from({ length: 61 }, (_, i) => i));
    } else {
      assert.notEqual(socket.id, id);
    }
    await room.end();
  });
});
