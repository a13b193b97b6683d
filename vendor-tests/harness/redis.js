// A Redis of the test's own: on a free port, in a temporary folder, with the one user that the servers may be. The tests look in through
// a Unix socket, as a user of their own, so that what MONITOR shows of the servers is told from what it shows of them.
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { remove, temporary } from "./folder.js";
import { Server, freePort, listens } from "./server.js";
import { eventually } from "./wait.js";

const run = promisify(execFile);

export const USER = { REDIS_USERNAME: "rill", REDIS_PASSWORD: "secret" };
const ACL = `user default off
user rill on >secret resetkeys ~socket.io#* ~sio:session:* resetchannels -@all +auth +xadd +xread +xtrim +expire
user tests on nopass ~* &* +@all
`;

export class Redis {
  /** Has a port and a folder, and does not run yet. */
  static async prepare() {
    return new Redis(await freePort(), temporary("redis"));
  }

  constructor(port, folder) {
    Object.assign(this, { port, folder, socket: join(folder, "redis.sock") });
    writeFileSync(join(folder, "users.acl"), ACL);
  }

  /** Starts it, for the first time or again, with what it had kept. */
  async start() {
    const options = {
      port: this.port,
      bind: "127.0.0.1",
      dir: this.folder,
      aclfile: join(this.folder, "users.acl"),
      unixsocket: this.socket,
      appendonly: "yes",
      save: "",
    };
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
    this.process = new Server("redis-server", args, {}, this.port);
    await listens(this.process);
    await eventually("Redis has loaded what it had kept", async () => (await this.cli("PING").catch(() => "")) === "PONG");
  }

  /** It dies without a word. */
  async kill() {
    this.process?.child.kill("SIGKILL");
    await this.process?.gone();
  }

  /** What redis-cli prints. `-x` as first argument: the last argument is handed over as input, because it may be large. */
  async cli(...args) {
    const input = args[0] === "-x" ? args.pop() : "";
    const running = run("redis-cli", ["-s", this.socket, "--user", "tests", "--pass", "any", "--no-auth-warning", "-e", ...args]);
    running.child.stdin.on("error", () => {});
    running.child.stdin.end(input);
    return (await running).stdout.trim();
  }

  /** What its servers have asked for and were not allowed to, since it started. */
  async refusals() {
    return JSON.parse(await this.cli("--json", "ACL", "LOG")).map((entry) => `${entry.username}: ${entry.reason} ${entry.object} (${entry.context})`);
  }

  /** Watches until `stop` is called, which gives a list of `{name, args}`: each command that a server has sent. */
  async monitor() {
    const watching = new Server("redis-cli", ["-s", this.socket, "--user", "tests", "--pass", "any", "--no-auth-warning", "monitor"], {}, 0);
    await watching.prints(/^OK/);
    const stop = async () => {
      watching.child.kill("SIGKILL");
      await watching.gone();
      return watching.output.split("\n").flatMap((line) => {
        const [, from, command] = /^[\d.]+ \[\d+ (\S+)\] (.*)$/.exec(line) ?? [];
        if (!command || from.startsWith("unix:")) return [];
        const [name, ...args] = [...command.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map((word) => word[1]);
        return [{ name: name.toUpperCase(), args }];
      });
    };
    return { stop };
  }

  async end() {
    await this.kill();
    remove(this.folder);
  }
}
