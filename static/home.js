// The start page: a card for each transport, and the live figures, as the server tells them.

import { $, element, number } from "./format.js";
import * as best from "./best.js";
import { chat } from "./chat.js";
import { here } from "./here.js";
import { Link, randomKey } from "./link.js";
import { carry } from "./nav.js";
import { CHAT } from "./parts.js";
import { read } from "./settings.js";
import { TRANSPORTS } from "./transports.js";

const [PERIOD, PATIENCE] = [2_000, 5_000]; // Milliseconds.

/** A card's heading now, and below it what the transport's own page says for it. */
async function card({ id, title }) {
  const [item, heading] = [element("li"), element("h2")];
  heading.append(Object.assign(element("a", title), { href: `/${id}.html` }));
  item.dataset.transport = id;
  item.append(heading);
  $("cards").append(item);
  const page = await (await fetch(`/${id}.html`)).text();
  item.append(new DOMParser().parseFromString(page, "text/html").getElementById("card").content);
}

async function show() {
  const { transports, rooms, published, deliveries } = await (
    await fetch("/stats", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) })
  ).json();
  const figures = [
    ...TRANSPORTS.map(({ id, live }) => [live.title, live.sum.reduce((sum, name) => sum + transports[id][name], 0), id]),
    ["Rooms", rooms],
    ["Messages", published],
    ["Deliveries", deliveries],
  ];
  $("figures").replaceChildren(
    ...figures.map(([name, value, transport]) => {
      const pair = element("div");
      if (transport) pair.dataset.transport = transport;
      pair.append(element("dt", name), element("dd", number(value)));
      return pair;
    }),
  );
}

TRANSPORTS.forEach(card);

// Static text of ours: what people write goes in by textContent alone.
$("chat").innerHTML = CHAT;
const given = new URLSearchParams(location.search);
const { interval, hold } = read(given);
const name = given.get("name") || `guest-${randomKey().slice(0, 4)}`;
const link = new Link(best, { room: given.get("room") || "lobby", interval, hold, name });
[$("room").value, $("name").value] = [link.room, name];
$("name").onchange = () => (link.name = $("name").value);
$("join").onsubmit = (event) => {
  event.preventDefault();
  location.search = `?${new URLSearchParams({ room: $("room").value, name: $("name").value })}`;
};
const chosen = (id, why) => {
  const { title } = TRANSPORTS.find((transport) => transport.id === id);
  Object.assign($("over"), { textContent: `Over ${title}: ${why}.` }).dataset.transport = id;
};
link.watch({ chosen });
chat(link);
here(link);
link.start();

carry(location.search);
let last = new Date();
for (;;) {
  // Figures that are not of now are not shown; a hidden page asks for none.
  if (!document.hidden) {
    try {
      await show();
      [last, $("stale").textContent] = [new Date(), ""];
    } catch {
      $("figures").replaceChildren();
      $("stale").textContent = `The server has not answered since ${last.toLocaleTimeString()}.`;
    }
  }
  await new Promise((resolve) => setTimeout(resolve, PERIOD));
}
