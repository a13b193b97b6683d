// Redis as it is in the field: old, of another kind, behind TLS, on a Unix socket.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { describe, it } from "node:test";
import { readiness } from "./harness/cluster.js";
import { READY_MS, TOLD_MS, command, isTold, speak, withProcesses } from "./harness/field.js";
import { Server, freePort } from "./harness/server.js";
import { eventually } from "./harness/wait.js";

/** A Redis 6.0, as far as a server's first words: it does not know NOMKSTREAM. */
async function oldRedis() {
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (data) => {
      if (/NOMKSTREAM/.test(data)) socket.write("-ERR Invalid stream ID specified as stream command argument\r\n");
      else if (/XADD/.test(data)) socket.write(`$15\r\n${Date.now()}-0\r\n`);
      else socket.write("-ERR syntax error\r\n");
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

describe("A Redis that can't be used", () => {
  it("one before 6.2 is named as the cause", withProcesses(async ({ rill }) => {
    const old = await oldRedis();
    try {
      await isTold(await rill({ REDIS_HOST: "127.0.0.1", REDIS_PORT: old.address().port }), /needs Redis 6\.2 or newer.*Invalid stream ID/);
    } finally {
      old.close();
    }
  }));

  it("a Sentinel, with its own words", withProcesses(async ({ begin, rill, folder }) => {
    const port = await freePort();
    const conf = join(folder, "sentinel.conf");
    writeFileSync(conf, `port ${port}\nbind 127.0.0.1\ndir ${folder}\n`);
    await begin(new Server("redis-server", [conf, "--sentinel"], {}, port));
    await isTold(await rill({ REDIS_HOST: "127.0.0.1", REDIS_PORT: port }), /Sentinel's port.*unknown command/);
  }));

  it("a password that nobody set, one that is missing, and a wrong one name the variable", withProcesses(async ({ redis, rill }) => {
    const [open, closed] = [await redis(), await redis(["--requirepass", "sesame"])];
    const at = ({ port }, env) => rill({ REDIS_HOST: "127.0.0.1", REDIS_PORT: port, ...env });
    await isTold(await at(open, { REDIS_PASSWORD: "sesame" }), /it has no password, and REDIS_PASSWORD is set/);
    await isTold(await at(closed), /it wants a password, set REDIS_PASSWORD: NOAUTH/);
    await isTold(await at(closed, { REDIS_PASSWORD: "other" }), /REDIS_PASSWORD and REDIS_USERNAME\): WRONGPASS/);
  }));

  it("one that wants TLS", withProcesses(async ({ rill }) => {
    const mute = net.createServer((socket) => socket.on("error", () => {}).on("data", () => socket.destroy()));
    await new Promise((resolve) => mute.listen(0, "127.0.0.1", resolve));
    try {
      await isTold(await rill({ REDIS_HOST: "127.0.0.1", REDIS_PORT: mute.address().port }), /does it want TLS/);
    } finally {
      mute.close();
    }
  }));

  it("a key that is something else: Redis's words, and those of other namespaces go on", withProcesses(async ({ redis, rill }) => {
    const { port } = await redis();
    await command(port, "SET", "socket.io#/#", "x");
    const server = await rill({ REDIS_HOST: "127.0.0.1", REDIS_PORT: port });
    await isTold(server, /socket\.io#\/# was refused: WRONGTYPE/);
    await command(port, "DEL", "socket.io#/#");
    await server.prints(/initialized/, 0, READY_MS);
    await speak(server);
    // While it is being read: its clients come back, and it is told.
    await command(port, "SET", "socket.io#/#", "x");
    await eventually("the log is gone", async () => (await readiness(server)) === 503, READY_MS);
    await command(port, "DEL", "socket.io#/#");
    await eventually("the log is there again", async () => (await readiness(server)) === 200, READY_MS);
    await speak(server);
  }));
});

describe("A Redis at another place", () => {
  it("over a Unix socket, with a user who needs no password", withProcesses(async ({ redis, rill, folder }) => {
    const path = join(folder, "redis.sock");
    const { port } = await redis(["--unixsocket", path]);
    await command(port, "ACL", "SETUSER", "rill", "on", "nopass", "~socket.io#*", "~sio:session:*", "-@all", "+auth", "+xadd", "+xread", "+xtrim", "+expire");
    await command(port, "ACL", "SETUSER", "default", "-@all", "+acl", "+client");
    const urls = [{ REDIS_URL: `unix://${path}`, REDIS_PASSWORD: "any" }, { REDIS_URL: `redis://rill@127.0.0.1:${port}/0` }];
    const tcp = await rill(urls[1]);
    await tcp.prints(/initialized/, 0, READY_MS);
    const users = (await command(port, "CLIENT", "LIST")).split("\n").filter((line) => /cmd=x|cmd=expire/.test(line));
    assert.ok(users.length > 0 && users.every((line) => / user=rill /.test(line)), `expected: the user that it was told to be:\n${users.join("\n")}`);
    await command(port, "ACL", "SETUSER", "default", "+@all", "~*");
    const unix = await rill({ REDIS_URL: `unix://${path}` });
    await unix.prints(/initialized/, 0, READY_MS);
    await speak(tcp, unix);
  }));

  it("one shard of a cluster serves keys with its {tag}; others are told", withProcesses(async ({ redis, rill }) => {
    const { port } = await redis(["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"]);
    const slot = /\d+/.exec(await command(port, "CLUSTER", "KEYSLOT", "{rill}"))[0];
    await command(port, "CLUSTER", "ADDSLOTS", slot);
    await eventually("the node serves its slot", async () => /cluster_state:ok/.test(await command(port, "CLUSTER", "INFO")));
    const at = { REDIS_HOST: "127.0.0.1", REDIS_PORT: port };
    const server = await rill({ ...at, STREAM_PREFIX: "{rill}socket.io", SESSION_PREFIX: "{rill}session:" });
    await server.prints(/initialized/, 0, READY_MS);
    await speak(server);
    await isTold(await rill(at), /node of a Redis Cluster.*\{tag\}.*CLUSTERDOWN/);
  }));

  it("behind TLS, through the stunnel of docs/operating.md", withProcesses(async ({ begin, redis, rill, folder }) => {
    const { port } = await redis();
    const file = (name) => join(folder, name);
    const openssl = (...args) => execFileSync("openssl", args, { stdio: "pipe" });
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", file("ca.key"), "-out", file("ca.crt"), "-days", "2", "-subj", "/CN=test CA");
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", file("redis.key"), "-out", file("redis.csr"), "-subj", "/CN=redis.example.net");
    writeFileSync(file("names"), "subjectAltName=DNS:redis.example.net");
    openssl("x509", "-req", "-in", file("redis.csr"), "-CA", file("ca.crt"), "-CAkey", file("ca.key"), "-CAcreateserial", "-days", "2", "-extfile", file("names"), "-out", file("redis.crt"));
    const [tls, local, wrong] = [await freePort(), await freePort(), await freePort()];
    writeFileSync(file("redis.conf"), `foreground = yes\npid =\n[redis]\naccept = 127.0.0.1:${tls}\nconnect = 127.0.0.1:${port}\ncert = ${file("redis.crt")}\nkey = ${file("redis.key")}\n`);
    await begin(new Server("stunnel", [file("redis.conf")], {}, tls));
    const [, recipe] = /```ini\n(; stunnel[^]*?)```/.exec(readFileSync(new URL("../docs/operating.md", import.meta.url), "utf8"));
    const here = (text, at, name) =>
      text
        .replace("accept = 127.0.0.1:6379", `accept = 127.0.0.1:${at}`)
        .replace("connect = redis.example.net:6380", `connect = 127.0.0.1:${tls}`)
        .replace("checkHost = redis.example.net", `checkHost = ${name}`)
        .replace(/CAfile = \S+/, `CAfile = ${file("ca.crt")}`);
    writeFileSync(file("server.conf"), here(recipe, local, "redis.example.net"));
    writeFileSync(file("wrong.conf"), here(recipe, wrong, "other.example.net"));
    await begin(new Server("stunnel", [file("server.conf")], {}, local));
    await begin(new Server("stunnel", [file("wrong.conf")], {}, wrong));
    const server = await rill({ REDIS_HOST: "127.0.0.1", REDIS_PORT: local });
    await server.prints(/initialized/, 0, READY_MS);
    await speak(server);
    // A Redis with another name is none, and so is a TLS port without a stunnel.
    await isTold(await rill({ REDIS_HOST: "127.0.0.1", REDIS_PORT: wrong }), /it hung up without a word/);
    const plain = await rill({ REDIS_HOST: "127.0.0.1", REDIS_PORT: tls });
    await plain.prints(/\[REDIS\].*TLS/, 0, TOLD_MS);
  }));
});
