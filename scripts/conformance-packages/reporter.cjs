// Writes the result of a suite to the file SUITE_RESULT: one line, then each failed test and why.
"use strict";
const { reporters, Runner } = require("mocha");
const { writeFileSync } = require("node:fs");

module.exports = class extends reporters.Base {
  constructor(runner, options) {
    super(runner, options);
    runner.once(Runner.constants.EVENT_RUN_END, () => {
      const { passes, failures, pending } = this.stats;
      // A suite without tests has proved nothing.
      const failed = passes === 0 ? Math.max(failures, 1) : failures;
      const lines = [`${process.env.SUITE_NAME}: ${passes} passed, ${failed} failed, ${pending} skipped`];
      for (const test of this.failures) {
        const why = String(test.err?.message ?? test.err).replace(/ For async tests and hooks, .*/, "");
        lines.push(`  ${test.titlePath().join(" > ")}`, `    ${why.replaceAll("\n", "\n    ")}`);
      }
      writeFileSync(process.env.SUITE_RESULT, lines.join("\n") + "\n");
    });
  }
};
