// The tally: what this page has cost so far and how old its messages were. Requests and bytes are the server's count.

import { $, bytes, median, number, time } from "./format.js";
import { LIVE } from "./link.js";

const AGES = 500; // The newest, since the knobs last changed.
const [MINUTE, SHORT] = [60_000, 10_000]; // What the rates are of, and from when on there are any.
const FRESH = 3_000; // Milliseconds: what is older than that is not of now.

export class Tally {
  #tap;
  #ages = [];
  #queued = 0;
  #stored;
  #readings = []; // Of the last minute: when, and what was counted until then.
  #counts = { empty: 0, messages: 0, reconnects: 0, gaps: 0 };
  #wasLive = false;

  constructor(link, tap) {
    this.#tap = tap;
    this.follow(link);
    link.watch({
      state: (state) => this.#state(state),
      acked: ({ since, queued }) => (this.#stored = performance.now() - since - queued),
    });
    tap.watch({ entries: () => this.#read(), reborn: () => (this.#readings = []) });
    setInterval(() => this.show(), 1000);
  }

  /** Counts what a link brings. */
  follow(link) {
    link.watch({ messages: (messages) => this.#messages(messages), gap: () => (this.#counts.gaps += 1) });
  }

  /** The tap begins anew: what came before was not counted by the server. */
  reset() {
    this.#counts = { empty: 0, messages: 0, reconnects: 0, gaps: 0 };
    this.forget();
  }

  /** After a change, the ages and rates of before say nothing. */
  forget() {
    [this.#ages, this.#readings, this.#queued, this.#stored] = [[], [], 0, undefined];
    this.show();
  }

  #messages(messages) {
    this.#counts.messages += messages.length;
    if (messages.length === 0) this.#counts.empty += 1;
    const dated = messages.filter(({ age }) => age !== undefined);
    this.#ages.push(...dated.map(({ age }) => age));
    this.#ages.splice(0, this.#ages.length - AGES);
    if (dated.length) this.#queued = Math.max(...dated.map(({ queued = 0 }) => queued));
    this.show();
  }

  #state(state) {
    const live = LIVE.includes(state);
    if (live && !this.#wasLive) this.#counts.reconnects += 1;
    this.#wasLive = live;
    this.show();
  }

  #read() {
    const { requests, up, down } = this.#now();
    this.#readings.push({ at: this.#tap.heard, requests, bytes: up + down });
    while (this.#readings[1]?.at < this.#tap.heard - MINUTE) this.#readings.shift();
    this.show();
  }

  #now() {
    return this.#tap.lanes[""] ?? { requests: 0, up: 0, down: 0 };
  }

  /** A minute's worth, from the readings there are. */
  #perMinute(what, show) {
    const [begin, end] = [this.#readings[0], this.#readings.at(-1)];
    if (!end || end.at - begin.at < SHORT || performance.now() - end.at > FRESH) return "–";
    const [first, last] = this.#rounds() ?? [begin, end];
    const span = last.at - first.at;
    return `${show(Math.round(((last[what] - first[what]) / span) * MINUTE))} (of ${Math.round(span / 1000)} s)`;
  }

  /** From a question to a later one, if they still go on: with few long rounds, a part of one more would distort the rate. */
  #rounds() {
    const asked = this.#readings.filter(({ requests }, n, all) => n > 0 && requests > all[n - 1].requests);
    const [first, last] = [asked[0], asked.at(-1)];
    const round = (last?.at - first?.at) / (asked.length - 1);
    return asked.length > 2 && this.#tap.heard - last.at < 1.5 * round ? [first, last] : undefined;
  }

  show() {
    const { requests, up, down } = this.#now();
    const { empty, messages, reconnects, gaps } = this.#counts;
    const ages = this.#ages;
    const figures = {
      requests: number(requests),
      empty: number(empty),
      up: bytes(up),
      down: bytes(down),
      "requests-rate": this.#perMinute("requests", number),
      "bytes-rate": this.#perMinute("bytes", bytes),
      received: number(messages),
      age: time(ages.at(-1)),
      median: ages.length ? `${time(median(ages))} of ${number(ages.length)} messages` : "–",
      stored: time(this.#stored),
      queued: this.#queued < 1 ? "no" : time(this.#queued),
      reconnects: number(Math.max(0, reconnects - 1)),
      gaps: number(gaps),
    };
    for (const [id, text] of Object.entries(figures)) if ($(id).textContent !== text) $(id).textContent = text;
    for (const [id, exact] of Object.entries({ up, down })) $(id).dataset.exact = exact;
  }
}
