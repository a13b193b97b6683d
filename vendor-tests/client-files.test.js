// The official browser client at the addresses where the official server has it.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { CLIENT_DIR, temporary } from "./harness/folder.js";
import { rill, rillProcess } from "./harness/server.js";
import { Wire, fetchOnce, request, webSocket } from "./harness/wire.js";

const NAMES = ["socket.io", "socket.io.min", "socket.io.esm.min", "socket.io.msgpack.min"].flatMap((name) => [`${name}.js`, `${name}.js.map`]);
const SCRIPT = "/socket.io/socket.io.js";
const installed = dirname(createRequire(import.meta.url).resolve("socket.io-client/package.json"));
const { version } = JSON.parse(readFileSync(join(installed, "package.json")));
const own = (name) => readFileSync(join(installed, "dist", name));
const app = "https://app.example";

describe("the browser client", () => {
  let server, cors;
  before(async () => ([server, cors] = await Promise.all([rill({ CLIENT_DIR }), rill({ CLIENT_DIR, CORS_ORIGIN: app })])));
  after(() => Promise.all([server.end(), cors.end()]));

  for (const name of NAMES) {
    it(`${name} is that of the package, byte for byte`, async () => {
      const response = await fetch(`${server.url}/socket.io/${name}?v=${version}`);
      assert.equal(response.status, 200);
      assert.equal(response.headers.get("content-type"), `application/${name.endsWith(".map") ? "json" : "javascript"}; charset=utf-8`);
      assert.equal(response.headers.get("cache-control"), "public, max-age=0");
      assert.equal(response.headers.get("etag"), `"${version}"`);
      assert.equal(response.headers.get("access-control-allow-origin"), null);
      assert.ok(Buffer.from(await response.arrayBuffer()).equals(own(name)));
    });
  }

  for (const [tag, status] of [
    [`"${version}"`, 304],
    [`W/"${version}"`, 304],
    [version, 200],
    ['"0"', 200],
    [`"0", "${version}"`, 200],
    ["*", 200],
  ]) {
    it(`If-None-Match: ${tag}: ${status}`, async () => {
      const wire = await Wire.to(server);
      wire.send(request("GET", SCRIPT, { headers: { "If-None-Match": tag } }), request("GET", "/healthz"));
      const { status: answered, body, headers } = await wire.response();
      assert.deepEqual([answered, body], [status, status === 304 ? "" : own("socket.io.js").toString()]);
      assert.equal(headers.etag, status === 304 ? undefined : `"${version}"`);
      assert.equal((await wire.response()).status, 200, "expected: the connection can be used further");
    });
  }

  it("HEAD says how long it is, POST gives it too", async () => {
    const wire = await Wire.to(server);
    wire.send(request("HEAD", SCRIPT));
    const { status, headers } = await wire.response({ head: true });
    assert.deepEqual([status, Number(headers["content-length"])], [200, own("socket.io.js").length]);
    assert.equal((await fetchOnce(server, "POST", SCRIPT, { body: "x" })).status, 200);
  });

  for (const path of ["nope.js", "socket.io.js.", "Socket.io.js", "socket.io.js/", "./socket.io.js", "socket%2eio.js", "package.json", ".integrity", "../client-files/package.json", "..%2f..%2fCargo.toml", "socket.io.min.js.map.map", "socket.io.js%00"]) {
    it(`/socket.io/${path} goes to the protocol, as on the official server`, async () => {
      const { status, body } = await fetchOnce(server, "GET", `/socket.io/${path}`);
      assert.deepEqual([status, JSON.parse(body).code], [400, body.includes("Transport") ? 0 : 5]);
    });
  }

  it("the protocol is where it was", async () => {
    assert.equal((await fetchOnce(server, "GET", "/socket.io/?EIO=4&transport=polling")).status, 200);
    await webSocket(server, "/socket.io/?EIO=4&transport=websocket");
  });

  it("a page of an origin that may use the server may read it", async () => {
    const allowed = async (Origin, method = "GET") => {
      const { status, headers } = await fetchOnce(cors, method, SCRIPT, { headers: { Origin, "If-None-Match": method === "GET" ? `"${version}"` : "" } });
      return [status, headers["access-control-allow-origin"]];
    };
    assert.deepEqual(await allowed(app), [304, app]);
    assert.deepEqual(await allowed("https://evil.example"), [304, undefined]);
    assert.deepEqual(await allowed(app, "OPTIONS"), [204, app]);
  });

  it("those who read slowly cost no copy each", async () => {
    const before = server.memory();
    const wires = await Promise.all(Array.from({ length: 400 }, () => Wire.to(server)));
    for (const wire of wires) {
      wire.socket.pause();
      wire.send(request("GET", "/socket.io/socket.io.js.map"));
    }
    await fetchOnce(server, "GET", "/healthz");
    await new Promise((done) => setTimeout(done, 500));
    const grown = server.memory() - before;
    wires.forEach((wire) => wire.socket.destroy());
    assert.ok(grown < 40, `400 readers of ${own("socket.io.js.map").length} bytes cost ${grown.toFixed(1)} MiB`);
  });
});

describe("without the files", () => {
  it("a text says which command helps, and the protocol works", async (test) => {
    const server = await rill();
    test.after(() => server.end());
    for (const name of NAMES) {
      const { status, headers, body } = await fetchOnce(server, "GET", `/socket.io/${name}`);
      assert.deepEqual([status, headers["content-type"], headers.etag], [404, "text/plain; charset=utf-8", undefined]);
      assert.match(body, /scripts\/client-files/);
    }
    assert.equal((await fetchOnce(server, "GET", "/socket.io/nope.js")).status, 400);
    assert.equal((await fetchOnce(server, "GET", "/socket.io/?EIO=4&transport=polling")).status, 200);
  });

  it("a folder that has not all of them is named, and serves none", async (test) => {
    const folder = join(temporary("client"), "client-files");
    mkdirSync(folder);
    writeFileSync(join(folder, "package.json"), JSON.stringify({ version: "4.8.4" }));
    writeFileSync(join(folder, "socket.io.js"), "// half");
    const server = await rill({ CLIENT_DIR: folder });
    test.after(() => server.end());
    assert.match(server.output, /\[HTTP\] the browser client can't be read: .*socket\.io\.min\.js: No such file.*scripts\/client-files/);
    assert.equal((await fetchOnce(server, "GET", SCRIPT)).status, 404);
  });

  it("a folder that is not there is a bad value", async () => {
    const server = await rillProcess({ CLIENT_DIR: join(temporary("client"), "none") });
    assert.deepEqual(await server.gone(), { code: 2, signal: null });
    assert.match(server.output, /CLIENT_DIR=.* is not allowed: it must be a folder/);
  });
});
