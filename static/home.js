// The start page's live figures, as the server tells them.

import { $, element, number } from "./format.js";

const PERIOD = 2_000; // Milliseconds.

async function show() {
  const { transports, rooms, published, deliveries } = await (await fetch("/stats", { cache: "no-store" })).json();
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

for (;;) {
  // A server that is gone for a while leaves the last figures; a hidden page asks for none.
  if (!document.hidden) await show().catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, PERIOD));
}
