// The folder of the browser client, and temporary ones, gone at the latest with the process.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The official browser client, as scripts/client-files has fetched it. */
export const CLIENT_DIR = fileURLToPath(new URL("../../client-files", import.meta.url));

const folders = new Set();
process.on("exit", () => folders.forEach(remove));

/** A new folder, `name` and something random. */
export function temporary(name) {
  const folder = mkdtempSync(join(tmpdir(), `${name}-`));
  folders.add(folder);
  return folder;
}

/** Removes a folder with all that is in it. */
export function remove(folder) {
  rmSync(folder, { recursive: true, force: true });
  folders.delete(folder);
}
