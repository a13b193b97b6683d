// Three servers and a Redis for one test, and the clients that move between them.
import assert from "node:assert/strict";
import { RETURNING, ask, closeClients, connect } from "./clients.js";
import { closeProxies } from "./proxy.js";
import { Redis, USER } from "./redis.js";
import { freePort, listens, rillProcess } from "./server.js";
import { eventually } from "./wait.js";
import { closeWires, fetchOnce } from "./wire.js";

const TAIL = 8; // lines of each log that a failure shows
const WIDTH = 180;
const INITIALIZED = /\[REDIS\] Redis Streams adapter initialized/;

export const WEBSOCKET = { transports: ["websocket"] };
export const POLLING = { transports: ["polling"] };
export const UPGRADE = { transports: ["polling", "websocket"] };

export class Cluster {
  constructor(env) {
    Object.assign(this, { env, servers: [], logs: [] });
  }

  /** Redis, then `count` servers that have reached it. */
  async start(count = 3) {
    this.redis = await Redis.prepare();
    await this.redis.start();
    await Promise.all(Array.from({ length: count }, (_, i) => this.add(i)));
  }

  /** Starts server `i`, for the first time or again at its place, and waits until it is ready. */
  async add(i) {
    await this.spawn(i);
    await this.isReady(i);
    return this.servers[i];
  }

  /** Starts server `i` without waiting for anything. */
  async spawn(i, env) {
    const port = this.servers[i]?.port ?? (await freePort());
    const own = { ADAPTER: "auto", SERVER_ID: `server-${i + 1}`, PORT: port, REDIS_HOST: "127.0.0.1", REDIS_PORT: this.redis.port, ...USER };
    const server = await rillProcess({ ...own, ...this.env, ...env });
    this.logs.push([own.SERVER_ID, server]);
    this.servers[i] = server;
    return server;
  }

  async isReady(i) {
    const server = this.servers[i];
    await server.prints(INITIALIZED, 0, 15_000);
    await listens(server);
    await eventually(`server-${i + 1} is ready`, async () => (await readiness(server)) === 200, 10_000);
  }

  /** Server `i` dies without a word. */
  async kill(i) {
    this.servers[i].child.kill("SIGKILL");
    await this.servers[i].gone();
  }

  /** The servers that run, one after the other: behind a proxy, a balancer without stickiness that passes connections on as they come. */
  get balancer() {
    const { servers } = this;
    let turn = 0;
    return {
      get port() {
        const alive = servers.filter((server) => !server.ended);
        return alive[turn++ % alive.length].port;
      },
    };
  }

  /** Nothing has shaken the servers, and they have asked Redis for nothing that they may not do. */
  async check() {
    for (const [, server] of this.logs) assert.doesNotMatch(server.output, /panicked|stack overflow/);
    this.servers.forEach((server) => server.ended || server.assertHealthy());
    assert.deepEqual(await this.redis.refusals(), [], "expected: Redis has refused nothing");
  }

  /** The error, with the end of each server's log. */
  explain(error) {
    const tails = this.logs.map(([id, { output, port, ended }]) => {
      const told = output.split("\n").filter((line) => !/^(SERVER> )?$/.test(line));
      const lines = told.slice(-TAIL).map((line) => `  ${line.slice(0, WIDTH)}`);
      return `${id}, port ${port}${ended ? ", ended" : ""}:\n${lines.join("\n")}`;
    });
    error.stack = `${String(error.stack).slice(0, 2_500)}\n${tails.join("\n")}`;
    return error;
  }

  async end() {
    for (const [, server] of this.logs) server.child.kill(server.lastSignal);
    await Promise.all(this.logs.map(([, server]) => server.gone()));
    await this.redis?.end();
  }
}

/** For `it`: the body gets a cluster with this environment; a failure shows the end of each server's log. */
export function inCluster(env, body, { started = true } = {}) {
  return async () => {
    const cluster = new Cluster(env);
    try {
      if (started) await cluster.start();
      else cluster.redis = await Redis.prepare();
      await body(cluster);
      await cluster.check();
    } catch (error) {
      throw cluster.explain(error);
    } finally {
      closeClients();
      closeProxies();
      closeWires();
      await cluster.end();
    }
  };
}

