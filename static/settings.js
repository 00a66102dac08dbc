// What can be set, with a knob or in the address: one table of bounds for both.

import { $ } from "./format.js";

export const BOUNDS = {
  // Ten questions a second are more than one can follow, and what a class of pages may ask of one server.
  interval: { least: 100, most: 60_000, step: 10, usual: 1000, unit: "s", scale: 1000 },
  // Below a second a quiet long poll is a short poll without a pause; beyond a minute the server refuses.
  hold: { least: 1000, most: 60_000, step: 100, usual: 25_000, unit: "s", scale: 1000 },
  distance: { least: 0, most: 600, step: 10, usual: 0, unit: "ms", scale: 1 },
  payload: { least: 1, most: 60_000, step: 1, usual: 20, unit: "characters", scale: 1 },
};

/** The value that is used when this is asked for: the nearest that there is; `otherwise`, if it is no number. */
export function settle(name, asked, otherwise = BOUNDS[name].usual) {
  const { least, most, step } = BOUNDS[name];
  const number = String(asked ?? "").trim() === "" ? NaN : Number(asked);
  return Number.isNaN(number) ? otherwise : Math.min(most, Math.max(least, Math.round(number / step) * step));
}

/** All settings, as an address has them; each that cannot be as it is there is said. */
export function read(query) {
  return Object.fromEntries(
    Object.keys(BOUNDS).map((name) => {
      const used = settle(name, query.get(name));
      if (query.has(name) && Number(query.get(name)) !== used) tellClamped(name, query.get(name), used);
      return [name, used];
    }),
  );
}

/** The settings that are not as usual, for an address. */
export function worthSaying(settings) {
  return Object.fromEntries(
    Object.entries(settings).filter(([name, value]) => BOUNDS[name] && value !== BOUNDS[name].usual),
  );
}

/** What is said when something else is used than was asked for. */
function clamped(name, asked, used) {
  const { least, most, step, unit, scale } = BOUNDS[name];
  const range = `${least / scale} to ${most / scale} ${unit} in steps of ${step / scale}`;
  return `${name}: ${JSON.stringify(asked)} is not ${range}; it is ${used / scale} ${unit}.`;
}

/** Says something about the settings, in the place of what was said before; nothing, to take that back. */
export const tell = (text) => ($("clamped").textContent = text);

/** Says, beside what was said before, what an address asked for and did not get. */
const tellClamped = (...asked) => ($("clamped").textContent += `${clamped(...asked)} `);

/** Makes an input the knob of a setting. Whatever is typed, it shows what is used, and `change` is told of that. */
export function knob(input, name, used, change) {
  const { least, most, step, scale } = BOUNDS[name];
  Object.assign(input, { min: least / scale, max: most / scale, step: input.type === "range" ? step / scale : "any" });
  input.value = used / scale;
  input.onchange = () => {
    const asked = input.value;
    const [before, number] = [used, asked.trim() === "" ? NaN : Number(asked) * scale];
    used = settle(name, number, before);
    input.value = used / scale;
    // 2.01 times 1000 is 2009.9999999999998.
    tell(Math.abs(number - used) < 1e-6 ? "" : clamped(name, asked, used));
    if (used !== before) change(used);
  };
}
