// The page of a transport: the chat, and beside it what looks inside. The body names the transport, and so its module.

import { chat } from "./chat.js";
import { code } from "./code.js";
import { $ } from "./format.js";
import { knobs } from "./knobs.js";
import { Link, randomKey } from "./link.js";
import { crowd } from "./crowd.js";
import { here } from "./here.js";
import { carry } from "./nav.js";
import { CHAT, PANELS } from "./parts.js";
import { read, worthSaying } from "./settings.js";
import { Tally } from "./tally.js";
import { Tap } from "./tap.js";
import { Wire } from "./wire.js";

const name = document.body.dataset.transport;
const given = new URLSearchParams(location.search);

// Static text of ours: what people write goes in by textContent alone.
$("chat").innerHTML = CHAT;
$("panels").innerHTML = PANELS;
for (const id of ["try", "code"]) $(id).append(...document.querySelectorAll(`[data-panel=${id}]`));

const transport = await import(`./${name}.js`);
const settings = read(given);
const { interval, hold, distance } = settings;
const link = new Link(transport, { room: given.get("room") || "lobby", interval, hold });
const tap = new Tap();
tap.distance = distance;
const tally = new Tally(link, tap);

$("room").value = link.room;
$("name").value = given.get("name") || `guest-${randomKey().slice(0, 4)}`;
document.title = `${link.room} · ${document.title}`;

/** The address says how the page is set, to be kept or sent to somebody. */
function remember(room = link.room) {
  const open = [...document.querySelectorAll(".panel[open]")].map(({ id }) => id).join(",");
  const race = given.get("race");
  const said = { room, name: $("name").value, ...worthSaying(settings), ...(race && { race }), ...(open && { open }) };
  return `?${new URLSearchParams(said)}`;
}

function keep() {
  history.replaceState(null, "", remember());
  carry(location.search);
}

/** From now on the server notes what goes over: what is open is opened anew, at the same cursor, for it to be seen. */
async function watch() {
  if (link.tap) return;
  try {
    await tap.start();
  } catch (error) {
    return void ($("quiet").textContent = `What goes over cannot be shown: ${error.message}.`);
  }
  $("quiet").textContent = "Nothing has gone over yet.";
  link.tap = tap.id;
  tally.reset();
  if (link.begun) link.reconnect();
}

tap.watch({ reborn: () => link.reconnect() });
const beats = document.querySelectorAll("[data-beat]");
link.watch({ beat: (period) => beats.forEach((beat) => (beat.textContent = `${(period * beat.dataset.beat) / 1000} s`)) });
link.name = $("name").value;
$("name").onchange = () => {
  link.name = $("name").value;
  keep();
};
$("join").onsubmit = (event) => {
  event.preventDefault();
  location.search = remember($("room").value);
};
chat(link);
here(link);
knobs({ link, transport, tap, tally, settings, watch, keep });
code(name, link);
new Wire(tap, link);
crowd(name);

for (const id of (given.get("open") ?? "").split(",")) if ($(id)?.matches(".panel")) $(id).open = true;
for (const panel of document.querySelectorAll(".panel")) panel.addEventListener("toggle", keep);
for (const id of ["wire", "tally"]) $(id).addEventListener("toggle", () => $(id).open && watch());
if ($("wire").open || $("tally").open || tap.distance) await watch();
keep();

// A clock that has jumped was asleep, and the connections with it may be dead without having been told.
let last = Date.now();
setInterval(() => {
  if (!document.hidden && Date.now() - last > 30_000) link.reconnect();
  last = Date.now();
}, 5_000);

link.start();
if (matchMedia("(pointer: fine)").matches) $("text").focus();
