// The programs in examples/, each used as its first lines say.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { RETURNING, TRANSPORTS, ask, client, closeClients, connect, cut, cutAndReturn } from "./harness/clients.js";
import { Redis, USER } from "./harness/redis.js";
import { Server, freePort, listens } from "./harness/server.js";
import { collect, eventually, next } from "./harness/wait.js";
import { fetchOnce } from "./harness/wire.js";

/** A folder that is gone afterwards. */
function folder() {
  const path = mkdtempSync(join(tmpdir(), "rill-"));
  after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Ends it as its user would: it says goodbye, and its exit status is 0. */
async function interrupt(server) {
  server.assertHealthy();
  server.child.kill("SIGINT");
  assert.deepEqual(await server.gone(), { code: 0, signal: null });
}

const WEBSOCKET = { transports: ["websocket"] };
const file = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));

async function example(name, env = {}) {
  const port = await freePort();
  const server = new Server(file(`target/checked/examples/${name}`), [], { PORT: String(port), ...env }, port);
  await listens(server);
  return server;
}

afterEach(closeClients);

describe("the chat", () => {
  let server;
  before(async () => (server = await example("chat")));
  after(() => server.end());

  const named = async (name, ...topics) => {
    const socket = await connect(server, { ...WEBSOCKET, ...RETURNING });
    assert.deepEqual(await ask(socket, "name", name), { ok: true });
    for (const topic of topics) assert.equal((await ask(socket, "join", topic)).ok, true);
    return socket;
  };

  it("names, topics, words", async () => {
    const ada = await named("Ada", "tea");
    const bob = await named("Bob");
    const joined = next(ada, "joined");
    assert.deepEqual((await ask(bob, "join", "tea")).here.sort(), ["Ada", "Bob"]);
    assert.deepEqual((await joined)[0], { topic: "#tea", name: "Bob" });
    const said = Promise.all([ada, bob].map((socket) => next(socket, "said")));
    assert.deepEqual(await ask(bob, "say", "tea", "is it ready?"), { ok: true });
    for (const [message] of await said) assert.deepEqual(message, { topic: "#tea", name: "Bob", text: "is it ready?" });
    const typing = next(ada, "typing");
    bob.emit("typing", "#tea");
    assert.deepEqual((await typing)[0], { topic: "#tea", name: "Bob" });
    const left = next(ada, "left");
    bob.disconnect();
    assert.deepEqual((await left)[0], { topic: "#tea", name: "Bob" });
  });

  it("what is not allowed is said", async () => {
    const socket = await connect(server, WEBSOCKET);
    assert.deepEqual(await ask(socket, "join", "tea"), { ok: false, error: "give your name first" });
    assert.equal((await ask(socket, "name", "x".repeat(33))).ok, false);
    assert.equal((await ask(socket, "name", 7)).ok, false);
    assert.deepEqual(await ask(socket, "say", "tea", "hello"), { ok: false, error: "join the topic first" });
  });

  it("who is cut comes back, and has missed nothing", async () => {
    const [ada, bob] = [await named("Ada", "cake"), await named("Bob", "cake")];
    const away = next(ada, "away");
    const [said, back] = [collect(bob, "said", 2), next(ada, "back")];
    bob.io.reconnectionDelay(300);
    await cut(bob);
    await away;
    await ask(ada, "say", "cake", "one");
    await ask(ada, "say", "cake", "two");
    assert.deepEqual((await said).map(({ text }) => text), ["one", "two"]);
    assert.equal(bob.recovered, true);
    assert.deepEqual((await back)[0], { topic: "#cake", name: "Bob" });
  });
});

