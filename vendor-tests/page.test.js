// The room page in a real Chromium: talking, losing the connection, and what comes back.
//   PAGE_SCREENSHOTS=FOLDER vendor-tests/run page.test.js      writes the README's pictures
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { Visitor, closeVisitors, launch } from "./harness/browser.js";
import { inCluster } from "./harness/cluster.js";
import { CLIENT_DIR } from "./harness/folder.js";
import { nginx } from "./harness/nginx.js";
import { rill } from "./harness/server.js";
import { eventually, pass } from "./harness/wait.js";
import { fetchOnce } from "./harness/wire.js";

const LOST_RESOURCE = /Failed to load resource|WebSocket connection to .* failed/; // what Chromium says when a server is gone
const CUT = { name: "Cut for 5 s" };
const PICTURES = process.env.PAGE_SCREENSHOTS;

let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());
afterEach(closeVisitors);

/** Two visitors in a room of their own. */
async function two(server, room, options) {
  const [anna, ben] = await Promise.all([Visitor.at(browser, server, options), Visitor.at(browser, server)]);
  await Promise.all([anna.join(room), ben.join(room)]);
  return [anna, ben];
}

describe("the room page", () => {
  let server;
  before(async () => (server = await rill({ CLIENT_DIR, SERVER_ID: "tokyo-1" })));
  after(() => server.end());

  it("shows the connection: state, transport, server, session", async () => {
    const visitor = await Visitor.at(browser, server);
    assert.equal(await visitor.page.getByRole("status").textContent(), "connected to tokyo-1");
    await eventually("the transport is websocket", async () => (await visitor.fact("transport")) === "websocket");
    assert.equal(await visitor.fact("server"), "tokyo-1");
    const id = await visitor.fact("session");
    assert.match(await server.command("clients"), new RegExp(`${id}  websocket`));
    visitor.check();
  });

  it("rooms are joined and left, and two tabs talk in them", async () => {
    const [anna, ben] = await two(server, "tea");
    await anna.say("hello from anna");
    await ben.sees("hello from anna");
    await ben.say("hello from ben");
    await anna.sees("hello from ben");
    assert.equal(await anna.line("hello from anna").locator(".from").textContent(), "you");
    assert.match(await ben.line("hello from anna").locator(".meta").textContent(), /in tea/);

    await ben.page.getByRole("button", { name: "Leave tea" }).click();
    await ben.page.getByRole("button", { name: "Leave tea" }).waitFor({ state: "detached" });
    await anna.say("ben has left");
    await anna.page.getByText("Everybody", { exact: true }).click();
    await anna.say("and this is for everybody");
    await ben.sees("and this is for everybody");
    assert.deepEqual((await ben.texts()).live, ["hello from anna", "hello from ben", "and this is for everybody"]);
    anna.check();
    ben.check();
  });

  it("what the operator says on the console is marked as that", async () => {
    const visitor = await Visitor.at(browser, server);
    server.type("sendroom lobby maintenance at ten");
    await visitor.sees("maintenance at ten");
    assert.equal(await visitor.line("maintenance at ten").locator(".from").textContent(), "console of tokyo-1");
    visitor.check();
  });

  it("markup stays text, in messages and in names of rooms", async () => {
    const room = `<img src=x onerror="document.title='broken'">`;
    const [anna, ben] = await two(server, room);
    const text = `<script>document.title = "broken"</script><b onclick="x">bold</b> &amp; <style>*{display:none}</style>`;
    await anna.say(text);
    await ben.sees(text);
    for (const visitor of [anna, ben]) {
      assert.equal(await visitor.page.title(), "Rill");
      assert.equal(await visitor.page.locator("#lines :is(script, b, style, img), #rooms img").count(), 0);
    }
    anna.check();
    ben.check();
  });

  it("a name that is too long is an error that one can read, and what could not be said is kept", async () => {
    const visitor = await Visitor.at(browser, server);
    await visitor.page.getByLabel("Room to join").evaluate((field) => field.removeAttribute("maxlength"));
    await visitor.page.getByLabel("Room to join").fill("x".repeat(1_025));
    await visitor.page.getByRole("button", { name: "Join" }).click();
    await visitor.page.getByRole("alert").getByText("Can't join: the room's name is too long.").waitFor();
    await visitor.page.getByRole("button", CUT).click();
    await visitor.page.getByText("connection cut for 5 s").waitFor();
    await visitor.say("too early");
    await visitor.page.getByRole("alert").getByText("You are away").waitFor();
    assert.equal(await visitor.page.getByLabel(/^Message to/).inputValue(), "too early");
    await visitor.isBack();
    await visitor.page.getByRole("alert").waitFor({ state: "hidden" });
    assert.equal(await visitor.page.getByLabel(/^Message to/).inputValue(), "too early", "it can be sent now");
    visitor.check();
  });

  it("cut and back: the same session, and what was missed, marked, once and in order", async () => {
    const [anna, ben] = await two(server, "cut");
    const session = await anna.fact("session");
    await ben.say("before");
    await anna.sees("before");
    await anna.page.getByLabel(/second connection/).uncheck();
    await anna.page.getByRole("button", CUT).click();
    await anna.page.getByText("connection cut for 5 s").waitFor();
    for (const text of ["one", "two", "three"]) {
      await ben.say(text);
      await ben.sees(text);
    }
    server.type("sendroom cut four");
    assert.match(await anna.isBack(), /^back on tokyo-1 after [5-9]\.\d s · recovered: true · 4 missed messages$/);
    await ben.say("after");
    await anna.sees("after");
    assert.deepEqual(await anna.texts(), { missed: ["one", "two", "three", "four"], live: ["before", "after"] });
    assert.equal(await anna.line("one").getByText("missed while away").count(), 1);
    assert.equal(await anna.fact("session"), session);
    assert.match(await anna.fact("return"), /^recovered: true4 missed messages/);
    anna.check();
    ben.check();
  });

  it("alone, too, one sees something come back: a second connection speaks meanwhile", async () => {
    const visitor = await Visitor.at(browser, server);
    await visitor.page.getByRole("button", CUT).focus();
    await visitor.page.keyboard.press("Enter");
    await visitor.isBack();
    const { missed, live } = await visitor.texts();
    assert.deepEqual(missed.slice(0, 3), ["drop 1, through tokyo-1", "drop 2, through tokyo-1", "drop 3, through tokyo-1"]);
    assert.deepEqual(live, []);
    await eventually("the second connection is gone", async () => /clients +1 /.test(await server.command("status")));
    visitor.check();
  });

  it("the server forgets, the page says so: a new session, in the same rooms", async (test) => {
    const own = await rill({ CLIENT_DIR });
    test.after(() => own.child.kill("SIGKILL"));
    const visitor = await Visitor.at(browser, own);
    await visitor.join("tea");
    const session = await visitor.fact("session");
    own.child.kill("SIGKILL");
    await own.gone();
    await visitor.page.getByText(/^connection lost/).waitFor();
    const again = await rill({ CLIENT_DIR, PORT: String(own.port) });
    test.after(() => again.end());
    assert.match(await visitor.isBack(), /recovered: false/);
    await eventually("the rooms are joined again", async () => /lobby[^]*tea/.test(await again.command("rooms")));
    assert.notEqual(await visitor.fact("session"), session);
    visitor.check(LOST_RESOURCE);
  });

  describe("its log follows what is said", () => {
    const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
    const filled = async (options) => {
      const visitor = await Visitor.at(browser, server, options);
      for (let i = 0; i < 30; i++) await visitor.say(`line ${i}`);
      await visitor.sees("line 29");
      await visitor.seesTheEnd("to begin with");
      return visitor;
    };
    const SMALLER = [
      ["a second row of rooms", {}, async (visitor) => {
        const height = () => visitor.page.locator("#rooms").evaluate(({ clientHeight }) => clientHeight);
        const before = await height();
        for (const room of ["sports and games", "news and weather", "music is the food of love", "rust programming", "the last one"]) await visitor.join(room);
        assert.ok((await height()) > before, "there is a second row");
      }],
      ["a line about a problem", {}, async (visitor) => {
        await visitor.page.getByRole("button", CUT).click();
        await visitor.page.getByText("connection cut for 5 s").waitFor();
        await visitor.say("too early");
        await visitor.page.getByRole("alert").getByText("You are away").waitFor();
        await visitor.seesTheEnd("while it stands there");
        await visitor.isBack();
        await visitor.page.getByLabel(/^Message to/).fill("");
      }],
      ["a smaller window", {}, (visitor) => visitor.page.setViewportSize({ width: 1280, height: 600 })],
      ["a narrower window", {}, (visitor) => visitor.page.setViewportSize({ width: 700, height: 700 })],
      ["a phone that is turned", PHONE, (visitor) => visitor.page.setViewportSize({ width: 844, height: 390 })],
      ["a phone's keyboard", PHONE, (visitor) => visitor.page.setViewportSize({ width: 390, height: 500 })],
    ];
    for (const [what, options, change] of SMALLER) {
      it(`past ${what}`, async () => {
        const visitor = await filled(options);
        await change(visitor);
        await visitor.seesTheEnd("after it");
        server.type("broadcast can you see me?");
        await visitor.sees("can you see me?");
        await visitor.seesTheEnd("when more is said");
        if (options.viewport) await visitor.page.setViewportSize(options.viewport);
        await visitor.seesTheEnd("when there is room again");
        visitor.check();
      });
    }

    it("unless somebody reads further up: then it stays, and says that there is more below", async () => {
      const visitor = await filled({});
      const hint = visitor.page.getByRole("button", { name: /new messages?$/ });
      await visitor.page.locator("#log").hover();
      await visitor.page.mouse.wheel(0, -400);
      await eventually("it has scrolled", async () => (await visitor.below()) > 200);
      assert.equal(await hint.count(), 0);
      const first = await visitor.page.locator("#log").evaluate((log) => log.scrollTop);
      server.type("broadcast one below");
      await visitor.sees("one below");
      await hint.getByText("↓ 1 new message", { exact: true }).waitFor();
      server.type("broadcast two below");
      await hint.getByText("↓ 2 new messages", { exact: true }).waitFor();
      assert.deepEqual(await visitor.barriers(), []);
      await visitor.page.setViewportSize({ width: 1280, height: 700 });
      await pass(150);
      assert.equal(await visitor.page.locator("#log").evaluate((log) => log.scrollTop), first, "it stays where it was read");
      await hint.click();
      await visitor.seesTheEnd("after the hint was followed");
      assert.equal(await hint.count(), 0);
      server.type("broadcast three below");
      await visitor.sees("three below");
      await visitor.seesTheEnd("from then on");
      visitor.check();
    });
  });

  it("a reload keeps session, rooms, and what was said, and brings what was missed meanwhile", async () => {
    const visitor = await Visitor.at(browser, server);
    await visitor.join("tea");
    await visitor.join("cake");
    await visitor.page.getByText("tea", { exact: true }).click();
    await visitor.say("before the reload");
    await visitor.sees("before the reload");
    const session = await visitor.fact("session");
    assert.equal(await visitor.page.evaluate(() => sessionStorage.length), 0, "a tab that is duplicated finds nothing");
    await visitor.page.reload();
    assert.match(await visitor.isBack(), /^back on tokyo-1 after .* · recovered: true · 0 missed messages$/);
    await visitor.page.goto("about:blank");
    server.type("sendroom cake while the page was gone");
    await server.prints(/sent to/);
    await visitor.page.goto(`${server.url}/`);
    assert.match(await visitor.isBack(), /recovered: true · 1 missed message$/);
    assert.equal(await visitor.fact("session"), session);
    for (const room of ["lobby", "tea", "cake"]) await visitor.isIn(room);
    assert.equal(await visitor.fact("target"), "tea");
    assert.deepEqual(await visitor.texts(), { live: ["before the reload"], missed: ["while the page was gone"] });
    assert.equal(await visitor.line("before the reload").locator(".from").textContent(), "you");
    await visitor.say("and after it");
    await visitor.sees("and after it");
    assert.equal(await visitor.page.evaluate(() => sessionStorage.length), 0);
    await visitor.page.getByRole("button", CUT).click();
    assert.match(await visitor.isBack(), /recovered: true/);
    visitor.check();
  });

  it("a reload on a server that has forgotten: a new session, in the same rooms", async (test) => {
    const own = await rill({ CLIENT_DIR });
    test.after(() => own.child.kill("SIGKILL"));
    const visitor = await Visitor.at(browser, own);
    await visitor.join("tea");
    await visitor.page.goto("about:blank");
    own.child.kill("SIGKILL");
    await own.gone();
    const again = await rill({ CLIENT_DIR, PORT: String(own.port) });
    test.after(() => again.end());
    await visitor.page.goto(`${again.url}/`);
    assert.match(await visitor.isBack(), /recovered: false/);
    await eventually("the rooms are joined again", async () => /lobby[^]*tea/.test(await again.command("rooms")));
    assert.equal(await visitor.fact("target"), "tea");
    visitor.check();
  });

  it("a server with a token: the page asks for it, says when it is not right, and keeps it for a reload", async (test) => {
    const guarded = await rill({ CLIENT_DIR, AUTH_TOKEN: "sesame" });
    test.after(() => guarded.end());
    const context = await browser.newContext();
    test.after(() => context.close());
    const page = await context.newPage();
    const errors = [];
    page.on("pageerror", (error) => errors.push(error));
    await page.goto(guarded.url);
    const status = (text) => page.getByRole("status").filter({ hasText: text }).waitFor();
    await status("a token is asked for");
    await page.getByLabel("Token", { exact: true }).fill("barley");
    await page.getByRole("button", { name: "Enter" }).click();
    await status("the token is not right");
    await page.getByLabel("Token", { exact: true }).fill("sesame");
    await page.getByRole("button", { name: "Enter" }).click();
    await status("connected to test");
    assert.equal(await page.getByLabel("Token", { exact: true }).isVisible(), false);
    await page.reload();
    await status("connected to test");
    await page.getByRole("button", { name: "Cut for 5 s" }).click();
    await page.getByText(/recovered: true · [1-9]\d* missed messages?/).waitFor({ timeout: 15_000 });
    assert.deepEqual(errors, []);
  });

  it("without JavaScript it says so, and shows nothing that can't work", async () => {
    const visitor = await Visitor.at(browser, server, { javaScriptEnabled: false });
    await visitor.page.getByRole("heading", { name: "This page needs JavaScript" }).waitFor();
    assert.equal(await visitor.page.getByRole("status").textContent(), "no JavaScript");
    assert.equal(await visitor.page.getByRole("button").count(), 0);
  });

  for (const [what, options] of [
    ["light", { colorScheme: "light" }],
    ["dark", { colorScheme: "dark" }],
    ["on a phone", { colorScheme: "light", viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }],
  ]) {
    it(`axe finds no barrier, and nothing stands out to the side: ${what}`, async () => {
      const visitor = await Visitor.at(browser, server, options);
      await visitor.join("a-room-whose-name-is-longer-than-the-screen-of-a-phone-is-wide-and-has-no-place-to-break");
      await visitor.say(`${"long".repeat(60)} and words`);
      server.type("broadcast from the console");
      await visitor.sees("from the console");
      assert.deepEqual(await visitor.barriers(), []);
      await visitor.page.getByRole("button", CUT).click();
      await visitor.page.getByText("connection cut for 5 s").waitFor();
      assert.deepEqual(await visitor.barriers(), [], "while it is away");
      await visitor.isBack();
      assert.deepEqual(await visitor.barriers(), [], "when it is back");
      const [page, screen] = await visitor.page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
      assert.ok(page <= screen, `the page is ${page} wide, the screen ${screen}`);
    });
  }

  it("its policy lets nothing in but its own files and connections", async () => {
    const { headers } = await fetchOnce(server, "GET", "/");
    assert.doesNotMatch(headers["content-security-policy"], /unsafe|\*|data:|https?:/);
    const visitor = await Visitor.at(browser, server);
    const refused = await visitor.page.evaluate(async () => {
      const heard = [];
      document.addEventListener("securitypolicyviolation", ({ effectiveDirective }) => heard.push(effectiveDirective));
      const script = document.createElement("script");
      try {
        script.textContent = "document.title = 'broken'";
        document.body.append(script);
      } catch {}
      try {
        document.body.innerHTML += "<b>x</b>";
      } catch {}
      await fetch("http://127.0.0.1:9/").catch(() => {});
      await new Promise((done) => setTimeout(done, 100));
      return heard;
    });
    assert.ok(refused.includes("require-trusted-types-for") && refused.includes("connect-src"), `refused: ${refused}`);
    assert.equal(await visitor.page.title(), "Rill");
  });
});

