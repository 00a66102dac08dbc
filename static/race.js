// The race: every transport at once, in one room. All messages are sent the same way, over a WebSocket that is no lane, so
// that what differs is how they come back and what that costs.

import { $, bytes, element, median, number, plural, time } from "./format.js";
import { Link, randomKey } from "./link.js";
import { carry } from "./nav.js";
import { knob, read, tell, worthSaying } from "./settings.js";
import { Tap } from "./tap.js";
import { TRANSPORTS } from "./transports.js";
import * as ws from "./ws.js";

const AGES = 200; // The newest of each lane.
const BEAT = 1000 / 30; // Milliseconds between two positions of the dot.
const ME = `race-${randomKey().slice(0, 6)}`;

const given = new URLSearchParams(location.search);
// Not the room of the chat: nobody there wants thirty positions of a dot a second.
const room = given.get("race") || `race-${randomKey().slice(0, 6)}`;
const settings = read(given);
const { interval, hold } = settings;
const tap = new Tap();
const here = () => performance.timeOrigin + performance.now();

/** One transport's lane: what has arrived in it, how late, and at what price. */
class Lane {
  ages = [];
  messages = 0;

  constructor({ id, title, takes, tone }) {
    this.id = id;
    this.tone = tone;
    this.item = $("lane").content.firstElementChild.cloneNode(true);
    this.item.dataset.transport = this.item.id = id;
    const parts = [...this.item.querySelectorAll("[data-part]")];
    this.parts = Object.fromEntries(parts.map((part) => [part.dataset.part, part]));
    this.parts.name.textContent = title;
    this.parts.name.href = `/${id}.html`;
    this.parts.takes.textContent = takes;
    drag(this.parts.pad);
    $("lanes").append(this.item);
  }

  async load() {
    this.link = new Link(await import(`./${this.id}.js`), { room, interval, hold, tap: `${tap.id}.${this.id}` });
    this.link.watch({
      messages: (messages) => messages.forEach((message) => this.arrived(message)),
      state: (state) => this.state(state),
      gap: ({ missed }) => (this.parts.last.textContent = `a gap: ${missed ?? "?"} messages are gone`),
      asked: () => click(this.tone),
    });
  }

  arrived({ from, text, at }) {
    const [kind, sent, ...rest] = text.split(" ");
    this.messages += 1;
    if (at < this.link.begun - 1000) return;
    const age = from === ME ? here() - Number(sent) : Math.max(0, Date.now() - at);
    this.ages.push(age);
    if (this.ages.length > AGES) this.ages.shift();
    if (kind === "dot" && from === ME) place(this.parts.dot, ...rest.map(Number));
    else {
      this.parts.last.textContent = from === ME ? rest.join(" ") : text.slice(0, 100);
      flash(this.parts.last);
    }
    this.stale = true;
  }

  state(state) {
    if (this.parts.state.textContent !== state) this.parts.state.textContent = state;
    this.parts.state.dataset.state = state;
  }

  show() {
    const { requests = 0, up = 0, down = 0 } = tap.lanes[this.id] ?? {};
    const figures = { requests: number(requests), up: bytes(up), down: bytes(down), messages: number(this.messages) };
    figures.age = time(this.ages.at(-1));
    figures.median = time(median(this.ages));
    for (const [part, text] of Object.entries(figures)) {
      if (this.parts[part].textContent !== text) this.parts[part].textContent = text;
    }
  }

  forget() {
    this.ages = [];
  }
}

// --- what is sent

const lanes = TRANSPORTS.map((transport) => new Lane(transport));
await Promise.all(lanes.map((lane) => lane.load()));
const sender = new Link(ws, { room, tap: `${tap.id}.sender` });
sender.watch({
  state: (state) => Object.assign($("sender"), { textContent: state }).dataset.state = state,
});
const links = [...lanes.map(({ link }) => link), sender];
let said = 0;

function send(kind, ...rest) {
  // What is not sent at once is not of now.
  const ready = Boolean(sender.socket) && sender.unanswered().length <= 100;
  if (ready) sender.send({ from: ME, text: [kind, here().toFixed(1), ...rest].join(" "), key: randomKey() });
  return ready;
}

