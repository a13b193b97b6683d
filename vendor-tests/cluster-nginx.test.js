// nginx with the project's configuration before three servers: any request may go to any of them.
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { TRANSPORTS, ask } from "./harness/clients.js";
import { POLLING, WEBSOCKET, allTold, complaints, inCluster, member, upTo } from "./harness/cluster.js";
import { remove, temporary } from "./harness/folder.js";
import { CONFIGURATION, nginx } from "./harness/nginx.js";
import { proxyTo } from "./harness/proxy.js";
import { Server, freePort, listens } from "./harness/server.js";
import { eventually, pass } from "./harness/wait.js";
import { Polling, fetchOnce } from "./harness/wire.js";

const CLIENTS = 24;
const SECONDS = 12; // of messages without a drop
const SEND_EVERY_MS = 40;

/** For `inCluster`: the body gets an nginx too, whose log is shown with the others'. */
const behindNginx = (body) => async (cluster) => {
  const balancer = await nginx(cluster.servers);
  cluster.logs.push(["nginx", balancer]);
  await body(cluster, balancer);
  balancer.assertHealthy();
};

/** How many clients each server has. */
const shares = (cluster) =>
  Promise.all(cluster.servers.map(async (server) => Number(/clients\W+(\d+)/i.exec(await server.command("status", /clients/i))[1])));

