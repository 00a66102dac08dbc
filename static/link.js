// A link to one room, which every transport is given: it asks, waits, remembers where the reader stands and tells
// whoever watches. How messages travel is each transport's own file.

import { time } from "./format.js";

const MAX_TEXT = 65_536; // Bytes the server accepts; checked here too, so that a huge paste is not sent in vain.
const [RETRY_FIRST, RETRY_CAP, PATIENCE] = [1_000, 30_000, 10_000]; // Milliseconds.
const NAME = /^\P{Cc}{1,64}$/u; // What the server takes for one.
/** Why something was closed that the page itself opens again. */
export const ANEW = "opened anew";
/** The states in which messages arrive. */
export const LIVE = ["open", "polling", "catching up"];

export class Link {
  cursor; // The last message seen.
  outbox = new Map(); // What was sent from here and has not come back: key -> { draft, since, cursor once acked, refused }.
  #transport;
  #watchers = [];
  #stream; // An EventSource or a WebSocket.
  #cut = new AbortController();
  #naps = new Set();
  #unplugged; // While the plug is out: a promise of the end of it.
  #hurry = false;
  #failures = 0;
  #refused = false; // For good: nothing is asked until something has changed.
  #poll; // Of a transport that asks again and again: when it asked, for how long that may be held, when it asks next.
  #sign; // Of a stream: when something was last heard, and how often there is a sign of life at least.
  #watchdog;
  #why; // The reason for which the page itself closed the stream.

  /** `room`; `interval` and `hold` in milliseconds; `name`, if others are to see who is here; `tap`, if what goes over is to be
   * seen. */
  constructor(transport, settings) {
    this.#transport = transport;
    Object.assign(this, settings);
    addEventListener("online", () => this.reconnect());
  }

  start() {
    this.begun = Date.now();
    this.#transport.run(this);
  }

  /** Functions to call: chosen, state, messages, gap, pending, acked, settled, refused, asked, beat. */
  watch(watcher) {
    this.#watchers.push(watcher);
  }

  #tell(what, ...news) {
    for (const watcher of this.#watchers) watcher[what]?.(...news);
  }

  // --- asking

  /** The name by which others see who is here, if it can be one. */
  get known() {
    return NAME.test(this.name ?? "") ? this.name : undefined;
  }

  /** The query of every request: which room, and after which message. */
  query() {
    const { room, cursor: after, tap } = this;
    const name = this.known;
    return new URLSearchParams({ room, ...(after && { after }), ...(name && { name }), ...(tap && { tap }) });
  }

