// The code: the page's own module as it runs, and the server's file for it.

import { $, element } from "./format.js";

export function code(transport, link) {
  const server = `${transport.replace("-", "_")}.rs`;
  for (const [id, url] of Object.entries({ client: `/${transport}.js`, server: `/source/${server}` })) {
    const link = Object.assign(element("a", url.slice(1)), { href: url });
    $(`${id}-name`).replaceChildren(id === "client" ? "In the browser: " : "In the server: ", link);
    $("code").addEventListener("toggle", () => $("code").open && $(id).textContent === "" && show($(id), url));
  }
  // By hand: from this server, in this room, after what this page has seen.
  const byHand = document.querySelector("[data-curl]");
  const written = byHand.textContent;
  const here = () => {
    const place = { "http:": location.protocol, "ws:": location.protocol.replace("http", "ws") };
    const text = written.replace(/\b(http|ws):/g, (scheme) => place[scheme]).replaceAll("localhost:3000", location.host);
    const room = `${new URLSearchParams({ room: link.room })}`;
    byHand.textContent = text.replaceAll("room=lobby", room).replaceAll('"lobby"', JSON.stringify(link.room)).replaceAll("CURSOR", link.cursor ?? "CURSOR");
  };
  $("code").addEventListener("toggle", here);
  here();
}

async function show(pre, url) {
  const text = await fetch(url).then((response) => response.text());
  // Unit tests and imports are not the lesson.
  const lesson = text.split("\n#[cfg(test)]")[0].trimEnd();
  const lines = lesson.split("\n").map((line) => element("span", `${line}\n`, /^\s*\/\//.test(line) ? "comment" : ""));
  pre.replaceChildren(...lines);
}
