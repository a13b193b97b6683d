// Starts the project's binaries, each test's server as a process of its own on a free port; ends only what it started.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { EventEmitter } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import { fileURLToPath } from "node:url";
import { eventually, next, within } from "./wait.js";

const binary = (variable, name) => process.env[variable] ?? fileURLToPath(new URL(`../../target/release/${name}`, import.meta.url));
const TICKS_PER_SECOND = 100; // of /proc/PID/stat, on every Linux

const running = new Set();
process.on("exit", () => running.forEach(({ child, lastSignal }) => child.kill(lastSignal)));
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1)); // as when the runner's time is over

/** A running server. Emits `output` whenever it has printed something. */
export class Server extends EventEmitter {
  constructor(command, args, env, port) {
    super();
    this.port = port;
    this.output = "";
    this.ended = false;
    this.lastSignal = "SIGKILL";
    this.child = spawn(command, args, { env: { PATH: process.env.PATH, ...env }, stdio: "pipe" });
    running.add(this);
    this.exited = new Promise((resolve) => {
      const end = (code, signal) => {
        running.delete(this);
        this.ended = true;
        this.emit("output");
        resolve({ code, signal });
      };
      this.child.once("close", end);
      this.child.once("error", (error) => {
        this.output += error.message; // it could not be started
        end(-1, null);
      });
    });
    this.child.stdin.on("error", () => {}); // a server that has exited reads no more commands
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => {
        this.output += text;
        this.emit("output");
      });
    }
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  get pid() {
    return this.child.pid;
  }

  /** Types a command. */
  type(line) {
    this.child.stdin.write(`${line}\n`);
  }

  /** What the server prints after typing a command: what matches `pattern`, and the prompt after it. */
  command(line, pattern = /(?:)/) {
    const from = this.output.length;
    this.type(line);
    return this.prints(new RegExp(`(?:${pattern.source})[^]*SERVER> `, pattern.flags), from);
  }

  /** Waits until the output, from position `from` on, matches `pattern`; gives that output. */
  async prints(pattern, from = 0, ms = 5_000) {
    const matches = () => pattern.test(this.output.slice(from));
    if (!matches() && !this.ended) await next(this, "output", () => matches() || this.ended, ms).catch(() => {});
    if (!matches()) throw new Error(`not printed within ${ms} ms: ${pattern}; printed:\n${this.output.slice(from)}`);
    return this.output.slice(from);
  }

  /** Exit status and signal, once the process is gone. */
  gone(ms = 10_000) {
    return within(ms, "end of the process", this.exited);
  }

  /** Nothing so far has shaken it: it runs and has not panicked. */
  assertHealthy() {
    assert.doesNotMatch(this.output, /panicked|stack overflow|SIGABRT|Unhandled|uncaught/i);
    assert.equal(this.ended, false, `the server has ended; it printed:\n${this.output}`);
  }

  /** Seconds of processor time that the process has used so far. */
  cpuSeconds() {
    const fields = readFileSync(`/proc/${this.pid}/stat`, "utf8").split(") ")[1].split(" ");
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }

  /** Resident memory in MiB. */
  memory() {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.pid}/status`, "utf8"))[1]) / 1024;
  }

  /** For `after`: the server must have come through everything, and is ended. */
  async end() {
    if (this.ended) return;
    try {
      this.assertHealthy();
    } finally {
      this.child.kill(this.lastSignal);
      await this.gone();
    }
  }
}

/** A port that nothing uses, below those that the kernel gives to outgoing connections. */
export async function freePort() {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 10_000);
    const probe = net.createServer();
    const free = await new Promise((resolve) => {
      probe.once("error", () => resolve(false));
      probe.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!free) continue;
    await new Promise((resolve) => probe.close(resolve));
    return port;
  }
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.once("connect", () => socket.destroy() && resolve(true));
    socket.once("error", () => resolve(false));
  });
}

/** Waits until something listens on the port. */
export async function listens(server) {
  await eventually(`something listens on port ${server.port}`, () => {
    if (server.ended) throw new Error(`the server ended before it listened; it printed:\n${server.output}`);
    return answers(server.port);
  });
}

/** The test server of the official suites: `engine`, `socket`, `client` or `engine-client`. */
export async function conformance(mode) {
  const port = await freePort();
  const server = new Server(binary("CONFORMANCE_BIN", "examples/conformance"), [mode, "--port", String(port)], {}, port);
  await listens(server);
  return server;
}

/** The `rill` process with this environment, without waiting for anything. */
export async function rillProcess(env = {}) {
  const port = env.PORT ?? (await freePort());
  const defaults = { PORT: String(port), HOST: "127.0.0.1", ADAPTER: "memory", AUTOSTART: "1", SERVER_ID: "test" };
  return new Server(binary("RILL_BIN", "rill"), [], { ...defaults, ...env }, port);
}

/** A started `rill`. */
export async function rill(env) {
  const server = await rillProcess(env);
  await server.prints(/SERVER> /);
  await listens(server);
  return server;
}
