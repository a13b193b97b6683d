// The room page: a chat on the official client, made to lose its connection and to show what comes back.
// What others write is only ever set as text.
"use strict";

const FIRST_ROOM = "lobby";
const MOST_LINES = 500;
const PATIENCE_MS = 5_000; // for an answer of the server
// The server's SOCKET_PATH, below which it has the client, too.
const PATH = document.querySelector('script[src$="/socket.io.min.js"]').getAttribute("src").replace(/[^/]*$/, "");
const AGAIN_MS = 1_000;
const NEAR = 40; // pixels from the end of the log: who is there wants to see what comes
const KEPT = "rill"; // what a reload finds again, in this tab's storage
const TOKEN = "rill-token"; // what the server asks for, in this tab's storage
const UPGRADES = ["upgrade", "upgradeError", "close"]; // the ends of an upgrade

const get = (id) => document.getElementById(id);
const seconds = (ms) => `${(ms / 1_000).toFixed(1)} s`;
const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

function element(name, kind, text) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text !== undefined) made.textContent = text;
  return made;
}

// ---- what is shown

function show(phase, text) {
  get("state").dataset.phase = phase;
  get("state-text").textContent = text;
  const away = String(phase !== "here");
  document.querySelectorAll("[data-cut], #join button, #say button").forEach((button) => button.setAttribute("aria-disabled", away));
}

function problem(text = "") {
  get("problem").textContent = text;
  get("problem").hidden = text === "";
}

// ---- the log: it follows what is said, whatever changes its size, unless somebody reads further up

const reading = { follows: true, height: 0, unread: 0 };

function toEnd() {
  const log = get("log");
  log.scrollTop = log.scrollHeight;
  reading.follows = true;
  reading.unread = 0;
  hint();
}

/** Says that there is more below. */
function hint() {
  get("below").textContent = reading.unread === 1 ? "↓ 1 new message" : `↓ ${reading.unread} new messages`;
  get("below").hidden = reading.unread === 0;
}

function append(line, isNew = false) {
  const lines = get("lines");
  get("empty").hidden = true;
  lines.append(line);
  while (lines.children.length > MOST_LINES) lines.firstElementChild.remove();
  if (reading.follows) return toEnd();
  if (isNew) reading.unread++;
  hint();
}

get("log").addEventListener("scroll", () => {
  const log = get("log");
  // A box that changes its size may scroll by itself, which is nobody's wish.
  if (log.clientHeight !== reading.height) return;
  reading.follows = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR;
  if (reading.follows) reading.unread = 0;
  hint();
});

const sizes = new ResizeObserver(() => {
  reading.height = get("log").clientHeight;
  if (reading.follows) toEnd();
});
sizes.observe(get("log"));
sizes.observe(get("lines"));

get("below").addEventListener("click", () => {
  toEnd();
  get("log").focus({ preventScroll: true });
});

/** One of the colours of faces, the same for a sender everywhere. */
const colour = (from) => [...from].reduce((sum, char) => (sum * 31 + char.codePointAt(0)) % 997, 7) % 6;

/** A line about the connection; it may be told more later. */
function tell(text, kind = "") {
  const line = element("li", `event ${kind}`);
  const inner = element("span", "", text);
  line.append(inner);
  append(line);
  return inner;
}

// ---- rooms

const rooms = new Set();
let target = null; // the room that messages go to; null is everybody

function drawRooms() {
  if (target !== null && !rooms.has(target)) target = rooms.has(FIRST_ROOM) ? FIRST_ROOM : ([...rooms][0] ?? null);
  // A change elsewhere must not take the focus from where it is.
  const focused = document.activeElement?.closest?.("#rooms") ? document.activeElement.id : undefined;
  get("rooms").replaceChildren(...[null, ...rooms].map(chip));
  get("target").textContent = target ?? "everybody";
  if (focused) (get(focused) ?? get("to-0")).focus();
}

