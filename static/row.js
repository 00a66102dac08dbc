// What a row of the wire holds: one request with its answer and all that came after, or a time without a connection.

import { plural, time } from "./format.js";
import { TRANSPORTS } from "./transports.js";

const [MARKS, ENTRIES] = [200, 80]; // What is kept of a row.
const MESSAGE = /"seq":|42\["chat-message"/; // In what comes down.
const IDLE = /^(\{"alive":|[236]$|[23]probe$|5$)/; // A sign of life, or how a session is set up.
const STREAMS = new Set(TRANSPORTS.map(({ stream }) => stream).filter(Boolean));

/** One request and its answer; for a stream, all that came after. */
export class Row {
  marks = []; // What is drawn of it: { n, at, size, kind }.
  entries = []; // What is shown of it.
  up = 0;
  down = 0;
  messages = 0;
  frames = { up: 0, down: 0 };
  readable = true;

  /** `before`: the row of the question before, if it is one that is asked again and again. */
  constructor(entry, distance, before) {
    [this.method, this.target] = entry.text.split(" ", 2);
    this.path = this.target.split("?")[0];
    this.what = `${this.method} ${this.path}`;
    this.start = this.end = entry.at;
    this.flight = distance / 2;
    this.since = before && { question: this.start - before.start, answer: this.start - before.end };
    const held = { "/long-poll": !/[?&]wait=0m?s/.test(this.target), "/socket.io/": /[?&]sid=.*=polling/.test(this.target) };
    this.holds = this.method === "GET" && Boolean(held[this.path]);
    this.resumed = /^last-event-id: *(.*)$/im.exec(entry.text)?.[1].trim();
  }

  /** The same, and nothing that comes changes it. */
  copy() {
    const { marks, entries, frames } = this;
    return Object.assign(Object.create(Row.prototype), this, { marks: [...marks], entries: [...entries], frames: { ...frames } });
  }

  add(entry) {
    // By one clock; how far apart the server's and this page's are becomes known better with time.
    entry.at = Math.max(entry.at, this.end);
    if (entry.size === 0) return this.finish(entry.at);
    this.entries.push(entry);
    // The heads stay: they come first.
    if (this.entries.length > ENTRIES) this.entries.splice(2, 1);
    this[entry.up ? "up" : "down"] += entry.size;
    if (entry.up && !entry.frame) return this.mark(entry, this.entries.length > 1 ? undefined : "asked");
    this.end = entry.at;
    if (entry.frame) return this.mark(entry, this.frame(entry));
    if (!this.status) this.head(entry.text);
    const count = entry.text.split(MESSAGE).length - 1;
    this.messages += count;
    this.cut ||= count > 0 && cut(entry);
    if (this.stream) return this.mark(entry, this.entries.length > 2 ? (count ? "frame down" : "frame down idle") : "hollow");
    this.mark(entry, this.method === "POST" || count ? "filled" : "hollow");
  }

  /** Nothing more will come. */
  finish(at) {
    if (!this.closed) [this.closed, this.end] = [true, at];
  }

  head(text) {
    this.status = text.slice(9, 12);
    this.stream = this.status === "101" ? "frame" : STREAMS.has(/^content-type: ([^;\s]*)/im.exec(text)?.[1]) ? "event" : undefined;
  }

  frame({ up, frame, text }) {
    this.frames[up ? "up" : "down"] += 1;
    if (!up && MESSAGE.test(text)) this.messages += 1;
    return `frame ${up ? "up" : "down"}${frame.opcode > 7 || IDLE.test(text) ? " idle" : ""}`;
  }

  mark({ at, size }, kind) {
    if (kind) this.marks.push({ n: (this.last = (this.last ?? 0) + 1), at, size, kind });
    if (this.marks.length > MARKS) this.marks.shift();
  }

  get open() {
    return !this.closed && Boolean(this.stream || !this.status);
  }

  /** From when to when it is drawn as kept by the server; undefined, if it is answered at once. */
  kept(now) {
    if (!this.holds && !this.stream) return undefined;
    const from = this.start + this.flight;
    return [from, Math.max(from, (this.open ? now : this.end) - (this.open ? 0 : this.flight))];
  }

  /** In flight, only a question that may be held is held, and only once it is there. */
  get waits() {
    return this.holds ? "held" : "under way";
  }

  describe(now) {
    const took = time((this.open ? now : this.end) - this.start);
    const what = {
      frame: () => `↑${this.frames.up} ↓${plural(this.frames.down, "frame")}`,
      event: () => this.counted(),
    }[this.stream]?.();
    const answer = this.method === "POST" ? (this.status < 300 ? "stored" : "") : this.messages ? this.counted() : "empty";
    const waits = this.open && now - this.start < this.flight ? "under way" : this.waits;
    const parts = [this.status ?? (this.closed ? "cut" : waits), what ?? (this.status ? answer : ""), this.open ? `${took}…` : took];
    return parts.filter(Boolean).join(" · ");
  }

  /** Of what was cut, only the beginning was seen. */
  counted() {
    return this.cut ? `${this.messages} messages or more` : plural(this.messages, "message");
  }

  /** What is not seen of it at once: for how long it was kept, and what lay between it and the question before. */
  about() {
    const facts = [];
    const kept = this.holds && !this.open && this.status && this.kept(this.end);
    if (kept) facts.push(`Held by the server for ${time(kept[1] - kept[0])}.`);
    if (this.since) facts.push(`Asked ${time(this.since.question)} after the question before, ${time(Math.max(0, this.since.answer))} after its answer.`);
    if (this.resumed) facts.push(`The browser came back by itself and said in Last-Event-ID what it has seen: ${this.resumed}.`);
    return facts.join(" ");
  }
}

/** A time in which the server cannot be reached, or the plug is pulled; its marks are attempts. */
export class Outage extends Row {
  readable = false;

  constructor(at, why) {
    super({ text: "nothing comes", at }, 0);
    [this.what, this.why, this.closed] = ["nothing comes", why, false];
  }

  copy() {
    return Object.assign(Object.create(Outage.prototype), this, { marks: [...this.marks] });
  }

  get open() {
    return !this.closed;
  }

  kept(now) {
    return [this.start, this.open ? now : this.end];
  }

  describe(now) {
    return `${this.why} · ${time((this.open ? now : this.end) - this.start)}${this.open ? "…" : ""}`;
  }
}

/** The tap shows the beginning of what is long. */
export const cut = ({ text, size, frame }) => new Blob([text]).size < size - (frame?.head ?? 0);
