// What goes into the image, and what its health check asks. The image and the compose file themselves: scripts/compose-test.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { remove, temporary } from "./harness/folder.js";
import { rillProcess } from "./harness/server.js";

const run = promisify(execFile);
const path = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const read = (name) => readFileSync(path(name), "utf8");
const BINARY = process.env.RILL_BIN ?? path("target/release/rill");

describe("rill health", () => {
  const health = (env) => run(BINARY, ["health"], { env: { PATH: process.env.PATH, ...env } }).then(() => 0, ({ code }) => code);

  for (const [host, elsewhere] of [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"], ["0.0.0.0", "127.0.0.3"]]) {
    it(`asks the address that the server listens on: ${host}`, async () => {
      const server = await rillProcess({ HOST: host });
      try {
        await server.prints(/listening on/);
        const env = { HOST: host, PORT: String(server.port) };
        assert.equal(await health(env), 0);
        assert.equal(await health({ ...env, HOST: elsewhere }), host === "0.0.0.0" ? 0 : 1, "expected: nobody is asked elsewhere");
        assert.equal(await health({ ...env, PORT: "1" }), 1);
      } finally {
        await server.end();
      }
    });
  }

  it("over IPv6, where that is what the server listens on", async () => {
    const server = await rillProcess({ HOST: "::1" });
    try {
      await server.prints(/listening on|can't listen/);
      if (server.output.includes("can't listen")) return; // a machine without IPv6
      assert.equal(await health({ HOST: "::1", PORT: String(server.port) }), 0);
    } finally {
      if (!server.ended) await server.end();
    }
  });
});

describe("the image", () => {
  it("has a notice of every crate that is linked into rill, with its texts", async () => {
    const { stdout: notices } = await run(path("scripts/notices"), { maxBuffer: 1 << 24 });
    const { stdout: tree } = await run("cargo", ["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none"], { cwd: path(".") });
    const crates = [...new Set(tree.match(/^\S+ v\S+/gm))].filter((crate) => !crate.startsWith("rill-socketio "));
    assert.ok(crates.length > 20, `${crates.length} crates`);
    // A heading is underlined by itself.
    const parts = notices.split(/\n(?=\S.*: .*\n={10,}\n)/).map((part) => part.split("\n"));
    const headings = new Map(parts.map(([heading, , ...text]) => [heading.split(": ")[0], text.join("\n")]));
    for (const crate of crates) {
      const text = headings.get(crate.replace(" v", " "));
      assert.ok(text?.length > 200, `${crate}: ${text}`);
    }
    assert.match(notices, /^The Rust standard library: /m);
    assert.match(notices, /^The GNU C library, /m);
  });

  it("has a label with the version that Cargo.toml has", () => {
    const [, version] = /^version = "(.+)"/m.exec(read("Cargo.toml"));
    assert.match(read("Dockerfile"), new RegExp(`image\\.version="${version.replaceAll(".", "\\.")}"`));
  });
});

describe("scripts/run", () => {
  it("says that it builds, where nothing is built yet", async () => {
    const folder = temporary("run");
    try {
      for (const name of ["bin", "scripts", "target/release"]) mkdirSync(join(folder, name), { recursive: true });
      for (const name of ["run", "lib.sh"]) copyFileSync(path(`scripts/${name}`), join(folder, "scripts", name));
      // What is not tested: it says which of the two comes last.
      writeFileSync(join(folder, "bin", "cargo"), "#!/bin/sh\necho cargo >&2\n", { mode: 0o755 });
      writeFileSync(join(folder, "scripts", "client-files"), "#!/bin/sh\n", { mode: 0o755 });
      const env = { PATH: `${folder}/bin:${process.env.PATH}`, HOME: folder };
      const says = async () => (await run("bash", [join(folder, "scripts", "run")], { env })).stderr;
      assert.match(await says(), /^Building the server: a minute or two, the first time\.\ncargo\n$/m);
      writeFileSync(join(folder, "target/release/rill"), "", { mode: 0o755 });
      assert.doesNotMatch(await says(), /Building/);
    } finally {
      remove(folder);
    }
  });
});

describe("the compose file", () => {
  it("allows fewer connections than files, so that no server warns at its start", () => {
    const text = read("docker-compose.yml");
    const [, most] = /MAX_CONNECTIONS: \$\{MAX_CONNECTIONS:-(\d+)\}/.exec(text);
    const [, files] = /x-server:[^]*?nofile: (\d+)/.exec(text);
    assert.ok(Number(most) < Number(files), `${most} of ${files}`);
  });
});
