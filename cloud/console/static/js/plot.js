// Drawing a metric over time: numbers as a line with its min–max band, booleans as steps. Knows no page.
//
// Where nothing came for longer than readings may be apart, nothing is drawn: a line there would be made up.

import { dayOf, fullTime, minuteOfDay, number, timeOfDay, unit } from "./format.js";
import { word, zone } from "./page.js";

const HEIGHT_PX = 255;
const SAME_DAY_MS = 86400000;
const SPARSE = 40;

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Points of the API's answer, oldest first.
export const pointsOf = (body) =>
  body.points.map(([time, value], index) => ({ at: Date.parse(time), value, low: body.low?.[index] ?? value, high: body.high?.[index] ?? value }));

// One metric's history from the API. Throws with the problem's words.
export async function ask(url, metric, from, to, step) {
  const query = new URLSearchParams({ metric, from: new Date(from).toISOString(), to: new Date(to).toISOString(), step, limit: "5000" });
  const answer = await fetch(`${url}?${query}`, { headers: { accept: "application/json" }, cache: "no-store" });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail ?? String(answer.status));
  return pointsOf(body);
}

// The points with a hole wherever two are too far apart, and how many holes there are.
export function withGaps(points, apart) {
  const out = [];
  let gaps = 0;
  points.forEach((point, index) => {
    const before = points[index - 1];
    if (before && point.at - before.at > apart) {
      gaps += 1;
      out.push({ at: before.at + 1, value: null, low: null, high: null });
    }
    out.push(point);
  });
  return { points: out, gaps };
}

// How far apart readings may be: as the metric's profile says, else five usual distances; never less than steps are wide.
export function apartOf(slot, points, stepMs) {
  const distances = points.slice(1).map((point, index) => point.at - points[index].at).sort((a, b) => a - b);
  const usual = distances[Math.floor(distances.length / 2)] ?? 0;
  const said = slot.dataset.gap ? Number(slot.dataset.gap) : slot.dataset.profiled ? Infinity : 5 * usual;
  return Math.max(said, 1.5 * stepMs);
}

// slot: the element that knows unit, decimals and words. view: {from, to, limits, moments}. Gives the plot.
export function draw(box, type, points, slot, view, stepMs) {
  const apart = apartOf(slot, points, stepMs);
  const plot = type === "number" ? numbers(box, points, slot, view, apart) : steps(box, points, slot, view, apart);
  box.dataset.gaps = String(plot.gaps);
  return plot;
}

export const fit = (box, plot) => plot.setSize({ width: box.clientWidth, height: HEIGHT_PX });

function options(box, { from, to, limits = [], moments = [] }, shown) {
  const grid = { stroke: css("--line"), width: 1 };
  const axis = { stroke: css("--muted"), grid, ticks: grid, font: `12px ${css("--sans")}` };
  const wide = to - from > SAME_DAY_MS;
  const two = (ms) => (wide ? `${dayOf(ms)} ${minuteOfDay(ms)}` : minuteOfDay(ms));
  return {
    width: box.clientWidth,
    height: HEIGHT_PX,
    ms: 1,
    tzDate: (ms) => uPlot.tzDate(new Date(ms), zone),
    scales: { x: { time: true, range: [from, to] } },
    axes: [
      { ...axis, values: (_, splits) => splits.map(two), space: wide ? 110 : 70 },
      { ...axis, values: (_, splits) => splits.map(shown), size: 62 },
    ],
    cursor: { y: false, points: { size: 7 } },
    legend: { live: true },
    hooks: { draw: [(plot) => lines(plot, limits, moments)] },
  };
}

// Lines across for limits, lines down for moments, each with its name.
function lines(plot, limits, moments) {
  const { ctx, bbox } = plot;
  const px = devicePixelRatio;
  ctx.save();
  ctx.font = `${12 * px}px ${css("--sans")}`;
  ctx.lineWidth = Math.round(1.5 * px); // whole pixels stay sharp
  ctx.textBaseline = "bottom";
  limits.forEach(([label, value], index) => {
    const y = Math.round(plot.valToPos(value, "y", true));
    ctx.strokeStyle = ctx.fillStyle = css(index ? "--minor" : "--critical");
    stroke(ctx, [bbox.left, y], [bbox.left + bbox.width, y], px);
    ctx.textAlign = "right";
    ctx.fillText(label, bbox.left + bbox.width - 4 * px, y - 2 * px);
  });
  for (const [label, at, color] of moments) {
    const x = Math.round(plot.valToPos(at, "x", true));
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = ctx.fillStyle = css(color);
    stroke(ctx, [x, bbox.top], [x, bbox.top + bbox.height], px);
    const room = x - bbox.left > bbox.width / 2;
    ctx.textAlign = room ? "right" : "left";
    ctx.fillText(label, x + (room ? -5 : 5) * px, bbox.top + bbox.height - 4 * px);
  }
  ctx.restore();
}