describe("the lobby", () => {
  let server;
  before(async () => (server = await example("lobby")));
  after(() => server.end());

  const player = (name, game, ready) =>
    connect(server, { ...WEBSOCKET, auth: { name, token: "let me play" } }, game).then((socket) => {
      socket.on("ready?", (_, answer) => ready !== undefined && answer(ready));
      return socket;
    });

  it("the door", async () => {
    const refusal = async (auth) => (await next(client(server, { ...WEBSOCKET, auth }, "/chess"), "connect_error"))[0];
    const stranger = await refusal({ name: "Eve" });
    assert.deepEqual([stranger.message, stranger.data], ["not invited", { ask: "the host" }]);
    assert.equal((await refusal({ token: "let me play" })).message, "what is your name?");
  });

  it("a full table is asked, and starts when all are ready", async () => {
    const players = await Promise.all(["Ada", "Bob", "Cid"].map((name) => player(name, "/skat", true)));
    const starts = Promise.all(players.map((socket) => next(socket, "start")));
    for (const [index, socket] of players.entries()) {
      assert.deepEqual(await ask(socket, "sit", 1), { ok: true, players: index + 1 });
    }
    for (const [names] of await starts) assert.deepEqual(names, ["Ada", "Bob", "Cid"]);
    const late = await player("Dan", "/skat", true);
    assert.deepEqual(await ask(late, "sit", 1), { ok: false, error: "the table is full" });
  });

  it("is called off when one is not ready; a chair is free when its player has left", async () => {
    const [ada, bob] = [await player("Ada", "/chess", true), await player("Bob", "/chess", false)];
    const off = next(ada, "called off");
    await ask(ada, "sit", 2);
    await ask(bob, "sit", 2);
    assert.equal((await off)[0], "1 of 2 were ready");
    bob.disconnect();
    const cid = await player("Cid", "/chess", true);
    const start = next(ada, "start");
    assert.equal((await ask(cid, "sit", 2)).ok, true);
    assert.deepEqual((await start)[0], ["Ada", "Cid"]);
  });
});

describe("the dashboard", () => {
  let redis, servers, feeder;
  before(async () => {
    redis = await Redis.prepare();
    await redis.start();
    const env = { REDIS: `127.0.0.1:${redis.port}`, CLIENT_DIR: file("client-files"), ...USER };
    servers = [await example("dashboard", env), await example("dashboard", env)];
    const opens = async (server) => (await fetchOnce(server, "GET", "/socket.io/?EIO=4&transport=polling")).status === 200;
    for (const server of servers) await eventually("the dashboard has reached Redis", () => opens(server), 10_000);
  });
  after(async () => {
    feeder?.child.kill();
    await Promise.all(servers.map((server) => server.end()));
    await redis.kill();
  });

  it("shows on all servers what a program with nothing but XADD feeds, also to one that was away", async () => {
    const sockets = await Promise.all(servers.map((server) => connect(server, { ...WEBSOCKET, ...RETURNING })));
    const args = ["-p", redis.port, "--user", USER.REDIS_USERNAME, "--pass", USER.REDIS_PASSWORD, "--no-auth-warning"];
    feeder = new Server(file("examples/feed.sh"), args.map(String), { EVERY: "0.2" });
    const figures = await Promise.all(sockets.map((socket) => collect(socket, "figure", 4)));
    for (const [first, second] of figures) {
      assert.deepEqual([first.name, second.name].sort(), ["free memory", "load"]);
      assert.match([first, second].find(({ name }) => name === "load").value, /^\d+\.\d+$/);
    }
    await cutAndReturn(sockets[0]);
    assert.equal(sockets[0].recovered, true);
  });

  it("has a page", async () => {
    const [page, script] = await Promise.all(["/", "/socket.io/socket.io.js"].map((path) => fetchOnce(servers[0], "GET", path)));
    assert.deepEqual([page.status, script.status], [200, 200]);
    assert.match(String(page.body), /<title>Dashboard<\/title>/);
  });
});