/** The status of /readyz. */
export async function readiness(server) {
  return (await fetchOnce(server, "GET", "/readyz")).status;
}

/** A client that comes back by itself, and notes the texts it is told, why it left, and whether it was recovered. */
export async function member(where, options, ...rooms) {
  const socket = await connect(where, { ...RETURNING, timeout: 5_000, ...options });
  Object.assign(socket, { texts: [], drops: [], returns: [] });
  socket.on("message", ({ text }) => socket.texts.push(text));
  socket.on("disconnect", (reason) => socket.drops.push(reason));
  socket.on("connect", () => socket.returns.push(socket.recovered));
  for (const room of rooms) assert.deepEqual((await ask(socket, "join", room)).ok, true, `expected: ${room} can be joined`);
  return socket;
}

/** Where the client connects to from now on, when it comes back. */
export function redirect(socket, server, transport) {
  socket.io.uri = server.url;
  if (transport) socket.io.opts.transports = [...transport.transports];
}

/** Waits until each of the sockets was told the text. */
export async function allTold(sockets, text, ms = 15_000) {
  const missing = () => sockets.flatMap((socket, i) => (socket.texts.includes(text) ? [] : [`${i} (has ${socket.texts.length}, the last is ${socket.texts.at(-1)})`]));
  await eventually(`every client is told "${text}"`, () => missing().length === 0, ms).catch((error) => {
    throw new Error(`${error.message}; not: ${missing().join(", ")}`);
  });
}

/** 0, 1, … without `count`. */
export const upTo = (count) => Array.from({ length: count }, (_, n) => n);

/** The texts that one sender numbers. */
export const numbered = (name, count) => upTo(count).map((n) => `${name} ${n}`);

/**
 * What is wrong with what the receivers were told, all of them having listened all the time. Each of `senders` is `{name, sent, acked}`: it
 * has numbered its texts from 0 to `sent` - 1, and the numbers in `acked` were acknowledged. Those are with everybody; another may be
 * with all receivers or with none. Nothing is twice, each sender's numbers rise, and all receivers have the same order.
 */
export function complaints(receivers, senders) {
  const wrong = [];
  const lists = receivers.map(({ texts }) => texts);
  const somewhere = new Set(lists.flat());
  const sent = new Set(senders.flatMap(({ name, sent }) => numbered(name, sent)));
  const some = (list) => `${list.length} (${list.slice(0, 5).join(", ")}${list.length > 5 ? ", …" : ""})`;
  const complain = (who, what, list) => list.length > 0 && wrong.push(`${who} ${what} ${some(list)}`);

  complain("somebody", "was told what nobody sent:", [...somewhere].filter((text) => !sent.has(text)));
  for (const { name, acked } of senders) {
    complain("nobody", `was told these of ${name}, which were acknowledged:`, [...acked].map((n) => `${name} ${n}`).filter((text) => !somewhere.has(text)));
  }
  for (const [i, texts] of lists.entries()) {
    const had = new Set(texts);
    complain(`receiver ${i}`, "misses", [...somewhere].filter((text) => !had.has(text)));
    complain(`receiver ${i}`, "was told twice", texts.filter((text, at) => texts.indexOf(text) !== at));
    for (const { name } of senders) {
      const numbers = texts.filter((text) => text.startsWith(`${name} `)).map((text) => Number(text.slice(name.length + 1)));
      complain(`receiver ${i}`, `was told out of ${name}'s order:`, numbers.filter((n, at) => at > 0 && n < numbers[at - 1]));
    }
    const other = texts.findIndex((text, at) => text !== lists[0][at]);
    if (other >= 0) wrong.push(`receiver ${i} has another order than receiver 0: "${texts[other]}" and "${lists[0][other]}" at place ${other}`);
  }
  return wrong;
}
