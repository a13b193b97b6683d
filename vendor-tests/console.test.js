// `rill` as its operator sees it: commands typed into it, its output, its environment, its end.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { RETURNING, TRANSPORTS, ask, client, closeClients, connect } from "./harness/clients.js";
import { listens, rill, rillProcess } from "./harness/server.js";
import { eventually, next } from "./harness/wait.js";
import { Wire, fetchOnce, request } from "./harness/wire.js";

const WEBSOCKET = { transports: ["websocket"] };
afterEach(closeClients);

/** A server for one test, ended with it. */
function withServer(env, body) {
  return async () => {
    const server = await rill(env);
    try {
      await body(server);
    } finally {
      await server.end();
    }
  };
}

/** What a client calls the end of its transport; a client that polls may find nobody there when it comes for the close packet. */
const closed = (transport) => (transport === "polling" ? /^transport (close|error)$/ : /^transport close$/);

const health = async (server, path) => (await fetchOnce(server, "GET", path)).status;

describe("commands", () => {
  let server;
  before(async () => (server = await rill({ SERVER_ID: "tokyo-1" })));
  after(() => server.end());

  it("a prompt", () => server.prints(/SERVER> /));

  it("help names every command", async () => {
    const text = await server.command("help", /sendroom[^]*exit|exit[^]*sendroom/);
    for (const command of ["start", "stop", "status", "top", "refused", "rooms", "clients", "broadcast", "sendroom", "disconnect", "drain", "help", "exit"]) {
      assert.ok(text.includes(command), command);
    }
  });

  it("an unknown command and an empty line do no harm", async () => {
    server.type("");
    server.type("   ");
    server.type("\u001b[A\u0000");
    await server.command("frobnicate now", /frobnicate|[Uu]nknown/);
    await server.command("status");
  });

  for (const [name, transport] of TRANSPORTS) {
    it(`broadcast reaches everybody, over ${name}`, async () => {
      const sockets = await Promise.all([connect(server, transport), connect(server, transport)]);
      const arrived = sockets.map((socket) => next(socket, "message"));
      server.type("broadcast hello  wörld 😀 \"quoted\"");
      for (const [message] of await Promise.all(arrived)) {
        assert.deepEqual({ ...message, at: 0 }, { room: null, from: "server:tokyo-1", text: 'hello  wörld 😀 "quoted"', at: 0 });
        assert.ok(Math.abs(message.at - Date.now()) < 5_000);
      }
    });

    it(`sendroom reaches the members of a room alone, over ${name}`, async () => {
      const [inside, outside] = await Promise.all([connect(server, transport), connect(server, transport)]);
      await ask(inside, "join", "blue");
      const stray = [];
      outside.on("message", (message) => stray.push(message));
      const arrived = next(inside, "message");
      server.type("sendroom blue hello blue room");
      const [message] = await arrived;
      assert.deepEqual([message.room, message.from, message.text], ["blue", "server:tokyo-1", "hello blue room"]);
      await ask(outside, "rooms");
      assert.deepEqual(stray, []);
    });
  }

  it("commands without what they need say so, and send nothing", async () => {
    const socket = await connect(server, WEBSOCKET);
    const stray = [];
    socket.on("message", (message) => stray.push(message));
    for (const line of ["broadcast", "broadcast   ", "sendroom", "sendroom blue"]) {
      assert.match(await server.command(line), /message/i, line);
    }
    await ask(socket, "rooms");
    assert.deepEqual(stray, []);
  });

  it("status, rooms and clients tell how it is", async () => {
    const sockets = await Promise.all(TRANSPORTS.map(([, transport]) => connect(server, transport)));
    await Promise.all(sockets.map((socket) => ask(socket, "join", "the-room")));
    await ask(sockets[0], "join", "another-room");
    assert.match(await server.command("status", /clients/i), /clients\W+3\b/i);
    const rooms = await server.command("rooms", /the-room/);
    assert.match(rooms, /the-room\D*3\b/);
    assert.match(rooms, /another-room\D*1\b/);
    const clients = await server.command("clients", new RegExp(sockets.map((socket) => `(?=[^]*${socket.id})`).join("")));
    for (const socket of sockets) assert.ok(clients.includes(socket.id), `${socket.id} in:\n${clients}`);
    assert.match(clients, /websocket/i);
    assert.match(clients, /polling/i);
    sockets.forEach((socket) => socket.disconnect());
    await eventually("status counts no client any more", async () => /clients\W+0\b/i.test(await server.command("status", /clients/i)));
    assert.doesNotMatch(await server.command("rooms"), /the-room/);
  });

  it("the numbers of status and /metrics agree", async () => {
    const sockets = await Promise.all(Array.from({ length: 7 }, () => connect(server, WEBSOCKET)));
    assert.match(await server.command("status", /clients/i), /clients\W+7\b/i);
    assert.match((await fetchOnce(server, "GET", "/metrics")).body, /^rill_\w*(clients|connections)\w*(\{[^}]*\})? 7$/m);
    sockets.forEach((socket) => socket.disconnect());
  });
});

