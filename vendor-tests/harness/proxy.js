// A network that can fail: a TCP proxy whose connections can be cut, reset or frozen.
import net from "node:net";
import { once } from "node:events";

const open = new Set();

/** For `afterEach`. */
export function closeProxies() {
  open.forEach((proxy) => proxy.close());
  open.clear();
}

/** A proxy in front of `server`; it has the `url` that clients need. */
export async function proxyTo(server) {
  const pairs = new Set();
  let refusing = false;
  let allowance = Infinity;
  const listener = net.createServer({ allowHalfOpen: true }, (near) => {
    if (refusing) return near.resetAndDestroy();
    const far = net.connect({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
    const pair = { near, far, frozen: false, left: allowance };
    pairs.add(pair);
    for (const [from, to] of [[near, far], [far, near]]) {
      from.setNoDelay(true);
      from.on("data", (data) => {
        if (pair.frozen || to.destroyed) return;
        if (from === near) return to.write(data);
        to.write(data.subarray(0, pair.left));
        pair.left -= data.length;
        if (pair.left <= 0) [near, far].forEach((side) => side.destroySoon());
      });
      from.on("end", () => pair.frozen || to.end());
      from.on("error", () => pair.frozen || to.destroy());
      from.on("close", () => {
        if (pair.frozen) return;
        to.destroy();
        pairs.delete(pair);
      });
    }
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");

  const proxy = {
    url: `http://127.0.0.1:${listener.address().port}`,
    port: listener.address().port,
    /** How many connections pass through. */
    get connections() {
      return pairs.size;
    },
    /** Both sides see their connection end. */
    cut() {
      pairs.forEach(({ near, far }) => near.destroy() && far.destroy());
    },
    /** Both sides see a TCP reset. */
    reset() {
      pairs.forEach(({ near, far }) => near.resetAndDestroy() && far.resetAndDestroy());
    },
    /** From now on the present connections carry nothing, not even their end; new ones work. */
    freeze() {
      pairs.forEach((pair) => (pair.frozen = true));
    },
    /** New connections end after so many bytes from the server. */
    endAfter(bytes) {
      allowance = bytes;
    },
    /** No new connections for the time being. */
    refuse(value = true) {
      refusing = value;
    },
    close() {
      listener.close();
      pairs.forEach(({ near, far }) => near.destroy() && far.destroy());
    },
  };
  open.add(proxy);
  return proxy;
}