function chip(room, i) {
  const all = element("span", "chip");
  const radio = Object.assign(element("input"), { type: "radio", name: "to", id: `to-${i}`, checked: room === target });
  radio.addEventListener("change", () => {
    target = room;
    get("target").textContent = room ?? "everybody";
  });
  const label = Object.assign(element("label", "", room ?? "Everybody"), { htmlFor: radio.id, dir: "auto" });
  all.append(radio, label);
  if (room === null) return all;
  label.title = room;
  const leave = Object.assign(element("button", "", "×"), { type: "button", id: `leave-${i}`, title: "Leave" });
  leave.setAttribute("aria-label", `Leave ${room}`);
  leave.dataset.leave = room;
  all.append(leave);
  return all;
}

// ---- the connection

/** What the page knows about its connection. */
const session = {
  server: "",
  pid: undefined, // the private id by which a session is asked for
  offset: undefined, // of the last event
  ids: new Set(), // its own, of earlier sessions too
  others: new Set(), // those of its second connections
  leftAt: 0, // when the connection was lost; 0: it is there
  replaying: false, // what arrives now was missed
  missed: 0,
  times: 0, // how often it has come and gone
  entered: false, // it has been in its first room
};

/** What the server asks for, if it has an AUTH_TOKEN. */
let token;
try {
  token = sessionStorage.getItem(TOKEN) ?? undefined;
} catch {}

/** The messages that are shown, for a reload. */
const said = [];

/**
 * What the page was before a reload. It is written when the page goes, and taken out when it comes: a tab that is duplicated while it lives
 * has nothing to take, and gets a session of its own.
 */
function remember() {
  const { pid, offset, ids, others, entered } = session;
  const kept = { pid, offset, ids: [...ids], others: [...others], entered, rooms: [...rooms], target, at: Date.now() };
  for (const messages of [said, []]) {
    try {
      return sessionStorage.setItem(KEPT, JSON.stringify({ ...kept, said: messages }));
    } catch {} // so much does not fit, or nothing may be stored
  }
}

function recall() {
  let kept;
  try {
    kept = JSON.parse(sessionStorage.getItem(KEPT));
    sessionStorage.removeItem(KEPT);
  } catch {}
  if (!kept) return undefined;
  Object.assign(session, { pid: kept.pid, offset: kept.offset, ids: new Set(kept.ids), others: new Set(kept.others), entered: kept.entered });
  kept.rooms.forEach((room) => rooms.add(room));
  target = kept.target;
  kept.said.forEach(([message, missed]) => draw(message, missed));
  if (!kept.pid) return undefined;
  session.leftAt = performance.now() - Math.max(1, Date.now() - kept.at);
  session.replaying = true;
  return kept.pid;
}

addEventListener("pagehide", remember);
addEventListener("pageshow", ({ persisted }) => persisted && sessionStorage.removeItem(KEPT));

function draw(message, missed) {
  const { room = null, from = "", text = "", at } = message ?? {};
  said.push([{ room, from, text, at }, missed]);
  if (said.length > MOST_LINES) said.shift();
  const [name, kind, face] = sender(String(from));
  const line = element("li", `message ${kind}${missed ? " missed" : ""}`);
  const key = JSON.stringify([from, room, missed]);
  if (get("lines").lastElementChild?.dataset.key === key) line.classList.add("more");
  line.dataset.key = key;
  const portrait = element("span", `face face-${colour(String(from))}`, face);
  portrait.setAttribute("aria-hidden", "true");
  const meta = element("p", "meta");
  meta.append(element("bdi", "from", name), element("bdi", "where", room === null ? "to everybody" : `in ${room}`));
  if (missed) meta.append(element("span", "mark", "missed while away"));
  const then = Number.isNaN(new Date(at).getTime()) ? new Date() : new Date(at); // any program may write to the log
  const time = element("time", "", clock.format(then));
  time.dateTime = then.toISOString();
  line.append(portrait, meta, time, Object.assign(element("p", "said", String(text)), { dir: "auto" }));
  append(line, true);
}

function sender(from) {
  if (session.ids.has(from)) return ["you", "mine", "you"];
  if (session.others.has(from)) return ["second connection", "second", "2"];
  if (from.startsWith("server:")) return [`console of ${from.slice("server:".length)}`, "console", ">_"];
  return [from.slice(0, 6), "other", from.slice(0, 2)];
}

