// What the operator of `rill` looks at: status, clients, refused and top, typed into a pipe and at a terminal, and the lines as JSON.
import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import { RETURNING, ask, client, closeClients, connect } from "./harness/clients.js";
import { Server, freePort, listens, rill, rillProcess } from "./harness/server.js";
import { eventually, next, pass } from "./harness/wait.js";
import { closeWires, fetchOnce, frame, webSocket } from "./harness/wire.js";

const WEBSOCKET = { transports: ["websocket"] };
/** Control characters but line ends. */
const RAW = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/u;
afterEach(closeClients);
afterEach(closeWires);

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

/** The first line of each answer. */
const FIRST = { status: /^Server$/m, clients: /^\d+ clients?$/m, rooms: /^\d+ rooms?$/m, refused: /^\d+ refused returns?$/m };

/** What a command answers, line by line, without the line of the log that ends it; lines of the log may come before it. */
async function lines(server, command) {
  const text = await server.command(command, FIRST[command]);
  const answer = text.slice(text.search(FIRST[command])).replace(/SERVER> $/, "").trimEnd().split("\n");
  assert.match(answer.pop(), new RegExp(`^\\S+Z info  \\[CONSOLE\\] ${command}: done$`));
  return answer;
}

/** The rows of a list as objects, by the headings above them. */
function table([, headings, ...rows]) {
  const columns = [...headings.matchAll(/\S+(?: \S+)*/g)].map((found) => ({ name: found[0], from: found.index }));
  const cell = (row, i) => row.slice(columns[i].from, columns[i + 1]?.from).trim();
  return rows.map((row) => Object.fromEntries(columns.map(({ name }, i) => [name, cell(row, i)])));
}

describe("status", () => {
  it("fits a terminal of 80 columns and 24 rows, in plain characters", withServer({ SERVER_ID: "tokyo-1" }, async (server) => {
    const sockets = await Promise.all([connect(server, WEBSOCKET), connect(server, { transports: ["polling"] })]);
    await ask(sockets[0], "join", "lobby");
    const screen = await lines(server, "status");
    assert.ok(screen.length < 23, `${screen.length} rows`);
    for (const line of screen) assert.match(line, /^[ -~]{1,79}$/);
    assert.deepEqual(screen.filter((line) => /^\S/.test(line)), ["Server", "Clients", "Recovery", "Log", "Errors"]);
    for (const line of screen.filter((line) => /^ /.test(line))) assert.match(line, /^  \S{1,10} +\S/, "names stand in a column");
    const text = screen.join("\n");
    assert.match(text, /^  name       tokyo-1; everybody may join \(AUTH_TOKEN is not set\)\n  state      running for 00:00:\d\d on http:\/\/127\.0\.0\.1:\d+\n  process    \d+\.\d MiB memory, /m);
    assert.match(text, /^  clients    2 \(1 websocket, 1 polling\)\n  rooms      1 in 1 namespace$/m);
    assert.match(text, /^  log        in memory, \d+ entr(y|ies), /m);
  }));
});

