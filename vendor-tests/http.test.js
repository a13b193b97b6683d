// HTTP by raw sockets: every refusal in its exact words, connections kept and closed, bodies in pieces, cross-origin rules.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { after, afterEach, before, describe, it } from "node:test";
import { conformance, rill } from "./harness/server.js";
import { CLOSE, Polling, Wire, closeWires, fetchOnce, frame, request, upgradeRequest, webSocket } from "./harness/wire.js";

const REFUSALS = [
  '{"code":0,"message":"Transport unknown"}',
  '{"code":1,"message":"Session ID unknown"}',
  '{"code":2,"message":"Bad handshake method"}',
  '{"code":3,"message":"Bad request"}',
  '{"code":4,"message":"Forbidden"}',
  '{"code":5,"message":"Unsupported protocol version"}',
];

const PATH = "/engine.io/";
const OPEN = `${PATH}?EIO=4&transport=polling`;

let server;
before(async () => (server = await conformance("engine")));
after(() => server.end());
afterEach(closeWires);

/** A known session's query, its sid in place of SID. */
async function target(query) {
  if (!query.includes("SID")) return PATH + query;
  return PATH + query.replace("SID", (await Polling.open(server)).sid);
}

describe("refusals of plain requests", () => {
  for (const [code, method, query] of [
    [0, "GET", ""],
    [0, "GET", "?EIO=4"],
    [0, "GET", "?EIO=4&transport="],
    [0, "GET", "?EIO=4&transport=abc"],
    [0, "GET", "?EIO=4&transport=webtransport"],
    [0, "GET", "?EIO=4&transport=Polling"],
    [0, "GET", "?EIO=4&transport=polling&transport=abc"],
    [0, "GET", "?EIO=4&transport=constructor"],
    [0, "GET", "?EIO=4&transport=__proto__"],
    [0, "GET", "?EIO=4&transport=toString"],
    [0, "GET", "?EIO=4&transport=hasOwnProperty"],
    [0, "GET", "?EIO=4&transport=polling%00"],
    [0, "GET", "?EIO=4&transport=poll+ing"],
    [0, "POST", "?EIO=4"],
    [1, "GET", "?EIO=4&transport=polling&sid=abc"],
    [1, "GET", "?EIO=4&transport=polling&sid=__proto__"],
    [1, "GET", "?EIO=4&transport=polling&sid=constructor"],
    [1, "GET", "?EIO=4&transport=polling&sid=SID&sid=abc"],
    [1, "GET", "?EIO=4&transport=polling&sid=SID%00"],
    [1, "POST", "?EIO=4&transport=polling&sid=abc"],
    [1, "PUT", "?EIO=4&transport=polling&sid=abc"],
    [1, "GET", "?EIO=4&transport=websocket&sid=abc"],
    [2, "POST", "?EIO=4&transport=polling"],
    [2, "PUT", "?EIO=4&transport=polling"],
    [2, "DELETE", "?EIO=4&transport=polling"],
    [2, "PATCH", "?EIO=4&transport=polling"],
    [3, "GET", "?EIO=4&transport=websocket"],
    [3, "GET", "?EIO=4&transport=websocket&sid=SID"],
    [3, "GET", "?EIO=3&transport=polling&sid=SID"],
    [5, "GET", "?transport=polling"],
    [5, "GET", "?EIO=&transport=polling"],
    [5, "GET", "?EIO=3&transport=polling"],
    [5, "GET", "?EIO=5&transport=polling"],
    [5, "GET", "?EIO=abc&transport=polling"],
    [5, "GET", "?EIO=4&transport=polling&EIO=3"],
  ]) {
    it(`${method} ${query || "without a query"}: code ${code}`, async () => {
      const body = method === "GET" ? undefined : "4x";
      const response = await fetchOnce(server, method, await target(query), { body });
      assert.deepEqual([response.status, response.body], [400, REFUSALS[code]]);
      assert.match(response.headers["content-type"], /^application\/json/);
    });
  }

  it("queries are form-encoded, keys and values", async () => {
    const { status } = await fetchOnce(server, "GET", `${PATH}?%45IO=%34&tr%61nsport=poll%69ng&x=%&y=%zz&=&&`);
    assert.equal(status, 200);
  });

  it("the application's refusal: 403, code 4", async () => {
    const small = await conformance("engine-client");
    const response = await fetchOnce(small, "GET", `${OPEN}&deny=1`);
    assert.deepEqual([response.status, response.body], [403, REFUSALS[4]]);
    await small.end();
  });

  it("an origin with a control character: 400", async () => {
    assert.equal((await fetchOnce(server, "GET", OPEN, { headers: { Origin: "http://a\u0001b" } })).status, 400);
  });

  for (const method of ["PUT", "DELETE", "PATCH"]) {
    it(`${method} with a known session: 500 and empty`, async () => {
      const session = await Polling.open(server);
      const response = await fetchOnce(server, method, session.target, { body: "4x" });
      assert.deepEqual([response.status, response.body], [500, ""]);
    });
  }

  for (const [method, path] of [["GET", "/"], ["GET", "/nowhere"], ["POST", "/nowhere"], ["GET", "/engine.iox/?EIO=4&transport=polling"], ["GET", "/engine.io/../etc/passwd"], ["GET", "/%2e%2e/%2e%2e/etc/passwd"], ["GET", "//engine.io/"]]) {
    it(`${method} ${path}: not found, and complete`, async () => {
      const { status } = await fetchOnce(server, method, path, method === "POST" ? { body: "x" } : {});
      assert.ok([400, 404, 405].includes(status), `${status}`);
    });
  }
});