describe("behind nginx", () => {
  it(`${CLIENTS} clients over all transports: no drop, and everybody is told everything; servers end, die and come back: their clients recover`, inCluster({}, behindNginx(async (cluster, balancer) => {
    const receivers = await Promise.all(upTo(CLIENTS).map((i) => member(balancer, TRANSPORTS[i % 3][1], "tea")));
    const ids = receivers.map(({ id }) => id);
    // The sender's own way is not what is tested.
    const sender = { name: "anna", sent: 0, acked: new Set(), socket: await member(cluster.servers[0], WEBSOCKET) };
    const say = async () => {
      const n = sender.sent++;
      const { ok } = await ask(sender.socket, "message", { room: "tea", text: `anna ${n}` });
      if (ok) sender.acked.add(n);
    };
    const sayFor = async (ms) => {
      for (const end = Date.now() + ms; Date.now() < end; await pass(SEND_EVERY_MS)) await say();
    };
    const counts = await shares(cluster);
    assert.ok(counts.every((count) => count >= CLIENTS / 6), `expected: the clients are spread over the servers; there are ${counts}`);

    await sayFor(SECONDS * 1_000);
    await allTold(receivers, `anna ${sender.sent - 1}`);
    assert.deepEqual(receivers.map(({ drops }) => drops).filter((drops) => drops.length > 0), [], "expected: no client is dropped");

    for (const [signal, i, end] of [["SIGTERM", 2, { code: 0, signal: null }], ["SIGKILL", 1, { code: null, signal: "SIGKILL" }]]) {
      const sending = sayFor(4_000);
      sending.catch(() => {}); // it is awaited below
      await pass(500);
      cluster.servers[i].child.kill(signal);
      assert.deepEqual(await cluster.servers[i].gone(), end, `expected: ${signal} ends a server like that`);
      await pass(1_000);
      await cluster.add(i);
      await sending;
    }
    await eventually("all clients are connected", () => receivers.every(({ connected }) => connected), 15_000);
    await say();
    await allTold(receivers, `anna ${sender.sent - 1}`);

    assert.equal(sender.acked.size, sender.sent, "expected: every message is acknowledged");
    assert.deepEqual(complaints(receivers, [sender]), [], "expected: everything once and in order");
    assert.ok(receivers.some(({ drops }) => drops.length > 0), "expected: the ends of two servers have dropped clients");
    assert.deepEqual(receivers.flatMap(({ returns }) => returns).filter((recovered) => !recovered), [], "expected: every return is recovered");
    assert.deepEqual(receivers.map(({ id }) => id), ids, "expected: the same ids");
  })));

  // A balancer may repeat a GET whose answer it did not get from one server at another. Long-polling acknowledges nothing: who takes the
  // repeated GET for the next one skips what was in the lost answer.
  it("an answer that is lost between nginx and a server is not skipped by the next one", inCluster({}, async (cluster) => {
    const lossy = await Promise.all(cluster.servers.map(proxyTo));
    const balancer = await nginx(lossy);
    cluster.logs.push(["nginx", balancer]);
    const receivers = await Promise.all(upTo(6).map(() => member(balancer, POLLING, "tea")));
    const sender = { name: "anna", sent: 0, acked: new Set(), socket: await member(cluster.servers[0], WEBSOCKET) };
    const sayFor = async (ms) => {
      for (const end = Date.now() + ms; Date.now() < end; await pass(SEND_EVERY_MS)) {
        const n = sender.sent++;
        if ((await ask(sender.socket, "message", { room: "tea", text: `anna ${n}` })).ok) sender.acked.add(n);
      }
    };
    for (const proxy of [...lossy, ...lossy]) {
      proxy.endAfter(0);
      proxy.cut();
      await sayFor(400);
      proxy.endAfter(Infinity);
      await sayFor(400);
    }
    await eventually("all clients are connected", () => receivers.every(({ connected }) => connected), 15_000);
    await sayFor(1);
    await allTold(receivers, `anna ${sender.sent - 1}`).catch(() => {}); // the complaints say more
    const fresh = receivers.flatMap(({ returns }) => returns).filter((recovered) => !recovered);
    assert.deepEqual([...complaints(receivers, [sender]), ...fresh], [], "expected: everything once and in order, and every return recovered");
  }));

  it("long-polling, each request over a connection of its own", inCluster({}, behindNginx(async (cluster, balancer) => {
    const sessions = await Promise.all(upTo(9).map(() => Polling.open(balancer, "/socket.io/")));
    for (const session of sessions) {
      assert.equal((await session.post("40")).status, 200);
      assert.match((await session.packets())[0], /^40\{"sid":"/);
      assert.equal((await session.post('420["join","blue"]')).status, 200);
      assert.match((await session.packets())[0], /^430\[\{"ok":true/);
    }
    // Polls that wait are answered when there is something, not when nginx has collected enough.
    const waiting = sessions.map((session) => session.packets());
    await pass(300);
    cluster.servers[0].type("sendroom blue hello");
    for (const packets of await Promise.all(waiting)) assert.match(packets[0], /^42\["message",\{.*"hello"/);
    const large = "x".repeat(900_000);
    assert.equal((await sessions[0].post(`42["message",{"room":"blue","text":"${large}"}]`)).status, 200, "expected: a body of 900 kB passes");
    for (const session of sessions) assert.ok((await session.packets())[0].includes(large));
  })));

  it("what is not for everybody is not let through: no page, no /metrics, in whatever way they are written", inCluster({}, behindNginx(async (cluster, balancer) => {
    const status = async (path) => (await fetchOnce(balancer, "GET", path)).status;
    for (const path of ["/healthz", "/readyz", "/readyz?verbose"]) assert.equal(await status(path), 200, path);
    assert.equal(await status("/socket.io/?EIO=4&transport=none"), 400);
    assert.notEqual(await status("/socket.io?EIO=4&transport=polling"), 301, "expected: no redirection, which a WebSocket could not follow");
    for (const path of ["/", "/metrics", "/metrics?x", "/metrics/", "//metrics", "/%6detrics", "/socket.io/../metrics", "/socket.io/%2e%2e/metrics", "/page.js", "/page.css", "/page.svg", "/nothing"]) {
      const answer = await fetchOnce(balancer, "GET", path);
      assert.equal(answer.status, 404, path);
      assert.doesNotMatch(answer.body, /rill_|socket\.io/, path);
    }
  })));

  it("told to, it lets the page through", inCluster({}, async (cluster) => {
    const balancer = await nginx(cluster.servers, { page: true });
    cluster.logs.push(["nginx", balancer]);
    for (const path of ["/", "/page.js", "/page.css", "/page.svg"]) assert.equal((await fetchOnce(balancer, "GET", path)).status, 200, path);
    assert.equal((await fetchOnce(balancer, "GET", "/metrics")).status, 404);
  }));

  it("answers to polling are compressed", inCluster({}, behindNginx(async (cluster, balancer) => {
    const session = await Polling.open(balancer, "/socket.io/");
    await session.post("40");
    await session.packets();
    await session.post('420["join","blue"]');
    await session.packets();
    cluster.servers[0].type(`sendroom blue ${"news ".repeat(1_000)}`);
    await eventually("it is told", () => cluster.servers[0].output.includes("sent to"));
    const { headers } = await session.get({ headers: { "Accept-Encoding": "gzip" } });
    assert.equal(headers["content-encoding"], "gzip");
  })));
});

// What the compose file runs in nginx's container: names have addresses, have none yet, change them. `getent` here reads a file.
describe("the balancer", () => {
  const script = fileURLToPath(new URL("../scripts/balancer", import.meta.url));
  const FOURTH = "        server websocket-server-4:3000;\n";

  /** The balancer with the shipped file; `names` gives the addresses, `edit` changes the file. */
  async function balanced(body, shell = "sh") {
    const folder = temporary("balancer");
    chmodSync(folder, 0o755); // nginx's workers may be another user
    const port = await freePort();
    const put = (file, text) => (writeFileSync(join(folder, "new"), text), renameSync(join(folder, "new"), join(folder, file)));
    const names = (known) => put("names", Object.entries(known).map(([name, address]) => `${address} ${name}\n`).join(""));
    const own = [["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${folder}/${kind};`).join(" "), `access_log off;`];
    const text = readFileSync(CONFIGURATION, "utf8")
      .replace(/^(\s*listen\s+)3000/m, `$1127.0.0.1:${port}`)
      .replace(/^\s*error_log[^;]*;/gm, "")
      .replace(/^\s*access_log \/dev[^;]*;/gm, "")
      .replace(/^http \{/m, `pid ${folder}/nginx.pid;\nerror_log stderr warn;\nhttp {\n${own.join("\n")}`);
    const edit = (change) => put("nginx.conf", change(readFileSync(join(folder, "nginx.conf"), "utf8")));
    put("nginx.conf", text);
    mkdirSync(join(folder, "bin"));
    writeFileSync(join(folder, "bin", "getent"), `#!/bin/sh\nawk -v name="$2" '$2 == name { print; found = 1 } END { exit !found }' ${folder}/names\n`, { mode: 0o755 });
    names({});
    const begin = (known) => {
      names(known);
      const server = new Server(shell, [script, join(folder, "nginx.conf"), join(folder, "effective.conf")], { PATH: `${folder}/bin:${process.env.PATH}` }, port);
      server.lastSignal = "SIGTERM"; // SIGKILL would leave its workers
      return server;
    };
    let running;
    try {
      await body({ begin: async (known) => (await listens((running = begin(known))), running), names, edit, folder });
      running.assertHealthy();
    } finally {
      running?.child.kill("SIGTERM");
      await running?.gone();
      remove(folder);
    }
  }

  /** Servers at addresses of their own, all at the port that the file names; each answers with its name. */
  async function upstreams(...addresses) {
    const all = addresses.map((address) => {
      const server = http.createServer((_, response) => response.end(address));
      return new Promise((resolve) => server.listen(3000, address, () => resolve(server)));
    });
    return Promise.all(all);
  }

  /** Who answers, of so many requests. */
  async function who(balancer, count = 12) {
    const answers = [];
    for (let i = 0; i < count; i++) answers.push(await fetchOnce(balancer, "GET", "/healthz"));
    return [...new Set(answers.map(({ status, body }) => (status === 200 ? body : status)))].sort();
  }
  const answer = (balancer, want, ms = 8_000) => eventually(`${want} answer`, async () => String(await who(balancer)) === String(want), ms);

  it("starts though names have no address, takes in those that get one, those that change, and a fourth one as it is typed", async () => {
    const at = (n) => `127.31.${process.pid % 250}.${n}`;
    const servers = await upstreams(at(1), at(2), at(3), at(4));
    try {
      await balanced(async ({ begin, names, edit }) => {
        const balancer = await begin({ "websocket-server-1": at(1) });
        await balancer.prints(/websocket-server-1 is at/);
        await balancer.prints(/websocket-server-3 has no address yet/);
        assert.deepEqual(await who(balancer), [at(1)]);
        names({ "websocket-server-1": at(1), "websocket-server-2": at(2) });
        await answer(balancer, [at(1), at(2)]);
        // Made anew under another address; and one that is gone is no reason to forget it, or anybody else.
        names({ "websocket-server-2": at(3) });
        await answer(balancer, [at(1), at(3)]);
        edit((text) => text.replace("upstream socketio_backend {\n", `$&${FOURTH}`));
        await balancer.prints(/websocket-server-4 has no address yet/);
        assert.deepEqual(await who(balancer), [at(1), at(3)]);
        names({ "websocket-server-2": at(3), "websocket-server-4": at(4) });
        await answer(balancer, [at(1), at(3), at(4)]);
        // What nginx would not start with is said, and changes nothing; the next edit counts again.
        const from = balancer.output.length;
        edit((text) => text.replace("least_conn;", "most_conn;"));
        await balancer.prints(/nginx.conf is not taken/, from, 6_000);
        assert.deepEqual(await who(balancer), [at(1), at(3), at(4)]);
        edit((text) => text.replace("most_conn;", "least_conn;").replace(/.*websocket-server-1:.*\n/g, ""));
        await answer(balancer, [at(3), at(4)]);
        assert.equal(balancer.output.split("is not taken").length, 2, "it is said once");
      });
    } finally {
      servers.forEach((server) => server.close());
    }
  });

  it("starts though no name has an address", async () => {
    const at = `127.32.${process.pid % 250}.1`;
    const servers = await upstreams(at);
    try {
      await balanced(async ({ begin, names }) => {
        const balancer = await begin({});
        assert.deepEqual(await who(balancer, 1), [502]);
        assert.equal((await fetchOnce(balancer, "GET", "/nginx-health")).status, 200);
        names({ "websocket-server-3": at });
        await answer(balancer, [at]);
      });
    } finally {
      servers.forEach((server) => server.close());
    }
  });
});
