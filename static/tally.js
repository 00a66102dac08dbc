// The tally: what this page has cost so far and how old its messages were. Requests and bytes are the server's count.

import { $, bytes, median, number, time } from "./format.js";

const AGES = 500; // The newest, since the knobs last changed.

export class Tally {
  #tap;
  #ages = [];
  #counts = { empty: 0, messages: 0, reconnects: 0, gaps: 0 };
  #wasOpen = false;

  constructor(link, tap) {
    this.#tap = tap;
    link.watch({
      messages: (messages) => this.#messages(messages),
      gap: () => (this.#counts.gaps += 1),
      state: (state) => this.#state(state),
    });
    tap.watch({ entries: () => this.show() });
  }

  /** The tap begins anew: what came before was not counted by the server. */
  reset() {
    this.#counts = { empty: 0, messages: 0, reconnects: 0, gaps: 0 };
    this.forget();
  }

  /** After a change, the ages of before say nothing. */
  forget() {
    this.#ages = [];
    this.show();
  }

  #messages(messages) {
    this.#counts.messages += messages.length;
    if (messages.length === 0) this.#counts.empty += 1;
    this.#ages.push(...messages.map(({ age }) => age).filter((age) => age !== undefined));
    this.#ages.splice(0, this.#ages.length - AGES);
    this.show();
  }

  #state(state) {
    if (state === "open" && !this.#wasOpen) this.#counts.reconnects += 1;
    this.#wasOpen = state === "open";
    this.show();
  }

  show() {
    const { requests, up, down } = this.#tap.lanes[""] ?? { requests: 0, up: 0, down: 0 };
    const { empty, messages, reconnects, gaps } = this.#counts;
    const ages = this.#ages;
    const figures = {
      requests: number(requests),
      empty: number(empty),
      up: bytes(up),
      down: bytes(down),
      received: number(messages),
      age: time(ages.at(-1)),
      median: ages.length ? `${time(median(ages))} of ${number(ages.length)} messages` : "–",
      reconnects: number(Math.max(0, reconnects - 1)),
      gaps: number(gaps),
    };
    for (const [id, text] of Object.entries(figures)) if ($(id).textContent !== text) $(id).textContent = text;
    for (const [id, exact] of Object.entries({ up, down })) $(id).dataset.exact = exact;
  }
}
