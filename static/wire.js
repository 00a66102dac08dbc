// The wire: a timeline to scale of what the server's tap has noted, a row for each request or connection.

import { $, bytes, element, number, svg, time } from "./format.js";
import { LIVE } from "./link.js";
import { Outage, Row, cut } from "./row.js";

const ROWS = 12; // What is kept and shown, besides streams that are open and what somebody looks at.
const MIDDLE = 13; // Pixels: where a row's line is.
const LABEL = 90; // Pixels that a time under the axis takes.
const KINDS = { 0: "continued", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong" };
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** How a row is shown: its line in the list, and in it its marks. */
class Line {
  #marks = new Map(); // Number of the mark -> what is drawn for it.
  #scale;

  constructor(row, select) {
    this.bar = svg("rect", { class: row.readable ? "held" : "outage", y: MIDDLE - 4, height: 8, rx: 2 });
    this.thread = svg("rect", { class: "thread", y: MIDDLE - 1, height: 2 });
    this.group = svg("g", {}, this.thread, this.bar);
    this.note = element("span", "", "note");
    this.head = element(row.readable ? "button" : "div", "", "row");
    const track = svg("svg", { class: "track", "aria-hidden": "true" }, this.group);
    this.head.append(element("span", row.what, "what"), this.note, track);
    if (row.readable) this.head.onclick = ({ clientX }) => select(clientX && clientX - track.getBoundingClientRect().left);
    this.item = element("li");
    this.item.append(this.head);
  }

  /** To scale: `left` is the time at the left edge, `scale` pixels per millisecond. */
  place(row, now, left, scale) {
    this.#sync(row, scale);
    this.group.setAttribute("transform", `translate(${(row.start - left) * scale} 0)`);
    this.thread.setAttribute("width", Math.max(0, ((row.open ? now : row.end) - row.start) * scale));
    const [from, to] = row.kept(now) ?? [0, 0];
    this.bar.setAttribute("x", from ? (from - row.start) * scale : 0);
    this.bar.setAttribute("width", (to - from) * scale);
  }

  #sync(row, scale) {
    const first = row.marks[0]?.n ?? 0;
    for (const [n, drawn] of this.#marks) if (n < first) drawn.remove(), this.#marks.delete(n);
    for (const mark of row.marks.slice(this.#scale === scale ? this.#fresh(row) : 0)) {
      if (!this.#marks.has(mark.n)) this.group.append(this.#draw(mark));
      this.#marks.get(mark.n).setAttribute("transform", `translate(${(mark.at - row.start) * scale} 0)`);
    }
    this.#scale = scale;
  }

  /** Where in the row's marks those begin that have not been drawn. */
  #fresh(row) {
    const index = row.marks.findIndex(({ n }) => !this.#marks.has(n));
    return index < 0 ? row.marks.length : index;
  }

  #draw({ n, size, kind }) {
    const high = 3 + Math.min(6, Math.log2(size) / 2.2);
    const shape = {
      asked: () => svg("path", { d: `M0 ${MIDDLE - 12}l3.5 6h-7z` }),
      hollow: () => svg("circle", { cy: MIDDLE, r: 4.5 }),
      filled: () => svg("circle", { cy: MIDDLE, r: 5.5 }),
    }[kind] ?? (() => svg("rect", { x: -1.25, width: 2.5, height: high, y: kind.includes("up") ? MIDDLE - 4 - high : MIDDLE + 4 }));
    const drawn = shape();
    drawn.setAttribute("class", kind);
    this.#marks.set(n, drawn);
    return drawn;
  }

  describe(row, now) {
    const text = row.describe(now);
    if (this.note.textContent !== text) this.note.textContent = text;
  }
}

export class Wire {
  #tap;
  #rows = new Map(); // What there is: key -> row.
  #shown = this.#rows; // What is shown of it: the same, or frozen copies.
  #lines = new Map(); // What shows it: key -> line.
  #selected; // The key of the row whose bytes are shown.
  #items = new Map(); // What is shown of it: entry -> its line.
  #frozen; // When it was.
  #outage;
  #count = 0; // Requests and connections so far.
  #servers = 0; // Each begins to count anew.
  #left = 0; // The time at the left edge.
  #scale = 1; // Pixels per millisecond.

  constructor(tap, link) {
    this.#tap = tap;
    tap.watch({ entries: (entries) => this.#add(entries), reborn: () => this.#reborn() });
    link.watch({ state: (state, why) => this.#state(state, why), asked: () => this.#attempt() });
    $("freeze").onchange = () => this.#freeze($("freeze").checked);
    $("span").onchange = () => this.#ruler();
    new ResizeObserver(() => this.#ruler()).observe($("axis"));
    this.#move();
    setInterval(() => this.#describe(), 250);
  }

  /** As many times as have room, evenly spaced. */
  #ruler() {
    const [span, parts] = [Number($("span").value), [4, 2, 1].find((parts) => $("axis").clientWidth / parts >= LABEL) ?? 1];
    const times = Array.from({ length: parts }, (_, n) => element("span", `${(span * (parts - n)) / parts} s ago`));
    $("axis").replaceChildren(...times, element("span", this.#frozen ? "frozen" : "now"));
  }

  #freeze(frozen) {
    this.#frozen = frozen ? performance.now() : undefined;
    this.#shown = frozen ? new Map([...this.#rows].map(([key, row]) => [key, row.copy()])) : this.#rows;
    this.#ruler();
    this.#sync();
    this.#describe();
    this.#place();
    if (!frozen && this.#selected) this.#show();
  }

  /** Another server, or one that has forgotten this page: what was open is not any more. */
  #reborn() {
    this.#servers += 1;
    for (const row of this.#rows.values()) if (row !== this.#outage && row.open) row.finish(performance.now());
    this.#sync();
  }

  #add(entries) {
    for (const entry of entries) {
      const key = `${this.#servers}:${entry.line}`;
      let row = this.#rows.get(key);
      if (!row) {
        if (!entry.up || entry.frame) continue; // Its beginning has been forgotten.
        row = this.#begin(entry);
        this.#rows.set(key, row);
        this.#count += 1;
      }
      row.add(entry);
    }
    this.#sync();
    if (!this.#frozen && entries.some(({ line }) => `${this.#servers}:${line}` === this.#selected)) this.#show();
  }

  #begin(entry) {
    const path = entry.text.split(/[ ?]/, 2)[1];
    const before = path.endsWith("-poll") ? [...this.#rows.values()].findLast((row) => row.path === path) : undefined;
    return new Row(entry, this.#tap.distance, before);
  }

  /** A connection that is missing is seen as one that is there. */
  #state(state, why = "") {
    if (LIVE.includes(state) && this.#outage) {
      this.#outage.finish(performance.now());
      this.#outage = undefined;
    }
    if ((state === "retrying" || state === "offline") && !this.#outage && this.#tap.on) {
      this.#outage = new Outage(performance.now(), state === "offline" ? why.split(";")[0] : why.replace(/^in \d+ s: /, ""));
      this.#rows.set(`outage ${this.#outage.start}`, this.#outage);
      this.#sync();
    }
  }

  #attempt() {
    this.#outage?.mark({ at: performance.now(), size: 1 }, "asked");
  }

  /** Lets go of what is over, and brings the list to what is there; what has the focus or is being read stays. */
  #sync() {
    const stays = (key, row) => row.open || key === this.#selected || this.#lines.get(key)?.head === document.activeElement;
    const over = [...this.#rows].filter(([key, row]) => !stays(key, row));
    for (const [key] of over.slice(0, Math.max(0, this.#rows.size - ROWS))) this.#rows.delete(key);
    for (const [key, { item }] of this.#lines) if (!this.#shown.has(key)) item.remove(), this.#lines.delete(key);
    for (const [key, row] of this.#shown) {
      if (this.#lines.has(key)) continue;
      const line = new Line(row, (x) => this.#select(key, x));
      this.#lines.set(key, line);
      $("rows").append(line.item);
    }
    $("quiet").hidden = this.#shown.size > 0;
  }

  #describe() {
    if (!$("wire").open) return;
    const now = this.#frozen ?? performance.now();
    for (const [key, row] of this.#shown) this.#lines.get(key).describe(row, now);
    if (this.#frozen) return;
    const rows = [...this.#rows.values()].filter((row) => row.readable);
    const span = rows.length ? `; the first of them began ${time(now - Math.min(...rows.map(({ start }) => start)))} ago` : "";
    const poll = rows.findLast((row) => row.since);
    const gap = poll ? `. Between the last two questions: ${time(poll.since.question)}` : "";
    const text = rows.length ? `Shown: ${rows.length} of ${number(this.#count)} requests so far${span}${gap}.` : "";
    if ($("shows").textContent !== text) $("shows").textContent = text;
  }

  #place() {
    if (!$("wire").open) return;
    const [now, span] = [this.#frozen ?? performance.now(), Number($("span").value) * 1000];
    this.#scale = $("axis").clientWidth / span;
    this.#left = now - span;
    for (const [key, row] of this.#shown) this.#lines.get(key).place(row, now, this.#left, this.#scale);
  }

  #move() {
    this.#place();
    if (still.matches) setTimeout(() => this.#move(), 1000);
    else requestAnimationFrame(() => this.#move());
  }

  /** Shows what went over in a row; of a click on its track, the entry that is nearest. */
  #select(key, x) {
    this.#lines.get(this.#selected)?.head.removeAttribute("aria-pressed");
    this.#selected = key;
    this.#lines.get(key).head.setAttribute("aria-pressed", "true");
    this.#show();
    if (!(x > 0)) return;
    const distance = ({ at }) => Math.abs(at - (this.#left + x / this.#scale));
    const nearest = [...this.#items.keys()].reduce((best, entry) => (distance(entry) < distance(best) ? entry : best));
    for (const [entry, shown] of this.#items) shown.classList.toggle("near", entry === nearest);
    $("details").scrollTop = this.#items.get(nearest).offsetTop - $("details").offsetTop - 40;
  }

  #show() {
    const row = this.#shown.get(this.#selected);
    if (!row) return;
    $("what").textContent = `${row.what}: ↑ ${bytes(row.up)}, ↓ ${bytes(row.down)}`;
    $("about").textContent = row.about();
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

function describe({ size, frame, text }) {
  if (!frame) return `${bytes(size)}${text.includes("\r\n\r\n") ? `, of which head ${bytes(text.indexOf("\r\n\r\n") + 4)}` : ""}`;
  const mask = frame.mask ? `masked with ${frame.mask.map((byte) => byte.toString(16).padStart(2, "0")).join(" ")}` : "not masked";
  const kind = `${KINDS[frame.opcode] ?? "unknown"} frame (opcode ${frame.opcode}${frame.fin ? ", fin" : ""})`;
  return `${kind}, ${mask} · header ${frame.head} B + payload ${bytes(size - frame.head)}`;
}
