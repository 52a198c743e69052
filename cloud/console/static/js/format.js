// How values, times and ages read; says the same as cloud/console/show.py for what arrives live.

import { lang, word, zone } from "./page.js";

const UNITS = { Cel: "°C", "%RH": "%", "%EL": "%", "%obs/m": "%/m", deg: "°", count: "" };

export const unit = (name) => UNITS[name] ?? name;

// A number with its decimals; no minus zero.
export function number(value, decimals) {
  if (!(Math.abs(value) < 1e21)) return String(Number(value.toPrecision(6)));
  const text = value.toFixed(decimals);
  return /^-[0.]*$/.test(text) ? text.slice(1) : text;
}

// A value as one line of text. slot: the element that shows it, which knows decimals and the words of a boolean.
export function value(given, unitName, slot) {
  if (typeof given === "boolean") return given ? slot.dataset.true : slot.dataset.false;
  if (typeof given === "number") {
    const shown = unit(unitName || slot.dataset.unit || "");
    const gap = shown === "" || shown === "%" || shown === "°" ? "" : " ";
    return number(given, Number(slot.dataset.precision ?? 1)) + gap + shown;
  }
  if (given !== null && typeof given === "object") {
    const accuracy = given.accuracy_m === null || given.accuracy_m === undefined ? "" : ` ±${given.accuracy_m.toFixed(0)} m`;
    return `${given.lat.toFixed(5)}, ${given.lon.toFixed(5)}${accuracy}`;
  }
  return String(given);
}

function largest(seconds) {
  for (const [name, size] of [["d", 86400], ["h", 3600], ["m", 60]]) {
    if (seconds >= 2 * size) return [name, Math.floor(seconds / size)];
  }
  return ["s", Math.max(0, Math.floor(seconds))];
}

export function ago(seconds) {
  if (seconds < 2) return word("age.now");
  const [name, n] = largest(seconds);
  return word(`age.${name}`, { n });
}

export function span(seconds) {
  const [name, n] = largest(seconds);
  return word(`span.${name}`, { n });
}

const clock = (options) => new Intl.DateTimeFormat(lang === "zh" ? "zh-CN" : "en-GB", { timeZone: zone, hourCycle: "h23", ...options });
const short = clock({ hour: "2-digit", minute: "2-digit" });
const seconds = clock({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
const full = clock({ year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = clock({ month: "2-digit", day: "2-digit" });

export const timeOfDay = (ms) => seconds.format(ms);
export const minuteOfDay = (ms) => short.format(ms);
export const dayOf = (ms) => day.format(ms);
export const fullTime = (ms) => full.format(ms);