describe("clients", () => {
  it("a column for transport, age, rooms, unsent bytes and pong", withServer({}, async (server) => {
    const socket = await connect(server, WEBSOCKET);
    for (const room of ["one", "two"]) await ask(socket, "join", room);
    const polling = await connect(server, { transports: ["polling"] });
    const rows = table(await lines(server, "clients"));
    const row = { NSP: "/", ROOMS: "0", UNSENT: "0", PONG: "ok", ADDRESS: "127.0.0.1" };
    assert.deepEqual(rows.map(({ AGE, ...rest }) => (assert.match(AGE, /^00:00:0\d$/), rest)), [
      { ...row, ID: socket.id, TRANSPORT: "websocket", ROOMS: "2" },
      { ...row, ID: polling.id, TRANSPORT: "polling" },
    ]);
  }));

  it("who lets data wait comes first, and is counted in status too", withServer({}, async (server) => {
    const [quick, slow] = [await connect(server, WEBSOCKET), await connect(server, WEBSOCKET)];
    slow.io.engine.transport.ws._socket.pause();
    // More than the system's own buffers take.
    await eventually("something waits", async () => {
      await ask(quick, "message", { text: "x".repeat(500_000) });
      const [first, second] = table(await lines(server, "clients"));
      const counted = (await lines(server, "status")).some((line) => /traffic .*, \d+\.\d [KM]iB unsent$/.test(line));
      return first.ID === slow.id && Number(first.UNSENT) > 0 && second.ID === quick.id && counted;
    }, 20_000);
  }));

  it("a pong that is overdue shows, in status and /metrics too", withServer({ PING_INTERVAL_MS: "100", PING_TIMEOUT_MS: "4000" }, async (server) => {
    await connect(server, WEBSOCKET);
    const silent = await webSocket(server, "/socket.io/?EIO=4&transport=websocket");
    silent.send(frame("40"));
    // It counts when half of the time for the pong has passed.
    const overdue = async () => table(await lines(server, "clients")).filter(({ PONG }) => PONG === "overdue").length;
    await eventually("a pong is overdue", async () => (await overdue()) === 1);
    assert.equal(table(await lines(server, "clients"))[0].PONG, "overdue", "it comes first");
    assert.ok((await lines(server, "status")).includes("  clients    2 (2 websocket, 0 polling), 1 with a pong overdue"));
    assert.match((await fetchOnce(server, "GET", "/metrics")).body, /^rill_pongs_overdue 1$/m);
  }));

  it("a list has a bound, and says how many there are beyond", withServer({}, async (server) => {
    for (let i = 0; i < 3; i++) {
      const socket = await connect(server, WEBSOCKET);
      await Promise.all(Array.from({ length: 335 }, (_, room) => ask(socket, "join", `room-${i}-${room}`)));
    }
    const shown = await lines(server, "rooms");
    assert.deepEqual([shown[0], shown.length, shown.at(-1)], ["1005 rooms", 1_003, "  and 5 more" ]);
  }));
});

describe("refused", () => {
  const asking = (pid) => ({ ...WEBSOCKET, auth: { pid, offset: "1-0" } });

  it("the last ten, the newest first, with reasons and without secrets", withServer({}, async (server) => {
    assert.deepEqual(await lines(server, "refused"), ["0 refused returns"]);
    const pids = Array.from({ length: 12 }, (_, i) => `secret-secret-pid-${10 + i}`);
    for (const pid of pids) await connect(server, asking(pid));
    const shown = await lines(server, "refused");
    assert.equal(shown[0], "12 refused returns");
    const rows = table(shown.slice(0, 12));
    assert.equal(rows.length, 10);
    for (const { TIME, ...row } of rows) {
      assert.deepEqual(row, { NSP: "/", "ID BEFORE": "-", ADDRESS: "127.0.0.1", REASON: "unknown_session" });
      assert.ok(Math.abs(Date.parse(TIME) - Date.now()) < 10_000, TIME);
    }
    assert.deepEqual(rows.map(({ TIME }) => TIME), rows.map(({ TIME }) => TIME).sort().reverse());
    assert.deepEqual(shown.slice(12), ["  and 2 more", "Reasons", "  unknown_session     12  its session has expired or never was"]);
    assert.ok((await lines(server, "status")).includes("  returns    0 recovered, 12 refused (see: refused)"));
    assert.doesNotMatch(server.output, /secret/);
  }));

  it("a session that was found is told by its public id", withServer({ RECOVERY_WINDOW_MS: "60000" }, async (server) => {
    const socket = await connect(server, WEBSOCKET);
    const { id, _pid: pid } = socket;
    socket.io.engine.transport.ws._socket.destroy();
    await next(socket, "disconnect");
    // More than may wait for one client.
    for (let i = 0; i < 40; i++) server.type(`broadcast ${"x".repeat(60_000)}`);
    await lines(server, "status");
    const back = await connect(server, { ...WEBSOCKET, auth: { pid, offset: socket._lastOffset } });
    assert.notEqual(back.id, id);
    const [row] = table(await lines(server, "refused"));
    assert.deepEqual([row["ID BEFORE"], row.REASON], [id, "too_much"]);
    assert.equal(server.output.includes(pid), false, "pid");
  }));
});

