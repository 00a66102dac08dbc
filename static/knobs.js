// The knobs: what can be turned while one watches.

import { note } from "./chat.js";
import { $ } from "./format.js";
import { randomKey } from "./link.js";

const PULLED = 5_000; // Milliseconds.
const MOST_UNDER_WAY = 20; // The automatic sender waits while so many messages have not been answered for.
const [FLOOD, FLOOD_SIZE] = [20, 60_000];

/** `watch` begins the tap, without which there is no distance; `keep` remembers the setting in the address. */
export function knobs(link, tap, tally, { watch, keep }) {
  for (const label of document.querySelectorAll("#knobs [data-for]")) {
    label.hidden = label.dataset.for !== document.body.dataset.technique;
  }
  for (const id of ["interval", "hold"]) {
    $(id).value = link[id] / 1000;
    $(id).onchange = () => {
      if (!$(id).reportValidity()) return;
      link[id] = Math.round($(id).valueAsNumber * 1000);
      link.reconnect();
      tally.forget();
      keep();
    };
  }
  $("knobs").onsubmit = (event) => event.preventDefault();
  $("payload").value = 20;
  $("rate").onchange = () => sender(link);

  const far = () => ($("far").value = `${$("distance").value} ms`);
  $("distance").value = tap.distance;
  $("distance").oninput = far;
  $("distance").onchange = async () => {
    far();
    tap.distance = Number($("distance").value);
    await watch();
    await tap.read();
    tally.forget();
    keep();
  };
  far();

  $("pull").onclick = () => pull(link, () => {}, PULLED);
  $("behind").onclick = () => pull(link, () => flood(link.room), 1_000);
}

/** Unplugs the page while something happens, for at least so long, and says from where it goes on. */
async function pull(link, meanwhile, time) {
  const since = performance.now();
  $("pull").disabled = $("behind").disabled = true;
  link.unplug("the plug is pulled; what is sent now, waits");
  note(`Unplugged. The last message seen: ${link.cursor}.`, "plug");
  await Promise.all([meanwhile(), new Promise((resolve) => setTimeout(resolve, time))]);
  const away = ((performance.now() - since) / 1000).toFixed(1);
  note(`Plugged in again after ${away} s. Asking for what comes after ${link.cursor}.`, "plug");
  link.plug();
  $("pull").disabled = $("behind").disabled = false;
}

/** More than a server remembers of a room. */
async function flood(room) {
  for (let n = 1; n <= FLOOD; n += 1) {
    const body = JSON.stringify({ from: "flood", text: `${n} of ${FLOOD}, and many spaces`.padEnd(FLOOD_SIZE) });
    const headers = { "Content-Type": "application/json" };
    await fetch(`/messages?${new URLSearchParams({ room })}`, { method: "POST", headers, body }).catch(() => {});
  }
}

let timer;

/** Sends by itself, with pauses that are not all alike: a beat would meet a poll's beat always at the same point. */
function sender(link, sent = 0) {
  clearTimeout(timer);
  const rate = Number($("rate").value);
  if (!rate) return;
  timer = setTimeout(
    () => {
      const ready = link.unanswered().length < MOST_UNDER_WAY && $("name").value !== "";
      if (ready) {
        const size = Math.min(60_000, Math.max(1, $("payload").valueAsNumber || 1));
        const text = `${sent + 1} by itself `.padEnd(size, "· ").slice(0, size);
        link.send({ from: $("name").value, text, key: randomKey() });
      }
      sender(link, sent + Number(ready));
    },
    (1000 / rate) * (0.5 + Math.random()),
  );
}
