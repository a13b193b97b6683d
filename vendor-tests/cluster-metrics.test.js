// /metrics as Prometheus reads it, the dashboard for Grafana and the alert rules: each query asks for what the servers really tell.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { parser as promql } from "@prometheus-io/lezer-promql";
import parseExposition from "parse-prometheus-text-format";
import { RETURNING, ask, closeClients, connect } from "./harness/clients.js";
import { WEBSOCKET, allTold, inCluster, member, redirect } from "./harness/cluster.js";
import { rill } from "./harness/server.js";
import { eventually } from "./harness/wait.js";
import { fetchOnce } from "./harness/wire.js";

const dashboard = JSON.parse(readFileSync(new URL("../scripts/grafana-dashboard.json", import.meta.url), "utf8"));
const RULES = new URL("../scripts/alert-rules.yml", import.meta.url);
const rules = readFileSync(RULES, "utf8");
const alerts = rules.split(/^ +- alert: /m).slice(1);
const panels = dashboard.panels.filter(({ type }) => type !== "row");
/** Prometheus adds these to whatever it reads. */
const ADDED = ["job", "instance"];
/** What there is to tell depends on where the log is. */
const IN_MEMORY = ["rill_sessions_kept", "rill_log_entries", "rill_log_bytes"];
const IN_REDIS = ["rill_redis_connected", "rill_log_waiting", "rill_log_waiting_bytes", "rill_cluster_servers", "rill_delivery_seconds"];
/** What belongs to a histogram is named after it. */
const family = (metric) => metric.replace(/_seconds_(bucket|sum|count)$/, "_seconds");

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

/** What an alert asks. */
const expression = (alert) => /^ +expr: (.+)$/m.exec(alert)[1];

/** Each metric that a page tells, with the labels of its samples; the page must be what Prometheus reads. */
async function told(server) {
  const { status, headers, body } = await fetchOnce(server, "GET", "/metrics");
  assert.equal(status, 200);
  assert.match(headers["content-type"], /^text\/plain; version=0\.0\.4/);
  const families = parseExposition(body);
  const found = new Map();
  for (const { name, help, type, metrics } of families) {
    assert.equal(found.has(name), false, `${name} is there once`);
    assert.ok(help.length > 5 && ["COUNTER", "GAUGE", "HISTOGRAM"].includes(type), `${name} has a help and a type`);
    assert.equal(name.endsWith("_total"), type === "COUNTER", `${name} is named as its type asks for`);
    if (type === "HISTOGRAM") {
      const [{ buckets, count, sum }] = metrics;
      const counts = Object.values(buckets).map(Number);
      assert.deepEqual(counts, counts.toSorted((a, b) => a - b), `${name} rises from bound to bound`);
      assert.deepEqual([Object.keys(buckets).at(-1), counts.at(-1)], ["+Inf", Number(count)], name);
      assert.match(sum, /^\d+(\.\d+)?$/, name);
      found.set(name, new Set(["le"]));
      continue;
    }
    for (const { value } of metrics) assert.match(value, /^\d+(\.\d+)?$/, name);
    const labels = metrics.map(({ labels = {} }) => Object.entries(labels).sort().join(";"));
    assert.equal(new Set(labels).size, labels.length, `${name} has a sample for each label`);
    found.set(name, new Set(metrics.flatMap(({ labels = {} }) => Object.keys(labels))));
  }
  const lines = body.split("\n").filter((line) => line && !line.startsWith("#")).length;
  const samples = ({ buckets }) => (buckets ? Object.keys(buckets).length + 2 : 1);
  assert.equal(families.flatMap(({ metrics }) => metrics.map(samples)).reduce((a, b) => a + b), lines, "no line is left over");
  const promtool = spawnSync("promtool", ["check", "metrics"], { input: body, encoding: "utf8" });
  if (promtool.error?.code !== "ENOENT") assert.deepEqual([promtool.status, promtool.stderr], [0, ""]);
  return found;
}

/** How many a histogram has. */
async function count(server, histogram) {
  const { body } = await fetchOnce(server, "GET", "/metrics");
  return Number(new RegExp(`^${histogram}_count (\\d+)$`, "m").exec(body)[1]);
}

/** Every query of the dashboard and of the rules, but for those that ask for what is `elsewhere`, finds its metrics and labels. */
function answers(found, elsewhere) {
  const queries = panels.flatMap(({ title, targets }) => targets.map(({ expr }) => [title, expr]));
  for (const [title, query] of [...queries, ...alerts.map((alert) => [/^\w+/.exec(alert)[0], expression(alert)])]) {
    const { metrics, labels } = asked(query);
    const known = metrics.map(family).filter((metric) => metric !== "up" && !elsewhere.includes(metric));
    for (const metric of known) assert.ok(found.has(metric), `${title}: there is a ${metric}`);
    for (const label of labels) assert.ok(ADDED.includes(label) || known.length === 0 || known.some((metric) => found.get(metric).has(label)), `${title}: there is a label ${label}`);
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
    const shown = new Set(panels.flatMap(({ targets }) => targets.flatMap(({ expr }) => asked(expr).metrics.map(family))));
    const server = await rill();
    const found = await told(server);
    await server.end();
    assert.deepEqual([...found.keys()].filter((metric) => !shown.has(metric)), []);
  });
});

describe("the alert rules", () => {
  it("are such as Prometheus takes, each with a name, a severity and words for people", () => {
    assert.ok(alerts.length > 5);
    assert.equal(new Set(alerts.map((alert) => /^\w+/.exec(alert)[0])).size, alerts.length);
    for (const alert of alerts) {
      const { metrics, labels } = asked(expression(alert));
      assert.ok(metrics.length > 0 && /^ +labels: \{severity: (critical|warning)\}$/m.test(alert) && /^ +summary: "/m.test(alert), alert);
      for (const [, label] of alert.matchAll(/\$labels\.(\w+)/g)) assert.ok(ADDED.includes(label) || labels.includes(label), alert);
    }
    const promtool = spawnSync("promtool", ["check", "rules", fileURLToPath(RULES)], { encoding: "utf8" });
    if (promtool.error?.code !== "ENOENT") assert.equal(promtool.status, 0, promtool.stdout + promtool.stderr);
  });
});

describe("/metrics has what the dashboard and the rules ask for", () => {
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

  it("how long entries and returns take is told once there was one", inCluster({}, async (cluster) => {
    const [first, second] = cluster.servers;
    const socket = await member(first, WEBSOCKET, "tea");
    await ask(socket, "message", { room: "tea", text: "one" });
    await allTold([socket], "one");
    assert.ok((await count(first, "rill_delivery_seconds")) > 0);
    assert.equal(await count(second, "rill_replay_seconds"), 0);
    redirect(socket, second);
    socket.io.engine.close();
    await eventually("it is recovered elsewhere", () => socket.returns.at(-1) === true);
    assert.equal(await count(second, "rill_replay_seconds"), 1);
  }));

  it("with the log in Redis, and while Redis is away", inCluster({}, async (cluster) => {
    for (const one of cluster.servers) answers(await told(one), IN_MEMORY);
    await cluster.redis.kill();
    answers(await told(cluster.servers[0]), IN_MEMORY);
    await cluster.redis.start();
  }));
});