describe("top", () => {
  const HEADINGS = /^ clients +rooms +unsent +CPU +memory +msg-in +msg-out +in +out +opened +recover +refused +append$/m;
  /** The lines of numbers so far, as words. */
  const numbers = (text) => text.split("\n").filter((line) => /^ +\d+ +\d/.test(line)).map((line) => line.trim().split(/ {2,}| (?=\d)/));

  it("in a pipe: a line each second, below headings, until Enter", withServer({}, async (server) => {
    const socket = await connect(server, WEBSOCKET);
    const from = server.output.length;
    server.type("top");
    const busy = setInterval(() => socket.emit("message", { text: "x" }), 20);
    await server.prints(/append\n[^]*?\n[^]*?\n[^]*?\n/, from, 8_000);
    clearInterval(busy);
    const text = server.output.slice(from);
    assert.match(text, HEADINGS);
    assert.doesNotMatch(text, RAW);
    assert.doesNotMatch(text, /SERVER> /);
    const seen = numbers(text);
    assert.ok(seen.every((row) => row.length === 13 && row[0] === "1"), JSON.stringify(seen));
    const [rate] = seen.map((row) => Number(row[5])).slice(1);
    assert.ok(rate > 20 && rate < 60, `${rate} messages in a second`);
    server.type("");
    await server.prints(/SERVER> $/, from);
    const length = server.output.length;
    await pass(1_300);
    assert.equal(server.output.length, length, "nothing more is shown");
    assert.deepEqual(await lines(server, "rooms"), ["0 rooms"]);
  }));

  it("holds nothing up: clients, lines of the log, pages", withServer({ NODE_ENV: "development" }, async (server) => {
    server.type("top");
    await server.prints(HEADINGS, 0, 3_000);
    const socket = await connect(server, WEBSOCKET);
    await ask(socket, "join", "lobby");
    assert.equal((await fetchOnce(server, "GET", "/healthz")).status, 200);
    await server.prints(new RegExp(`^\\S+Z debug \\[CLIENT\\] ${socket.id} joined lobby$`, "m"));
    // Another command ends it too.
    assert.equal((await lines(server, "rooms"))[0], "1 room");
  }));

  for (const [what, end] of [
    ["exit", (server) => server.type("exit")],
    ["SIGTERM", (server) => server.child.kill("SIGTERM")],
  ]) {
    it(`${what} ends it, and the server`, withServer({}, async (server) => {
      server.type("top");
      await server.prints(HEADINGS, 0, 3_000);
      end(server);
      assert.deepEqual(await server.gone(), { code: 0, signal: null });
      assert.match(server.output, /\[SERVER\] goodbye\n$/);
    }));
  }

  it("the end of the input ends it, and the server goes on", withServer({}, async (server) => {
    server.type("top");
    await server.prints(HEADINGS, 0, 3_000);
    server.child.stdin.end();
    await server.prints(/\[SERVER\] end of input: the server goes on/);
    const length = server.output.length;
    await pass(1_300);
    assert.equal(server.output.length, length, "nothing more is shown");
    assert.equal((await fetchOnce(server, "GET", "/healthz")).status, 200);
    assert.ok(server.cpuSeconds() < 2, "it does not spin");
  }));

  it("at a terminal: drawn anew in its place, lines of the log above it", async () => {
    const port = await freePort();
    const env = { PORT: String(port), HOST: "127.0.0.1", ADAPTER: "memory", AUTOSTART: "1", NODE_ENV: "development", TERM: "xterm" };
    const binary = process.env.RILL_BIN ?? new URL("../target/release/rill", import.meta.url).pathname;
    const server = new Server("script", ["-qec", `exec '${binary}'`, "/dev/null"], { ...env, SHELL: "/bin/sh" }, port);
    try {
      await server.prints(/SERVER> /);
      await listens(server);
      let from = server.output.length;
      server.type("top");
      await server.prints(/each second anew; Enter ends it/, from, 1_000);
      const ROWS = "  clients +\\d+ +messages in +\\d+/s\\r\\n(?:.*\\r\\n){7}  each second anew; Enter ends it ";
      const again = new RegExp(`\\r\\u001b\\[8A\\u001b\\[J\\u001b\\[\\?7l${ROWS}\\u001b\\[\\?7h`);
      await server.prints(new RegExp(`${again.source}[^]*${again.source}`), from, 5_000);
      from = server.output.length;
      const socket = await connect(server, WEBSOCKET);
      const line = `\\r\\u001b\\[8A\\u001b\\[J\\S+Z debug \\[CLIENT\\] ${socket.id} connected from 127.0.0.1\\r\\n\\u001b\\[\\?7l${ROWS}`;
      await server.prints(new RegExp(line), from);
      from = server.output.length;
      server.type("");
      await server.prints(/SERVER> $/, from);
      const length = server.output.length;
      await pass(1_300);
      assert.equal(server.output.length, length, "nothing more is drawn");
    } finally {
      server.type("exit");
      await server.gone();
    }
    assert.match(server.output, /\[SERVER\] goodbye/);
  });
});