function start() {
  let before = recall(); // the session before a reload
  drawRooms();
  const auth = (send) => send({ pid: session.pid, offset: session.offset, token });
  const socket = io({ path: PATH, autoConnect: false, auth, reconnectionDelay: 300, reconnectionDelayMax: 2_000, timeout: PATIENCE_MS });

  // What the client keeps for its return, it keeps for itself: a page that comes again has to know.
  socket.io.on("packet", ({ type, data }) => {
    if (type === 0) session.pid = data?.pid;
  });
  socket.onAny((_, ...args) => {
    if (typeof args.at(-1) === "string") session.offset = args.at(-1);
  });

  const ask = (event, ...args) =>
    socket
      .timeout(PATIENCE_MS)
      .emitWithAck(event, ...args)
      .catch(() => ({ ok: false, error: "the server did not answer in time; it may have heard it all the same" }));

  socket.on("connect", async () => {
    const time = ++session.times;
    const away = session.leftAt && performance.now() - session.leftAt;
    session.leftAt = 0;
    session.ids.add(socket.id);
    const recovered = socket.recovered || (before !== undefined && before === session.pid);
    before = undefined;
    session.replaying = session.replaying && recovered;
    const line = away ? tell(`back after ${seconds(away)}`, recovered ? "good" : "bad") : undefined;
    problem();
    get("door").hidden = true;
    facts();
    // The answer comes behind all that was missed.
    const answer = await ask("whoami");
    const still = () => time === session.times && socket.connected;
    if (!still()) return;
    session.replaying = false;
    session.server = answer.server ?? "";
    show("here", session.server ? `connected to ${session.server}` : "connected");
    if (line) returned(line, away, recovered);
    facts();
    await enter(still, recovered);
  });

  function returned(line, away, recovered) {
    const on = session.server ? ` on ${session.server}` : "";
    const missed = session.missed === 1 ? "1 missed message" : `${session.missed} missed messages`;
    line.textContent = recovered
      ? `back${on} after ${seconds(away)} · recovered: true · ${missed}`
      : `back${on} after ${seconds(away)} · recovered: false · a new session; what was said meanwhile is not here`;
    get("return").className = recovered ? "good" : "bad";
    get("return").replaceChildren(element("b", "", `recovered: ${recovered}`), `${recovered ? missed : "a new session"}, ${seconds(away)} away`);
    session.missed = 0;
  }

  /** A recovered session is in its rooms; a new one enters those that the page shows, the first of all one of its own choice. */
  async function enter(still, recovered) {
    if (!session.entered) rooms.add((target = FIRST_ROOM));
    if (!recovered || !session.entered) {
      for (const room of rooms) {
        const { ok } = await ask("join", room);
        if (!still()) return;
        if (!ok) rooms.delete(room);
      }
    }
    const answer = await ask("rooms");
    if (!still()) return;
    if (answer.ok) {
      session.entered = true;
      rooms.clear();
      answer.rooms.forEach((room) => rooms.add(room));
    }
    drawRooms();
  }

  socket.on("disconnect", (reason) => {
    session.times++;
    session.leftAt ||= performance.now();
    session.replaying = true;
    if (!cutting) {
      show("lost", "lost; trying again …");
      tell(`connection lost (${reason})`, "bad");
    }
    facts();
    // The client does not return by itself to a server that has sent it away.
    if (!socket.active) setTimeout(() => socket.connect(), AGAIN_MS);
  });

  socket.on("connect_error", ({ message, data }) => {
    if (data?.code === "auth") return askForToken();
    if (!cutting) show("lost", `no connection (${message}); trying again …`);
  });

  function askForToken() {
    show("lost", token === undefined ? "a token is asked for" : "the token is not right");
    get("door").hidden = false;
    get("token").focus();
  }

  get("door").addEventListener("submit", (event) => {
    event.preventDefault();
    token = get("token").value;
    get("token").value = "";
    try {
      sessionStorage.setItem(TOKEN, token);
    } catch {}
    show("waiting", "connecting …");
    socket.connect();
  });

  socket.io.on("open", () => {
    facts();
    socket.io.engine.on("upgrade", facts);
  });

  function facts() {
    get("server").textContent = socket.connected ? session.server || "…" : "–";
    get("transport").textContent = socket.connected ? socket.io.engine.transport.name : "–";
    if (socket.id) get("session").textContent = socket.id; // a client that is away has none, and gets it back
  }

  socket.on("message", (message) => {
    if (session.replaying) session.missed++;
    draw(message, session.replaying);
  });

  // ---- what the visitor does

  async function change(event, room) {
    if (!socket.connected) return problem(`You are away: ${event} when you are back.`);
    const answer = await ask(event, room);
    if (!answer.ok) return problem(`Can't ${event}: ${answer.error}.`);
    problem();
    if (event === "join") rooms.add((target = room));
    else rooms.delete(room);
    drawRooms();
    if (event === "leave") get("to-0").focus();
  }

  get("rooms").addEventListener("click", ({ target: clicked }) => {
    const { leave } = clicked.dataset;
    if (leave !== undefined) change("leave", leave);
  });

  get("join").addEventListener("submit", (event) => {
    event.preventDefault();
    const room = get("room").value.trim();
    if (room === "") return;
    change("join", room);
    if (socket.connected) get("room").value = "";
  });

  get("say").addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = get("text").value;
    if (text.trim() === "") return;
    if (!socket.connected) return problem("You are away: send it when you are back.");
    get("text").value = "";
    toEnd();
    const answer = await ask("message", { room: target, text });
    if (answer.ok) return problem();
    if (get("text").value === "") get("text").value = text;
    problem(`Not sent: ${answer.error}.`);
  });

  // ---- losing the connection

  let cutting = false;
  for (const button of document.querySelectorAll("[data-cut]")) {
    button.addEventListener("click", () => cut(Number(button.dataset.cut) * 1_000));
  }

  async function cut(ms) {
    if (cutting || !socket.connected) return;
    cutting = true;
    const manager = socket.io;
    const { engine } = manager;
    // In the middle of an upgrade the client might keep what arrives at that moment, and handle it twice.
    if (engine.upgrading) await new Promise((done) => UPGRADES.forEach((end) => engine.once(end, done)));
    manager.reconnection(false);
    engine.close();
    show("away", `away for ${ms / 1_000} s`);
    tell(`connection cut for ${ms / 1_000} s`);
    const quiet = get("meanwhile").checked ? speakMeanwhile(ms) : () => {};
    await countDown(ms);
    quiet();
    cutting = false;
    show("waiting", "coming back …");
    manager.reconnection(true);
    socket.connect();
  }

  async function countDown(ms) {
    const bar = get("away");
    const begin = performance.now();
    bar.hidden = false;
    for (let passed = 0; passed < ms; passed = performance.now() - begin) {
      bar.value = passed / ms;
      await new Promise((done) => setTimeout(done, Math.min(100, ms - passed)));
    }
    bar.hidden = true;
  }

  /** Another client, on whichever server, speaks to the room until it is told to be quiet. */
  function speakMeanwhile(ms) {
    const room = target;
    const other = io({ path: PATH, forceNew: true, reconnection: false, auth: { token } });
    let n = 0;
    let timer;
    const speak = (server) => other.emit("message", { room, text: `drop ${++n}, through ${server}` });
    other.on("connect", () => {
      session.others.add(other.id);
      other.emit("whoami", ({ server }) => {
        speak(server);
        timer = setInterval(speak, ms > 10_000 ? 2_500 : 1_000, server);
      });
    });
    return () => {
      clearInterval(timer);
      other.disconnect();
    };
  }

  socket.connect();
}

show("waiting", "connecting …");
if (typeof io === "function") {
  start();
} else {
  drawRooms();
  show("lost", "no browser client");
  get("missing").hidden = false;
  document.querySelectorAll("section").forEach((section) => (section.hidden = true));
}
