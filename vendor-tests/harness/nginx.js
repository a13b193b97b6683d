// nginx with the project's own configuration, of which only what belongs to the machine is written anew: where it listens, what the
// servers are called, where its files are.
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { remove, temporary } from "./folder.js";
import { Server, freePort, listens } from "./server.js";

export const CONFIGURATION = process.env.NGINX_CONF ?? fileURLToPath(new URL("../../nginx.conf", import.meta.url));
const TEMPORARY = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
const SERVER = /^(\s*server\s+)([\w.-]+:\d+)(\b[^;]*;)/gm; // a server of an upstream, with its options

const PAGE = /^(\s*)# (location ~ \^\/\(page.*)$/m; // the line that lets the room page through

/** The configuration for this port, these servers and this folder. */
export function rewrite(text, port, servers, folder, { page = false } = {}) {
  const names = [];
  let listening = 0;
  if (page && !PAGE.test(text)) throw new Error(`${CONFIGURATION} has no line for the room page`);
  const own = (page ? text.replace(PAGE, "$1$2") : text)
    // The first address is ours; at others, such as that of IPv6, nobody asks.
    .replace(/^(\s*listen\s+)[^\s;]+([^;]*;)/gm, (_, listen, options) =>
      listening++ === 0 ? `${listen}127.0.0.1:${port}${options}` : `${listen}unix:${folder}/unused-${listening}.sock;`)
    .replace(/^\s*(user|daemon|pid|error_log|access_log|resolver)\s[^;]*;/gm, "")
    .replace(SERVER, (_, server, name, options) => {
      if (!names.includes(name)) names.push(name);
      const its = servers[names.indexOf(name)];
      return its ? `${server}127.0.0.1:${its.port}${options.replace(/\sresolve\b/, "")}` : "";
    });
  if (listening === 0) throw new Error(`${CONFIGURATION} has no line that begins with "listen"`);
  if (names.length !== servers.length) throw new Error(`${CONFIGURATION} has ${names.length} servers in its upstream, the test has ${servers.length}`);
  const paths = TEMPORARY.map((kind) => `${kind}_temp_path ${folder}/${kind};`).join("\n");
  const http = /^\s*http\s*\{/m;
  // A file for nginx's conf.d has no http block of its own.
  const whole = http.test(own) ? own : `events {}\nhttp {\n${own}\n}\n`;
  return `daemon off;\npid ${folder}/nginx.pid;\nerror_log stderr warn;\n${whole.replace(http, (begin) => `${begin}\naccess_log off;\n${paths}`)}`;
}

/** A running nginx before these servers; has the `url` that clients need. `page`: it lets the room page through. */
export async function nginx(servers, options) {
  const folder = temporary("nginx");
  chmodSync(folder, 0o755); // its workers may be another user
  const port = await freePort();
  const file = join(folder, "nginx.conf");
  writeFileSync(file, rewrite(readFileSync(CONFIGURATION, "utf8"), port, servers, folder, options));
  const server = new Server("nginx", ["-p", folder, "-c", file], {}, port);
  server.lastSignal = "SIGTERM"; // SIGKILL would leave its workers
  await listens(server);
  server.exited.then(() => remove(folder));
  return server;
}
