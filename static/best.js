// The best transport that gets through: WebSocket, then an event stream, then a held poll, then a short one, on one cursor,
// so that a change loses nothing. From a later choice the earlier ones are tried again and again, beside what works.

import { ANEW } from "./link.js";
import * as longPoll from "./long-poll.js";
import * as shortPoll from "./short-poll.js";
import * as sse from "./sse.js";
import * as ws from "./ws.js";

const CHOICES = [
  ["ws", ws],
  ["sse", sse],
  ["long-poll", longPoll],
  ["short-poll", shortPoll],
];
// Milliseconds.
const PATIENCE = 2_000; // A choice that has brought nothing by then is left.
const STEADY = 15_000; // One that breaks sooner is left; later, it was not the path that could not carry it.
const LAST_PATIENCE = 10_000; // The last one is given more: nothing comes after it.
const [LOOK, SELDOM] = [5_000, 15_000]; // Between two tries of what comes before: at first, and in the end.

const states = new WeakMap(); // Of each link.

export async function run(link) {
  const state = states.get(link) ?? { lived: CHOICES.map(() => 0) };
  states.set(link, state);
  let [choice, why] = [0, "the best there is"];
  for (;;) {
    const attempt = (state.attempt = new Attempt(link, choice, why, state));
    const { error, better } = await attempt.live();
    const name = CHOICES[choice][0];
    if (better !== undefined) [choice, why] = [better, `${CHOICES[better][0]} gets through again`];
    else if (error.final) return void link.again(error);
    else if (error.message === ANEW) continue;
    else if (choice < CHOICES.length - 1 && attempt.lasted < STEADY && !link.pluggedIn()) {
      state.lived[choice] = attempt.lasted;
      [choice, why] = [choice + 1, `${name}: ${error.message}`];
    } else {
      if (!(await link.again(error))) return;
      [choice, why] = [0, "the best there is"];
    }
  }
}

export function send(link, draft) {
  states.get(link)?.attempt.send(draft);
}

/** A link as one transport sees it, for as long as that is tried. */
class Attempt {
  #link;
  #module;
  #choice;
  #why;
  #state;
  #ended = Promise.withResolvers();
  #since; // When it began to work.
  #timer; // Until it is late, and later until the next look.
  lasted = 0; // For how long it did.

  constructor(link, choice, why, state) {
    [this.#link, this.#choice, this.#why, this.#state] = [link, choice, why, state];
    [, this.#module] = CHOICES[choice];
  }

  async live() {
    const patience = this.#choice < CHOICES.length - 1 ? PATIENCE : LAST_PATIENCE;
    const late = () => this.#leave({ error: new Error(`nothing came for ${patience / 1000} s`) });
    this.#timer = setTimeout(late, patience);
    this.#module.run(this);
    const ended = await this.#ended.promise;
    clearTimeout(this.#timer);
    if (this.#since) this.lasted = performance.now() - this.#since;
    return ended;
  }

  send(draft) {
    this.#module.send(this, draft);
  }

  /** Ends it, and closes what it has open. */
  #leave(ended) {
    if (this.over) return;
    this.over = true;
    this.#ended.resolve(ended);
    this.#link.leave();
  }

  #works() {
    if (this.#since || this.over) return;
    this.#since = performance.now();
    clearTimeout(this.#timer);
    this.#link.chose(CHOICES[this.#choice][0], this.#why);
    // What the choice before has not brought to its end: the same keys, so none is stored twice.
    if (this.#module !== ws) this.#link.unanswered().forEach((draft) => this.send(draft));
    if (this.#choice > 0) this.#lookIn(LOOK);
  }

  #lookIn(pause) {
    const look = async () => {
      if (!document.hidden) await this.#look();
      if (!this.over) this.#lookIn(Math.min(1.3 * pause, SELDOM));
    };
    this.#timer = setTimeout(look, pause);
  }

  /** Whether one of those above gets through by now. */
  async #look() {
    for (let choice = 0; choice < this.#choice && !this.over; choice += 1) {
      const gets = await PROBES[choice](probing(this.#link), 1.5 * this.#state.lived[choice]).catch(() => false);
      if (gets) this.#leave({ better: choice });
    }
  }

  // What the transports ask of a link.

  get room() { return this.#link.room; }
  get interval() { return this.#link.interval; }
  get hold() { return this.#link.hold; }
  get tap() { return this.#link.tap; }
  get cursor() { return this.#link.cursor; }
  query() { return this.#link.query(); }
  ask(...given) { return this.#link.ask(...given); }
  poll(...given) { return this.#link.poll(...given); }
  rest(time) { return this.over ? new Promise(() => {}) : this.#link.rest(time); }
  sleep(time) { return this.#link.sleep(time); }
  opened(stream) {
    if (this.over) setTimeout(() => stream.close());
    return this.over ? stream : this.#link.opened(stream);
  }
  alive(sign) { if (!this.over) this.#link.alive(sign); }
  whyRefused() { return this.#link.whyRefused(); }
  pluggedIn() { return this.#link.pluggedIn(); }
  leaves(draft) { this.#link.leaves(draft); }
  unanswered() { return this.#link.unanswered(); }
  acked(answer) { this.#link.acked(answer); }
  refused(key, reason) { this.#link.refused(key, reason); }
  greet(cursor) {
    if (this.over) return;
    this.#works();
    this.#link.greet(cursor);
  }
  take(answer) {
    if (this.over) return;
    this.#works();
    this.#link.take(answer);
  }
  show(messages, cursor) { if (!this.over) this.#link.show(messages, cursor); }
  gap(gap) { if (!this.over) this.#link.gap(gap); }

  /** A browser that would come back by itself is not waited for. */
  retrying(detail) { this.#leave({ error: new Error(detail) }); }

  async again(error) {
    this.#leave({ error });
    return false;
  }
}

/** Where a probe asks: for what comes from now on. */
const probing = ({ room }) => new URLSearchParams({ room, after: "latest" });

/** Whether a stream says hello, and then stays for as long as the one before it did not. */
const stays = (open, close, time) =>
  new Promise((resolve) => {
    const end = (gets) => (close(), resolve(gets));
    const late = setTimeout(() => end(false), PATIENCE);
    open(
      () => (clearTimeout(late), setTimeout(() => end(true), Math.min(time, STEADY))),
      () => end(false),
    );
  });

/** Of each choice but the last, whether it gets through. */
const PROBES = [
  async (query, time) => {
    const socket = new WebSocket(new URL(`/ws?${query}`, location.href.replace("http", "ws")));
    return stays((good, bad) => Object.assign(socket, { onmessage: good, onclose: bad }), () => socket.close(), time);
  },
  async (query, time) => {
    const source = new EventSource(`/sse?${query}`);
    const open = (good, bad) => (source.addEventListener("hello", good), (source.onerror = bad));
    return stays(open, () => source.close(), time);
  },
  async (query, time) => {
    const soon = AbortSignal.timeout(PATIENCE);
    const { cursor } = await (await fetch(`/short-poll?${query}`, { cache: "no-store", signal: soon })).json();
    query.set("after", cursor);
    query.set("wait", `${Math.round(Math.min(Math.max(time, 1000), STEADY))}ms`);
    const signal = AbortSignal.timeout(STEADY + PATIENCE);
    return (await fetch(`/long-poll?${query}`, { cache: "no-store", signal })).status < 400;
  },
];
