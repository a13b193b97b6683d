// An operator's first day, and worst day: what is typed, what is answered, what stands in the log, who is let in, who is sent away.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, it } from "node:test";
import { RETURNING, ask, client, closeClients, connect } from "./harness/clients.js";
import { Server, freePort, listens, rill, rillProcess } from "./harness/server.js";
import { eventually, next, pass } from "./harness/wait.js";
import { fetchOnce } from "./harness/wire.js";

const WEBSOCKET = { transports: ["websocket"] };
const TIME = String.raw`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`;
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

/** A server at a terminal, for one test. */
function atTerminal(env, body) {
  return async () => {
    const port = await freePort();
    const binary = process.env.RILL_BIN ?? new URL("../target/release/rill", import.meta.url).pathname;
    const own = { PORT: String(port), HOST: "127.0.0.1", ADAPTER: "memory", AUTOSTART: "1", TERM: "xterm", SHELL: "/bin/sh", ...env };
    const server = new Server("script", ["-qec", `exec '${binary}'`, "/dev/null"], own, port);
    try {
      await server.prints(/SERVER> /);
      await listens(server);
      await body(server);
    } finally {
      if (!server.ended) server.type("\u0015exit");
      await server.gone();
    }
  };
}

/** What was typed without a line end. */
const press = (server, keys) => server.child.stdin.write(keys);

/** All messages that a client hears from now on. */
function texts(socket) {
  const list = [];
  socket.on("message", ({ text }) => list.push(text));
  return list;
}

describe("the log", () => {
  it("each line has time, level and tag; LOG_FORMAT=plain leaves time and level away", async () => {
    for (const [format, pattern] of [["text", new RegExp(`${TIME} (info |warn |debug|error) \\[[A-Z]+\\] \\S`)], ["plain", /^\[[A-Z]+\] \S/]]) {
      const server = await rill({ LOG_FORMAT: format, LOG_LEVEL: "debug" });
      await connect(server, WEBSOCKET);
      server.child.kill("SIGTERM");
      await server.gone();
      const lines = server.output.replaceAll("SERVER> ", "").split("\n").filter(Boolean);
      assert.ok(lines.length > 5, server.output);
      for (const line of lines) assert.match(line, pattern);
    }
  });

  it("every command is a line with time and result, after its answer, as text and as JSON", async () => {
    const asked = [["status", "done"], ["rooms", "done"], ["broadcast hi  there", "done"], ["frobnicate", "not done"], ["stop now", "not done"], ["?", "done"], ["quit", "done"]];
    const text = await rill();
    for (const [command] of asked) text.type(command);
    assert.deepEqual(await text.gone(), { code: 0, signal: null });
    const told = text.output.split("\n").filter((line) => line.includes("[CONSOLE]"));
    assert.equal(told.length, asked.length, told.join("\n"));
    for (const [i, [command, result]] of asked.entries()) {
      const level = result === "done" ? "info " : "warn ";
      assert.match(told[i], new RegExp(`${TIME} ${level} \\[CONSOLE\\] ${command.replace("?", "\\?")}: ${result}$`));
    }
    const json = await rillProcess({ LOG_FORMAT: "json" });
    for (const [command] of asked) json.type(command);
    assert.deepEqual(await json.gone(), { code: 0, signal: null });
    const objects = json.output.split("\n").slice(0, -1).map((line) => JSON.parse(line)).filter(({ command }) => command);
    assert.deepEqual(objects.map(({ command, result }) => [command, result]), asked);
    assert.ok(objects.every(({ time }) => Math.abs(Date.parse(time) - Date.now()) < 20_000));
  });

  it("LOG_LEVEL: connects and refusals at debug, nothing of clients at warn", async () => {
    for (const [level, connects, refusals] of [["debug", true, true], ["info", false, false], ["warn", false, false]]) {
      const server = await rill({ LOG_LEVEL: level });
      const socket = await connect(server, WEBSOCKET);
      assert.equal((await fetchOnce(server, "GET", "/socket.io/?EIO=4&transport=polling&sid=nobody")).status, 400);
      await assert.rejects(connect(server, WEBSOCKET, "/nowhere"));
      await server.command("status");
      assert.equal(new RegExp(`\\[CLIENT\\] ${socket.id} connected from 127.0.0.1`).test(server.output), connects, level);
      assert.equal(/\[HTTP\] a request from 127\.0\.0\.1 refused: Session ID unknown/.test(server.output), refusals, level);
      assert.equal(/\[CLIENT\] from 127\.0\.0\.1 refused at \/nowhere: Invalid namespace/.test(server.output), refusals, level);
      await server.end();
    }
  });

  it("variables that nobody reads are named with the right one; their values are not", withServer(
    { REDIS_PASWORD: "hunter2", CORS_ORIGINS: "https://hunter2.example", NODE_ENV: "staging", HOSTNAME: "x", NODE_OPTIONS: "" },
    async (server) => {
      assert.match(server.output, /the variable REDIS_PASWORD is not read: did you mean REDIS_PASSWORD\?/);
      assert.match(server.output, /the variable CORS_ORIGINS is not read: did you mean CORS_ORIGIN\?/);
      assert.equal(server.output.split("is not read").length, 3);
      assert.match(server.output, /NODE_ENV=staging is taken as production/);
      assert.doesNotMatch(server.output, /hunter2/);
    },
  ));
});