describe("without the browser client's files", () => {
  it("the page names the command", async (test) => {
    const server = await rill();
    test.after(() => server.end());
    const visitor = await Visitor.at(browser, server, { connected: false });
    const notice = visitor.page.getByRole("alert");
    await notice.getByText("scripts/client-files").waitFor();
    assert.deepEqual(await visitor.barriers(), []);
  });
});

describe("behind nginx, with three servers", () => {
  it("kill -9 of its server: it recovers on another one, and shows which", inCluster({ CLIENT_DIR }, async (cluster) => {
    const balancer = await nginx(cluster.servers, { page: true });
    cluster.logs.push(["nginx", balancer]);
    // nginx compresses the client's files, and weakens their tag.
    const script = (headers) => fetchOnce(balancer, "GET", "/socket.io/socket.io.min.js", { headers: { "Accept-Encoding": "gzip", ...headers } });
    const { status, headers } = await script();
    assert.deepEqual([status, headers["content-encoding"]], [200, "gzip"]);
    assert.match(headers.etag, /^W\/"/);
    assert.equal((await script({ "If-None-Match": headers.etag })).status, 304);

    const [anna, ben] = await two(balancer, "tea");
    const [session, first] = [await anna.fact("session"), await anna.fact("server")];
    const [victim, other] = [cluster.servers.findIndex((_, i) => `server-${i + 1}` === first), await ben.fact("server")];
    assert.ok(victim >= 0, `the page says ${first}`);
    const healthy = cluster.servers.find((_, i) => i !== victim);
    await ben.say("before");
    await anna.sees("before");

    // Said while it is away for certain.
    await anna.page.getByLabel(/second connection/).uncheck();
    await anna.page.getByRole("button", CUT).click();
    await anna.page.getByText("connection cut for 5 s").waitFor();
    await cluster.kill(victim);
    healthy.type("sendroom tea the server is dead");
    if (other !== first) await ben.say("and I am here");
    const back = await anna.isBack();
    assert.match(back, /^back on server-\d after .* · recovered: true · [12] missed messages?$/);
    assert.notEqual(await anna.fact("server"), first);
    assert.equal(await anna.page.getByRole("status").textContent(), `connected to ${await anna.fact("server")}`);
    assert.equal(await anna.fact("session"), session);
    const { missed } = await anna.texts();
    assert.deepEqual(missed, ["the server is dead", "and I am here"].slice(0, missed.length));

    // Killed under it, without a word before.
    const second = cluster.servers.findIndex((_, i) => back.includes(`server-${i + 1} `));
    await cluster.add(victim);
    await cluster.kill(second);
    await anna.page.getByText(/^connection lost/).waitFor();
    await eventually("it is back", async () => /^connected to/.test(await anna.page.getByRole("status").textContent()), 20_000);
    assert.match(await anna.isBack(), /recovered: true/);
    assert.equal(await anna.fact("session"), session);
    await ben.isIn("tea");
    await eventually("ben is connected", async () => /^connected to/.test(await ben.page.getByRole("status").textContent()), 20_000);
    await ben.say("after");
    await anna.sees("after");
    for (const visitor of [anna, ben]) visitor.check(LOST_RESOURCE);
  }));
});

describe("pictures", { skip: PICTURES === undefined && "PAGE_SCREENSHOTS names no folder" }, () => {
  const number = async (visitor) => Number((await visitor.fact("server")).slice(-1)) - 1;
  const isHere = (visitor) => eventually("it is connected", async () => /^connected to/.test(await visitor.page.getByRole("status").textContent()), 20_000);

  for (const [name, options] of [
    ["light", { colorScheme: "light" }],
    ["dark", { colorScheme: "dark" }],
    ["phone", { colorScheme: "light", viewport: { width: 390, height: 844 }, isMobile: true }],
  ]) {
    it(`three servers, a cut, two kills: ${name}`, inCluster({ CLIENT_DIR }, async (cluster) => {
      const balancer = await nginx(cluster.servers, { page: true });
      cluster.logs.push(["nginx", balancer]);
      const ben = await Visitor.at(browser, balancer);
      let anna;
      do anna = await Visitor.at(browser, balancer, options);
      while ((await number(anna)) === (await number(ben)));
      await Promise.all([anna.join("tea"), ben.join("tea")]);
      await anna.say("Back in a moment.");
      await ben.sees("Back in a moment.");

      // Her server is killed while she is away; he talks on, and so does the third server's operator.
      const [first, his] = [await number(anna), await number(ben)];
      await anna.page.getByLabel(/second connection/).uncheck();
      await anna.page.getByRole("button", CUT).click();
      await pass(1_000);
      await ben.say("The kettle is on.");
      await cluster.kill(first);
      await pass(1_000);
      cluster.servers.find((_, i) => i !== first && i !== his).type(`sendroom tea server-${first + 1} is dead (kill -9)`);
      await pass(1_000);
      await ben.say("Milk or lemon?");
      await anna.isBack();
      await isHere(anna);

      // The next one is killed under her.
      await cluster.add(first);
      const second = await number(anna);
      await cluster.kill(second);
      await anna.page.getByText(/^connection lost/).waitFor();
      await isHere(anna);
      await isHere(ben);
      await anna.page.getByText(/^back on /).nth(1).waitFor();
      await anna.say("Lemon, please. I missed nothing.");
      await ben.sees("Lemon, please. I missed nothing.");
      await anna.page.mouse.move(1, 1);
      await anna.page.screenshot({ path: join(PICTURES, `page-${name}.png`), fullPage: name === "phone" });
      for (const visitor of [anna, ben]) visitor.check(LOST_RESOURCE);
    }));
  }
});
