// What is laid around every test of the official suites; their files themselves have only their addresses patched.
"use strict";

// SIO_TRANSPORTS=websocket (or polling): the transports of each client that names none itself.
if (process.env.SIO_TRANSPORTS) {
  const { Manager } = require(process.cwd());
  const { open } = Manager.prototype;
  Manager.prototype.open = function (...args) {
    this.opts.transports ??= process.env.SIO_TRANSPORTS.split(",");
    return open.apply(this, args);
  };
}

exports.mochaHooks = {
  beforeEach() {
    const test = this.currentTest;
    // Some suites allow 30 s; what passes at all passes in milliseconds, and a server that answers nothing should be known soon.
    if (test.timeout() === 0 || test.timeout() > 3000) test.timeout(3000);
    // Two tests of socket.io-client with a fake clock. They never reach the server under test, and fail by chance with the official one.
    if (test.parent.title === "reconnect timeout" && process.env.RUN_EXCLUDED !== "1") this.skip();
  },
  afterEach() {
    // A test that fails before it has taken its fake clock away would take every later test with it.
    globalThis.setTimeout.clock?.uninstall();
  },
};