describe("refusals of upgrades are complete answers", () => {
  for (const [message, query] of [
    ["Transport unknown", "?EIO=4&transport=abc"],
    ["Transport unknown", "?EIO=4"],
    ["Transport unknown", "?EIO=4&transport=constructor"],
    ["Session ID unknown", "?EIO=4&transport=websocket&sid=abc"],
    ["Session ID unknown", "?EIO=4&transport=websocket&sid=__proto__"],
    // The official server accepts these two first, and closes then.
    ["Unsupported protocol version", "?EIO=3&transport=websocket"],
    ["Unsupported protocol version", "?transport=websocket"],
  ]) {
    it(`${query}: ${message}`, async () => {
      const wire = await Wire.to(server);
      wire.send(upgradeRequest(PATH + query));
      const response = await wire.response();
      assert.deepEqual([response.status, response.body], [400, message]);
      assert.equal(response.headers.connection.toLowerCase(), "close");
      await wire.closed();
    });
  }

  for (const [what, path, headers] of [
    ["transport=polling", `${OPEN}`, {}],
    ["another path", "/nowhere", {}],
    ["no key", `${PATH}?EIO=4&transport=websocket`, { "Sec-WebSocket-Key": "" }],
    ["a key of the wrong length", `${PATH}?EIO=4&transport=websocket`, { "Sec-WebSocket-Key": "AAAA" }],
    ["another version", `${PATH}?EIO=4&transport=websocket`, { "Sec-WebSocket-Version": "8" }],
    ["another protocol than WebSocket", `${PATH}?EIO=4&transport=websocket`, { Upgrade: "h2c" }],
  ]) {
    it(`${what}: an error, complete, and the end`, async () => {
      const wire = await Wire.to(server);
      wire.send(upgradeRequest(path, headers));
      const { status } = await wire.response();
      assert.ok(status >= 400 && status < 500, `${status}`);
    });
  }

  it("a second WebSocket for a session that has one: refused or closed, the first goes on", async () => {
    const session = await Polling.open(server);
    const first = await webSocket(server, session.target.replace("polling", "websocket"));
    first.send(frame("2probe"));
    assert.equal(await first.text({ pings: true }), "3probe");
    const second = await Wire.to(server);
    second.send(upgradeRequest(session.target.replace("polling", "websocket")));
    await second.closed();
    first.send(frame("5"), frame("4first"));
    assert.equal(await first.text(), "4first");
    const third = await Wire.to(server);
    third.send(upgradeRequest(session.target.replace("polling", "websocket")));
    await third.closed();
    first.send(frame("4still"));
    assert.equal(await first.text(), "4still");
    assert.deepEqual((await session.get()).body, REFUSALS[3]);
    assert.deepEqual((await session.post("4x")).body, REFUSALS[3]);
  });

  it("a GET is released with a noop during an upgrade, not sooner than 100 ms after the probe", async () => {
    const session = await Polling.open(server);
    const poll = session.get();
    const socket = await webSocket(server, session.target.replace("polling", "websocket"));
    const begin = Date.now();
    socket.send(frame("2probe"));
    await socket.text({ pings: true });
    assert.equal((await poll).body, "6");
    assert.ok(Date.now() - begin >= 95, `${Date.now() - begin} ms`);
  });

  it("5 without a probe upgrades, as Elephant.io does it", async () => {
    const session = await Polling.open(server);
    const socket = await webSocket(server, session.target.replace("polling", "websocket"));
    socket.send(frame("5"), frame("4over WebSocket"));
    assert.equal(await socket.text(), "4over WebSocket");
    assert.deepEqual((await session.get()).body, REFUSALS[3]);
  });

  for (const end of ["answered", "dropped"]) {
    it(`5 while a POST is on its way upgrades; the POST is still ${end === "answered" ? "heard" : "let go, and the WebSocket goes on"}`, async () => {
      const session = await Polling.open(server);
      const post = await Wire.to(server);
      post.send(request("POST", session.target, { headers: { "Content-Length": 5 } }), "4po");
      const socket = await webSocket(server, session.target.replace("polling", "websocket"));
      socket.send(frame("2probe"));
      assert.equal(await socket.text({ pings: true }), "3probe");
      socket.send(frame("5"), frame("4new"));
      assert.equal(await socket.text(), "4new");
      if (end === "answered") {
        post.send("st");
        assert.equal((await post.response()).body, "ok");
        assert.equal(await socket.text(), "4post");
      } else {
        post.socket.destroy();
      }
      socket.send(frame("4on"));
      assert.equal(await socket.text(), "4on");
      assert.deepEqual((await session.post("4late")).body, REFUSALS[3]);
    });
  }

  for (const [what, packet] of [["a message", "4x"], ["another probe text", "2other"], ["no packet", "abc"]]) {
    it(`a probing WebSocket that sends ${what} is closed, and polling goes on`, async () => {
      const session = await Polling.open(server);
      const socket = await webSocket(server, session.target.replace("polling", "websocket"));
      socket.send(frame(packet));
      await socket.closed();
      await session.post("4alive");
      assert.deepEqual(await session.packets(), ["4alive"]);
    });
  }
});

