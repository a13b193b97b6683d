// The wire without a client library: HTTP requests byte by byte, WebSocket frames bit by bit.
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import net from "node:net";
import { next, within } from "./wait.js";

const EVENTS = ["data", "end", "close"];
const open = new Set();

/** For `afterEach`. */
export function closeWires() {
  open.forEach((wire) => wire.socket.destroy());
  open.clear();
}

/** One TCP connection. */
export class Wire {
  static async to(server) {
    const wire = new Wire(server);
    const refused = new Promise((_, reject) => wire.socket.once("error", reject));
    await Promise.race([next(wire.socket, "connect"), refused]);
    return wire;
  }

  constructor({ port }) {
    this.input = Buffer.alloc(0);
    this.ended = false;
    this.socket = net.connect({ port, host: "127.0.0.1", noDelay: true });
    this.socket.on("data", (data) => (this.input = Buffer.concat([this.input, data])));
    this.socket.on("error", () => {}); // a reset is an end like any other; "close" follows
    this.socket.on("end", () => (this.ended = true));
    this.socket.on("close", () => (this.ended = true));
    open.add(this);
  }

  send(...parts) {
    this.socket.write(Buffer.concat(parts.map((part) => Buffer.from(part))));
  }

  /** Sends each byte in a segment of its own. */
  async trickle(data) {
    for (const byte of Buffer.from(data)) {
      this.socket.write(Buffer.of(byte));
      await new Promise(setImmediate);
    }
  }

  /** Waits until `take` finds something in the input. */
  async until(take, what, ms = 5_000) {
    let check;
    const arrived = new Promise((resolve, reject) => {
      check = () => {
        const found = take(this.input, this.ended);
        if (found !== undefined) return resolve(found);
        if (this.ended) reject(new Error(`the connection ended before ${what}; read: ${this.input.toString("latin1").slice(0, 300)}`));
      };
      EVENTS.forEach((event) => this.socket.on(event, check));
      check();
    });
    return within(ms, what, arrived).finally(() => EVENTS.forEach((event) => this.socket.off(event, check)));
  }

  /** Waits until the server has closed the connection; gives what it sent before that. */
  closed(ms = 5_000) {
    return this.until((input, ended) => (ended ? input : undefined), "end of the connection", ms);
  }

  /** Waits until the server has closed the WebSocket, by a close frame or by hanging up. */
  over(ms = 2_000) {
    const isOver = (input, ended) => {
      for (let at = 0, next; (next = parseFrame(input.subarray(at))); at += next.end) if (next.opcode === CLOSE) return true;
      return ended || undefined;
    };
    return this.until(isOver, "end of the WebSocket", ms);
  }

  /** The next HTTP response. `head`: it answers a HEAD request. */
  async response({ head = false, ms = 5_000 } = {}) {
    const { end, ...response } = await this.until((input, ended) => parseResponse(input, ended, head), "HTTP response", ms);
    this.input = this.input.subarray(end);
    return response;
  }

  /** The next WebSocket frame. */
  async frame(ms = 5_000) {
    const { end, ...frame } = await this.until(parseFrame, "WebSocket frame", ms);
    this.input = this.input.subarray(end);
    return frame;
  }

  /** The text of the next text frame; pings of WebSocket and Engine.IO are passed over unless `pings`. */
  async text({ pings = false } = {}) {
    for (;;) {
      const { opcode, payload } = await this.frame();
      const text = payload.toString();
      if (opcode === TEXT && (pings || text !== "2")) return text;
      if (opcode === CLOSE) throw new Error(`closed: ${payload.toString("hex")}`);
    }
  }
}

function parseResponse(input, ended, toHead) {
  const headEnd = input.indexOf("\r\n\r\n");
  if (headEnd < 0) return undefined;
  const [line, ...lines] = input.subarray(0, headEnd).toString("latin1").split("\r\n");
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(line)?.[1]);
  const headers = {};
  for (const header of lines) {
    const [, name, value] = /^([^:\s]+):\s*(.*)$/.exec(header);
    const key = name.toLowerCase();
    headers[key] = key in headers ? `${headers[key]}\n${value}` : value;
  }
  const start = headEnd + 4;
  const whole = (body, end) => ({ status, headers, body: body.toString(), end });
  if (toHead || status === 204 || status === 304 || status < 200) return whole(Buffer.alloc(0), start);
  if (headers["transfer-encoding"] === "chunked") return parseChunks(input, start, whole);
  if (headers["content-length"] !== undefined) {
    const end = start + Number(headers["content-length"]);
    return input.length >= end ? whole(input.subarray(start, end), end) : undefined;
  }
  return ended ? whole(input.subarray(start), input.length) : undefined;
}

