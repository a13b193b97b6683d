// Clients as applications use them, closed after each test.
import { Socket as EngineSocket } from "engine.io-client";
import { io } from "socket.io-client";
import { next, within } from "./wait.js";

/** The ways to be connected; every test of what travels runs once over each. */
export const TRANSPORTS = [
  ["polling", { transports: ["polling"] }],
  ["websocket", { transports: ["websocket"] }],
  ["upgrade", { transports: ["polling", "websocket"] }],
];

const open = new Set();

/** For `afterEach`. */
export function closeClients() {
  open.forEach((client) => client.close());
  open.clear();
}

/** A client on a connection of its own that tries once; `options` as in socket.io-client. */
export function client(server, options = {}, nsp = "/") {
  const socket = io(server.url + nsp, { forceNew: true, reconnection: false, ...options });
  open.add(socket);
  return socket;
}

/** Waits for the connection, and for its upgrade where one is due. */
export async function ready(socket) {
  const { opts } = socket.io;
  const upgrades = opts.transports?.join() === "polling,websocket" && opts.upgrade !== false;
  if (!socket.connected) {
    const refused = new Promise((_, reject) => socket.once("connect_error", reject));
    await Promise.race([next(socket, "connect"), refused]);
  }
  const { engine } = socket.io;
  if (upgrades && engine.transport.name !== "websocket") await next(engine, "upgrade");
  return socket;
}

/** A connected client. */
export function connect(server, options, nsp) {
  return ready(client(server, options, nsp));
}

/** Settings of a client that comes back at once. */
export const RETURNING = { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 100, randomizationFactor: 0.5 };

/** The answer to an event that asks for one. */
export function ask(socket, event, ...args) {
  return within(5_000, `ack of "${event}"`, socket.emitWithAck(event, ...args));
}

/**
 * Closes the connection on the client's side. Not in the middle of an upgrade: the official client keeps the events that arrive
 * in the same moment in which its close takes effect, and hears them again after its return.
 */
export async function cut(socket) {
  const { engine } = socket.io;
  if (engine.upgrading) {
    await new Promise((resolve) => ["upgrade", "upgradeError", "close"].forEach((event) => engine.once(event, resolve)));
  }
  engine.close();
}

/** Cuts the connection, and waits until the client is back. */
export async function cutAndReturn(socket) {
  const back = next(socket, "connect", undefined, 20_000);
  await cut(socket);
  await back;
}

/** An Engine.IO client, connected and upgraded where that is due. Messages that come meanwhile stand in `early`. */
export async function engineClient(server, options = {}) {
  const socket = new EngineSocket(server.url, options);
  open.add(socket);
  socket.early = [];
  socket.binaryType = "nodebuffer";
  socket.on("message", (data) => socket.early.push(data));
  await next(socket, "open");
  if (options.transports?.length === 2) await next(socket, "upgrade");
  return socket;
}
