// A device's history: numbers as a line with its min–max band, booleans as steps, anything else as a list of changes.

import { dayOf, fullTime, minuteOfDay, number, timeOfDay, unit } from "./format.js";
import { now, word, zone } from "./page.js";

const HOUR = 3600000;
// Range in hours to the step asked for: about 360 to 720 points across.
const STEPS = { 1: "10s", 6: "60s", 24: "180s", 168: "1200s" };
const RELOAD_MS = 30000;
const PLOT_PX = 255;

const root = document.getElementById("history");
const box = document.getElementById("chart");
const note = document.getElementById("chart-note");
const list = document.getElementById("chart-events");
const summary = document.getElementById("chart-summary");
const choice = document.getElementById("chart-metric");
let hours = 1;
let plot;
let asked = 0;

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const option = () => choice.selectedOptions[0];

function say(text) {
  note.textContent = text;
  note.hidden = !text;
}

async function load() {
  const metric = choice.value;
  const { type } = option().dataset;
  const to = now();
  const from = to - hours * HOUR;
  const query = new URLSearchParams({ metric, from: new Date(from).toISOString(), to: new Date(to + 1000).toISOString() });
  query.set("step", type === "number" ? STEPS[hours] : "raw");
  query.set("limit", "5000");
  const turn = ++asked;
  if (!plot) say(word("device.chart_loading"));
  let body;
  try {
    const answer = await fetch(`${root.dataset.url}?${query}`, { headers: { accept: "application/json" }, cache: "no-store" });
    body = await answer.json();
    if (!answer.ok) throw new Error(body.detail ?? String(answer.status));
  } catch (error) {
    if (turn === asked) fail(error.message);
    return;
  }
  if (turn !== asked) return;
  const points = body.points.map(([time, value], index) => ({ at: Date.parse(time), value, low: body.low?.[index] ?? value, high: body.high?.[index] ?? value }));
  draw(points, type, from, to);
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
  summary.textContent = "";
}

function draw(points, type, from, to) {
  clear();
  // A reading may be of another type than its profile says: it is on the device's page, not in a drawing.
  const fit = type === "number" || type === "bool" ? points.filter((point) => typeof point.value === TYPES[type]) : points;
  if (!fit.length) return say(word("device.chart_empty"));
  say("");
  DRAWERS[type === "number" || type === "bool" ? type : "text"](fit, from, to);
}

const two = (ms) => (hours > 24 ? `${dayOf(ms)} ${minuteOfDay(ms)}` : minuteOfDay(ms));

function options(from, to, shown) {
  const grid = { stroke: css("--line"), width: 1 };
  const axis = { stroke: css("--muted"), grid, ticks: grid, font: `12px ${css("--sans")}` };
  return {
    width: box.clientWidth,
    height: PLOT_PX,
    ms: 1,
    tzDate: (ms) => uPlot.tzDate(new Date(ms), zone),
    scales: { x: { time: true, range: [from, to] } },
    axes: [
      { ...axis, values: (_, splits) => splits.map(two), space: hours > 24 ? 110 : 70 },
      { ...axis, values: (_, splits) => splits.map(shown), size: 62 },
    ],
    cursor: { y: false, points: { size: 7 } },
    legend: { live: true },
  };
}

function numbers(points, from, to) {
  const decimals = Number(option().dataset.precision);
  const unitName = unit(option().dataset.unit);
  const shown = (value) => (value === null || value === undefined ? "" : `${number(value, decimals)} ${unitName}`.trim());
  const tick = (value) => (value === null ? "" : String(Number(value.toFixed(Math.max(decimals, 2)))));
  const accent = css("--accent");
  // A gap in the data is a gap in the line: where nothing came for five typical distances, the line breaks.
  const filled = withGaps(points);
  const base = options(from, to, tick);
  plot = new uPlot({
    ...base,
    series: [
      { label: word("alarm.time"), value: (_, ms) => (ms === null ? "" : fullTime(ms)) },
      { label: word("device.chart_mean"), stroke: accent, width: 2, value: (_, v) => shown(v), spanGaps: false, points: { show: points.length < 40 } },
      { label: word("device.chart_low"), stroke: "transparent", value: (_, v) => shown(v), points: { show: false } },
      { label: word("device.chart_high"), stroke: "transparent", value: (_, v) => shown(v), points: { show: false } },
    ],
    bands: [{ series: [3, 2], fill: `color-mix(in srgb, ${accent} 22%, transparent)` }],
  }, [filled.map((p) => p.at), filled.map((p) => p.value), filled.map((p) => p.low), filled.map((p) => p.high)], box);
  const low = Math.min(...points.map((p) => p.low));
  const high = Math.max(...points.map((p) => p.high));
  tell(points, { low: shown(low), high: shown(high), last: shown(points.at(-1).value) });
}

function withGaps(points) {
  const distances = points.slice(1).map((point, index) => point.at - points[index].at).sort((a, b) => a - b);
  const usual = distances[Math.floor(distances.length / 2)] ?? 0;
  const out = [];
  points.forEach((point, index) => {
    if (index && point.at - points[index - 1].at > 5 * usual) out.push({ at: points[index - 1].at + usual, value: null, low: null, high: null });
    out.push(point);
  });
  return out;
}

function steps(points, from, to) {
  const label = (value) => (value === 1 ? option().dataset.true : value === 0 ? option().dataset.false : "");
  const rows = [...points, { at: to, value: points.at(-1).value }];
  const base = options(from, to, label);
  plot = new uPlot({
    ...base,
    scales: { ...base.scales, y: { range: [-0.15, 1.15] } },
    axes: [base.axes[0], { ...base.axes[1], splits: () => [0, 1] }],
    series: [
      { label: word("alarm.time"), value: (_, ms) => (ms === null ? "" : fullTime(ms)) },
      { label: word("device.chart_value"), stroke: css("--accent"), width: 2, fill: css("--accent-soft"), value: (_, v) => label(v), paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } },
    ],
  }, [rows.map((p) => p.at), rows.map((p) => (p.value ? 1 : 0))], box);
}

function changes(points) {
  const text = (value) => (typeof value === "object" ? `${value.lat.toFixed(5)}, ${value.lon.toFixed(5)}` : String(value));
  box.hidden = true;
  list.hidden = false;
  const rows = points.filter((point, index) => index === 0 || text(point.value) !== text(points[index - 1].value)).slice(-200).reverse();
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

// What the picture shows, in words, for those who do not see it.
function tell(points, values) {
  summary.textContent = word("device.chart_summary", { from: timeOfDay(points[0].at), to: timeOfDay(points.at(-1).at), ...values });
}

const TYPES = { number: "number", bool: "boolean" };
const DRAWERS = { number: numbers, bool: steps, text: changes };

for (const button of root.querySelectorAll("[data-hours]")) {
  button.addEventListener("click", () => {
    hours = Number(button.dataset.hours);
    root.querySelectorAll("[data-hours]").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    load();
  });
}
choice.addEventListener("change", load);
addEventListener("themechange", load);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", load);
new ResizeObserver(() => plot && plot.setSize({ width: box.clientWidth, height: PLOT_PX })).observe(box);
// Lists stay as they were opened: each look at positions is written down.
setInterval(() => plot && !document.hidden && load(), RELOAD_MS);
load();
