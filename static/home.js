// The start page's live figures, as the server tells them.

import { $, element, number } from "./format.js";
import { carry } from "./nav.js";

const [PERIOD, PATIENCE] = [2_000, 5_000]; // Milliseconds.

async function show() {
  const { transports, rooms, published, deliveries } = await (
    await fetch("/stats", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) })
  ).json();
  const figures = [
    ["Short polls answered", number(transports["short-poll"].empties + transports["short-poll"].batches), "short-poll"],
    ["Long polls held", number(transports["long-poll"].open), "long-poll"],
    ["Event streams open", number(transports.sse.open), "sse"],
    ["WebSockets open", number(transports.ws.open), "ws"],
    ["Rooms", number(rooms)],
    ["Messages", number(published)],
    ["Deliveries", number(deliveries)],
  ];
  $("figures").replaceChildren(
    ...figures.map(([name, value, technique]) => {
      const pair = element("div");
      if (technique) pair.dataset.technique = technique;
      pair.append(element("dt", name), element("dd", value));
      return pair;
    }),
  );
}

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