describe("a terminal that somebody attaches to", () => {
  // What `docker attach` does, after the prompt was shown: it changes the size, twice.
  const ATTACH = `
import fcntl, os, pty, select, signal, struct, sys, termios, time
child, terminal = pty.fork()
if child == 0: os.execv(sys.argv[1], sys.argv[1:2])
signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
begin, shown, resized = time.time(), b"", False
while True:
    if select.select([terminal], [], [], 0.05)[0]:
        try: new = os.read(terminal, 65536)
        except OSError: break
        shown += new
        sys.stdout.buffer.write(new); sys.stdout.flush()
    elif not resized and shown.endswith(b"SERVER> "):
        resized = True
        sys.stdout.write("<resized>"); sys.stdout.flush()
        for rows in (41, 40): fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 100, 0, 0)); time.sleep(0.1)
`;

  it("the prompt is there at once, and no line begins with a return to the first column", async () => {
    const port = await freePort();
    const env = { PORT: String(port), HOST: "127.0.0.1", ADAPTER: "memory", AUTOSTART: "1", NODE_ENV: "development" };
    const binary = process.env.RILL_BIN ?? new URL("../target/release/rill", import.meta.url).pathname;
    const server = new Server("python3", ["-c", ATTACH, binary], env, port);
    try {
      await server.prints(/<resized>[^]*SERVER> $/);
      const socket = await connect(server, WEBSOCKET);
      await server.prints(new RegExp(`\\[CLIENT\\] ${socket.id} connected[^]*SERVER> $`));
    } finally {
      server.child.kill("SIGTERM");
      await server.gone();
    }
    // In front of each line somebody may have written a name: docker-compose does.
    assert.deepEqual(server.output.replaceAll("\r\n", "\n").match(/\r.{0,20}/g), null);
    assert.match(server.output, /\[SERVER\] goodbye/);
  });
});

describe("no input, ever", () => {
  it("says what to do and waits for signals: SIGUSR1 starts it, SIGTERM ends it", async () => {
    const server = await rillProcess({ AUTOSTART: "0" });
    try {
      server.child.stdin.end();
      await server.prints(/\[SERVER\] not started: .*AUTOSTART=1.*docker run -it.*SIGUSR1.*SIGTERM/);
      await pass(500);
      assert.equal(server.ended, false, "it waits");
      server.child.kill("SIGUSR1");
      await server.prints(/\[SERVER\] listening on /);
      assert.equal((await fetchOnce(server, "GET", "/healthz")).status, 200);
      server.child.kill("SIGTERM");
      assert.deepEqual(await server.gone(), { code: 0, signal: null });
    } finally {
      await server.end();
    }
  });

  it("after a command its end is the end, as before", async () => {
    const server = await rillProcess({ AUTOSTART: "0" });
    server.type("status");
    server.child.stdin.end();
    assert.deepEqual(await server.gone(), { code: 0, signal: null });
    assert.match(server.output, /state +waiting for start[^]*end of input, and no server runs: the end/);
  });
});