function parseChunks(input, at, whole) {
  const chunks = [];
  for (;;) {
    const lineEnd = input.indexOf("\r\n", at);
    if (lineEnd < 0) return undefined;
    const size = parseInt(input.subarray(at, lineEnd).toString("latin1"), 16);
    const from = lineEnd + 2;
    if (input.length < from + size + 2) return undefined;
    chunks.push(input.subarray(from, from + size));
    at = from + size + 2;
    if (size === 0) return whole(Buffer.concat(chunks), at);
  }
}

/** The text of a request; a `Host` and the length of the body are added. */
export function request(method, target, { headers = {}, body, version = "1.1" } = {}) {
  const all = { Host: "localhost", ...(body === undefined ? {} : { "Content-Length": Buffer.byteLength(body) }), ...headers };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = `${method} ${target} HTTP/${version}\r\n${lines.join("")}\r\n`;
  return Buffer.isBuffer(body) ? Buffer.concat([Buffer.from(head), body]) : head + (body ?? "");
}

/** One request on a connection of its own. */
export async function fetchOnce(server, method, target, options = {}) {
  const wire = await Wire.to(server);
  wire.send(request(method, target, options));
  const response = await wire.response({ head: method === "HEAD", ms: options.ms });
  wire.socket.destroy();
  return response;
}

/** A session over polling, request by request, each on a connection of its own. */
export class Polling {
  static async open(server, path = "/engine.io/") {
    const { body } = await fetchOnce(server, "GET", `${path}?EIO=4&transport=polling`);
    return new Polling(server, path, JSON.parse(body.slice(1)).sid);
  }

  constructor(server, path, sid) {
    Object.assign(this, { server, sid, target: `${path}?EIO=4&transport=polling&sid=${sid}` });
  }

  get(options) {
    return fetchOnce(this.server, "GET", this.target, options);
  }

  post(body, headers) {
    return fetchOnce(this.server, "POST", this.target, { body, headers });
  }

  /** The next packets, without pings. */
  async packets() {
    const { status, body } = await this.get();
    const list = status === 200 ? body.split("\x1e").filter((packet) => packet !== "2") : [`status ${status}`];
    return list.length > 0 ? list : this.packets();
  }
}

// ---- WebSocket

export const CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10;

/** A frame as a client sends it; each rule can be broken. */
export function frame(payload, { opcode = TEXT, fin = true, rsv = 0, masked = true, length } = {}) {
  const data = Buffer.from(payload);
  const size = length ?? data.length;
  const head = [(fin ? 0x80 : 0) | (rsv << 4) | opcode];
  const mask = masked ? 0x80 : 0;
  if (size < 126) head.push(mask | size);
  else if (size < 65_536) head.push(mask | 126, size >> 8, size & 255);
  else {
    const long = Buffer.alloc(8);
    long.writeBigUInt64BE(BigInt(size));
    head.push(mask | 127, ...long);
  }
  if (!masked) return Buffer.concat([Buffer.from(head), data]);
  const key = randomBytes(4);
  const body = Buffer.from(data);
  for (let i = 0; i < body.length; i++) body[i] ^= key[i & 3];
  return Buffer.concat([Buffer.from(head), key, body]);
}

function parseFrame(input) {
  if (input.length < 2) return undefined;
  let length = input[1] & 127;
  let start = 2;
  if (length === 126) {
    if (input.length < 4) return undefined;
    length = input.readUInt16BE(2);
    start = 4;
  } else if (length === 127) {
    if (input.length < 10) return undefined;
    length = Number(input.readBigUInt64BE(2));
    start = 10;
  }
  const end = start + length;
  if (input.length < end) return undefined;
  return { fin: input[0] >= 128, rsv: (input[0] >> 4) & 7, opcode: input[0] & 15, masked: input[1] >= 128, payload: input.subarray(start, end), end };
}

/** The request for a WebSocket. */
export function upgradeRequest(target, headers = {}) {
  return request("GET", target, {
    headers: {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": randomBytes(16).toString("base64"),
      ...headers,
    },
  });
}

/** An open WebSocket; the frames in `pipelined` are sent in the same segment as the request. */
export async function webSocket(server, target, { headers, pipelined = [] } = {}) {
  const wire = await Wire.to(server);
  wire.send(upgradeRequest(target, headers), ...pipelined);
  const response = await wire.response();
  if (response.status !== 101) throw new Error(`refused: ${response.status} ${response.body}`);
  wire.accepted = response.headers;
  return wire;
}