describe("what strangers send never reaches the terminal raw", () => {
  const NASTY = "\u001b[2J\u001b]0;owned\u0007\r\nINJECTED line\n[SERVER] faked\u0000\u0008\u007f\u009b31m\u202e";
  /** Line ends and, with a prompt that is drawn anew, a carriage return are the server's own. */
  const RAW = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/u;

  for (const [what, send] of [
    ["name of a room", (socket) => ask(socket, "join", NASTY)],
    ["text", (socket) => ask(socket, "message", { text: NASTY })],
    ["room of a message", (socket) => ask(socket, "message", { room: NASTY, text: "x" })],
    ["name of an event", async (socket) => (socket.emit(NASTY, NASTY), ask(socket, "rooms"))],
    ["name that is too long", (socket) => ask(socket, "join", NASTY.repeat(100))],
    ["broken packet", (socket) => (socket.io.engine.write(`9${NASTY}`), next(socket, "disconnect"))],
  ]) {
    it(what, withServer({ NODE_ENV: "development" }, async (server) => {
      const socket = await connect(server, WEBSOCKET);
      await send(socket);
      for (const command of ["rooms", "clients", "status"]) await server.command(command);
      assert.doesNotMatch(server.output, RAW);
      assert.doesNotMatch(server.output, /^(INJECTED|\[SERVER\] faked)/m);
    }));
  }

  for (const [what, target, headers] of [
    ["user agent and origin", "/socket.io/?EIO=4&transport=polling", { "User-Agent": "x\u009b31mINJECTED", Origin: "http://x\u009b" }],
    ["path", "/\u009b31m/%1b%5b2J%0aINJECTED", {}],
    ["query", "/socket.io/?EIO=%1b%5b2J%0aINJECTED&transport=polling", {}],
    ["namespace", undefined, {}],
  ]) {
    it(what, withServer({ NODE_ENV: "development" }, async (server) => {
      const socket = target ? await connect(server, WEBSOCKET) : client(server, WEBSOCKET, `/${encodeURIComponent(NASTY)}`);
      if (target) {
        const wire = await Wire.to(server);
        wire.socket.write(request("GET", target, { headers }), "latin1");
        await wire.response().catch(() => {});
        wire.socket.destroy();
      } else {
        socket.nsp = `/${NASTY}`;
        await next(socket.io.engine ?? socket.io, "open");
        socket.io.engine.write(`0/${NASTY},`);
        await next(socket.io.engine, "packet", ({ data }) => /^4/.test(data));
      }
      for (const command of ["rooms", "clients", "status"]) await server.command(command);
      assert.doesNotMatch(server.output, RAW);
      assert.doesNotMatch(server.output, /^(INJECTED|\[SERVER\] faked)/m);
    }));
  }

  it("the private id of a session is not printed", withServer({ NODE_ENV: "development" }, async (server) => {
    const socket = await connect(server, { ...WEBSOCKET, ...RETURNING });
    const [pid, engine] = [socket._pid, socket.io.engine.id];
    await ask(socket, "join", "blue");
    await server.command("clients");
    const back = next(socket, "connect");
    socket.io.engine.close();
    await back;
    await server.prints(/\[RECOVERY\] Client reconnected \(recovered\): /);
    assert.equal(server.output.includes(pid), false, "pid");
    assert.equal(server.output.includes(engine), false, "Engine.IO id");
  }));
});

