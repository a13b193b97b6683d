// Requests that come twice: what a proxy sends again when its connection breaks, and what clients say again, which counts each time.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { rill } from "./harness/server.js";
import { pass } from "./harness/wait.js";
import { Polling, Wire, closeWires, fetchOnce, request } from "./harness/wire.js";

let server;
before(async () => (server = await rill()));
after(() => server.end());
afterEach(closeWires);

const EVENT = '420["message",{"text":"tick"}]';

/** A session in the main namespace; its requests have no `t`. */
async function open() {
  const session = await Polling.open(server, "/socket.io/");
  await session.post("40");
  assert.match((await session.packets())[0], /^40/);
  return session;
}

/** How many events were handled, by their acknowledgements; `status 400` if the session is gone. */
async function handled(session) {
  await session.post('421["rooms"]'); // its answer is there at once, and behind all others
  let count = 0;
  for (;;) {
    for (const packet of await session.packets()) {
      if (packet.startsWith("430")) count++;
      else if (packet.startsWith("431")) return count;
      else if (packet.startsWith("status")) return packet;
    }
  }
}

const repeated = async () => Number(/^rill_requests_repeated_total (\d+)$/m.exec((await fetchOnce(server, "GET", "/metrics")).body)[1]);

/** Sends a POST, and does with its connection what `end` says. */
async function post(session, end, { t = "abcdefg", headers = {}, body = EVENT } = {}) {
  const wire = await Wire.to(server);
  const head = request("POST", `${session.target}&t=${t}`, { body, headers });
  if (end === "gone before the answer") {
    wire.socket.write(head, () => wire.socket.destroy());
    await pass(50);
    return {};
  }
  wire.send(head);
  if (end === "reset behind the answer") {
    await pass(50);
    wire.socket.resetAndDestroy();
    await pass(50);
    return {};
  }
  const answer = await wire.response();
  if (end === "ended") wire.socket.end();
  await pass(5);
  return answer;
}

describe("a POST that comes again", () => {
  for (const [end, statuses] of [["gone before the answer", [200, 400]], ["reset behind the answer", [400]]]) {
    it(`after its connection was ${end}: handled once, counted and logged`, async () => {
      const [session, before] = [await open(), await repeated()];
      await post(session, end);
      const { status } = await post(session);
      assert.ok(statuses.includes(status), `${status}`);
      assert.equal(await handled(session), 1);
      assert.equal(await repeated(), before + 1);
      await server.prints(new RegExp(`\\[HTTP\\] ${session.sid.slice(0, 4)}…: a POST came again`));
      // It has been answered: what comes now is new.
      if (status === 200) assert.equal((await post(session)).body, "ok");
    });

    for (const [what, change] of [["another body", { body: EVENT.replace("tick", "tock") }], ["another target", { t: "abcdefh" }]]) {
      it(`after its connection was ${end}, with ${what}: counts`, async () => {
        const session = await open();
        await post(session, end);
        assert.equal((await post(session, "ended", change)).body, "ok");
        assert.equal(await handled(session), 2);
      });
    }

    it(`after its connection was ${end}, two seconds later: counts`, async () => {
      const session = await open();
      await post(session, end);
      await pass(2_500);
      assert.equal((await post(session)).body, "ok");
      assert.equal(await handled(session), 2);
    });
  }

  for (const t of ["abcdefg", "1795463246", ""]) {
    for (const [what, end, headers] of [
      ["a connection that is kept open", undefined, {}],
      ["a connection that ends", "ended", {}],
      ["a connection that the server ends", undefined, { Connection: "close" }],
    ]) {
      it(`over ${what}, t=${t}: counts each time`, async () => {
        const [session, before] = [await open(), await repeated()];
        for (let i = 0; i < 10; i++) assert.equal((await post(session, end, { t, headers })).body, "ok");
        assert.equal(await handled(session), 10);
        assert.equal(await repeated(), before);
      });
    }
  }

  it("over one connection, one after the other and in one segment: counts each time", async () => {
    const session = await open();
    const wire = await Wire.to(server);
    const one = request("POST", `${session.target}&t=abcdefg`, { body: EVENT });
    for (let i = 0; i < 5; i++) {
      wire.send(one);
      assert.equal((await wire.response()).body, "ok");
    }
    wire.send(one, one, one);
    for (let i = 0; i < 3; i++) assert.equal((await wire.response()).body, "ok");
    assert.equal(await handled(session), 8);
  });

  it("with a POST of another place in between: counts", async () => {
    const session = await open();
    await post(session, "gone before the answer");
    await post(session, "ended", { t: "other" });
    assert.equal((await post(session)).body, "ok");
    assert.equal(await handled(session), 3);
  });
});

describe("a GET that comes again", () => {
  const get = async (session, t, { headers } = {}) => fetchOnce(server, "GET", `${session.target}&t=${t}`, { headers });

  for (const headers of [{}, { Connection: "close" }]) {
    it(`with a t that all requests share (${JSON.stringify(headers)}): is the next one`, async () => {
      const session = await open();
      const target = session.target;
      session.target += "&t=tenant";
      for (let i = 0; i < 10; i++) {
        await session.post(`42${i}["rooms"]`, headers);
        assert.equal((await fetchOnce(server, "GET", session.target, { headers })).body, `43${i}[{"ok":true,"rooms":[]}]`);
      }
      session.target = target;
      assert.equal(await handled(session), 0);
    });
  }

  it("with no t, or one in seconds: is the next one", async () => {
    const session = await open();
    for (const t of ["", "1795463246"]) {
      for (let i = 2; i < 6; i++) {
        await session.post(`42${i}["rooms"]`);
        assert.match((await get(session, t)).body, new RegExp(`^43${i}`));
      }
    }
  });

  it("whose connection was reset behind the answer: the session ends, and its client recovers", async () => {
    const session = await open();
    await session.post('422["rooms"]');
    const wire = await Wire.to(server);
    wire.send(request("GET", session.target));
    await pass(50);
    wire.socket.resetAndDestroy();
    await pass(50);
    assert.equal((await session.get()).status, 400);
  });

  it("with a t of its own, as the official clients have: the session ends, and its client recovers", async () => {
    const opening = await fetchOnce(server, "GET", "/socket.io/?EIO=4&transport=polling&t=aaaaaaa");
    const session = new Polling(server, "/socket.io/", JSON.parse(opening.body.slice(1)).sid);
    await fetchOnce(server, "POST", `${session.target}&t=aaaaaab`, { body: "40" });
    assert.match((await get(session, "aaaaaac")).body, /^40/);
    const again = await get(session, "aaaaaac");
    assert.deepEqual([again.status, again.body], [400, '{"code":1,"message":"Session ID unknown"}']);
  });
});