describe("commands", () => {
  it("what a command does not need is refused: `stop now` stops nothing", withServer({}, async (server) => {
    for (const command of ["stop now", "exit please", "status -v", "start again", "refused 10", "top 5"]) {
      assert.match(await server.command(command), /Not done: ".*" is too much. Usage: \w+\n/, command);
    }
    assert.equal((await fetchOnce(server, "GET", "/readyz")).status, 200);
  }));

  it("a room with spaces stands in quotes; a room that nobody is in is told", withServer({}, async (server) => {
    const socket = await connect(server, WEBSOCKET);
    await ask(socket, "join", 'the "blue" room');
    const heard = texts(socket);
    assert.match(await server.command('sendroom "the \\"blue\\" room" hi "there"'), /\[SERVER\] sent to 1 client\n/);
    assert.match(await server.command("sendroom the blue room"), /warn  \[SERVER\] sent to 0 clients: nobody is in "the"\n/);
    assert.match(await server.command('sendroom "the blue'), /Usage: sendroom/);
    await ask(socket, "rooms");
    assert.deepEqual(heard, ['hi "there"']);
  }));

  it("a server that waits for start says so, and after stop that it is stopped", async () => {
    const server = await rillProcess({ AUTOSTART: "0" });
    await server.prints(/SERVER> /);
    assert.match(await server.command("status", /state/), /state +waiting for start\n/);
    await server.command("start", /listening/);
    await server.command("stop", /stopped/);
    assert.match(await server.command("status", /state/), /state +stopped\n/);
    await server.end();
  });
});