describe("stop and start", () => {
  for (const [name, transport] of TRANSPORTS) {
    it(`stop and start, twice: clients come back recovered and nothing is lost, over ${name}`, withServer({}, async (server) => {
      const sockets = await Promise.all(Array.from({ length: 4 }, () => connect(server, { ...transport, ...RETURNING })));
      const heard = sockets.map(() => []);
      for (const [i, socket] of sockets.entries()) {
        await ask(socket, "join", i % 2 ? "odd" : "even");
        socket.on("message", ({ text }) => heard[i].push(text));
      }
      const ids = sockets.map((socket) => socket.id);
      const expected = [];
      for (const round of [1, 2]) {
        const gone = sockets.map((socket) => next(socket, "disconnect"));
        const back = sockets.map((socket) => next(socket, "connect", undefined, 15_000));
        const from = server.output.length;
        server.type(`broadcast before stop ${round}`);
        server.type("stop");
        for (const [reason] of await Promise.all(gone)) assert.match(reason, closed(name));
        await eventually("nothing listens", () => fetchOnce(server, "GET", "/readyz").then(({ status }) => status === 503, () => true));
        server.type("start");
        // Nobody can be back yet: what is sent now is what they missed.
        server.type(`broadcast after start ${round}`);
        server.type(`sendroom odd for odd ${round}`);
        await Promise.all(back);
        server.type(`broadcast all back ${round}`);
        expected.push([`before stop ${round}`, `after start ${round}`, `for odd ${round}`, `all back ${round}`]);
        await eventually("the last message at all", () => heard.every((list) => list.at(-1) === `all back ${round}`));
        sockets.forEach((socket) => assert.equal(socket.recovered, true));
        assert.deepEqual(sockets.map((socket) => socket.id), ids);
        for (const id of ids) assert.ok(server.output.slice(from).includes(`[RECOVERY] Client reconnected (recovered): ${id}`));
      }
      for (const [i, list] of heard.entries()) {
        assert.deepEqual(list, expected.flat().filter((text) => i % 2 || !text.startsWith("for odd")));
      }
    }));
  }

  it("what is sent between a stop and a start is not lost either, or is refused aloud", withServer({}, async (server) => {
    const socket = await connect(server, { ...WEBSOCKET, ...RETURNING });
    const heard = [];
    socket.on("message", ({ text }) => heard.push(text));
    const gone = next(socket, "disconnect");
    server.type("stop");
    await gone;
    const answer = await server.command("broadcast while stopped");
    const back = next(socket, "connect", undefined, 15_000);
    server.type("start");
    await back;
    await ask(socket, "rooms");
    if (!/not running|stopped|start/i.test(answer)) assert.deepEqual(heard, ["while stopped"]);
  }));

  it("stop when stopped and start when started say so", withServer({}, async (server) => {
    await server.command("start", /already|running/i);
    await server.command("stop", /stopped/i);
    await server.command("stop", /not running|already|stopped/i);
    assert.match(await server.command("status"), /stopped|not running|running: false/i);
    server.type("start");
    await listens(server);
  }));

  it("without AUTOSTART it waits for the command start", async () => {
    const server = await rillProcess({ AUTOSTART: "0" });
    await server.prints(/SERVER> /);
    await assert.rejects(fetchOnce(server, "GET", "/healthz"));
    server.type("start");
    await listens(server);
    await server.end();
  });

  it("a server that is ready says so, one that is stopped is not", withServer({}, async (server) => {
    assert.deepEqual([await health(server, "/healthz"), await health(server, "/readyz")], [200, 200]);
    server.type("stop");
    await eventually("not ready", () => health(server, "/readyz").then((status) => status === 503, () => true));
  }));
});

describe("the end", () => {
  const WAYS = [
    ["exit", (server) => server.type("exit")],
    ["SIGTERM", (server) => server.child.kill("SIGTERM")],
    ["SIGINT", (server) => server.child.kill("SIGINT")],
  ];
  for (const [what, end] of WAYS) {
    for (const [name, transport] of TRANSPORTS) {
      it(`${what}: status 0, and clients over ${name} see a closed transport, after all that was sent`, async () => {
        const server = await rill();
        const sockets = await Promise.all([1, 2, 3].map(() => connect(server, transport)));
        const gone = sockets.map((socket) => next(socket, "disconnect"));
        const heard = sockets.map((socket) => next(socket, "message", ({ text }) => text === "last words"));
        await server.command("broadcast last words");
        end(server);
        await Promise.all(heard);
        for (const [reason] of await Promise.all(gone)) assert.match(reason, closed(name));
        assert.deepEqual(await server.gone(), { code: 0, signal: null });
        assert.doesNotMatch(server.output, /panicked/);
      });
    }

    it(`${what} while it is stopped: status 0`, async () => {
      const server = await rillProcess({ AUTOSTART: "0" });
      await server.prints(/SERVER> /);
      end(server);
      assert.deepEqual(await server.gone(), { code: 0, signal: null });
    });

    it(`${what} with clients that do not read and requests half sent: status 0`, async () => {
      const server = await rill();
      const half = await Wire.to(server);
      half.send("POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nContent-Len");
      const idle = await Wire.to(server);
      const silent = await connect(server, WEBSOCKET);
      silent.io.engine.transport.ws._socket.pause();
      end(server);
      assert.deepEqual(await server.gone(), { code: 0, signal: null });
      for (const wire of [half, idle]) wire.socket.destroy();
    });
  }

  it("the end of the input leaves it running", withServer({}, async (server) => {
    const socket = await connect(server, WEBSOCKET);
    server.child.stdin.end();
    server.child.stdin.destroy();
    await ask(socket, "rooms");
    await connect(server, WEBSOCKET);
    assert.ok(server.cpuSeconds() < 2, "it does not spin");
    server.child.kill("SIGTERM");
    assert.deepEqual(await server.gone(), { code: 0, signal: null });
  }));

  it("a last line without a line end is a command too", async () => {
    const server = await rill();
    server.child.stdin.end("exit");
    assert.deepEqual(await server.gone(), { code: 0, signal: null });
  });

  it("a port that is taken: an error that names it", withServer({}, async (server) => {
    const second = await rillProcess({ PORT: String(server.port) });
    await second.prints(new RegExp(`in use|EADDRINUSE|${server.port}`));
    second.child.kill("SIGKILL");
    await second.gone();
  }));
});

