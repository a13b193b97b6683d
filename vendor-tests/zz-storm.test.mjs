// 200 clients, each cut ten times at random moments while 2,000 numbered messages are sent to rooms: each has every number
// that it was meant to get, exactly once and in order.
import assert from "node:assert/strict";
import { after, afterEach, before, describe } from "node:test";
import { RETURNING, ask, closeClients, connect, cut } from "./harness/clients.js";
import { closeProxies, proxyTo } from "./harness/proxy.js";
import { rill } from "./harness/server.js";
import { eventually, it, next, pass } from "./harness/wait.js";

const CLIENTS = 200;
const CUTS = 10;
const MESSAGES = 2_000;
const ROOMS = ["a", "b", "c", "d"];
const EVERYBODY = 5; // every fifth message goes to no room
const SECONDS = 8;

const TRANSPORTS = [{ transports: ["websocket"] }, { transports: ["polling"] }, { transports: ["polling", "websocket"] }];

const roomOf = (n) => (n % EVERYBODY === 0 ? undefined : ROOMS[n % ROOMS.length]);

/** Random numbers that a seed repeats (mulberry32). */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

let server;
before(async () => (server = await rill()));
after(() => server.end());
afterEach(closeClients);
afterEach(closeProxies);

describe("a storm", () => {
  it(`${CLIENTS} clients, ${CUTS} cuts each, ${MESSAGES} messages`, async () => {
    const seed = Number(process.env.STORM_SEED ?? Date.now() % 1_000_000);
    const chance = random(seed);
    const clients = [];
    for (let i = 0; i < CLIENTS; i++) {
      const proxy = i % 4 === 0 ? await proxyTo(server) : undefined;
      const rooms = ROOMS.filter((_, r) => (i >> 2) % 15 & (1 << r) || r === i % ROOMS.length);
      const socket = await connect(proxy ?? server, { ...TRANSPORTS[i % 3], ...RETURNING, timeout: 5_000 });
      const client = { i, proxy, rooms, socket, id: socket.id, numbers: [], cuts: 0 };
      socket.on("message", ({ text }) => client.numbers.push(Number(text)));
      socket.on("connect", () => (client.lost ||= !socket.recovered));
      await Promise.all(rooms.map((room) => ask(socket, "join", room)));
      clients.push(client);
    }

    const cutOff = async (client) => {
      for (; client.cuts < CUTS; client.cuts++) {
        await pass(((SECONDS * 1_000) / CUTS) * 2 * chance() * 0.9);
        if (!client.socket.connected) await next(client.socket, "connect", undefined, 20_000);
        const back = next(client.socket, "connect", undefined, 20_000);
        // By turns: the network is cut, the client's WebSocket is torn, the client closes in good order.
        if (client.proxy) client.proxy[chance() < 0.5 ? "cut" : "reset"]();
        if (chance() < 0.5) client.socket.io.engine.transport.ws?.terminate();
        const e0=client.socket.io.engine; client.hist=[]; 
        const H=(x)=>client.hist.push(Date.now()%100000+" "+x);
        H(`cut rs=${e0.readyState} up=${e0.upgrading} t=${e0.transport.name} wb=${e0.writeBuffer.length} conn=${client.socket.connected}`);
        e0.on("close",r=>H("engine close "+r)); e0.on("upgrade",()=>H("upgrade")); e0.on("upgradeError",(e)=>H("upgradeError "+e)); e0.on("drain",()=>H("drain"));
        const mg=client.socket.io; if(!client.hooked){client.hooked=1; for (const ev of ["reconnect_attempt","reconnect_error","reconnect","error","open","close"]) mg.on(ev,(a)=>client.hist.push(Date.now()%100000+" mgr "+ev+" "+a+" "+(a?.description?.message??a?.description??"")));client.socket.on("disconnect",r=>client.hist.push("DISC "+r)); client.socket.on("connect",r=>client.hist.push("CONN"));}
        await cut(client.socket);
        try { await back; } catch (e) { const x=client.socket.io.engine; console.log("STUCK", client.i, !!client.proxy, client.hist.join("\n"), "now", x===e0, x.readyState, x.upgrading, x.transport.name, x.transport.readyState, x.transport._polling, x.transport.writable, x.writeBuffer.length, client.socket.io._readyState, client.socket.connected, Date.now()%100000); 
          const r = await fetch(server.url+`/socket.io/?EIO=4&transport=polling&sid=${x.id}`,{signal:AbortSignal.timeout(1000)}).then(r=>r.text(),e=>e.message); console.log("sid", x.id, r); throw e; }
      }
    };

    const sender = await connect(server, { transports: ["websocket"] });
    const send = async () => {
      const perTick = 10;
      const begin = Date.now();
      for (let n = 0; n < MESSAGES; n++) {
        sender.emit("message", { room: roomOf(n), text: `${n}` });
        const due = begin + ((n + 1) / MESSAGES) * SECONDS * 1_000;
        if (n % perTick === perTick - 1 && due > Date.now()) await pass(due - Date.now());
      }
      assert.equal((await ask(sender, "rooms")).ok, true);
    };

    await Promise.all([send(), ...clients.map(cutOff)]);
    await ask(sender, "message", { text: `${MESSAGES}` });
    await eventually("everybody has the last message", () => clients.every((client) => client.numbers.includes(MESSAGES)), 20_000);

    const wrong = [];
    for (const { i, numbers, rooms, socket, id, lost } of clients) {
      const wanted = Array.from({ length: MESSAGES + 1 }, (_, n) => n).filter((n) => n === MESSAGES || n % EVERYBODY === 0 || rooms.includes(roomOf(n)));
      if (lost || socket.id !== id) wrong.push(`client ${i} was not recovered`);
      else if (numbers.join() !== wanted.join()) {
        const missing = wanted.filter((n) => !numbers.includes(n));
        const twice = numbers.filter((n, at) => numbers.indexOf(n) !== at);
        wrong.push(`client ${i}: ${missing.length} missing (${missing.slice(0, 5)}), ${twice.length} twice (${twice.slice(0, 5)}), or out of order`);
      }
    }
    assert.deepEqual(wrong, [], `seed ${seed}`);
    server.assertHealthy();
  }, { timeout: 120_000 });
});
