// How many tabs of this browser hold one of its six connections: each tells the others, and the sixth says what follows.

import { element } from "./format.js";
import { TRANSPORTS } from "./transports.js";

const SIX = 6; // Connections a browser opens to one host over HTTP/1.1, for all its tabs together.

export function crowd(transport) {
  if (!TRANSPORTS.find(({ id }) => id === transport)?.holds) return;
  const [channel, me, others] = [new BroadcastChannel("holds-a-connection"), Math.random(), new Set()];
  const warning = element("p", "", "warning");
  warning.role = "status";
  warning.hidden = true;
  document.querySelector("header").after(warning);
  const say = (what) => channel.postMessage({ what, me });
  channel.onmessage = ({ data }) => {
    if (data.what === "gone") others.delete(data.me);
    else others.add(data.me);
    if (data.what === "here") say("too");
    warning.hidden = others.size + 1 < SIX;
    warning.textContent = `${others.size + 1} tabs hold a connection of this browser, which opens ${SIX} to a host over
      HTTP/1.1. All are taken: whatever comes next, a seventh such tab, even a page, waits until one of them closes.
      Tabs of WebSocket hold none of the six.`;
  };
  addEventListener("pagehide", () => say("gone"));
  addEventListener("pageshow", ({ persisted }) => persisted && say("here"));
  say("here");
}