describe("the environment", () => {
  for (const [variable, value] of [
    ["PORT", "abc"],
    ["PORT", "70000"],
    ["PORT", "-1"],
    ["PING_INTERVAL_MS", "soon"],
    ["PING_INTERVAL_MS", "-5"],
    ["PING_TIMEOUT_MS", "1.5"],
    ["MAX_PAYLOAD", "1MB"],
    ["RECOVERY_WINDOW_MS", "99999999999999999999999"],
    ["MAX_CONNECTIONS", "many"],
    ["ADAPTER", "mongo"],
    ["AUTOSTART", "perhaps"],
  ]) {
    it(`${variable}=${value}: status 2 and one line that names it`, async () => {
      const server = await rillProcess({ [variable]: value });
      assert.deepEqual(await server.gone(5_000), { code: 2, signal: null });
      const lines = server.output.split("\n").filter((line) => line.trim() !== "");
      assert.equal(lines.length, 1, server.output);
      assert.ok(lines[0].includes(variable) && lines[0].includes(value), lines[0]);
      assert.ok(lines[0].length > variable.length + value.length + 10, `it says what is allowed: ${lines[0]}`);
    });
  }

  it("a value with terminal codes is printed escaped", async () => {
    const server = await rillProcess({ ADAPTER: "\u001b[2J\nmongo" });
    assert.equal((await server.gone(5_000)).code, 2);
    assert.doesNotMatch(server.output, /\u001b/);
  });

  it("timings and limits are announced and kept", withServer({ PING_INTERVAL_MS: "400", PING_TIMEOUT_MS: "300", MAX_PAYLOAD: "5000" }, async (server) => {
    const { body } = await fetchOnce(server, "GET", "/socket.io/?EIO=4&transport=polling");
    const { sid, ...announced } = JSON.parse(body.slice(1));
    assert.equal(typeof sid, "string");
    assert.deepEqual(announced, { upgrades: ["websocket"], pingInterval: 400, pingTimeout: 300, maxPayload: 5_000 });
    const socket = await connect(server, WEBSOCKET);
    const gone = next(socket, "disconnect");
    socket.emit("message", { text: "x".repeat(5_000) });
    assert.equal((await gone)[0], "transport close");
  }));

  it("MAX_CONNECTIONS: one more is told 503, and may come when another has left", withServer({ MAX_CONNECTIONS: "2", PING_INTERVAL_MS: "400", PING_TIMEOUT_MS: "200" }, async (server) => {
    // Clients that have joined: one that only knocks gives way. The harness has looked whether somebody listens; that connection counts until
    // the server has seen its end.
    const sockets = [];
    await eventually("two are in", async () => {
      await connect(server, WEBSOCKET).then((socket) => sockets.push(socket), () => {});
      return sockets.length === 2;
    });
    // The official server has no such limit.
    assert.equal((await fetchOnce(server, "GET", "/socket.io/?EIO=4&transport=polling")).status, 503);
    assert.deepEqual(sockets.map(({ connected }) => connected), [true, true]);
    sockets[0].disconnect();
    await eventually("a place is free", async () => (await fetchOnce(server, "GET", "/socket.io/?EIO=4&transport=polling")).status === 200);
  }));
});