describe("LOG_FORMAT=json", () => {
  /** A server whose whole output is JSON lines. */
  function withJson(env, body) {
    return async () => {
      const server = await rillProcess({ LOG_FORMAT: "json", ...env });
      const objects = () => server.output.split("\n").slice(0, -1).map((line) => JSON.parse(line));
      try {
        await listens(server);
        await body(server, objects);
        server.type("exit");
        assert.deepEqual(await server.gone(), { code: 0, signal: null });
        for (const { time, level, tag, message } of objects()) {
          assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
          assert.ok(["debug", "info", "warn", "error"].includes(level), level);
          assert.match(tag, /^[A-Z]+$/);
          assert.equal(typeof message, "string");
        }
        assert.deepEqual([objects().at(-1).tag, objects().at(-1).message], ["SERVER", "goodbye"]);
        assert.ok(server.output.endsWith("\n") && !server.output.includes("SERVER> "), "no prompt");
        assert.doesNotMatch(server.output, RAW);
      } finally {
        await server.end();
      }
    };
  }

  const without = ({ time, ...rest }) => rest;

  it("commands and their answers", withJson({}, async (server, objects) => {
    const socket = await connect(server, WEBSOCKET);
    await ask(socket, "join", "lobby");
    for (const command of ["help", "status", "rooms", "clients", "frobnicate", "broadcast", "sendroom lobby hi"]) server.type(command);
    await server.prints(/sent to 1 client/);
    const told = objects().map(without);
    for (const [tag, message] of [
      ["CONSOLE", "1 room"],
      ["CONSOLE", "  /    lobby  1"],
      ["CONSOLE", "Unknown command: frobnicate (type help)"],
      ["CONSOLE", "Usage: broadcast <message>"],
      ["SERVER", "sent to 1 client"],
    ]) assert.ok(told.some((one) => one.tag === tag && one.message === message && one.level === "info"), message);
  }));

  it("what a line is about stands in fields", withJson({ NODE_ENV: "development" }, async (server, objects) => {
    const socket = await connect(server, { ...WEBSOCKET, ...RETURNING });
    await ask(socket, "join", 'a \u001b[31m "room"\n');
    const back = next(socket, "connect");
    socket.io.engine.close();
    await back;
    await connect(server, { ...WEBSOCKET, auth: { pid: "secret-secret-pid-00" } });
    client(server, WEBSOCKET).io.engine.once("open", function () { this.write("9broken"); });
    await server.prints(/ closed: /);
    const told = objects().map(without);
    const { id } = socket;
    const reason = "its session has expired or never was";
    const shown = 'a \\u{1b}[31m "room"\\n';
    for (const one of [
      { level: "debug", tag: "CLIENT", message: `${id} connected from 127.0.0.1`, id, address: "127.0.0.1" },
      { level: "debug", tag: "CLIENT", message: `${id} joined ${shown}`, id, room: shown },
      { level: "info", tag: "RECOVERY", message: `Client reconnected (recovered): ${id}`, id },
      { level: "warn", tag: "RECOVERY", message: `Client of / reconnected as new: ${reason}`, namespace: "/", reason },
    ]) assert.ok(told.some((other) => JSON.stringify(other) === JSON.stringify(one)), JSON.stringify(one));
    const broken = told.find(({ message }) => / closed: /.test(message));
    assert.equal(broken.level, "warn");
    assert.match(broken.session, /^.{4}…$/);
    assert.ok(broken.reason.length > 3);
    for (const secret of ["secret", socket._pid, socket.io.engine.id]) assert.equal(server.output.includes(secret), false);
  }));

  it("top too", withJson({}, async (server) => {
    server.type("top");
    await server.prints(/"CONSOLE","message":" clients +rooms [^]*"CONSOLE","message":" +0 +0 /, 0, 4_000);
    server.type("");
  }));

  it("another value is refused", async () => {
    const server = await rillProcess({ LOG_FORMAT: "xml" });
    assert.deepEqual(await server.gone(5_000), { code: 2, signal: null });
    assert.match(server.output, /^\[SERVER\] LOG_FORMAT=xml is not allowed: it must be text, plain or json\n$/);
  });
});
