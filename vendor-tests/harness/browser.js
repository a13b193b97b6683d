// Debian's Chromium, and room pages in it. Each page belongs to a visitor of its own, so that tests don't share a profile.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";
import { eventually, pass } from "./wait.js";

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const AXE = readFileSync(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const DESKTOP = { width: 1280, height: 800 };

/** A browser, for `before`. */
export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
}

const open = new Set();

/** For `afterEach`. */
export async function closeVisitors() {
  await Promise.all([...open].map((context) => context.close()));
  open.clear();
}

/** A visitor's view of the room page. */
export class Visitor {
  /** Opens the page and, unless told not to, waits until it is connected and in its first room. */
  static async at(browser, server, { connected = true, viewport = DESKTOP, ...options } = {}) {
    const context = await browser.newContext({ viewport, locale: "en-GB", ...options });
    open.add(context);
    const visitor = new Visitor(await context.newPage());
    await visitor.page.goto(`${server.url}/`);
    if (connected && options.javaScriptEnabled !== false) await visitor.isIn("lobby");
    return visitor;
  }

  constructor(page) {
    Object.assign(this, { page, complaints: [] });
    page.setDefaultTimeout(10_000);
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    page.on("console", (message) => message.type() === "error" && this.complaints.push(message.text()));
  }

  /** Waits until the room is among the visitor's. */
  async isIn(room) {
    await this.page.getByRole("button", { name: `Leave ${room}`, exact: true }).waitFor();
  }

  async join(room) {
    await this.page.getByLabel("Room to join").fill(room);
    await this.page.getByRole("button", { name: "Join" }).click();
    await this.isIn(room);
  }

  /** Says something to the room that is chosen. */
  async say(text) {
    await this.page.getByLabel(/^Message to/).fill(text);
    await this.page.keyboard.press("Enter");
  }

  /** The line with this text. */
  line(text) {
    return this.page.locator(".message", { has: this.page.getByText(text, { exact: true }) });
  }

  /** Waits until the visitor sees this. */
  async sees(text) {
    await this.line(text).waitFor();
  }

  /** The texts that it sees, those it missed and the others. */
  async texts() {
    const lines = await this.page.locator(".message").evaluateAll((all) => all.map((line) => [line.classList.contains("missed"), line.querySelector(".said").textContent]));
    const of = (wanted) => lines.filter(([missed]) => missed === wanted).map(([, text]) => text);
    return { missed: of(true), live: of(false) };
  }

  /** Pixels of the log that lie below what one sees. */
  below() {
    return this.page.locator("#log").evaluate((log) => Math.round(log.scrollHeight - log.scrollTop - log.clientHeight));
  }

  /** Waits until the end of the log is seen, and stays. */
  async seesTheEnd(when) {
    await eventually(`the end of the log is seen ${when}`, async () => (await this.below()) <= 1);
    await pass(150);
    assert.ok((await this.below()) <= 1, `${await this.below()} pixels are hidden ${when}`);
  }

  fact(id) {
    return this.page.locator(`#${id}`).textContent();
  }

  /** Waits for a line about a return, and gives it. */
  async isBack(ms = 20_000) {
    const line = this.page.locator(".event", { hasText: "recovered:" }).last();
    await line.waitFor({ timeout: ms });
    return line.textContent();
  }

  /** What axe finds wrong with the page as it is. */
  async barriers() {
    await this.page.evaluate(AXE);
    const { violations } = await this.page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ target, any }) => `${target} ${any[0]?.message ?? ""}`).join("; ")}`);
  }

  /** The page has done nothing that its policy forbids, and nothing else went wrong; `but`: what was to be expected. */
  check(but = /^$/) {
    assert.deepEqual(this.complaints.filter((complaint) => !but.test(complaint)), [], "expected: no complaint in the browser's console");
  }
}
