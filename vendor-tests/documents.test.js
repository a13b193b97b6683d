// What README.md and docs/operating.md show of the console is what it prints.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { RETURNING, ask, closeClients, connect } from "./harness/clients.js";
import { POLLING, WEBSOCKET } from "./harness/cluster.js";
import { rillProcess } from "./harness/server.js";
import { eventually } from "./harness/wait.js";

const read = (name) => readFileSync(new URL(`../${name}`, import.meta.url), "utf8");

/** The code block that has this text. */
function block(page, text) {
  const found = read(page).split("```").filter((_, i) => i % 2 === 1).find((code) => code.includes(text));
  assert.ok(found, `${page} has a block with ${text}`);
  return found;
}

/** What differs from run to run made equal: ids, addresses, numbers and their units, the width of columns. */
const plain = (line) =>
  line
    .replace(/^(SERVER> )+/, "")
    .replace(/[\w-]{20}  +(websocket|polling)/g, "ID TRANSPORT") // two clients of one age
    .replace(/[\w-]{20}/g, "ID")
    .replace(/127\.0\.0\.1(:\d+)?/g, "ADDRESS")
    .replace(/\d+(\.\d+)?/g, "N")
    .replace(/\b(bytes|[KMG]iB)\b/g, "bytes")
    .replace(/ +/g, " ")
    .trim();

describe("what the documents show", () => {
  it("README.md: a session at the console", async (test) => {
    const shown = block("README.md", "SERVER> status").split("\n");
    const typed = shown.filter((line) => line.startsWith("SERVER> ")).map((line) => line.slice("SERVER> ".length));
    const server = await rillProcess({ AUTOSTART: "0", SERVER_ID: "tokyo-1" });
    test.after(() => server.end());
    test.after(closeClients);
    await server.prints(/SERVER> /);
    for (const [i, command] of typed.entries()) {
      if (command === "exit") break;
      await server.command(command, command === "start" ? /listening/ : /(?:)/);
      if (i === 0) {
        const clients = await Promise.all([connect(server, { ...POLLING, ...RETURNING }), connect(server, { ...WEBSOCKET, ...RETURNING })]);
        for (const client of clients) await ask(client, "join", "lobby");
        await ask(clients[1], "join", "tea");
      }
    }
    await eventually("both clients are back", () => server.output.split("reconnected (recovered)").length === 3);
    server.type("exit");
    assert.equal((await server.gone()).code, 0);
    const printed = server.output.split("\n").map(plain);
    // The first lines are those of the shell, and about a Redis that may be there or not.
    let at = 0;
    for (const line of shown.filter((line) => line && !/^(SERVER> |\$|(\S+ info +)?\[SERVER\] REDIS_HOST)/.test(line)).map(plain)) {
      const found = printed.indexOf(line, at);
      assert.ok(found >= 0, `expected after line ${at}: ${line}\nprinted:\n${printed.join("\n")}`);
      at = found + 1;
    }
  });

  it("docs/operating.md: the commands", async (test) => {
    const server = await rillProcess({ AUTOSTART: "0" });
    test.after(() => server.end());
    await server.prints(/SERVER> /);
    const help = (await server.command("help")).split("\n").filter((line) => line.startsWith("  "));
    assert.ok(help.length > 5);
    assert.deepEqual(block("docs/operating.md", "say goodbye to the clients").split("\n").filter(Boolean), help);
  });
});