describe("disconnect", () => {
  const stays = async (socket) => (await ask(socket, "rooms")).ok;

  it("one by its id, a room, or all; they hear the reason, and don't come back by themselves", withServer({}, async (server) => {
    const sockets = await Promise.all([1, 2, 3, 4].map(() => connect(server, { ...WEBSOCKET, ...RETURNING })));
    const [one, two, three, four] = sockets;
    const heard = sockets.map(texts);
    for (const socket of [two, three]) await ask(socket, "join", "all");
    const gone = (...which) => Promise.all(which.map((socket) => next(socket, "disconnect").then(([reason]) => assert.equal(reason, "io server disconnect"))));
    let away = gone(one);
    assert.match(await server.command(`disconnect ${one.id} too loud`), /disconnected those of \S{20}: 1 client here.*they were told: too loud/);
    await away;
    assert.ok(await stays(four));
    away = gone(two, three);
    await server.command('disconnect "all"', /2 clients here/);
    await away;
    assert.ok(await stays(four));
    away = gone(four);
    await server.command("disconnect all the server moves", /disconnected all: 1 client here/);
    await away;
    await pass(300);
    assert.deepEqual(sockets.map(({ connected }) => connected), [false, false, false, false]);
    assert.deepEqual(heard, [["too loud"], [], [], ["the server moves"]]);
    assert.match(await server.command("clients", /\d+ clients/), /^0 clients/m);
  }));

  for (const [what, command] of [["by its id", ({ id }) => `disconnect ${id}`], ["by its room", () => "disconnect blue gone"], ["with all", () => "disconnect all"]]) {
    it(`who is away is meant too, ${what}: it comes back as new`, withServer({}, async (server) => {
      const [socket, other] = [await connect(server, WEBSOCKET), await connect(server, WEBSOCKET)];
      for (const one of [socket, other]) await ask(one, "join", one === socket ? "blue" : "red");
      const ids = [socket.id, other.id];
      for (const one of [socket, other]) {
        const gone = next(one, "disconnect");
        one.io.engine.close();
        await gone;
      }
      await server.command(command({ id: ids[0] }), /disconnected/);
      for (const one of [socket, other]) {
        const back = next(one, "connect");
        one.connect();
        await back;
      }
      assert.deepEqual([socket.recovered, other.recovered], [false, what !== "with all"]);
      assert.notEqual(socket.id, ids[0]);
      assert.deepEqual((await ask(socket, "rooms")).rooms, []);
      assert.match(await server.command("refused", /refused return/), / 127\.0\.0\.1 +(disconnected|unknown_session)\n/);
    }));
  }
});

describe("drain", () => {
  it("nobody new, those who are here go in even portions, progress is shown, start ends it", withServer({}, async (server) => {
    const sockets = await Promise.all(Array.from({ length: 20 }, () => connect(server, { ...WEBSOCKET, ...RETURNING, reconnectionDelayMax: 2_000, reconnectionDelay: 500 })));
    const ids = sockets.map(({ id }) => id);
    const times = [];
    const begin = Date.now();
    for (const socket of sockets) {
      socket.once("disconnect", (reason) => {
        assert.equal(reason, "transport close");
        times.push(Date.now() - begin);
      });
    }
    const answer = await server.command("drain 3");
    assert.match(answer, /warn  \[SERVER\] draining: no new clients; 20 clients here go within 3 s, but no other server is there/);
    assert.equal((await fetchOnce(server, "GET", "/readyz")).status, 503);
    assert.equal((await fetchOnce(server, "GET", "/healthz")).status, 200);
    assert.equal((await fetchOnce(server, "GET", "/socket.io/?EIO=4&transport=polling")).status, 503);
    assert.match(await server.command("status", /state/), /state +draining/);
    await server.prints(/draining: \d+ of 20 clients are left, \d s to go/);
    await eventually("all are gone", () => times.length === 20, 8_000);
    const third = (from) => times.filter((time) => time >= from && time < from + 1_000).length;
    for (const from of [0, 1_000, 2_000]) assert.ok(third(from) >= 3 && third(from) <= 11, `${third(from)} from ${from}: ${times}`);
    await server.prints(/\[SERVER\] drained: no client is here/);
    const back = Promise.all(sockets.map((socket) => next(socket, "connect", undefined, 15_000)));
    assert.match(await server.command("start"), /\[SERVER\] takes clients again/);
    assert.equal((await fetchOnce(server, "GET", "/readyz")).status, 200);
    await back;
    assert.deepEqual(sockets.map(({ id, recovered }) => [id, recovered]), ids.map((id) => [id, true]));
  }));

  it("start in the middle keeps those who are still here; stop and exit work", withServer({}, async (server) => {
    const sockets = await Promise.all(Array.from({ length: 10 }, () => connect(server, WEBSOCKET)));
    await server.command("drain 20");
    await eventually("some are gone", () => sockets.some(({ connected }) => !connected), 8_000);
    await server.command("start", /takes clients again/);
    const left = sockets.filter(({ connected }) => connected).length;
    assert.ok(left >= 7, `${left} are left`);
    await pass(2_500);
    assert.equal(sockets.filter(({ connected }) => connected).length, left);
    await connect(server, WEBSOCKET);
    await server.command("drain 20");
    await server.command("stop", /stopped/);
    assert.match(await server.command("drain"), /\[SERVER\] not running/);
    await server.command("start", /listening/);
    await connect(server, WEBSOCKET);
    await server.command("drain 20");
    server.type("exit");
    assert.deepEqual(await server.gone(), { code: 0, signal: null });
  }));
});