describe("in an application made with Axum", () => {
  let server;
  before(async () => (server = await example("axum")));
  after(() => server.end());

  for (const [name, options] of TRANSPORTS) {
    it(`a route reaches the clients: ${name}`, async () => {
      const sockets = await Promise.all([1, 2].map(() => connect(server, options)));
      const heard = Promise.all(sockets.map((socket) => next(socket, "notice")));
      const posted = await fetch(`${server.url}/notices`, { method: "POST", body: name });
      assert.equal(await posted.text(), "posted\n");
      for (const [notice] of await heard) assert.equal(notice, name);
      assert.match(await ask(sockets[0], "notices"), new RegExp(`${name}$`));
    });

    it(`a client that is cut comes back, and has missed nothing: ${name}`, async () => {
      const socket = await connect(server, { ...options, ...RETURNING });
      const heard = collect(socket, "notice", 2);
      await fetch(`${server.url}/notices`, { method: "POST", body: "before" });
      socket.io.reconnectionDelay(200);
      await cut(socket);
      await fetch(`${server.url}/notices`, { method: "POST", body: "meanwhile" });
      assert.deepEqual(await heard, ["before", "meanwhile"]);
      assert.equal(socket.recovered, true);
    });
  }

  it("the application's own routes are left alone, and what is too large is refused", async () => {
    assert.equal((await fetchOnce(server, "GET", "/nowhere")).status, 404);
    assert.equal((await fetchOnce(server, "GET", "/")).status, 200);
    assert.equal((await fetchOnce(server, "GET", "/socket.io/?EIO=4&transport=polling&sid=x")).status, 400);
    const large = await fetch(`${server.url}/socket.io/?EIO=4&transport=polling`, { method: "POST", body: "x".repeat(1_000_001) });
    assert.equal(large.status, 413);
  });

  it("a page that hangs up while it waits leaves nothing behind; Ctrl-C ends all", async () => {
    const socket = await connect(server, { transports: ["polling"] });
    const gone = next(socket, "disconnect");
    await interrupt(server);
    assert.match((await gone)[0], /transport/);
  });
});

describe("over TLS", () => {
  let server, ca;
  const [key, cert] = ["key.pem", "cert.pem"].map((name) => join(folder(), name));
  before(async () => {
    const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days", "2"];
    const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-x509"];
    execFileSync("openssl", ["req", ...kind, ...subject, "-keyout", key, "-out", cert], { stdio: "pipe" });
    ca = readFileSync(cert);
    server = await example("tls", { CERT: cert, KEY: key });
    Object.defineProperty(server, "url", { value: `https://127.0.0.1:${server.port}` });
  });
  after(() => server.end());

  for (const [name, options] of TRANSPORTS) {
    it(`small and large, there and back: ${name}`, async () => {
      const socket = await connect(server, { ...options, ca });
      for (const size of [0, 10, 20_000, 900_000]) {
        const echo = next(socket, "echo");
        socket.emit("echo", "x".repeat(size), Buffer.alloc(size % 1_000));
        const [text, bytes] = await echo;
        assert.deepEqual([text.length, bytes.length], [size, size % 1_000]);
      }
    });
  }

  it("who speaks no TLS is left, and the others are not; Ctrl-C ends all", async () => {
    const socket = await connect(server, { ...WEBSOCKET, ca });
    const plain = net.connect(server.port, "127.0.0.1", () => plain.write("GET / HTTP/1.1\r\n\r\n")).resume();
    await next(plain, "close");
    const gone = next(socket, "disconnect");
    await interrupt(server);
    assert.match((await gone)[0], /transport/);
  });
});

describe("on a Unix socket", () => {
  let server, proxy;
  const path = join(folder(), "rill.sock");
  before(async () => {
    server = new Server(file("target/checked/examples/unix"), [], { SOCKET: path });
    await server.prints(/the server is on/);
    // What nginx would do.
    proxy = net.createServer((near) => {
      const far = net.connect(path);
      near.pipe(far).pipe(near);
      [near, far].forEach((socket) => socket.on("error", () => [near, far].forEach((other) => other.destroy())));
    });
    server.port = await freePort();
    proxy.listen(server.port, "127.0.0.1");
    await next(proxy, "listening");
  });
  after(async () => {
    proxy.close();
    await server.end();
  });

  for (const [name, options] of TRANSPORTS) {
    it(`the proxy says where a client is: ${name}`, async () => {
      const socket = await connect(server, { ...options, extraHeaders: { "X-Forwarded-For": "203.0.113.7" } });
      assert.equal(await ask(socket, "where am I"), "203.0.113.7");
    });
  }

  it("Ctrl-C ends all", () => interrupt(server));
});
