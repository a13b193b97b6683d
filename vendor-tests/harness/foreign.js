// Runs client programs of other languages and of other versions: what they print is what they have seen.
//
// A program finds the addresses of its two servers in SUITE_URL (`conformance client`) and ROOMS_URL (`rill`), and in TRANSPORT what it
// shall use: polling, websocket or upgrade. It prints lines:
//   ok POINT        the point holds; POINTS lists them
//   note TEXT       something worth knowing, such as "recovered" after a return
//   lacks POINT     the client has nothing for it
//   type LINE       types LINE into `rill`
//   kill            ends `rill` with SIGKILL and starts a new one in its place
// and ends with status 0; every other line is for people, who see it when the program fails.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { conformance, rill } from "./server.js";
import { within } from "./wait.js";

/** What each client is asked for. */
export const POINTS = ["acks", "binary", "asked", "namespaces", "refused", "rooms", "stop and start", "kill"];

/** The points that hold, those that the client lacks, and its notes. */
export async function foreign(command, args, transport, ms = 30_000) {
  const suite = await conformance("client");
  // A client that polls notices with the next ping that its server stands still.
  let rooms = await rill({ PING_INTERVAL_MS: "500", PING_TIMEOUT_MS: "5000" });
  const seen = { ok: [], lacks: [], notes: [] };
  let output = "";
  let failure;
  const child = spawn(command, args, {
    env: { ...process.env, SUITE_URL: suite.url, ROOMS_URL: rooms.url, TRANSPORT: transport },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const obey = async (line) => {
    output += `${line}\n`;
    const [word, ...rest] = line.split(" ");
    const text = rest.join(" ");
    if (word === "ok") seen.ok.push(text);
    else if (word === "lacks") seen.lacks.push(text);
    else if (word === "note") seen.notes.push(text);
    else if (word === "type") rooms.type(text);
    else if (line === "kill") {
      rooms.child.kill("SIGKILL");
      await rooms.gone();
      rooms = await rill({ PORT: String(rooms.port), PING_INTERVAL_MS: "500", PING_TIMEOUT_MS: "5000" });
    }
  };
  let obeyed = Promise.resolve();
  createInterface({ input: child.stdout }).on("line", (line) => {
    obeyed = obeyed.then(() => obey(line)).catch((error) => (failure = error));
  });
  child.stderr.setEncoding("utf8").on("data", (text) => (output += text));
  try {
    const code = await within(ms, `end of ${command} ${args.join(" ")}`, new Promise((resolve, reject) => {
      child.once("close", resolve);
      child.once("error", reject);
    }));
    await obeyed;
    if (failure) throw failure;
    if (code !== 0) throw new Error(`${command} ended with status ${code}`);
    return seen;
  } catch (error) {
    throw new Error(`${error.message}; it printed:\n${output}`);
  } finally {
    child.kill("SIGKILL");
    await Promise.all([suite.end(), rooms.end()]);
  }
}