  /** What a request is answered with, undefined for a 304; throws what went wrong, `final` if asking again is no use. */
  async ask(url, { hold = 0, raw, ...options } = {}) {
    if (this.#unplugged) throw new Error("the plug is pulled");
    this.#tell("asked");
    // Without a limit, a server that is gone without a word would look like one that has no news.
    const signal = AbortSignal.any([this.#cut.signal, AbortSignal.timeout(hold + PATIENCE)]);
    const unreachable = () => Promise.reject(new Error("the server does not answer"));
    // `no-store`, or the browser's cache would answer for the server, or let a second tab wait for the first one.
    const response = await fetch(url, { cache: "no-store", ...options, signal }).catch(unreachable);
    const text = await response.text().catch(unreachable);
    if (response.status === 304) return undefined;
    if (response.ok && raw) return text;
    if (response.ok) return text ? JSON.parse(text) : undefined;
    // A proxy in between has no JSON to say.
    const { error, message } = text.startsWith("{") ? JSON.parse(text) : {};
    const reason = error?.reason ?? message ?? `HTTP status ${response.status}`;
    const final = response.status < 500 && ![408, 429].includes(response.status);
    throw Object.assign(new Error(reason), { final, status: response.status });
  }

  /** A question that is asked again and again; `hold` is how long the server may keep it. */
  poll(url, { hold = 0, ...options } = {}) {
    this.#poll = { asked: performance.now(), hold };
    return this.ask(url, { hold, ...options });
  }

  /** The pause until the next one. */
  rest(time) {
    this.#poll.next = performance.now() + time;
    return this.sleep(time);
  }

  /** A stream that was opened: pulling the plug will close it. It has to say something soon. */
  opened(stream) {
    this.#why = this.#sign = undefined;
    this.#tell("asked");
    this.#expect(PATIENCE);
    return (this.#stream = stream);
  }

  /** A sign of life, which says when the next one comes; two that do not come are the end. */
  alive({ next }) {
    this.#sign = { period: next };
    this.#heard();
    this.#tell("beat", next);
  }

  #heard() {
    if (!this.#sign) return;
    this.#sign.at = performance.now();
    this.#expect(2 * this.#sign.period);
  }

  /** A connection whose other end is gone without a word looks like one on which nothing is said. */
  #expect(most) {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#close(`no sign of life for ${time(most)}`), most);
  }

  /** What goes on while messages arrive: of polls nothing is open. */
  activity() {
    const now = performance.now();
    if (this.#sign) return `heard from ${seconds(now - this.#sign.at)} ago; a sign of life comes every ${this.#sign.period / 1000} s, the first one sooner`;
    if (!this.#poll) return "";
    const { asked, hold, next } = this.#poll;
    const then = next ? `asks again in ${seconds(Math.max(0, next - now))}` : hold ? `the server may hold it for ${time(hold)}` : "no answer yet";
    return `asked ${seconds(now - asked)} ago; ${then}`;
  }

  /** A browser does not tell a page why it was refused a stream; other requests are told. */
  async whyRefused() {
    this.#stream = undefined;
    if (this.#why) return new Error(this.#why);
    try {
      // Not GET: in that a page does not say where it comes from.
      await this.ask("/messages", { method: "OPTIONS" });
      await this.ask(`/short-poll?${new URLSearchParams({ room: this.room, after: "latest" })}`);
      return new Error("the connection failed");
    } catch (error) {
      return error;
    }
  }

  // --- what came

  /** The connection stands, and the reader at this cursor; one that we already have stands, or a gap comes next. */
  greet(cursor) {
    this.cursor ??= cursor;
    this.#failures = 0;
    this.#tell("state", "open");
  }

  /** Of several transports, the one that brings messages from now on, and why. */
  chose(id, why) {
    this.#tell("chosen", id, why);
  }

  /** From polls to a stream: of what is open nothing is asked any more. */
  upgraded() {
    this.#poll = undefined;
    this.#tell("state", "open");
  }

  /** A poll was answered; with `more`, the room has messages that did not fit into the answer. */
  #answered(more) {
    this.#failures = 0;
    this.#tell("state", more ? "catching up" : "polling");
  }

  /** The answer to a poll; undefined means that nothing is new. */
  take(answer) {
    if (answer?.gap) this.gap(answer.gap);
    if (answer) this.show(answer.messages, answer.cursor);
    else this.#tell("messages", []);
    this.#answered(answer?.more);
  }

  /** Messages that have arrived, and where that leaves the reader. */
  show(messages, cursor) {
    this.cursor = cursor;
    this.#heard();
    this.#tell("messages", messages.map((message) => ({ ...message, ...this.#age(message) })));
    for (const [key, sent] of this.outbox) if (sent.cursor && !follows(sent.cursor, cursor)) this.settle(key);
  }

  /** By the clock that sent it: this page's, if it did, from when it left; otherwise since the server has it. History
   * has no age. */
  #age({ from, text, at }) {
    if (at < this.begun - 1000) return {};
    const own = [...this.outbox.values()].find(({ draft, seen }) => !seen && draft.text === text && draft.from === from);
    if (!own) return { age: Math.max(0, Date.now() - at) };
    own.seen = true;
    return { age: performance.now() - own.since - own.queued, queued: own.queued };
  }

  /** What lies between the cursor and what follows cannot be had any more. */
  gap(gap) {
    this.cursor = gap.cursor;
    this.#tell("gap", gap);
    for (const [key, sent] of this.outbox) {
      if (sent.cursor && !follows(sent.cursor, gap.cursor)) this.refused(key, "it was stored, but lost before it came back");
    }
  }

  // --- sending

  send(draft) {
    const sent = { draft, since: performance.now(), queued: 0 };
    this.outbox.set(draft.key, sent);
    this.#tell("pending", sent);
    const size = new Blob([draft.text]).size;
    // JSON would carry it as an escape that stands for no text.
    const half = !draft.from.isWellFormed() || !draft.text.isWellFormed();
    if (half) this.refused(draft.key, "it has half of a character, which cannot be sent");
    else if (size > MAX_TEXT) this.refused(draft.key, `it has ${size} bytes; at most ${MAX_TEXT} are accepted`);
    else this.#transport.send(this, draft);
  }

  /** A draft leaves for the first time; until now it was this page that kept it. */
  leaves({ key }) {
    const sent = this.outbox.get(key);
    if (sent) sent.queued = performance.now() - sent.since;
  }

  /** The drafts that nobody has answered for, in the order they were typed. */
  unanswered() {
    return [...this.outbox.values()].filter((sent) => !sent.cursor && !sent.refused).map((sent) => sent.draft);
  }

  /** The server has stored a draft; it is settled when the message itself has arrived. */
  acked({ key, cursor }) {
    const sent = this.outbox.get(key);
    if (!sent) return;
    sent.cursor = cursor;
    this.#tell("acked", sent);
    if (this.cursor && !follows(cursor, this.cursor)) this.settle(key);
  }

  /** The server will not store a draft. */
  refused(key, reason) {
    const sent = this.outbox.get(key);
    if (sent) Object.assign(sent, { refused: true, cursor: undefined });
    this.#tell("refused", sent, reason);
  }

  settle(key) {
    this.#tell("settled", this.outbox.get(key));
    this.outbox.delete(key);
  }

  // --- going away and coming back

  /** Waits before the next attempt; false if the server has refused for good. */
  async again(error) {
    this.#stream = undefined;
    clearTimeout(this.#watchdog);
    if (error.constructor !== Error) reportError(error); // Not the network's fault but ours.
    if (error.final) {
      this.#refused = true;
      this.#tell("state", "refused", error.message);
      return false;
    }
    for (let left = jitter(this.#failures++); left > 0 && !this.#hurry && !this.#unplugged; left -= 1000) {
      const [state, why] = navigator.onLine ? ["retrying", error.message] : ["offline", "this device has no network"];
      this.#tell("state", state, `in ${Math.ceil(left / 1000)} s: ${why}`);
      await this.sleep(Math.min(left, 1000));
    }
    this.#hurry = false;
    await this.pluggedIn();
    this.#tell("state", "connecting");
    return true;
  }

  /** The browser makes the next attempt by itself. */
  retrying(detail) {
    this.#tell("state", "retrying", detail);
    this.#expect(PATIENCE);
  }

  /** Closes what is open and opens it anew, at the same cursor: after a change, when a connection may have died, or
   * when there is a network again. What was refused is tried again. */
  reconnect() {
    if (this.#refused) {
      this.#refused = false;
      return this.#transport.run(this);
    }
    this.#hurry = true;
    this.#close(ANEW);
    this.#wake();
  }

  /** Closes what is open: another transport takes over. */
  leave() {
    this.#close("another transport takes over");
    this.#wake();
  }

  #close(why) {
    clearTimeout(this.#watchdog);
    this.#why = why;
    this.#cut.abort();
    this.#cut = new AbortController();
    close(this.#stream, why);
  }

  /** Closes what is open and opens nothing; until `plug`. */
  unplug(why) {
    this.#unplugged ??= Promise.withResolvers();
    this.#tell("state", "offline", why);
    this.reconnect();
  }

  plug() {
    this.#unplugged?.resolve();
    this.#unplugged = undefined;
  }

  pluggedIn() {
    return this.#unplugged?.promise;
  }

  /** Milliseconds, fewer if something has changed. */
  sleep(time) {
    return new Promise((resolve) => {
      const nap = () => {
        this.#naps.delete(nap);
        resolve();
      };
      this.#naps.add(nap);
      setTimeout(nap, time);
    });
  }

  #wake() {
    for (const nap of this.#naps) nap();
  }
}

function close(stream, why) {
  // A browser complains of a WebSocket that is closed before it was open.
  if (stream instanceof WebSocket && stream.readyState === WebSocket.CONNECTING) stream.onopen = () => stream.close();
  else stream?.close();
  // An EventSource does not tell that it was closed, and a WebSocket only once the other end has agreed.
  if (stream instanceof EventSource) stream.dispatchEvent(new Event("error"));
  if (!(stream instanceof WebSocket)) return;
  stream.dispatchEvent(new CloseEvent("close", { reason: why }));
  stream.onmessage = stream.onclose = null;
}

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

/** Full jitter: pages that lost the same server must not all come back at the same moment. */
export const jitter = (failures) => Math.random() * Math.min(RETRY_CAP, RETRY_FIRST * 2 ** failures);

// Not crypto.randomUUID(): a page that comes from another host over plain http does not have it.
export const randomKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function follows(cursor, other) {
  const [[epoch, seq], [otherEpoch, otherSeq]] = [cursor.split("-"), other.split("-")];
  return epoch === otherEpoch && Number(seq) > Number(otherSeq);
}
