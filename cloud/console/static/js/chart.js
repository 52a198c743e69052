// A device's history: the choice of metric and range, and what is drawn for it; texts and places as a list of changes.

import { fullTime } from "./format.js";
import { now, word } from "./page.js";
import { ask, draw, fit } from "./plot.js";

const HOUR = 3600000;
// Range in hours to the width of a step in seconds: about 360 to 720 points across.
const STEPS = { 0.25: 2, 1: 10, 6: 60, 24: 180, 168: 1200 };
const RANGES = Object.keys(STEPS).map(Number).sort((a, b) => a - b);
const RELOAD_MS = 30000;
const LISTED = 200;
const TYPES = { number: "number", bool: "boolean" };

const root = document.getElementById("history");
const box = document.getElementById("chart");
const note = document.getElementById("chart-note");
const list = document.getElementById("chart-events");
const summary = document.getElementById("chart-summary");
const choice = document.getElementById("chart-metric");
const buttons = [...root.querySelectorAll("[data-hours]")];
let hours = RANGES[0];
let chosen = false;
let plot;
let asked = 0;

const option = () => choice.selectedOptions[0];

function say(text) {
  note.textContent = text;
  note.hidden = !text;
}

function setRange(wanted) {
  hours = wanted;
  buttons.forEach((button) => button.setAttribute("aria-pressed", String(Number(button.dataset.hours) === wanted)));
}

// Until somebody chooses: the smallest range in which there is something.
function fitRange() {
  if (chosen) return;
  const age = option().dataset.last ? (now() - Number(option().dataset.last)) / HOUR : 0;
  setRange(RANGES.find((range) => age < range) ?? RANGES.at(-1));
}

async function load() {
  const { type } = option().dataset;
  const to = now();
  const from = to - hours * HOUR;
  const drawn = type in TYPES;
  const step = type === "number" ? STEPS[hours] : 0;
  const turn = ++asked;
  if (!plot) say(word("device.chart_loading"));
  let points;
  try {
    points = await ask(root.dataset.url, choice.value, from, to + 1000, step ? `${step}s` : "raw");
  } catch (error) {
    if (turn === asked) fail(error.message);
    return;
  }
  if (turn !== asked) return;
  clear();
  // A reading may be of another type than its profile says: it is on the device's page, not in a drawing.
  if (drawn) points = points.filter((point) => typeof point.value === TYPES[type]);
  if (!points.length) return say(word("device.chart_empty"));
  say("");
  if (!drawn) return changes(points);
  plot = draw(box, type, points, option(), { from, to }, step * 1000);
  summary.textContent = plot.told;
}

function fail(reason) {
  clear();
  say(word("device.chart_failed", { reason }));
}

function clear() {
  plot?.destroy();
  plot = undefined;
  list.hidden = true;
  list.replaceChildren();
  box.hidden = false;
  delete box.dataset.gaps;
  summary.textContent = "";
}

function changes(points) {
  const text = (value) => (typeof value === "object" ? `${value.lat.toFixed(5)}, ${value.lon.toFixed(5)}` : String(value));
  box.hidden = true;
  list.hidden = false;
  const rows = points.filter((point, index) => index === 0 || text(point.value) !== text(points[index - 1].value)).slice(-LISTED).reverse();
  list.replaceChildren(...rows.map((point) => {
    const row = document.createElement("tr");
    const [time, value] = [document.createElement("td"), document.createElement("td")];
    time.textContent = fullTime(point.at);
    time.className = "nowrap muted";
    value.textContent = text(point.value);
    row.append(time, value);
    return row;
  }));
}

for (const button of buttons) {
  button.addEventListener("click", () => {
    chosen = true;
    setRange(Number(button.dataset.hours));
    load();
  });
}
choice.addEventListener("change", () => {
  fitRange();
  load();
});
addEventListener("themechange", load);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", load);
new ResizeObserver(() => plot && fit(box, plot)).observe(box);
// Lists stay as they were opened: each look at positions is written down.
setInterval(() => plot && !document.hidden && load(), RELOAD_MS);
fitRange();
load();
