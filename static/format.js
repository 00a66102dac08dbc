// Figures as people read them, and the making of elements: text goes in as text, never as markup.

export const $ = (id) => document.getElementById(id);

export function element(name, text = "", kind = "") {
  return Object.assign(document.createElement(name), { textContent: text, className: kind });
}

export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Milliseconds, or seconds from one on. */
export function time(ms) {
  if (ms === undefined) return "–";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 100_000 ? `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s` : `${Math.round(ms / 1000).toLocaleString("en")} s`;
}

export function bytes(count) {
  if (count < 10_000) return `${count.toLocaleString("en")} B`;
  return count < 1e6 ? `${(count / 1000).toFixed(1)} kB` : `${(count / 1e6).toFixed(2)} MB`;
}

export const number = (count) => count.toLocaleString("en");

export const plural = (count, what) => `${number(count)} ${what}${count === 1 ? "" : "s"}`;

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : sorted.length ? (sorted[middle - 1] + sorted[middle]) / 2 : undefined;
}
