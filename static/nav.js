// What every page has: the colours of the transports, and links to the other pages, which keep room, name and settings.
//
// Pages load this file before they are painted (`blocking="render"`), so that neither is seen to come later.

import { element } from "./format.js";
import { TRANSPORTS } from "./transports.js";

const KEPT = ["room", "name", "interval", "hold", "distance", "payload", "race"];

const PAGES = [
  ["/", "All"],
  ...TRANSPORTS.map(({ id, name }) => [`/${id}.html`, name]),
  ["/race.html", "Race"],
  ["/seventh.html", "Seventh tab"],
  ["/report.html", "Report"],
];

/** `query` is an address's; what is not to be kept of it stays behind. */
export function carry(query) {
  const kept = new URLSearchParams([...new URLSearchParams(query)].filter(([name]) => KEPT.includes(name)));
  for (const link of document.querySelectorAll("a:not([target])")) {
    const page = link.origin === location.origin && /^\/([a-z-]+\.html)?$/.test(link.pathname);
    if (page && link.pathname !== "/report.html" && link.search.slice(1) !== kept.toString()) link.search = kept;
  }
}

// Whoever has colours of their own keeps them: style.css says what becomes of ours.
const accents = TRANSPORTS.map(({ id, light, dark }) => `[data-transport="${id}"] { --accent: light-dark(${light}, ${dark}); }`);
const colours = new CSSStyleSheet({ media: "not (forced-colors: active)" });
colours.replaceSync(accents.join("\n"));
document.adoptedStyleSheets.push(colours);

for (const [href, name] of document.querySelector("nav") ? PAGES : []) {
  const link = Object.assign(element("a", name), { href });
  if (href === location.pathname) link.setAttribute("aria-current", "page");
  document.querySelector("nav").append(link);
}
