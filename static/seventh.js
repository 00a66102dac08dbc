// Six connections: event streams opened one by one, until one has to wait.

import { $, element, time } from "./format.js";
import { carry } from "./nav.js";

carry(location.search);

const SIX = 6;
const slots = new Set();

/** A line for something that is opened, with its state. */
function slot(name, close) {
  const [line, state, end] = [element("li"), element("b", "waiting"), element("button", "Close")];
  const begun = performance.now();
  const made = {
    waits: true,
    name,
    opened(text = "open") {
      made.waits = false;
      state.textContent = `${text} after ${time(performance.now() - begun)}`;
      state.className = "good";
      judge();
    },
    close() {
      close();
      slots.delete(made);
      line.remove();
      judge();
    },
  };
  state.className = "bad";
  end.onclick = made.close;
  line.append(`${name}: `, state, " ", end);
  $("slots").append(line);
  slots.add(made);
  setTimeout(judge, 700);
  return made;
}

function judge() {
  const waiting = [...slots].filter(({ waits }) => waits);
  const streams = [...slots].filter(({ name, waits }) => name === "Event stream" && !waits).length;
  $("verdict").textContent = waiting.length
    ? `${streams} event streams are open and ${waiting.length} of the rest wait for a connection. ${streams < SIX ? "Other tabs hold the missing ones." : "Close one, and the first that waits is served."}`
    : streams === SIX
      ? "All six connections are taken. The next event stream will wait; a WebSocket will not."
      : "";
}

$("add").onclick = () => {
  const source = new EventSource("/sse?room=seventh&after=latest");
  const made = slot("Event stream", () => source.close());
  source.addEventListener("hello", () => made.opened(), { once: true });
};
$("socket").onclick = () => {
  const socket = new WebSocket(new URL("/ws?room=seventh&after=latest", location.href.replace("http", "ws")));
  const made = slot("WebSocket", () => socket.close());
  socket.onopen = () => made.opened();
};
$("ask").onclick = () => {
  const stop = new AbortController();
  const made = slot("GET /healthz", () => stop.abort());
  fetch("/healthz", { cache: "no-store", signal: stop.signal }).then(() => made.opened("answered"), () => {});
};
$("none").onclick = () => [...slots].forEach((made) => made.close());

for (let n = 1; n <= SIX + 1; n += 1) {
  const link = element("a", `Tab ${n}`);
  Object.assign(link, { href: `/sse.html?room=seventh&name=tab-${n}`, target: "_blank", className: "door" });
  $("doors").append(link, " ");
}
