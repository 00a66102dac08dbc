// The links to the other pages keep the room, the name and the settings.

const KEPT = ["room", "name", "interval", "hold", "distance", "payload", "race"];

/** `query` is an address's; what is not to be kept of it stays behind. */
export function carry(query) {
  const kept = new URLSearchParams([...new URLSearchParams(query)].filter(([name]) => KEPT.includes(name)));
  for (const link of document.querySelectorAll("a:not([target])")) {
    const page = link.origin === location.origin && /^\/([a-z-]+\.html)?$/.test(link.pathname);
    if (page && link.pathname !== "/report.html" && link.search.slice(1) !== kept.toString()) link.search = kept;
  }
}
