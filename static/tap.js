// What the server saw of this page: its tap keeps what really went over, and is asked for it while somebody looks.

import { randomKey } from "./link.js";

const PERIOD = 250; // Milliseconds.

export class Tap {
  id = randomKey();
  distance = 0;
  lanes = {}; // What has been counted: lane -> { requests, up, down }; up and down in bytes.
  heard; // When the server last told, by this page's clock.
  #before = {}; // What servers before this one had counted.
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
    const begin = async () => {
      await this.read();
      void this.#run();
    };
    // One that was refused is asked for again the next time.
    return (this.#running ??= begin().catch((error) => {
      this.#running = undefined;
      throw error;
    }));
  }

  async #run() {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, PERIOD));
      await this.read().catch(() => {}); // The page itself says that the server is gone.
    }
  }

  /** Has the server end this page's event streams, as a network would that breaks. */
  cut() {
    return this.read("&cut=1");
  }

  /** Fetches what is new, and tells the server the distance. */
  async read(more = "") {
    const asked = performance.now();
    const url = `/tap?id=${this.id}&after=${this.#next}&distance=${this.distance}${more}`;
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
    this.heard = performance.now();
    if (reborn) [this.#fastest, this.#before] = [Infinity, this.lanes];
    this.lanes = added(this.#before, lanes);
    for (const entry of entries) entry.at = entry.at / 1000 + this.#offset;
    for (const watcher of this.#watchers) reborn ? watcher.reborn?.() : watcher.entries?.(entries);
  }
}

function added(before, lanes) {
  const none = { requests: 0, up: 0, down: 0 };
  const sum = (name, { requests, up, down } = { ...none, ...before[name] }, more = lanes[name] ?? none) => {
    return { requests: requests + more.requests, up: up + more.up, down: down + more.down };
  };
  return Object.fromEntries(Object.keys({ ...before, ...lanes }).map((name) => [name, sum(name)]));
}
