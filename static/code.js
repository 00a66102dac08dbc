// The code: the page's own module as it runs, and the server's file for it.

import { $, element } from "./format.js";

export function code(technique) {
  const server = `${technique.replace("-", "_")}.rs`;
  for (const [id, url] of Object.entries({ client: `/${technique}.js`, server: `/source/${server}` })) {
    const link = Object.assign(element("a", url.slice(1)), { href: url });
    $(`${id}-name`).replaceChildren(id === "client" ? "In the browser: " : "In the server: ", link);
    $("code").addEventListener("toggle", () => $("code").open && $(id).textContent === "" && show($(id), url));
  }
}

async function show(pre, url) {
  const text = await fetch(url).then((response) => response.text());
  // Unit tests and imports are not the lesson.
  const lesson = text.split("\n#[cfg(test)]")[0].trimEnd();
  const lines = lesson.split("\n").map((line) => element("span", `${line}\n`, /^\s*\/\//.test(line) ? "comment" : ""));
  pre.replaceChildren(...lines);
}
