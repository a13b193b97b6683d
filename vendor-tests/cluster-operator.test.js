// Operators of three servers: what one types reaches the clients of all, a server is drained, two have one name, Redis is away.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { RETURNING, ask, connect } from "./harness/clients.js";
import { WEBSOCKET, inCluster, redirect } from "./harness/cluster.js";
import { eventually, next } from "./harness/wait.js";
import { fetchOnce } from "./harness/wire.js";

/** Closes the client's connection and waits until it knows. */
async function leave(socket) {
  const gone = next(socket, "disconnect");
  socket.io.engine.close();
  await gone;
}

/** Brings a client that is away back. */
async function back(socket) {
  const here = next(socket, "connect", undefined, 15_000);
  socket.connect();
  await here;
}

describe("disconnect, typed on another server", () => {
  it("ends sessions of clients that are there, and of those that are away", inCluster({}, async ({ servers: [typed, other, third] }) => {
    const there = await connect(other, WEBSOCKET);
    const [away, stays] = [await connect(other, WEBSOCKET), await connect(third, WEBSOCKET)];
    for (const socket of [there, away]) await ask(socket, "join", "blue room");
    await ask(stays, "join", "red");
    const heard = [];
    there.on("message", ({ text }) => heard.push(text));
    const [before, id] = [away.id, stays.id];
    await leave(away);
    const gone = next(there, "disconnect");
    const answer = await typed.command('disconnect "blue room" moving on');
    assert.match(answer, /disconnected those of blue room: 0 clients here, and those on other servers, and who is away comes back as new; they were told: moving on/);
    assert.equal((await gone)[0], "io server disconnect");
    assert.deepEqual(heard, ["moving on"]);
    await back(away);
    assert.deepEqual([away.recovered, away.id === before, (await ask(away, "rooms")).rooms], [false, false, []]);
    // Nobody else is meant.
    await leave(stays);
    await back(stays);
    assert.deepEqual([stays.recovered, stays.id, (await ask(stays, "rooms")).rooms], [true, id, ["red"]]);
    // And by its id, on a third server.
    await leave(stays);
    await typed.command(`disconnect ${id}`, /disconnected/);
    await back(stays);
    assert.deepEqual([stays.recovered, stays.id === id], [false, false]);
  }));
});

describe("drain", () => {
  it("its clients recover on the other servers, with all that was sent meanwhile", inCluster({}, async (cluster) => {
    const { servers } = cluster;
    const sockets = await Promise.all(Array.from({ length: 12 }, () => connect(servers[0], { ...WEBSOCKET, ...RETURNING, reconnectionAttempts: 100 })));
    const ids = sockets.map(({ id }) => id);
    const heard = sockets.map(() => []);
    for (const [i, socket] of sockets.entries()) socket.on("message", ({ text }) => heard[i].push(text));
    const returned = sockets.map((socket) => next(socket, "connect", undefined, 20_000));
    for (const [i, socket] of sockets.entries()) socket.once("disconnect", () => redirect(socket, servers[1 + (i % 2)], WEBSOCKET));
    assert.match(await servers[0].command("drain 2"), /info  \[SERVER\] draining: no new clients; 12 clients here go within 2 s, to 2 other servers/);
    assert.equal((await fetchOnce(servers[0], "GET", "/readyz")).status, 503);
    const sent = [];
    const sending = setInterval(() => servers[1].type(`broadcast ${sent.push(`m${sent.length}`) && sent.at(-1)}`), 100);
    await Promise.all(returned);
    clearInterval(sending);
    await servers[0].prints(/\[SERVER\] drained: no client is here/);
    assert.deepEqual(sockets.map(({ id, recovered }) => [id, recovered]), ids.map((id) => [id, true]));
    await eventually("all have everything", () => heard.every((list) => list.length === sent.length), 10_000);
    for (const list of heard) assert.deepEqual(list, sent);
    assert.match(await servers[0].command("clients", /clients/), /^0 clients/m);
  }));
});

describe("what operators of several servers must know", () => {
  it("`clients all` names the server of each client", inCluster({}, async ({ servers }) => {
    const sockets = await Promise.all(servers.map((server) => connect(server, WEBSOCKET)));
    for (const server of servers) {
      const list = await server.command("clients all", /3 clients/);
      for (const [i, { id }] of sockets.entries()) assert.match(list, new RegExp(`^  server-${i + 1}  /    ${id}  `, "m"));
    }
  }));

  it("two servers with one SERVER_ID are told, on both; a server that was started again under its name is not", inCluster({}, async (cluster) => {
    await cluster.kill(2);
    await cluster.add(2);
    await cluster.spawn(3, { SERVER_ID: "server-1", PORT: undefined });
    const [first, , third, twin] = cluster.servers;
    for (const server of [first, twin]) {
      await server.prints(/warn  \[CLUSTER\] another server, on 127\.0\.0\.1:\d+, is called server-1 too/, 0, 10_000);
      assert.match(await server.command("status", /Cluster/), / server-1 +127\.0\.0\.1:\d+, \d clients?, heartbeat \S+ s ago, HAS THIS NAME TOO/);
    }
    assert.doesNotMatch(third.output, /\[CLUSTER\]/);
    assert.equal(first.output.split("is called server-1 too").length, 2, "once");
  }));

  it("broadcast while Redis is away says that it waits", inCluster({}, async ({ servers: [server], redis }) => {
    const socket = await connect(server, WEBSOCKET);
    const heard = [];
    socket.on("message", ({ text }) => heard.push(text));
    await redis.kill();
    await server.prints(/can't use/, 0, 15_000);
    assert.match(await server.command("broadcast still here"), /warn  \[SERVER\] Redis is away: it waits with \d+ others, and goes out when Redis is back/);
    assert.deepEqual(heard, []);
    await redis.start();
    await eventually("it has gone out", () => heard.includes("still here"), 20_000);
    assert.match(await server.command("broadcast again"), /sent to 1 client here, and to those of the other servers/);
  }));
});
