// The server's limits for strangers: what one address may take, who makes room in a full server, how quickly one client may send.
import assert from "node:assert/strict";
import net from "node:net";
import { afterEach, describe, it } from "node:test";
import { ask, closeClients, connect } from "./harness/clients.js";
import { rill as startRill } from "./harness/server.js";
import { fetchOnce } from "./harness/wire.js";

const WEBSOCKET = { transports: ["websocket"] };
const OPEN = "/socket.io/?EIO=4&transport=polling";

let server;
const rill = async (env) => (server = await startRill(env));
afterEach(async () => {
  closeClients();
  await server?.end();
});

const from = (address) => ({ "X-Forwarded-For": address });
const opens = async (headers) => (await fetchOnce(server, "GET", OPEN, { headers })).status;
const metric = async (name) => {
  const { body } = await fetchOnce(server, "GET", "/metrics");
  return Number(new RegExp(`^${name.replace(/[{}"]/g, "\\$&")} (\\d+)$`, "m").exec(String(body))?.[1]);
};

/** All that the server says to these bytes, up to a moment of silence. */
const says = (bytes) =>
  new Promise((resolve, reject) => {
    let text = "";
    const socket = net.connect(server.port, "127.0.0.1", () => socket.write(bytes));
    socket.setTimeout(500, () => socket.destroy()).setEncoding("latin1");
    socket.on("data", (part) => (text += part)).on("close", () => resolve(text)).on("error", reject);
  });

describe("strangers", () => {
  it("a hundred handshakes of one connection lock nobody out of a hundred places", async () => {
    await rill({ MAX_CONNECTIONS: "100" });
    const kept = await connect(server, WEBSOCKET);
    const answers = await says(`GET ${OPEN} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(300));
    assert.equal(answers.split("HTTP/1.1 200 OK").length - 1, 300);
    const honest = await connect(server, { transports: ["polling"] });
    assert.deepEqual((await ask(honest, "join", "tea")).ok, true);
    assert.equal(kept.connected, true);
    assert.equal(await metric("rill_sessions_evicted_total"), 202);
  });

  it("each client behind a proxy that is named has an address of its own", async () => {
    await rill({ TRUSTED_PROXIES: "127.0.0.1", MAX_CONNECTIONS_PER_ADDRESS: "2", NEW_CONNECTIONS_PER_SECOND: "0" });
    const [one, other] = [from("203.0.113.7"), from("203.0.113.8")];
    assert.deepEqual([await opens(one), await opens(one), await opens(one), await opens(other)], [200, 200, 429, 200]);
    // A /64 of IPv6 is one address.
    const six = ["2001:db8:1:2::1", "2001:db8:1:2:a:b:c:d", "2001:db8:1:2::3", "2001:db8:1:3::1"].map(from);
    assert.deepEqual(await Promise.all(six.map(opens)).then((all) => all.sort()), [200, 200, 200, 429]);
    assert.equal(await metric('rill_requests_refused_total{reason="address_limit"}'), 2);
    assert.match(await server.command("status", /strangers/), /2 of one address too many/);
  });

  it("new connections of one address have a rate, others go on", async () => {
    await rill({ TRUSTED_PROXIES: "127.0.0.1", NEW_CONNECTIONS_PER_SECOND: "1" });
    const opened = [];
    for (let n = 0; n < 100; n++) opened.push(await opens(from("203.0.113.7")));
    const let_in = opened.filter((status) => status === 200).length;
    assert.ok(let_in >= 60 && let_in < 70, `a minute's at once: ${let_in}`);
    assert.equal(await opens(from("203.0.113.8")), 200);
  });

  it("a client that floods is read slowly, loses nothing, and others don't wait", async () => {
    await rill({ EVENTS_PER_SECOND: "100" });
    const [flood, other] = [await connect(server, WEBSOCKET), await connect(server, WEBSOCKET)];
    let answered = 0;
    const begun = Date.now();
    const all = Promise.all(Array.from({ length: 1_200 }, () => flood.emitWithAck("rooms").then(() => answered++)));
    while (answered < 1_000) await ask(other, "rooms");
    await ask(other, "rooms");
    assert.ok(answered < 1_100, `answered: ${answered}`);
    await all;
    assert.ok(Date.now() - begun > 1_800, `${Date.now() - begun} ms`);
    assert.equal(flood.connected, true);
    assert.ok((await metric("rill_clients_slowed_total")) > 0);
  });

  it("auth that is too large is refused, as the namespace's own error", async () => {
    await rill({});
    await assert.rejects(connect(server, { ...WEBSOCKET, auth: { token: "x".repeat(20_000) } }), { message: "auth too large" });
  });
});
