// What the metric that decided did around an alarm's moment, with the limit that it crossed.

import { now, word } from "./page.js";
import { ask, draw, fit } from "./plot.js";

const RELOAD_MS = 15000;
const AHEAD_MS = 60000;
const STEP_S = 5;
const TYPES = { number: "number", bool: "boolean" };

const root = document.getElementById("moment");
const box = document.getElementById("moment-chart");
const note = document.getElementById("moment-note");
const summary = document.getElementById("moment-summary");
const limits = [...root.querySelectorAll("[data-limit]")].map((each) => [each.textContent, Number(each.dataset.limit)]);
const { url, metric, type } = root.dataset;
const [from, end, raised] = [root.dataset.from, root.dataset.to, root.dataset.raised].map(Number);
let plot;

function say(text) {
  note.textContent = text;
  note.hidden = !text;
}

function clear() {
  plot?.destroy();
  plot = undefined;
  delete box.dataset.gaps;
  summary.textContent = "";
}

async function load() {
  // A young alarm's picture grows to the right instead of being half empty.
  const to = Math.min(end, Math.max(now(), raised + AHEAD_MS));
  const step = type === "number" ? STEP_S : 0;
  let points;
  try {
    points = await ask(url, metric, from, to, step ? `${step}s` : "raw");
  } catch (error) {
    clear();
    return say(word("device.chart_failed", { reason: error.message }));
  }
  clear();
  points = points.filter((point) => typeof point.value === TYPES[type]);
  if (!points.length) return say(word("device.chart_empty"));
  say("");
  const moments = [[word("alarm.chart_raised"), raised, "--critical"]];
  if (root.dataset.cleared) moments.push([word("alarm.chart_cleared"), Number(root.dataset.cleared), "--normal"]);
  plot = draw(box, type, points, root, { from, to, limits, moments }, step * 1000);
  summary.textContent = plot.told;
}

addEventListener("themechange", load);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", load);
new ResizeObserver(() => plot && fit(box, plot)).observe(box);
const timer = setInterval(() => {
  if (now() > end + RELOAD_MS) clearInterval(timer);
  else if (!document.hidden) load();
}, RELOAD_MS);
load();