const say = () => send("say", `message ${(said += 1)}`);

$("say").onclick = say;
$("burst").onclick = () => {
  for (let n = 0; n < 30; n += 1) setTimeout(say, n * BEAT);
};

// --- the dot

const where = { x: 0.5, y: 0.5 };
let moved = false;

function move(x, y) {
  [where.x, where.y] = [x, y].map((value) => Math.min(1, Math.max(0, value)));
  moved = true;
  for (const { parts } of lanes) place(parts.hand, where.x, where.y);
}

function place(dot, x, y) {
  dot.style.left = `${x * 100}%`;
  dot.style.top = `${y * 100}%`;
}

/** The dot is dragged in any lane, or moved with the arrow keys. */
function drag(pad) {
  const follow = ({ clientX, clientY }) => {
    const { left, top, width, height } = pad.getBoundingClientRect();
    move((clientX - left) / width, (clientY - top) / height);
  };
  pad.onpointerdown = (event) => {
    $("drive").checked = false;
    pad.setPointerCapture(event.pointerId);
    follow(event);
  };
  pad.onpointermove = (event) => pad.hasPointerCapture(event.pointerId) && follow(event);
  pad.onkeydown = (event) => {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const [x, y] = steps[event.key] ?? [];
    if (x === undefined) return;
    event.preventDefault();
    move(where.x + x / 25, where.y + y / 25);
  };
}

setInterval(() => {
  if (document.hidden) return;
  const turn = performance.now() / 900;
  if ($("drive").checked) move(0.5 + 0.4 * Math.cos(turn), 0.5 + 0.35 * Math.sin(2 * turn));
  if (moved) moved = !send("dot", where.x.toFixed(3), where.y.toFixed(3));
}, BEAT);

// --- what is seen and heard

const still = matchMedia("(prefers-reduced-motion: reduce)");
const flash = (part) => still.matches || part.animate([{ opacity: 0.3 }, { opacity: 1 }], 300);

let audio;
$("sound").onchange = () => (audio = $("sound").checked ? new AudioContext() : void audio?.close());

/** One short click for a request. */
function click(tone) {
  if (!audio) return;
  const [oscillator, gain] = [new OscillatorNode(audio, { frequency: tone }), new GainNode(audio, { gain: 0.2 })];
  gain.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + 0.04);
  oscillator.connect(gain).connect(audio.destination);
  oscillator.start();
  oscillator.stop(audio.currentTime + 0.05);
}

function keep() {
  const kept = ["room", "name", "payload"].filter((name) => given.has(name)).map((name) => [name, given.get(name)]);
  const said = { ...Object.fromEntries(kept), race: room, ...worthSaying(settings) };
  history.replaceState(null, "", `?${new URLSearchParams(said)}`);
  carry(location.search);
}

function turned(name, value) {
  settings[name] = value;
  for (const lane of lanes) lane.forget();
  keep();
}

const far = () => ($("far").value = `${$("distance").value} ms there and back`);
const distance = (value) => {
  tap.distance = value;
  far();
  tap.read().catch((error) => tell(`The distance cannot be simulated: ${error.message}.`));
  turned("distance", value);
};
tap.distance = settings.distance;
knob($("distance"), "distance", settings.distance, distance);
$("distance").oninput = far;
far();
const { link: polls } = lanes.find(({ id }) => id === "short-poll");
const often = (value) => {
  polls.interval = value;
  polls.reconnect();
  turned("interval", value);
};
knob($("interval"), "interval", interval, often);
document.querySelector(".knobs").onsubmit = (event) => event.preventDefault();
keep();

document.addEventListener("visibilitychange", () => {
  $("paused").hidden = !document.hidden;
  for (const link of links) document.hidden ? link.unplug() : link.plug();
});

tap.watch({ reborn: () => links.forEach((link) => link.reconnect()) });
setInterval(() => lanes.forEach((lane) => lane.show()), 200);
$("room").textContent = room;
await tap.start().catch((error) => tell(`Nothing is counted, and there is no distance: ${error.message}.`));
for (const link of links) link.start();
