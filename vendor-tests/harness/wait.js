// Waiting for things that must happen, each with a limit, so that no test hangs.
import { setTimeout as sleep } from "node:timers/promises";

/** What `promise` gives, or an error that says what did not happen within `ms`. */
export function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The arguments of the next `event` for which `wanted` holds. */
export function next(emitter, event, wanted = () => true, ms = 5_000) {
  let listener;
  const happened = new Promise((resolve) => {
    listener = (...args) => wanted(...args) && resolve(args);
    emitter.on(event, listener);
  });
  return within(ms, `"${event}"`, happened).finally(() => emitter.off(event, listener));
}

/** Collects what `event` brings, until there are `count` of them: a promise for the list of first arguments. */
export function collect(emitter, event, count, ms = 20_000) {
  const list = [];
  let listener;
  const complete = new Promise((resolve) => {
    listener = (value) => list.push(value) === count && resolve(list);
    emitter.on(event, listener);
  });
  return within(ms, `"${event}" number ${count}`, complete)
    .catch((error) => Promise.reject(new Error(`${error.message}; there were ${list.length}`)))
    .finally(() => emitter.off(event, listener));
}

/** Asks until the answer is true; for what no event tells, such as the size of a process. */
export async function eventually(what, condition, ms = 5_000) {
  const end = Date.now() + ms;
  for (;;) {
    if (await condition()) return;
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await sleep(20);
  }
}

/** Lets time pass where the passing of time is what is tested. */
export const pass = sleep;
