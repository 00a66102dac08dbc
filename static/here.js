// Who is here, and over what: as the server knows it of those who say their name, which nobody checks.

import { $, plural } from "./format.js";
import { TRANSPORTS } from "./transports.js";

const [PERIOD, PATIENCE, SHOWN] = [5_000, 4_000, 12]; // Milliseconds, and names.

export function here(link) {
  const show = async () => {
    const query = new URLSearchParams({ room: link.room });
    const signal = AbortSignal.timeout(PATIENCE);
    const { present } = await (await fetch(`/presence?${query}`, { cache: "no-store", signal })).json();
    const over = (id) => TRANSPORTS.find((transport) => transport.id === id)?.name ?? id;
    const names = present.slice(0, SHOWN).map((who) => `${who.name} (${over(who.transport)})`);
    const more = present.length > SHOWN ? ` and ${plural(present.length - SHOWN, "other")}` : "";
    $("here").textContent = `Here: ${names.join(", ")}${more}`;
    $("here").hidden = present.length === 0;
  };
  const look = () => {
    // Who is here is not known while the server is away.
    if (!document.hidden) show().catch(() => ($("here").hidden = true));
  };
  setInterval(look, PERIOD);
  let last; // A poll tells its state with each answer.
  link.watch({
    state: (state) => {
      if (state !== last && ["open", "polling"].includes(state)) setTimeout(look, 200);
      last = state;
    },
  });
}