function stroke(ctx, from, to, px) {
  ctx.beginPath();
  ctx.setLineDash([5 * px, 4 * px]);
  ctx.moveTo(...from);
  ctx.lineTo(...to);
  ctx.stroke();
}

const timeSeries = () => ({ label: word("alarm.time"), value: (_, ms) => (ms === null ? "" : fullTime(ms)) });

// The limits are always within sight.
function heights(limits) {
  const also = limits.map(([, value]) => value);
  return (_, low, high) => {
    const known = [low, high, ...also].filter((value) => value !== null && value !== undefined);
    return known.length ? uPlot.rangeNum(Math.min(...known), Math.max(...known), 0.1, true) : [0, 1];
  };
}

function numbers(box, points, slot, view, apart) {
  const decimals = Number(slot.dataset.precision);
  const unitName = unit(slot.dataset.unit);
  const shown = (value) => (value === null || value === undefined ? "" : `${number(value, decimals)} ${unitName}`.trim());
  const tick = (value) => (value === null ? "" : String(Number(value.toFixed(Math.max(decimals, 2)))));
  const accent = css("--accent");
  const { points: drawn, gaps } = withGaps(points, apart);
  const base = options(box, view, tick);
  const faint = { stroke: "transparent", value: (_, v) => shown(v), points: { show: false } };
  const plot = new uPlot({
    ...base,
    scales: { ...base.scales, y: { range: heights(view.limits ?? []) } },
    series: [
      timeSeries(),
      { label: word("device.chart_mean"), stroke: accent, width: 2, value: (_, v) => shown(v), spanGaps: false, points: { show: points.length < SPARSE, size: 6 } },
      { ...faint, label: word("device.chart_low") },
      { ...faint, label: word("device.chart_high") },
    ],
    bands: [{ series: [3, 2], fill: `color-mix(in srgb, ${accent} 22%, transparent)` }],
  }, [drawn.map((p) => p.at), drawn.map((p) => p.value), drawn.map((p) => p.low), drawn.map((p) => p.high)], box);
  const low = shown(Math.min(...points.map((p) => p.low)));
  const high = shown(Math.max(...points.map((p) => p.high)));
  const told = tell(points, { low, high, last: shown(points.at(-1).value) }, gaps);
  return Object.assign(plot, { gaps, told });
}

function steps(box, points, slot, view, apart) {
  const label = (value) => (value === 1 ? slot.dataset.true : value === 0 ? slot.dataset.false : "");
  const end = Math.min(view.to, points.at(-1).at + apart); // the last state holds as long as one may expect
  const { points: drawn, gaps } = withGaps([...points, { at: end, value: points.at(-1).value }], apart);
  const base = options(box, view, label);
  const plot = new uPlot({
    ...base,
    scales: { ...base.scales, y: { range: [-0.15, 1.15] } },
    axes: [base.axes[0], { ...base.axes[1], splits: () => [0, 1] }],
    series: [
      timeSeries(),
      { label: word("device.chart_value"), stroke: css("--accent"), width: 2, fill: css("--accent-soft"), value: (_, v) => label(v), paths: uPlot.paths.stepped({ align: 1 }), spanGaps: false, points: { show: false } },
    ],
  }, [drawn.map((p) => p.at), drawn.map((p) => (p.value === null ? null : p.value ? 1 : 0))], box);
  return Object.assign(plot, { gaps, told: "" });
}

// What the picture shows, in words, for those who do not see it.
function tell(points, values, gaps) {
  const text = word("device.chart_summary", { from: timeOfDay(points[0].at), to: timeOfDay(points.at(-1).at), ...values });
  return gaps ? text + word("device.chart_gaps", { n: gaps }) : text;
}
