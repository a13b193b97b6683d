// The programs in examples/, each used as its first lines say.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { RETURNING, ask, client, closeClients, connect, cut, cutAndReturn } from "./harness/clients.js";
import { Redis, USER } from "./harness/redis.js";
import { Server, freePort, listens } from "./harness/server.js";
import { collect, eventually, next } from "./harness/wait.js";
import { fetchOnce } from "./harness/wire.js";

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