describe("signals", () => {
  it("SIGHUP ends nothing, whatever runs", async () => {
    for (const AUTOSTART of ["0", "1"]) {
      const server = await rillProcess({ AUTOSTART });
      await server.prints(/SERVER> /);
      server.child.kill("SIGHUP");
      await server.prints(/\[SERVER\] SIGHUP: the server goes on/);
      await server.command("status");
      await server.end();
    }
  });

  it("at a terminal the first Ctrl-C says what a second one does and how to detach; the second ends", atTerminal({}, async (server) => {
    press(server, "\u0003");
    await server.prints(/Ctrl-C once more within 10 s ends the server.*Ctrl-P Ctrl-Q[^]*SERVER> $/);
    assert.equal((await fetchOnce(server, "GET", "/readyz")).status, 200);
    press(server, "\u0003");
    await server.prints(/\[SERVER\] SIGINT[^]*\[SERVER\] goodbye/);
    assert.equal((await server.gone()).code, 0);
  }));
});

describe("a terminal", () => {
  it("a line that the terminal has cut is not sent, and a pipe is named", atTerminal({}, async (server) => {
    const socket = await connect(server, WEBSOCKET);
    const heard = texts(socket);
    const from = server.output.length;
    server.type(`broadcast ${"x".repeat(4_996)}`);
    await server.prints(/Not done: a terminal hands on 4095 bytes of a line, and the rest of this one is lost\. A pipe takes/, from);
    server.type(`broadcast ${"y".repeat(4_084)}`);
    await server.prints(/sent to 1 client/, from);
    await ask(socket, "rooms");
    assert.deepEqual(heard, ["y".repeat(4_084)]);
  }));

  it("a pipe takes lines of up to 64 KiB", withServer({}, async (server) => {
    const socket = await connect(server, WEBSOCKET);
    const heard = texts(socket);
    await server.command(`broadcast ${"x".repeat(65_526)}`, /sent to 1 client/);
    await server.command(`broadcast ${"x".repeat(65_527)}`, /a line has at most 65536 bytes/);
    await ask(socket, "rooms");
    assert.deepEqual(heard, ["x".repeat(65_526)]);
  }));

  it("an arrow key is told as what it is, with what helps", atTerminal({}, async (server) => {
    const socket = await connect(server, WEBSOCKET);
    const heard = texts(socket);
    for (const line of ["\u001b[A", "broadcast helo\u001b[D\u001b[Dl"]) {
      const from = server.output.length;
      server.type(line);
      await server.prints(/Not done: the line has an escape sequence, as arrow keys send them[^]*rlwrap[^]*SERVER> $/, from);
    }
    await ask(socket, "rooms");
    assert.deepEqual(heard, []);
  }));

  it("what is half-typed when a line of the log comes is still there: Ctrl-R shows it", atTerminal({ LOG_LEVEL: "debug" }, async (server) => {
    press(server, "broadcast half a");
    await server.prints(/broadcast half a$/);
    const socket = await connect(server, WEBSOCKET);
    await server.prints(new RegExp(`\\[CLIENT\\] ${socket.id} connected[^]*SERVER> $`));
    const heard = texts(socket);
    const from = server.output.length;
    press(server, "\u0012");
    await server.prints(/broadcast half a$/, from);
    server.type(" word");
    await server.prints(/sent to 1 client/, from);
    await ask(socket, "rooms");
    assert.deepEqual(heard, ["half a word"]);
    const help = server.output.length;
    server.type("help");
    await server.prints(/Ctrl-R shows it again/, help);
  }));

  it("wide characters keep columns straight", withServer({}, async (server) => {
    const socket = await connect(server, WEBSOCKET);
    for (const room of ["lobby", "日本語の部屋", "한국어", "😀"]) await ask(socket, "join", room);
    const list = (await server.command("rooms", /4 rooms/)).split("\n").filter((line) => /^ {2}\//.test(line));
    const columns = (line) => [...line.slice(0, -1)].reduce((sum, c) => sum + (/[\p{sc=Han}\p{sc=Hiragana}\p{sc=Hangul}\p{Emoji_Presentation}]/u.test(c) ? 2 : 1), 0);
    assert.equal(list.length, 4);
    assert.equal(new Set(list.map(columns)).size, 1, list.join("\n"));
  }));
});

describe("the door", () => {
  it("without AUTH_TOKEN everybody may join, and the start and status say so", withServer({}, async (server) => {
    assert.match(server.output, /\[SERVER\] everybody may join \(AUTH_TOKEN is not set\)/);
    assert.match(await server.command("status", /name/), /everybody may join \(AUTH_TOKEN is not set\)/);
  }));

  for (const [what, settings] of [
    ["AUTH_TOKEN", () => ({ AUTH_TOKEN: "sesame ✓" })],
    ["AUTH_TOKEN_FILE", (folder) => (writeFileSync(join(folder, "token"), "sesame ✓\n"), { AUTH_TOKEN_FILE: join(folder, "token") })],
  ]) {
    it(`${what}: who does not bring it is refused, also who comes back`, async () => {
      const folder = mkdtempSync(join(tmpdir(), "rill-"));
      const server = await rill({ ...settings(folder), LOG_LEVEL: "debug" });
      try {
        assert.match(server.output, /\[SERVER\] who has the token may join \(AUTH_TOKEN\)/);
        assert.match(await server.command("status", /name/), /who has the token may join/);
        for (const auth of [undefined, {}, { token: "" }, { token: "sesame" }, { token: "sesame ✓ " }, { token: ["sesame ✓"] }, { token: null }]) {
          const socket = client(server, { ...WEBSOCKET, auth });
          const [error] = await next(socket, "connect_error");
          assert.deepEqual([error.message, error.data], ["not authorized", { code: "auth" }], JSON.stringify(auth));
          socket.disconnect();
        }
        assert.match(server.output, /debug \[CLIENT\] from 127\.0\.0\.1 refused at \/: not authorized/);
        const socket = await connect(server, { ...WEBSOCKET, auth: { token: "sesame ✓" } });
        await ask(socket, "join", "blue");
        const comeBack = async (event) => {
          const come = next(socket, event);
          socket.connect();
          return come;
        };
        const cut = async () => {
          const gone = next(socket, "disconnect");
          socket.io.engine.close();
          await gone;
        };
        await cut();
        socket.auth = { token: "another" };
        const [error] = await comeBack("connect_error");
        assert.equal(error.message, "not authorized");
        socket.auth = { token: "sesame ✓" };
        await comeBack("connect");
        assert.equal(socket.recovered, true);
        assert.deepEqual((await ask(socket, "rooms")).rooms, ["blue"]);
        assert.equal(server.output.includes("sesame"), false);
      } finally {
        await server.end();
        rmSync(folder, { recursive: true });
      }
    });
  }
});
