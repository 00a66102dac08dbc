// What the server saw of this page: its tap keeps what really went over, and is asked for it while somebody looks.

import { randomKey } from "./link.js";

const PERIOD = 250; // Milliseconds.

export class Tap {
  id = randomKey();
  distance = 0;
  lanes = {}; // What has been counted: lane -> { requests, up, down }; up and down in bytes.
  #next = 0;
  #running;
  #offset; // This page's clock minus the server's, from the fastest answer so far.
  #fastest = Infinity;
  #watchers = [];

  /** Functions to call: entries (with `at` by this page's clock, in milliseconds), reborn. */
  watch(watcher) {
    this.#watchers.push(watcher);
  }

  get on() {
    return this.#running !== undefined;
  }

  /** Resolves when the server has begun to note; from then on it is asked again and again. */
  start() {
    return (this.#running ??= this.read().then(() => void this.#run()));
  }

  async #run() {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, PERIOD));
      await this.read().catch(() => {}); // The page itself says that the server is gone.
    }
  }

  /** Fetches what is new, and tells the server the distance. */
  async read() {
    const asked = performance.now();
    const url = `/tap?id=${this.id}&after=${this.#next}&distance=${this.distance}`;
    const response = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(10_000) });
    if (!response.ok) throw new Error((await response.json()).error.reason);
    const { now, next, lanes, entries } = await response.json();
    const took = performance.now() - asked;
    if (took < this.#fastest) {
      this.#fastest = took;
      this.#offset = asked + took / 2 - now / 1000;
    }
    const reborn = next < this.#next; // A new server, or nobody had asked for too long.
    this.#next = reborn ? 0 : next;
    this.lanes = lanes;
    if (reborn) this.#fastest = Infinity;
    for (const entry of entries) entry.at = entry.at / 1000 + this.#offset;
    for (const watcher of this.#watchers) reborn ? watcher.reborn?.() : watcher.entries?.(entries);
  }
}