describe("answers", () => {
  it("the handshake", async () => {
    const { status, headers, body } = await fetchOnce(server, "GET", OPEN);
    assert.equal(status, 200);
    assert.equal(headers["content-type"].toLowerCase(), "text/plain; charset=utf-8");
    assert.equal(headers["cache-control"], "no-store");
    assert.equal(headers["access-control-allow-origin"] ?? "*", "*");
    const { sid, ...rest } = JSON.parse(body.slice(1));
    assert.equal(body[0], "0");
    assert.match(sid, /^[\w-]{20,}$/);
    assert.deepEqual(rest, { upgrades: ["websocket"], pingInterval: 300, pingTimeout: 200, maxPayload: 1_000_000 });
  });

  it("ids are never the same", async () => {
    const sids = await Promise.all(Array.from({ length: 200 }, async () => (await Polling.open(server)).sid));
    assert.equal(new Set(sids).size, 200);
    assert.equal(new Set(sids.map((sid) => sid.slice(0, 8))).size, 200, "and do not begin alike");
  });

  it("a POST and the GET after it", async () => {
    const session = await Polling.open(server);
    const post = await session.post("4hello");
    assert.deepEqual([post.status, post.headers["content-type"].split(";")[0], post.body], [200, "text/html", "ok"]);
    const get = await session.get();
    assert.deepEqual([get.status, get.headers["content-type"].toLowerCase(), get.body], [200, "text/plain; charset=utf-8", "4hello"]);
    assert.equal(get.headers["cache-control"], "no-store");
  });

  it("several packets in a body come back in one, binary as base64", async () => {
    const session = await Polling.open(server);
    await session.post("4test1\x1ebAQIDBA==\x1e4\u20ac😀");
    assert.equal((await session.get()).body, "4test1\x1ebAQIDBA==\x1e4\u20ac😀");
  });

  it("base64 in lines, as the official client for Java sends it", async () => {
    const session = await Polling.open(server);
    const data = Buffer.from("0123456789".repeat(20)).toString("base64");
    await session.post(`4before\x1eb${data.replace(/.{1,76}/g, "$&\n")}\x1e4after`);
    assert.equal((await session.get()).body, `4before\x1eb${data}\x1e4after`);
  });

  for (const [type, alive] of [["text/plain;charset=UTF-8", true], ["application/x-www-form-urlencoded", true], ["", true], ["application/octet-stream", false], ["APPLICATION/OCTET-STREAM; x=y", undefined]]) {
    it(`a POST of type "${type}"`, async () => {
      const session = await Polling.open(server);
      const { status, body } = await session.post("4x", { "Content-Type": type });
      if (alive === true) assert.deepEqual([status, body, (await session.get()).body], [200, "ok", "4x"]);
      if (alive === false) assert.deepEqual([status, body, (await session.get()).body], [400, "", REFUSALS[1]]);
      assert.ok([200, 400].includes(status));
    });
  }

  // With an empty body the official server sees one packet of no type.
  for (const body of ["abc", "", "2", "9", "\x1e", "4a\x1e", "4a\x1e\x1e4b", "b!!!", "4a\x1e1"]) {
    it(`POST ${JSON.stringify(body)}: ok, and the session is gone`, async () => {
      const session = await Polling.open(server);
      const response = await session.post(body);
      assert.deepEqual([response.status, response.body], [200, "ok"]);
      const gone = await session.get();
      if (gone.status === 200) assert.match(gone.body, /(^|\x1e)1$/);
      assert.deepEqual((await session.get()).body, REFUSALS[1]);
    });
  }

  it("POST 1: the waiting GET gets a noop, and the session is gone", async () => {
    const session = await Polling.open(server);
    const wire = await Wire.to(server);
    wire.send(request("GET", session.target));
    const post = await session.post("1");
    const poll = await wire.response();
    assert.deepEqual([post.status, post.body, poll.status, poll.body], [200, "ok", 200, "6"]);
    assert.deepEqual((await session.get()).body, REFUSALS[1]);
  });

  it("two GETs at once: the first gets a close packet, the second 400, and the session is gone", async () => {
    const session = await Polling.open(server);
    const [first, second] = [await Wire.to(server), await Wire.to(server)];
    first.send(request("GET", session.target));
    await new Promise((resolve) => setTimeout(resolve, 30)); // the order in which they are taken is what matters
    second.send(request("GET", session.target));
    const [one, two] = [await first.response(), await second.response()];
    assert.deepEqual([one.status, one.body, two.status], [200, "1", 400]);
    assert.deepEqual((await session.get()).body, REFUSALS[1]);
  });

  it("two POSTs at once: 400, and the session is gone", async () => {
    const session = await Polling.open(server);
    const first = await Wire.to(server);
    first.send(request("POST", session.target, { headers: { "Content-Length": 6 } }), "4hal");
    await new Promise((resolve) => setTimeout(resolve, 30));
    assert.equal((await session.post("4x")).status, 400);
    assert.deepEqual((await session.get()).body, REFUSALS[1]);
  });

  it("a GET whose connection is dropped ends the session", async () => {
    const session = await Polling.open(server);
    const wire = await Wire.to(server);
    wire.send(request("GET", session.target));
    await new Promise((resolve) => setTimeout(resolve, 30));
    wire.socket.destroy();
    assert.equal((await session.get()).status, 400);
  });

  it("a silent session is gone after interval and timeout, polled or not", async () => {
    const session = await Polling.open(server);
    await new Promise((resolve) => setTimeout(resolve, 510));
    assert.deepEqual((await session.get()).body, REFUSALS[1]);
  });
});

