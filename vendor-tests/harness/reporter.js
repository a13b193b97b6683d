// What node's test runner tells, for people and for `run`: a line for each file, each failure in full, and the sums.
import { basename } from "node:path";

const indented = (text) => text.replace(/^/gm, "    ");

export default async function* reporter(events) {
  const sums = { passed: 0, failed: 0, skipped: 0 };
  const files = new Map();
  for await (const { type, data } of events) {
    if ((type !== "test:pass" && type !== "test:fail") || data.details?.type === "suite") continue;
    const result = data.skip !== undefined ? "skipped" : type === "test:pass" ? "passed" : "failed";
    sums[result]++;
    const file = basename(data.file ?? data.name);
    const counts = files.get(file) ?? { passed: 0, failed: 0, skipped: 0, seconds: 0 };
    counts[result]++;
    counts.seconds += data.details.duration_ms / 1_000;
    files.set(file, counts);
    if (result === "failed") {
      const error = data.details.error?.cause ?? data.details.error;
      yield `FAILED ${file}: ${data.name}\n${indented(String(error?.stack ?? error).slice(0, 6_000))}\n`;
    }
  }
  for (const [file, { passed, failed, seconds }] of files) {
    yield `${file}: ${passed} passed, ${failed} failed, ${seconds.toFixed(1)} s\n`;
  }
  yield `${sums.passed} passed, ${sums.failed} failed, ${sums.skipped} skipped\n`;
}
