// The knobs: what can be turned while one watches.

import { named, note, show } from "./chat.js";
import { $ } from "./format.js";
import { Link, randomKey } from "./link.js";
import { knob, tell } from "./settings.js";

const PULLED = 5_000; // Milliseconds.
const MOST_UNDER_WAY = 20; // The automatic sender waits while this many messages have not been answered for.
const [FLOOD, FLOOD_SIZE] = [20, 60_000];

/** `watch` begins the tap, without which there is no distance; `keep` remembers the setting in the address. */
export function knobs({ link, transport, tap, tally, settings, watch, keep }) {
  for (const label of document.querySelectorAll("#knobs-panel [data-for]")) {
    label.hidden = label.dataset.for !== document.body.dataset.transport;
  }
  for (const name of ["interval", "hold"]) {
    const change = (value) => {
      link[name] = settings[name] = value;
      link.reconnect();
      tally.forget();
      keep();
    };
    knob($(name), name, settings[name], change);
  }
  knob($("payload"), "payload", settings.payload, (value) => {
    settings.payload = value;
    keep();
  });
  const far = () => ($("far").value = `${$("distance").value} ms`);
  const distance = async (value) => {
    tap.distance = settings.distance = value;
    far();
    try {
      await watch();
      await tap.read();
    } catch (error) {
      tell(`The distance cannot be simulated: ${error.message}.`);
    }
    tally.forget();
    keep();
  };
  knob($("distance"), "distance", settings.distance, distance);
  $("distance").oninput = far;
  far();

  $("knobs").onsubmit = (event) => event.preventDefault();
  $("rate").onchange = () => sender(link, settings);
  $("pull").onclick = () => pull(link);
  $("behind").onclick = () => fallBehind(link, transport, tally);
  for (const button of document.querySelectorAll("[data-show]")) {
    button.onclick = async () => {
      await watch(); // For it to be seen.
      transport.show(link, JSON.parse(button.dataset.show));
    };
  }
  $("break").onclick = async () => {
    await watch();
    await tap.cut().catch((error) => tell(`The stream cannot be broken: ${error.message}.`));
  };
}

/** Unplugs the page for a while, and says from where it goes on. */
async function pull(link) {
  const since = performance.now();
  const buttons = [$("pull"), $("behind")];
  for (const button of buttons) button.disabled = true;
  link.unplug("the plug is pulled; what is sent now, waits");
  note(`Unplugged. The last message seen: ${link.cursor}.`, "plug");
  await new Promise((resolve) => setTimeout(resolve, PULLED));
  const away = ((performance.now() - since) / 1000).toFixed(1);
  note(`Plugged in again after ${away} s. Asking for what comes after ${link.cursor}.`, "plug");
  link.plug();
  for (const button of buttons) button.disabled = false;
}

/** Lets a reader of the same transport come back too late: in a room of this page's own, for the flood is nobody else's. */
async function fallBehind(link, transport, tally) {
  const { interval, hold, tap } = link;
  const own = new Link(transport, { room: `behind-${randomKey()}`, interval, hold, tap });
  $("behind").disabled = true;
  try {
    const latest = new URLSearchParams({ room: own.room, after: "latest" });
    ({ cursor: own.cursor } = await own.ask(`/short-poll?${latest}`));
    note(`In a room of this page's own, ${own.room.slice(0, 12)}, a reader has seen ${own.cursor} and goes away.`, "plug");
    await flood(own);
    note(`${FLOOD} messages of ${FLOOD_SIZE / 1000} kB later it comes back and asks for what comes after that.`, "plug");
    tally.follow(own);
    show(own);
    own.start();
    await caughtUp(own, `-${FLOOD}`);
    note(`It has read to the end. From here on again the room ${link.room}.`, "plug");
  } catch (error) {
    note(`It cannot be shown: ${error.message}.`, "plug");
  }
  own.unplug();
  tally.forget();
  $("behind").disabled = false;
}

/** More than a server remembers of a room. */
async function flood(own) {
  for (let n = 1; n <= FLOOD; n += 1) {
    const body = JSON.stringify({ from: "flood", text: `${n} of ${FLOOD}, and many spaces`.padEnd(FLOOD_SIZE) });
    const headers = { "Content-Type": "application/json" };
    await own.ask(`/messages?${new URLSearchParams({ room: own.room })}`, { method: "POST", headers, body });
  }
}

const caughtUp = (own, end) =>
  new Promise((resolve, reject) => {
    own.watch({
      messages: () => own.cursor.endsWith(end) && resolve(),
      state: (state, reason) => state === "refused" && reject(new Error(reason)),
    });
  });

let timer;

/** Sends by itself, with pauses that are not all alike: a beat would meet a poll's beat always at the same point. */
function sender(link, settings, sent = 0) {
  clearTimeout(timer);
  const rate = Number($("rate").value);
  if (!rate) return;
  timer = setTimeout(
    () => {
      const ready = link.unanswered().length < MOST_UNDER_WAY && named();
      if (ready) {
        const text = `${sent + 1} by itself `.padEnd(settings.payload, "· ").slice(0, settings.payload);
        link.send({ from: $("name").value, text, key: randomKey() });
      }
      sender(link, settings, sent + Number(ready));
    },
    (1000 / rate) * (0.5 + Math.random()),
  );
}