describe("bodies", () => {
  it("exactly the limit", async () => {
    const session = await Polling.open(server);
    const body = `4${"x".repeat(999_999)}`;
    assert.equal((await session.post(body)).status, 200);
    assert.equal((await session.get()).body === body, true);
  });

  it("one byte over the limit: 413, empty, and the session lives", async () => {
    const session = await Polling.open(server);
    const response = await session.post(`4${"x".repeat(1_000_000)}`);
    assert.deepEqual([response.status, response.body], [413, ""]);
    await session.post("4alive");
    assert.equal((await session.get()).body, "4alive");
  });

  it("a length without bounds: 413 before the body", async () => {
    const session = await Polling.open(server);
    for (const length of ["1000001", "4294967297", "18446744073709551616", "9".repeat(50)]) {
      const wire = await Wire.to(server);
      wire.send(request("POST", session.target, { headers: { "Content-Length": length } }), "4x");
      const { status } = await wire.response();
      assert.ok(status === 413 || status === 400, `${length}: ${status}`);
    }
  });

  it("each byte of head and body in a segment of its own", async () => {
    const session = await Polling.open(server);
    const wire = await Wire.to(server);
    await wire.trickle(request("POST", session.target, { body: "4h€llo\x1e4wörld 😀" }));
    assert.equal((await wire.response()).body, "ok");
    await wire.trickle(request("GET", session.target));
    assert.equal((await wire.response()).body, "4h€llo\x1e4wörld 😀");
  });

  it("Expect: 100-continue", async () => {
    const session = await Polling.open(server);
    const wire = await Wire.to(server);
    wire.send(request("POST", session.target, { headers: { Expect: "100-continue", "Content-Length": 6 } }));
    assert.equal((await wire.response()).status, 100);
    wire.send("4hello");
    assert.deepEqual([(await wire.response()).body, (await session.get()).body], ["ok", "4hello"]);
  });

  it("Expect: 100-continue with a body that is too large: 413 at once", async () => {
    const session = await Polling.open(server);
    const wire = await Wire.to(server);
    wire.send(request("POST", session.target, { headers: { Expect: "100-continue", "Content-Length": 2_000_000 } }));
    assert.equal((await wire.response()).status, 413);
  });

  const CHUNKED = { "Transfer-Encoding": "chunked" };
  const inChunks = (body, size) => body.match(new RegExp(`[^]{1,${size}}`, "g")).map((part) => `${Buffer.byteLength(part).toString(16)}\r\n${part}\r\n`).join("") + "0\r\n\r\n";

  for (const size of [1, 2, 7, 1_000]) {
    it(`in chunks of ${size}, whole, byte by byte, and with the next request behind`, async () => {
      const session = await Polling.open(server);
      const wire = await Wire.to(server);
      const [head, body] = [request("POST", session.target, { headers: CHUNKED }), inChunks("4h€llo\x1e4wörld", size)];
      wire.send(head, body);
      assert.equal((await wire.response()).body, "ok");
      await wire.trickle(head + body);
      assert.equal((await wire.response()).body, "ok");
      wire.send(head, body, request("GET", session.target));
      assert.equal((await wire.response()).body, "ok");
      assert.equal((await wire.response()).body, Array(3).fill("4h€llo\x1e4wörld").join("\x1e"));
    });
  }

  it("in chunks, exactly the limit and one byte over it: 413, and the session lives", async () => {
    const session = await Polling.open(server);
    const body = `4${"x".repeat(999_999)}`;
    const wire = await Wire.to(server);
    wire.send(request("POST", session.target, { headers: CHUNKED }), inChunks(body, 60_000));
    assert.equal((await wire.response()).body, "ok");
    wire.send(request("GET", session.target));
    assert.equal((await wire.response()).body === body, true);
    for (const chunks of [inChunks(`${body}x`, 60_000), "f4241\r\n", "ffffffffffffffff\r\n"]) {
      const other = await Wire.to(server);
      other.send(request("POST", session.target, { headers: CHUNKED }), chunks);
      assert.equal((await other.response()).status, 413);
    }
    await session.post("4alive");
    assert.equal((await session.get()).body, "4alive");
  });

  it("in chunks, Expect: 100-continue", async () => {
    const session = await Polling.open(server);
    const wire = await Wire.to(server);
    wire.send(request("POST", session.target, { headers: { ...CHUNKED, Expect: "100-continue" } }));
    assert.equal((await wire.response()).status, 100);
    wire.send(inChunks("4hello", 3));
    assert.deepEqual([(await wire.response()).body, (await session.get()).body], ["ok", "4hello"]);
  });

  for (const [what, headers, body] of [["a length", { "Content-Length": 5 }, "4body"], ["chunks", CHUNKED, "5\r\n4body\r\n0\r\n\r\n"]]) {
    it(`of a GET, with ${what}: read and ignored`, async () => {
      const opening = await Wire.to(server);
      opening.send(request("GET", OPEN, { headers }), body);
      const { status, body: answer } = await opening.response();
      assert.equal(status, 200);
      const session = new Polling(server, PATH, JSON.parse(answer.slice(1)).sid);
      const poll = await Wire.to(server);
      poll.send(request("GET", session.target, { headers }), body);
      await session.post("4hello");
      assert.deepEqual([(await poll.response()).body, (await poll.closed()).length], ["4hello", 0]);
    });

    it(`of a request for a WebSocket, with ${what}: not read as frames`, async () => {
      const wire = await Wire.to(server);
      const hidden = frame("4hidden");
      const size = headers["Content-Length"] ? { "Content-Length": hidden.length } : headers;
      wire.send(upgradeRequest(`${PATH}?EIO=4&transport=websocket`, size));
      wire.send(headers["Content-Length"] ? hidden : Buffer.concat([Buffer.from(`${hidden.length.toString(16)}\r\n`), hidden, Buffer.from("\r\n0\r\n\r\n")]));
      wire.send(frame("4seen"));
      assert.equal((await wire.response()).status, 101);
      assert.match(await wire.text(), /^0\{/);
      assert.equal(await wire.text(), "4seen");
    });
  }

  it("of HTTP/1.0 in chunks: 400", async () => {
    const session = await Polling.open(server);
    const wire = await Wire.to(server);
    wire.send(request("POST", session.target, { headers: CHUNKED, version: "1.0" }), inChunks("4x", 2));
    assert.equal((await wire.response()).status, 400);
  });

  it("a POST whose connection is dropped in the middle ends the session, and no half packet counts", async () => {
    const session = await Polling.open(server);
    const wire = await Wire.to(server);
    wire.send(request("POST", session.target, { headers: { "Content-Length": 100 } }), "4half");
    await new Promise((resolve) => setTimeout(resolve, 30));
    wire.socket.destroy();
    const { status, body } = await session.get();
    assert.ok(status === 400 || !body.includes("half"), body);
  });
});

describe("connections", () => {
  it("are kept for the next request", async () => {
    const session = await Polling.open(server);
    const wire = await Wire.to(server);
    for (let i = 0; i < 20; i++) {
      wire.send(request("POST", session.target, { body: `4${i}` }));
      assert.equal((await wire.response()).body, "ok");
      wire.send(request("GET", session.target));
      assert.match((await wire.response()).body, new RegExp(`4${i}$`));
    }
  });

  it("requests in one segment are answered in their order", async () => {
    // The official server takes them for requests at the same time, and closes the session.
    const session = await Polling.open(server);
    const wire = await Wire.to(server);
    wire.send(...["4one", "4two", "4three"].map((body) => request("POST", session.target, { body })), request("GET", session.target));
    const bodies = [];
    for (let i = 0; i < 4; i++) bodies.push((await wire.response()).body);
    assert.deepEqual(bodies, ["ok", "ok", "ok", "4one\x1e4two\x1e4three"]);
  });

  it("handshakes in one segment", async () => {
    const wire = await Wire.to(server);
    wire.send(request("GET", OPEN).repeat(10));
    const sids = [];
    for (let i = 0; i < 10; i++) sids.push(JSON.parse((await wire.response()).body.slice(1)).sid);
    assert.equal(new Set(sids).size, 10);
  });

  for (const [what, method, query] of [["of the query", "GET", "?EIO=4&transport=abc"], ["of the method", "PUT", "?EIO=4&transport=polling"], ["of the path", "GET", "../nowhere"]]) {
    it(`after a refusal ${what} the connection is good for another request, unless it was said to close`, async () => {
      const wire = await Wire.to(server);
      wire.send(request(method, PATH + query, method === "PUT" ? { body: "4x" } : {}), request("GET", OPEN));
      const { status, headers } = await wire.response();
      assert.ok(status >= 400);
      if (headers.connection === "close") await wire.closed();
      else assert.equal((await wire.response()).status, 200);
    });
  }

  it("Connection: close is obeyed", async () => {
    const wire = await Wire.to(server);
    wire.send(request("GET", OPEN, { headers: { Connection: "close" } }));
    assert.equal((await wire.response()).headers.connection, "close");
    await wire.closed();
  });

  it("HTTP/1.0 closes", async () => {
    const wire = await Wire.to(server);
    wire.send(request("GET", OPEN, { version: "1.0" }));
    const text = (await wire.closed()).toString();
    assert.match(text, /^HTTP\/1\.[01] 200 [^]*\r\n\r\n0\{"sid"/);
  });

  for (const [what, path] of [["the protocol", OPEN], ["an unknown path", "/nowhere"], ["a bad query", PATH]]) {
    it(`HEAD of ${what} is answered without a body`, async () => {
      const wire = await Wire.to(server);
      wire.send(request("HEAD", path, { headers: { Connection: "close" } }));
      assert.match((await wire.closed()).toString(), /^HTTP\/1\.1 \d{3} [^]*?\r\n\r\n$/);
    });
  }

  it("HTTP/1.0 can't ask for a WebSocket", async () => {
    const wire = await Wire.to(server);
    wire.send(upgradeRequest(`${PATH}?EIO=4&transport=websocket`).replace("HTTP/1.1", "HTTP/1.0"));
    const { status, headers, body } = await wire.response();
    assert.deepEqual([status, headers.upgrade, body], [400, undefined, REFUSALS[3]]);
  });

  it("an empty line before a request is passed over", async () => {
    const wire = await Wire.to(server);
    wire.send("\r\n", request("GET", OPEN));
    assert.equal((await wire.response()).status, 200);
  });

  it("a target as to a proxy", async () => {
    assert.equal((await fetchOnce(server, "GET", `http://example.org${OPEN}`)).status, 200);
  });

  it("WebSocket frames in the same segment as the request", async () => {
    const socket = await webSocket(server, `${PATH}?EIO=4&transport=websocket`, { pipelined: [frame("4early"), frame("4bird")] });
    assert.match(await socket.text(), /^0\{/);
    assert.deepEqual([await socket.text(), await socket.text()], ["4early", "4bird"]);
  });

  it("the accept key of RFC 6455", async () => {
    const socket = await webSocket(server, `${PATH}?EIO=4&transport=websocket`, { headers: { "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==" } });
    assert.equal(socket.accepted["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert.equal(socket.accepted["sec-websocket-extensions"], undefined);
  });

  it("the server's frames are whole and not masked", async () => {
    const socket = await webSocket(server, `${PATH}?EIO=4&transport=websocket`);
    socket.send(frame(`4${"x".repeat(100_000)}`));
    await socket.text();
    const { fin, rsv, masked, payload } = await socket.frame();
    assert.deepEqual([fin, rsv, masked, payload.length], [true, 0, false, 100_001]);
  });

  it("a close frame is answered with its code, and the connection ends", async () => {
    const socket = await webSocket(server, `${PATH}?EIO=4&transport=websocket`);
    await socket.text();
    socket.send(frame(Buffer.of(0x03, 0xe8), { opcode: CLOSE }));
    const { opcode, payload } = await socket.frame();
    assert.deepEqual([opcode, payload.subarray(0, 2)], [CLOSE, Buffer.of(0x03, 0xe8)]);
    await socket.closed();
  });
});

describe("heads that are refused", () => {
  const line = `GET ${OPEN} HTTP/1.1\r\n`;
  const many = (count, size) => Array.from({ length: count }, (_, i) => `X-${i}: ${"x".repeat(size)}\r\n`).join("");

  for (const [what, head, statuses] of [
    ["101 headers", `${line}Host: x\r\n${many(101, 5)}\r\n`, [431]],
    ["2,000 headers", `${line}Host: x\r\n${many(2_000, 5)}\r\n`, [431]],
    ["a header of 64 kB", `${line}Host: x\r\nX: ${"x".repeat(65_536)}\r\n\r\n`, [431]],
    ["a cookie of 64 kB", `${line}Host: x\r\nCookie: ${"x=y;".repeat(16_384)}\r\n\r\n`, [431]],
    ["64 kB without an end", `${line}Host: x\r\nX: ${"x".repeat(65_536)}`, [431]],
    ["a target of 64 kB", `GET ${OPEN}&x=${"x".repeat(65_536)} HTTP/1.1\r\nHost: x\r\n\r\n`, [431, 414]],
    ["no host", `${line}\r\n`, [400]],
    ["two hosts", `${line}Host: x\r\nHost: y\r\n\r\n`, [400]],
    ["a space before the colon", `${line}Host : x\r\n\r\n`, [400]],
    ["a folded header", `${line}Host: x\r\nX: a\r\n b\r\n\r\n`, [400]],
    ["a NUL in a header", `${line}Host: x\r\nX: a\u0000b\r\n\r\n`, [400]],
    ["line ends without a carriage return", `${line}Host: x\r\n\r\n`.replaceAll("\r\n", "\n"), [400]],
    ["length and chunks", `POST ${OPEN} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, [400]],
    ["two lengths", `POST ${OPEN} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n4x`, [400]],
    ["a length with a sign", `POST ${OPEN} HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n4x`, [400]],
    ["a negative length", `POST ${OPEN} HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\n4x`, [400]],
    ["a length in another base", `POST ${OPEN} HTTP/1.1\r\nHost: x\r\nContent-Length: 0x2\r\n\r\n4x`, [400]],
    ["a list for a length", `POST ${OPEN} HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\n4x`, [400]],
    ["an unknown transfer coding", `POST ${OPEN} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n`, [400, 411, 501]],
    ["HTTP/2 from the start", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400, 505]],
    ["HTTP/9.9", "GET / HTTP/9.9\r\nHost: x\r\n\r\n", [400, 505]],
    ["no version", `GET ${OPEN}\r\n\r\n`, [400, 505]],
    ["a tab for a space", `GET\t${OPEN}\tHTTP/1.1\r\nHost: x\r\n\r\n`, [400]],
    ["the start of TLS", "\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003\r\n\r\n", [400]],
    ["the start of another protocol", "SSH-2.0-OpenSSH_9.2p1\r\n\r\n", [400]],
  ]) {
    it(`${what}: ${statuses.join(" or ")}, and the end`, async () => {
      const wire = await Wire.to(server);
      wire.socket.write(head, "latin1");
      const text = (await wire.closed()).toString("latin1");
      assert.ok(statuses.includes(Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1])), text.slice(0, 200) || "closed without an answer");
      assert.equal(text.split("HTTP/1.1 ").length, 2, "one answer only");
      assert.equal((await fetchOnce(server, "GET", OPEN)).status, 200);
    });
  }

  it("100 headers are fine", async () => {
    const wire = await Wire.to(server);
    wire.send(`${line}Host: x\r\n${many(99, 5)}\r\n`);
    assert.equal((await wire.response()).status, 200);
  });

  it("15 kB of cookies are fine", async () => {
    assert.equal((await fetchOnce(server, "GET", OPEN, { headers: { Cookie: "x".repeat(15_000) } })).status, 200);
  });

  it("what comes after a refused head is not taken for a request", async () => {
    const session = await Polling.open(server);
    const wire = await Wire.to(server);
    const smuggled = request("POST", session.target, { body: "4smuggled" });
    wire.send(request("POST", OPEN, { headers: { "Content-Length": smuggled.length, "Transfer-Encoding": "chunked" } }), "0\r\n\r\n", smuggled);
    await wire.closed();
    await session.post("4own");
    assert.deepEqual(await session.packets(), ["4own"]);
  });
});

describe("other origins", () => {
  const app = "https://app.example";
  const path = "/socket.io/?EIO=4&transport=polling";
  const allowed = (response) => response.headers["access-control-allow-origin"];
  let one, any, none;
  before(async () => ([one, any, none] = await Promise.all([rill({ CORS_ORIGIN: app }), rill({ CORS_ORIGIN: "*" }), rill()])));
  after(() => Promise.all([one, any, none].map((server) => server.end())));

  it("the configured one is allowed", async () => {
    assert.equal(allowed(await fetchOnce(one, "GET", path, { headers: { Origin: app } })), app);
  });

  it("another one is not", async () => {
    const response = await fetchOnce(one, "GET", path, { headers: { Origin: "https://evil.example" } });
    assert.ok([undefined, app].includes(allowed(response)), allowed(response));
  });

  it("neither is one that looks like it", async () => {
    for (const origin of [`${app}.evil.example`, "http://app.example", "https://app.example:444", "null", "", `${app},https://evil.example`]) {
      const response = await fetchOnce(one, "GET", path, { headers: { Origin: origin } });
      assert.ok([undefined, app].includes(allowed(response)), `${origin}: ${allowed(response)}`);
    }
  });

  it("a refusal has the header too, so that the page can read it", async () => {
    const response = await fetchOnce(one, "GET", "/socket.io/?EIO=4&transport=abc", { headers: { Origin: app } });
    assert.deepEqual([response.status, allowed(response)], [400, app]);
  });

  it("any, where any is configured", async () => {
    assert.ok(["*", app].includes(allowed(await fetchOnce(any, "GET", path, { headers: { Origin: app } }))));
  });

  it("none, where none is configured", async () => {
    assert.equal(allowed(await fetchOnce(none, "GET", path, { headers: { Origin: app } })), undefined);
  });

  it("the answer is not cached for another origin", async () => {
    const { headers } = await fetchOnce(one, "GET", path, { headers: { Origin: app } });
    assert.ok(/origin/i.test(headers.vary ?? "") || headers["cache-control"] === "no-store");
  });

  it("a refused origin gets no session, whatever transport", async () => {
    for (const transport of ["polling", "websocket"]) {
      const wire = await Wire.to(one);
      wire.send(transport === "polling" ? request("GET", path, { headers: { Origin: "https://evil.example" } }) : upgradeRequest(path.replace("polling", "websocket"), { Origin: "https://evil.example" }));
      assert.ok([400, 403].includes((await wire.response()).status));
    }
  });

  it("what is listed may be written in other ways, may be a pattern, and may be no address", async () => {
    const many = await rill({ CORS_ORIGIN: "https://App.example:443/, https://*.example.org,null,file://" });
    for (const [origin, status] of [
      [app, 200], [`${app}/`, 200], [`${app}:443`, 200], [app.toUpperCase(), 200], [`${app}:80`, 403], ["http://app.example", 403],
      ["https://a.example.org", 200], ["https://a.b.example.org", 200], ["https://example.org", 403], ["https://evil-example.org", 403], ["https://a.example.org.evil.example", 403],
      ["null", 200], ["file://", 200], ["file:///", 200], ["", 403],
    ]) {
      const response = await fetchOnce(many, "GET", path, { headers: { Origin: origin } });
      assert.equal(response.status, status, origin);
      assert.equal(allowed(response), status === 200 ? origin : undefined, "as it was sent: a browser compares the text");
    }
    await many.end();
  });

  it("pages of the server itself, also behind a proxy that is believed", async () => {
    const proxied = await rill({ CORS_ORIGIN: app, TRUSTED_PROXIES: "127.0.0.1" });
    for (const [Origin, Host, more, ...want] of [
      ["https://rill.example", "rill.example", {}, 200, 200],
      ["https://rill.example", "RILL.example:443", {}, 200, 200],
      ["https://rill.example", "rill.example:8443", {}, 403, 403],
      ["https://rill.example", "10.0.0.5:3000", { "X-Forwarded-Host": "rill.example" }, 403, 200],
      ["https://rill.example", "10.0.0.5:3000", { Forwarded: "for=192.0.2.1;host=rill.example;proto=https" }, 403, 200],
      ["http://rill.example", "rill.example", { "X-Forwarded-Proto": "https" }, 200, 403],
    ]) {
      const statuses = [];
      for (const each of [one, proxied]) statuses.push((await fetchOnce(each, "GET", path, { headers: { Origin, Host, ...more } })).status);
      assert.deepEqual(statuses, want, `${Origin} ${Host} ${JSON.stringify(more)}`);
    }
    await proxied.end();
  });

  it("preflight: 204 with methods and headers", async () => {
    const preflight = { Origin: app, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-token" };
    const { status, headers, body } = await fetchOnce(one, "OPTIONS", path, { headers: preflight });
    assert.deepEqual([status, body, headers["access-control-allow-origin"]], [204, "", app]);
    assert.match(headers["access-control-allow-methods"], /GET.*POST/);
    assert.match(headers["access-control-allow-headers"].toLowerCase(), /content-type|\*/);
  });

  it("preflight where nothing is configured allows nothing", async () => {
    const response = await fetchOnce(none, "OPTIONS", path, { headers: { Origin: app, "Access-Control-Request-Method": "POST" } });
    assert.equal(allowed(response), undefined);
  });

  it("a WebSocket from another origin is refused: a page elsewhere must not speak for its visitor", async () => {
    // The official server lets it in; browsers do not ask first as they do for HTTP.
    const target = "/socket.io/?EIO=4&transport=websocket";
    const wire = await Wire.to(one);
    wire.send(upgradeRequest(target, { Origin: "https://evil.example" }));
    const { status } = await wire.response();
    assert.ok([400, 403].includes(status), `${status}`);
    await webSocket(one, target, { headers: { Origin: app } });
    await webSocket(one, target); // no browser
    await webSocket(any, target, { headers: { Origin: app } });
  });
});

describe("what is no request of HTTP/1, and proxies that say who is behind them", () => {
  const GET = request("GET", "/socket.io/?EIO=4&transport=websocket");
  const version2 = (command, family, hex) => Buffer.concat([Buffer.from("\r\n\r\n\0\r\nQUIT\n"), Buffer.of(command, family, 0, hex.length / 2), Buffer.from(hex, "hex")]);
  const V4 = "cb007107c0000201a11201bb"; // 203.0.113.7 to 192.0.2.1
  let strange, proxied;
  before(async () => ([strange, proxied] = await Promise.all([rill(), rill({ TRUSTED_PROXIES: "127.0.0.1", NODE_ENV: "development" })])));
  after(() => Promise.all([strange.end(), proxied.end()]));

  for (const [what, bytes, status, line] of [
    ["TLS", Buffer.from("16030100", "hex"), 400, /TLS/],
    ["HTTP/2", Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505, /HTTP\/2/],
    ["a PROXY line of a stranger", Buffer.from("PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n"), 400, /PROXY line/],
    ["a PROXY line of a stranger, version 2", version2(0x21, 0x11, V4), 400, undefined],
  ]) {
    it(`${what}: refused at once, and a log line says what it was`, async () => {
      const begin = Date.now();
      const wire = await Wire.to(strange);
      wire.send(bytes);
      assert.equal((await wire.response()).status, status);
      await wire.closed();
      assert.ok(Date.now() - begin < 2_000);
      if (line) await strange.prints(new RegExp(`\\[HTTP\\] refused 127.0.0.1: .*${line.source}`));
    });
  }

  it("that line comes once a minute, however many come", async () => {
    for (let i = 0; i < 5; i++) {
      const wire = await Wire.to(strange);
      wire.send(Buffer.from("16030100", "hex"));
      await wire.closed();
    }
    assert.equal(strange.output.match(/\[HTTP\] refused .*TLS/g).length, 1);
  });

  for (const [what, bytes, address, headers] of [
    ["nothing", "", "127.0.0.1"],
    ["version 1", "PROXY TCP4 203.0.113.7 192.0.2.1 41234 443\r\n", "203.0.113.7"],
    ["version 1, IPv6", "PROXY TCP6 2001:db8::7 2001:db8::1 41234 443\r\n", "2001:db8::7"],
    ["version 1, of the proxy itself", "PROXY UNKNOWN\r\n", "127.0.0.1"],
    ["version 2", version2(0x21, 0x11, V4), "203.0.113.7"],
    ["version 2, of the proxy itself", version2(0x20, 0, ""), "127.0.0.1"],
    ["X-Forwarded-For", undefined, "203.0.113.9", { "X-Forwarded-For": "198.51.100.1, 203.0.113.9:4711, 127.0.0.1" }],
    ["Forwarded", undefined, "2001:db8::9", { Forwarded: 'for=198.51.100.1, For="[2001:db8::9]:4711";proto=https' }],
    ["a PROXY line, and then a client's own X-Forwarded-For", "PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n", "203.0.113.7", { "X-Forwarded-For": "198.51.100.1" }],
  ]) {
    it(`${what}: the client is at ${address}`, async () => {
      const from = proxied.output.length;
      const wire = await Wire.to(proxied);
      await wire.trickle(bytes ?? "");
      wire.send(upgradeRequest("/socket.io/?EIO=4&transport=websocket", headers));
      assert.equal((await wire.response()).status, 101);
      wire.send(frame("40"));
      await proxied.prints(new RegExp(`connected from ${address.replaceAll(".", "\\.")}\\b`), from);
    });
  }

  for (const [what, bytes] of [["cut short", version2(0x21, 0x11, V4.slice(2))], ["no address", "PROXY TCP4 somewhere 192.0.2.1 1 2\r\n"], ["without an end", `PROXY ${"x".repeat(200)}`]]) {
    it(`a PROXY line ${what}: 400`, async () => {
      const wire = await Wire.to(proxied);
      wire.send(bytes, GET);
      assert.equal((await wire.response()).status, 400);
    });
  }
});

describe("the path", () => {
  for (const [given, path, others] of [[undefined, "/socket.io", ["/chat/"]], ["/chat/v1", "/chat/v1", ["/socket.io/", "/chat/", "/chat/v1x/"]]]) {
    it(`${given ?? "by default"}: with the slash at its end and without it`, async () => {
      const server = await rill(given ? { SOCKET_PATH: given } : {});
      for (const target of [path, `${path}/`]) {
        assert.match((await fetchOnce(server, "GET", `${target}?EIO=4&transport=polling`)).body, /^0\{"sid"/);
        await webSocket(server, `${target}?EIO=4&transport=websocket`);
      }
      for (const other of others) assert.equal((await fetchOnce(server, "GET", `${other}?EIO=4&transport=polling`)).status, 404);
      assert.ok((await fetchOnce(server, "GET", "/")).body.includes(`src="${path}/socket.io.min.js"`));
      assert.match((await fetchOnce(server, "GET", `${path}/socket.io.min.js`)).headers["content-type"], /javascript|text\/plain/);
      await server.end();
    });
  }
});

it("each answer has a date", async () => {
  for (const target of [OPEN, PATH, "/nowhere"]) {
    const { headers } = await fetchOnce(server, "GET", target);
    assert.match(headers.date, /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/);
    assert.ok(Math.abs(Date.parse(headers.date) - Date.now()) < 3_000, headers.date);
  }
});

describe("rill's own pages", () => {
  let own;
  before(async () => (own = await rill()));
  after(() => own.end());

  for (const [path, type, body] of [
    ["/healthz", /./, /./],
    ["/readyz", /./, /./],
    ["/metrics", /^text\/plain/, /^rill_\w+(\{[^}]*\})? [\d.]+$/m],
    ["/", /^text\/html/, /<!doctype html>/i],
  ]) {
    it(`GET ${path}`, async () => {
      const response = await fetchOnce(own, "GET", path);
      assert.equal(response.status, 200);
      assert.match(response.headers["content-type"], type);
      assert.match(response.body, body);
    });

    it(`HEAD ${path}`, async () => {
      const wire = await Wire.to(own);
      wire.send(request("HEAD", path), request("GET", "/healthz"));
      assert.equal((await wire.response({ head: true })).status, 200);
      assert.equal((await wire.response()).status, 200);
    });
  }

  it("metrics in the text format of Prometheus", async () => {
    const { body } = await fetchOnce(own, "GET", "/metrics");
    for (const line of body.trimEnd().split("\n")) {
      assert.match(line, /^(# (HELP|TYPE) [a-z_:][\w:]* \S.*|[a-zA-Z_:][\w:]*(\{[^}]*\})? [\d.eE+-]+)$/);
    }
  });

  for (const path of ["/nowhere", "/healthz/x", "/socket.io", "/socket.io/nowhere.js", "/socket.io/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/.git/config", "/Cargo.toml"]) {
    it(`GET ${path}: an error`, async () => {
      const { status } = await fetchOnce(own, "GET", path);
      assert.ok(status === 404 || status === 400, `${status}`);
    });
  }
});
