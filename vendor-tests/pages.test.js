// Which pages stand on the public port, and which an operator takes off it: METRICS_ADDR, PAGE.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { connect, closeClients } from "./harness/clients.js";
import { freePort, listens, rill, rillProcess } from "./harness/server.js";
import { fetchOnce } from "./harness/wire.js";

const PUBLIC = ["/", "/page.css", "/page.js", "/page.svg", "/metrics", "/healthz", "/readyz"];

/** Those of the paths that are there. */
async function there(server, paths = PUBLIC) {
  const statuses = await Promise.all(paths.map(async (path) => (await fetchOnce(server, "GET", path)).status));
  return paths.filter((_, i) => statuses[i] === 200);
}

/** The body gets a server with this environment, and a port for its metrics. */
const withServer = (env, body) => async (test) => {
  const port = await freePort();
  const server = await rill(env(port));
  test.after(() => server.end());
  test.after(closeClients);
  await body(server, { port });
};

describe("pages on the public port", () => {
  it("all of them, unless told otherwise", withServer(() => ({}), async (server) => {
    assert.deepEqual(await there(server), PUBLIC);
  }));

  it("PAGE=0: no room page; clients and everything else are as before", withServer(() => ({ PAGE: "0" }), async (server) => {
    assert.deepEqual(await there(server), PUBLIC.slice(4));
    await connect(server, {});
  }));

  it("METRICS_ADDR=off: no metrics anywhere", withServer(() => ({ METRICS_ADDR: "off" }), async (server) => {
    assert.deepEqual(await there(server), PUBLIC.filter((path) => path !== "/metrics"));
  }));
});

describe("METRICS_ADDR", () => {
  const env = (port) => ({ METRICS_ADDR: `127.0.0.1:${port}` });

  it("the metrics are there and nowhere else, and nothing else is there", withServer(env, async (server, metrics) => {
    assert.deepEqual(await there(server), PUBLIC.filter((path) => path !== "/metrics"));
    assert.deepEqual(await there(metrics), ["/metrics"]);
    await connect(server, {});
    const { headers, body } = await fetchOnce(metrics, "GET", "/metrics");
    assert.match(headers["content-type"], /^text\/plain; version=0\.0\.4/);
    assert.match(body, /^rill_connections 1$/m);
    assert.equal((await fetchOnce(metrics, "POST", "/metrics")).status, 405);
    assert.equal((await fetchOnce(metrics, "GET", "/socket.io/?EIO=4&transport=polling")).status, 503, "no clients there");
  }));

  it("they are there before `start` and after `stop`", async (test) => {
    const port = await freePort();
    const server = await rillProcess({ ...env(port), AUTOSTART: "0" });
    test.after(() => server.end());
    const metrics = { port, output: "", ended: false };
    await server.prints(new RegExp(`\\[SERVER\\] metrics on http://127\\.0\\.0\\.1:${port}/metrics\n`));
    await listens(metrics);
    assert.deepEqual(await there(metrics), ["/metrics"]);
    await server.command("start", /listening/);
    await server.command("stop", /stopped/);
    assert.deepEqual(await there(metrics), ["/metrics"]);
  });

  it("an address that is taken is said, and nothing is served", withServer(env, async (_, { port }) => {
    const second = await rillProcess(env(port));
    assert.deepEqual(await second.gone(), { code: 1, signal: null });
    assert.match(second.output, new RegExp(`\\[SERVER\\] can't listen on 127\\.0\\.0\\.1:${port}: .* \\(METRICS_ADDR\\)\n`));
  }));

  it("a value that is no address is said", async () => {
    const server = await rillProcess({ METRICS_ADDR: "9100" });
    assert.equal((await server.gone()).code, 2);
    assert.match(server.output, /METRICS_ADDR=9100 is not allowed: it must be an IP address and port such as 127\.0\.0\.1:9100, or off/);
  });
});
