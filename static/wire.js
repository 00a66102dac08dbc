// The wire: a timeline to scale of what the server's tap has noted, a row for each request or connection.

import { $, bytes, element, plural, svg, time } from "./format.js";

const [ROWS, MARKS, ENTRIES] = [12, 200, 80]; // What is kept: rows, marks in a row, entries of a row.
const MIDDLE = 13; // Pixels: where a row's line is.
const KINDS = { 0: "continued", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong" };
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** One request and its answer; for a stream, all that came after. */
class Row {
  marks = [];
  entries = [];
  up = 0;
  down = 0;
  messages = 0;
  frames = { up: 0, down: 0 };

  constructor(entry, distance, select) {
    [this.method, this.target] = entry.text.split(" ", 2);
    this.path = this.target.split("?")[0];
    this.start = this.end = entry.at;
    this.flight = distance / 2;
    this.bar = svg("rect", { class: "held", y: MIDDLE - 4, height: 8, rx: 2 });
    this.thread = svg("rect", { class: "thread", y: MIDDLE - 1, height: 2 });
    this.group = svg("g", {}, this.thread, this.bar);
    this.note = element("span", "", "note");
    const what = element("span", `${this.method} ${this.path}`, "what");
    this.button = element("button", "", "row");
    const track = svg("svg", { class: "track", "aria-hidden": "true" }, this.group);
    this.button.append(what, this.note, track);
    this.button.onclick = ({ clientX }) => select(this, clientX && clientX - track.getBoundingClientRect().left);
    this.item = element("li");
    this.item.append(this.button);
  }

  add(entry) {
    if (entry.size === 0) return (this.closed = true), (this.end = entry.at);
    this.entries.push(entry);
    // The heads stay: they come first.
    if (this.entries.length > ENTRIES) this.entries.splice(2, 1);
    this[entry.up ? "up" : "down"] += entry.size;
    if (entry.up && !entry.frame) return this.mark(entry, this.entries.length > 1 ? undefined : "asked");
    this.end = entry.at;
    if (entry.frame) return this.mark(entry, this.frame(entry));
    if (!this.status) this.head(entry.text);
    const count = entry.text.split('"seq":').length - 1;
    this.messages += count;
    this.cut ||= count > 0 && cut(entry);
    if (this.stream) return this.mark(entry, this.entries.length > 2 ? (count ? "frame down" : "frame down idle") : "hollow");
    this.mark(entry, this.method === "POST" || count ? "filled" : "hollow");
  }

  head(text) {
    this.status = text.slice(9, 12);
    this.stream = this.status === "101" ? "frame" : /^content-type: text\/event-stream/im.test(text) ? "event" : undefined;
  }

  frame({ up, frame, text }) {
    this.frames[up ? "up" : "down"] += 1;
    if (!up && text.startsWith('{"seq":')) this.messages += 1;
    return `frame ${up ? "up" : "down"}${frame.opcode > 7 ? " idle" : ""}`;
  }

  mark({ at, size }, kind) {
    if (!kind) return;
    const high = 3 + Math.min(6, Math.log2(size) / 2.2);
    const mark = {
      asked: () => svg("path", { d: `M0 ${MIDDLE - 12}l3.5 6h-7z` }),
      hollow: () => svg("circle", { cy: MIDDLE, r: 4.5 }),
      filled: () => svg("circle", { cy: MIDDLE, r: 5.5 }),
    }[kind] ?? (() => svg("rect", { x: -1.25, width: 2.5, height: high, y: kind.includes("up") ? MIDDLE - 4 - high : MIDDLE + 4 }));
    const made = mark();
    made.setAttribute("class", kind);
    if (this.scale) made.setAttribute("transform", `translate(${(at - this.start) * this.scale} 0)`);
    this.marks.push([at, made]);
    this.group.append(made);
    if (this.marks.length > MARKS) this.marks.shift()[1].remove();
  }

  get open() {
    return !this.closed && (this.stream || !this.status);
  }

  /** To scale: `left` is the time at the left edge, `scale` pixels per millisecond. */
  place(now, left, scale) {
    if (this.scale !== scale) {
      for (const [at, mark] of this.marks) mark.setAttribute("transform", `translate(${(at - this.start) * scale} 0)`);
      this.scale = scale;
    }
    this.group.setAttribute("transform", `translate(${(this.start - left) * scale} 0)`);
    const whole = (this.open ? now : this.end) - this.start;
    const ways = this.open ? this.flight : 2 * this.flight;
    this.thread.setAttribute("width", Math.max(0, whole * scale));
    this.bar.setAttribute("x", this.flight * scale);
    this.bar.setAttribute("width", Math.max(0, (whole - ways) * scale));
  }

  /** Of what was cut, only the beginning was seen. */
  counted() {
    return this.cut ? `${this.messages} messages or more` : plural(this.messages, "message");
  }

  describe(now) {
    const took = time((this.open ? now : this.end) - this.start);
    const what = {
      frame: () => `↑${this.frames.up} ↓${plural(this.frames.down, "frame")}`,
      event: () => this.counted(),
    }[this.stream]?.();
    const answer = this.method === "POST" ? "" : this.messages ? this.counted() : "empty";
    const parts = [this.status ?? (this.closed ? "cut" : "held"), what ?? (this.status ? answer : ""), this.open ? `${took}…` : took];
    const text = parts.filter(Boolean).join(" · ");
    if (this.note.textContent !== text) this.note.textContent = text;
  }
}

export class Wire {
  #rows = new Map();
  #tap;
  #selected;
  #items = new Map(); // What is shown of the selected row: entry -> its line.
  #frozen = false;
  #left = 0; // The time at the left edge.
  #scale = 1; // Pixels per millisecond.

  constructor(tap) {
    this.#tap = tap;
    tap.watch({ entries: (entries) => this.#add(entries), reborn: () => this.#clear() });
    $("freeze").onchange = () => (this.#frozen = $("freeze").checked);
    $("span").onchange = () => this.#ruler();
    this.#ruler();
    this.#move();
    setInterval(() => this.#describe(), 250);
  }

  #ruler() {
    const span = Number($("span").value);
    const labels = [4, 3, 2, 1].map((quarter) => element("span", `${(span * quarter) / 4} s ago`));
    $("axis").replaceChildren(...labels, element("span", "now"));
  }

  #clear() {
    this.#rows.clear();
    $("rows").replaceChildren();
  }

  #add(entries) {
    for (const entry of entries) {
      let row = this.#rows.get(entry.line);
      if (!row) {
        if (!entry.up || entry.frame) continue; // Its beginning has been forgotten.
        row = new Row(entry, this.#tap.distance, (row, x) => this.#select(row, x));
        this.#rows.set(entry.line, row);
        $("rows").append(row.item);
      }
      row.add(entry);
    }
    // Streams stay, for they are what goes on.
    const done = [...this.#rows].filter(([, row]) => !row.open);
    const surplus = Math.max(0, this.#rows.size - ROWS);
    for (const [line, row] of done.slice(0, surplus)) {
      row.item.remove();
      this.#rows.delete(line);
    }
    $("quiet").hidden = this.#rows.size > 0;
    if (!this.#frozen && entries.some(({ line }) => this.#rows.get(line) === this.#selected)) this.#show();
  }

  #describe() {
    const now = performance.now();
    if (!this.#frozen && $("wire").open) for (const row of this.#rows.values()) row.describe(now);
  }

  #move() {
    if (!this.#frozen && $("wire").open) {
      const [now, span] = [performance.now(), Number($("span").value) * 1000];
      this.#scale = $("axis").clientWidth / span;
      this.#left = now - span;
      for (const row of this.#rows.values()) row.place(now, this.#left, this.#scale);
    }
    if (still.matches) setTimeout(() => this.#move(), 1000);
    else requestAnimationFrame(() => this.#move());
  }

  /** Shows what went over in a row; of a click on its track, the entry that is nearest. */
  #select(row, x) {
    this.#selected?.button.removeAttribute("aria-pressed");
    this.#selected = row;
    row.button.setAttribute("aria-pressed", "true");
    this.#show();
    if (!(x > 0)) return;
    const distance = ({ at }) => Math.abs(at - (this.#left + x / this.#scale));
    const nearest = row.entries.reduce((best, entry) => (distance(entry) < distance(best) ? entry : best));
    for (const [entry, shown] of this.#items) shown.classList.toggle("near", entry === nearest);
    $("details").scrollTop = this.#items.get(nearest).offsetTop - $("details").offsetTop - 40;
  }

  #show() {
    const row = this.#selected;
    $("what").textContent = `${row.method} ${row.path}: ↑ ${bytes(row.up)}, ↓ ${bytes(row.down)}`;
    // What is there already stays as it is: a stream may bring more many times a second.
    const items = new Map(row.entries.map((entry) => [entry, this.#items.get(entry) ?? item(entry, row.start)]));
    for (const [entry, shown] of this.#items) if (!items.has(entry)) shown.remove();
    for (const [entry, shown] of items) if (!this.#items.has(entry)) $("entries").append(shown);
    this.#items = items;
    $("details").hidden = false;
  }
}

function item(entry, start) {
  const made = element("li", "", entry.up ? "up" : "down");
  const head = element("p", `${entry.up ? "↑ up" : "↓ down"} · +${time(entry.at - start)} · ${describe(entry)}`);
  made.append(head, element("pre", cut(entry) ? `${entry.text}…` : entry.text));
  return made;
}

/** The tap shows the beginning of what is long. */
const cut = ({ text, size, frame }) => new Blob([text]).size < size - (frame?.head ?? 0);

function describe({ size, frame, up, text }) {
  if (!frame) return `${bytes(size)}${text.includes("\r\n\r\n") ? `, of which head ${bytes(text.indexOf("\r\n\r\n") + 4)}` : ""}`;
  const mask = frame.mask ? `masked with ${frame.mask.map((byte) => byte.toString(16).padStart(2, "0")).join(" ")}` : "not masked";
  const kind = `${KINDS[frame.opcode] ?? "unknown"} frame (opcode ${frame.opcode}${frame.fin ? ", fin" : ""})`;
  return `${kind}, ${mask} · header ${frame.head} B + payload ${bytes(size - frame.head)}`;
}
