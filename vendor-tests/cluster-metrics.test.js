// /metrics as Prometheus reads it, and the dashboard for Grafana: each of its queries asks for what the servers really tell.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { parser as promql } from "@prometheus-io/lezer-promql";
import parseExposition from "parse-prometheus-text-format";
import { RETURNING, ask, closeClients, connect } from "./harness/clients.js";
import { WEBSOCKET, inCluster } from "./harness/cluster.js";
import { rill } from "./harness/server.js";
import { fetchOnce } from "./harness/wire.js";

const dashboard = JSON.parse(readFileSync(new URL("../scripts/grafana-dashboard.json", import.meta.url), "utf8"));
const panels = dashboard.panels.filter(({ type }) => type !== "row");
/** Prometheus adds these to whatever it reads. */
const ADDED = ["job", "instance"];
/** What there is to tell depends on where the log is. */
const IN_MEMORY = ["rill_sessions_kept", "rill_log_entries", "rill_log_bytes"];
const IN_REDIS = ["rill_redis_connected", "rill_log_waiting", "rill_log_waiting_bytes", "rill_cluster_servers"];

/** Grafana puts its variables in before Prometheus sees a query. */
const filled = (text) => text.replaceAll("$__rate_interval", "5m").replaceAll(/\$\w+/g, ".*");

/** The names and labels that a query asks for. */
function asked(query) {
  const text = filled(query);
  const metrics = [];
  const labels = [];
  promql.parse(text).iterate({
    enter(node) {
      const found = text.slice(node.from, node.to);
      assert.equal(node.type.isError, false, `a mistake at ${node.from} of ${text}`);
      if (node.name === "VectorSelector") metrics.push(text.slice(node.node.firstChild.from, node.node.firstChild.to));
      if (node.name === "LabelName") labels.push(found);
    },
  });
  assert.ok(metrics.length > 0, `no metric in ${text}`);
  return { metrics, labels };
}

/** Each metric that a page tells, with the labels of its samples; the page must be what Prometheus reads. */
async function told(server) {
  const { status, headers, body } = await fetchOnce(server, "GET", "/metrics");
  assert.equal(status, 200);
  assert.match(headers["content-type"], /^text\/plain; version=0\.0\.4/);
  const families = parseExposition(body);
  const found = new Map();
  for (const { name, help, type, metrics } of families) {
    assert.equal(found.has(name), false, `${name} is there once`);
    assert.ok(help.length > 5 && ["COUNTER", "GAUGE"].includes(type), `${name} has a help and a type`);
    assert.equal(name.endsWith("_total"), type === "COUNTER", `${name} is named as its type asks for`);
    for (const { value } of metrics) assert.match(value, /^\d+(\.\d+)?$/, name);
    const labels = metrics.map(({ labels = {} }) => Object.entries(labels).sort().join(";"));
    assert.equal(new Set(labels).size, labels.length, `${name} has a sample for each label`);
    found.set(name, new Set(metrics.flatMap(({ labels = {} }) => Object.keys(labels))));
  }
  const lines = body.split("\n").filter((line) => line && !line.startsWith("#")).length;
  assert.equal(families.flatMap(({ metrics }) => metrics).length, lines, "no line is left over");
  const promtool = spawnSync("promtool", ["check", "metrics"], { input: body, encoding: "utf8" });
  if (promtool.error?.code !== "ENOENT") assert.deepEqual([promtool.status, promtool.stderr], [0, ""]);
  return found;
}

/** Every query of the dashboard, but for those that ask for what is `elsewhere`, finds its metrics and labels. */
function answers(found, elsewhere) {
  for (const { title, targets } of panels) {
    for (const { expr } of targets) {
      const { metrics, labels } = asked(expr);
      for (const metric of metrics.filter((metric) => !elsewhere.includes(metric))) {
        assert.ok(found.has(metric), `${title}: there is a ${metric}`);
        for (const label of labels) assert.ok(ADDED.includes(label) || found.get(metric).has(label), `${title}: ${metric} has a label ${label}`);
      }
    }
  }
  for (const metric of elsewhere) assert.equal(found.has(metric), false, `${metric} is not known here, and is left out`);
}

describe("the dashboard", () => {
  it("is one that Grafana can import", () => {
    const { uid, title, schemaVersion, templating } = dashboard;
    assert.match(uid, /^[\w-]{1,40}$/);
    assert.ok(title && schemaVersion >= 36);
    assert.deepEqual(templating.list.map(({ name, type }) => [name, type]), [["datasource", "datasource"], ["job", "query"], ["instance", "query"]]);
    const ids = dashboard.panels.map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length, "each panel has an id of its own");
    const taken = new Set();
    for (const { title, gridPos: { x, y, w, h } } of dashboard.panels) {
      assert.ok(x >= 0 && x + w <= 24, `${title} is within the grid`);
      for (let i = x; i < x + w; i++) {
        for (let j = y; j < y + h; j++) {
          assert.equal(taken.has(`${i} ${j}`), false, `${title} lies on another panel`);
          taken.add(`${i} ${j}`);
        }
      }
    }
  });

  it("asks the chosen source for the chosen servers, in every query", () => {
    const variables = dashboard.templating.list.map(({ name }) => name);
    for (const { title, datasource, targets } of panels) {
      assert.ok(targets.length > 0, title);
      for (const target of targets) {
        for (const source of [datasource, target.datasource]) assert.deepEqual(source, { type: "prometheus", uid: "${datasource}" }, title);
        const { metrics, labels } = asked(target.expr);
        for (const added of ADDED) assert.equal(target.expr.split(`${added}=~"$${added}"`).length - 1, metrics.length, `${title}: ${added}`);
        for (const [, variable] of target.expr.matchAll(/\$(\w+)/g)) assert.ok([...variables, "__rate_interval"].includes(variable), variable);
        for (const [, label] of target.legendFormat.matchAll(/\{\{(\w+)\}\}/g)) assert.ok(labels.includes(label), `${title}: ${label}`);
      }
    }
    for (const { query, name } of dashboard.templating.list.slice(1)) {
      const [, selector, label] = /^label_values\((.+), (\w+)\)$/.exec(query.query);
      assert.deepEqual([asked(selector).metrics, label], [["rill_connections"], name]);
    }
  });

  it("shows everything that /metrics tells", async () => {
    const shown = new Set(panels.flatMap(({ targets }) => targets.flatMap(({ expr }) => asked(expr).metrics)));
    const server = await rill();
    const found = await told(server);
    await server.end();
    assert.deepEqual([...found.keys()].filter((metric) => !shown.has(metric)), []);
  });
});

describe("/metrics has what the dashboard asks for", () => {
  let server;
  before(async () => (server = await rill()));
  after(() => server.end());
  after(closeClients);

  it("with the log in memory", async () => answers(await told(server), IN_REDIS));

  it("also when there is something to tell", async () => {
    const socket = await connect(server, { ...WEBSOCKET, ...RETURNING });
    await ask(socket, "join", 'a "room"\\\n');
    await ask(socket, "message", { text: "x" });
    await fetchOnce(server, "GET", "/socket.io/?EIO=3&transport=polling");
    answers(await told(server), IN_REDIS);
  });

  it("with the log in Redis, and while Redis is away", inCluster({}, async (cluster) => {
    for (const one of cluster.servers) answers(await told(one), IN_MEMORY);
    await cluster.redis.kill();
    answers(await told(cluster.servers[0]), IN_MEMORY);
    await cluster.redis.start();
  }));
});
