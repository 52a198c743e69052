// The page's liveness: the stream's events change what is on screen, ages tick, a lost line is said.
//
// Marks in the page:
//   data-live="alarm gateway"  a region that the server renders again when such an event comes (htmx fetches it)
//   data-live-slow="device"    the same for frequent events, at most every few seconds
//   data-hold                  with data-live: not while somebody fills in a form of it; what is unfolded stays so
//   data-device="gw/id"        holds [data-metric], [data-state] and [data-seen] of one device: changed in place
//   time.age[data-at]          ticks; with data-stale it says when it is older than that many milliseconds

import { toast } from "./forms.js";
import { ago, fullTime, timeOfDay, value } from "./format.js";
import { now, word } from "./page.js";
import { canSound, chime, soundOn } from "./sound.js";
import { Stream } from "./stream.js";

const FAST_MS = 400;
const SLOW_MS = 4000;
const HOLD_MS = 1000;
const FRESH_MS = 120000;

// ---- ages

function tickOne(element, at) {
  const age = now() - at;
  const text = ago(age / 1000);
  const stale = element.dataset.stale !== undefined && age > Number(element.dataset.stale);
  if (element.textContent !== text) element.textContent = text;
  if (element.classList.contains("stale") !== stale) {
    element.classList.toggle("stale", stale);
    element.closest("[data-slot]")?.classList.toggle("stale-value", stale);
  }
}

function tick() {
  for (const element of document.querySelectorAll("time.age[data-at]")) tickOne(element, Number(element.dataset.at));
  const lost = document.getElementById("lost-text");
  if (lostSince) lost.textContent = word("live.lost_since", { age: ago((Date.now() - lostSince) / 1000) });
}

// ---- regions that the server renders again

const due = new Map();

// Whether somebody is filling in a form of the region.
function busy(region) {
  if (region.dataset.hold === undefined) return false;
  const changed = (field) => {
    if (field === document.activeElement) return true;
    if (field.tagName !== "SELECT") return field.type !== "hidden" && field.value !== field.defaultValue;
    return field.selectedIndex !== Math.max(0, [...field.options].findIndex((option) => option.defaultSelected));
  };
  return [...region.querySelectorAll("input, textarea, select")].some(changed);
}

const unfolded = new Set();
document.addEventListener("toggle", ({ target }) => {
  if (target.id && target.closest("[data-hold]")) unfolded[target.open ? "add" : "delete"](target.id);
}, true);
document.addEventListener("htmx:afterSwap", () => {
  for (const id of unfolded) document.getElementById(id)?.setAttribute("open", "");
});

// At once, then at most every `wait` milliseconds; the last event of a burst is never left out.
function refresh({ id }, wait) {
  const state = due.get(id) ?? { last: 0, timer: 0 };
  due.set(id, state);
  if (state.timer) return;
  const delay = Math.max(0, state.last + wait - Date.now());
  state.timer = setTimeout(() => {
    state.timer = 0;
    state.last = Date.now();
    const element = document.getElementById(id);
    if (!element) return;
    if (busy(element)) refresh(element, HOLD_MS);
    else htmx.trigger(element, "live");
  }, delay);
}

const refreshKind = (kind) => {
  document.querySelectorAll(`[data-live~="${kind}"]`).forEach((element) => refresh(element, FAST_MS));
  document.querySelectorAll(`[data-live-slow~="${kind}"]`).forEach((element) => refresh(element, SLOW_MS));
};

// ---- devices, in place

function showValue(root, metric, latest) {
  for (const slot of root.querySelectorAll(`[data-metric="${CSS.escape(metric)}"]`)) {
    const field = slot.querySelector(".value");
    const text = value(latest.value, latest.unit, slot);
    if (field.textContent !== text) {
      field.textContent = text;
      field.classList.remove("flash");
      requestAnimationFrame(() => field.classList.add("flash"));
    }
    field.classList.toggle("q-bad", latest.quality === "bad");
    field.classList.toggle("q-uncertain", latest.quality === "uncertain");
    const quality = slot.querySelector(".quality");
    if (quality) {
      quality.hidden = latest.quality === "good";
      quality.textContent = word(`quality.${latest.quality}`);
    }
    const age = slot.querySelector("time.age");
    if (age) setAge(age, now() - latest.age_s * 1000);
  }
}

function setAge(element, at) {
  element.dataset.at = String(Math.round(at));
  element.dateTime = new Date(at).toISOString();
  element.title = fullTime(at);
  tickOne(element, at);
}

// A reason of ours, or the kinds of its alarms.
function reasonText(reason) {
  const names = reason.split(/[\s,]+/).filter(Boolean);
  return names.map((name) => word(`reason.${name}`) || word(`kind.${name}`) || name).join(word("clause.join"));
}

function showDevice(device) {
  const key = `${device.gateway}/${device.id}`;
  for (const root of document.querySelectorAll(`[data-device="${CSS.escape(key)}"]`)) {
    for (const [metric, latest] of Object.entries(device.latest)) showValue(root, metric, latest);
    const pill = root.querySelector("[data-state]");
    if (pill && pill.dataset.state !== device.state) {
      pill.dataset.state = device.state;
      pill.className = `pill is-${device.state}`;
      pill.textContent = word(`device_state.${device.state}`);
      const reason = root.querySelector("[data-reason]");
      if (reason) reason.textContent = reasonText(device.reason);
    }
    const seen = root.querySelector("time[data-seen]");
    const youngest = Math.min(...Object.values(device.latest).map((latest) => latest.age_s));
    if (seen && Number.isFinite(youngest)) setAge(seen, now() - youngest * 1000);
    root.dispatchEvent(new CustomEvent("device", { detail: device }));
  }
}

// ---- alarms

const told = new Set(JSON.parse(sessionStorage.getItem("told") ?? "[]"));

function announce(alarm) {
  const key = `${alarm.gateway} ${alarm.occurrence}`;
  const fresh = now() - Date.parse(alarm.received_at) < FRESH_MS;
  if (alarm.state !== "open" || alarm.folded_into || alarm.quiet || told.has(key) || !fresh) return;
  told.add(key);
  sessionStorage.setItem("told", JSON.stringify([...told].slice(-200)));
  const title = document.documentElement.lang === "en" ? alarm.title_en : alarm.title_zh;
  const where = alarm.location || alarm.device || alarm.gateway;
  document.getElementById("announce").textContent = word("live.announce", {
    severity: word(`severity.${alarm.severity}`), title: title || word(`kind.${alarm.kind}`) || alarm.kind, where,
  });
  if (alarm.severity === "critical" && soundOn()) chime();
}

// ---- the line

let lostSince = 0;

function lineState(state) {
  const mark = document.getElementById("line");
  mark.dataset.state = state;
  mark.querySelector("span").textContent = word(`live.${state}`);
  mark.title = state === "lost" ? "" : word(`live.${state}`);
  document.body.classList.toggle("is-lost", state === "lost");
  document.getElementById("lost").hidden = state !== "lost";
  if (state === "lost") lostSince ||= Date.now();
  else if (state === "on" && lostSince) {
    lostSince = 0;
    document.getElementById("announce").textContent = word("live.back");
  }
  tick();
}

// A stream is refused for ever when the session ended: then the sign-in page is the answer.
async function checkSession() {
  try {
    const answer = await fetch("/session", { cache: "no-store", redirect: "manual" });
    if (answer.status === 401) location.assign(`/sign-in?ended=1&next=${encodeURIComponent(location.pathname + location.search)}`);
  } catch {
    // The server is away: the stream's own retries will see it come back.
  }
}

const everything = () => document.querySelectorAll("[data-live], [data-live-slow], [data-live-resume]").forEach((element) => refresh(element, FAST_MS));

const stream = new Stream("/api/v1/stream", ["alarm", "gateway", "device", "incident", "presence", "level", "hazard", "drill", "walk", "command", "claim", "config", "campaign", "firmware", "release", "reset"], {
  state: lineState,
  resumed: everything,
  failed: checkSession,
  event(kind, data) {
    if (kind === "reset") everything(); // what was missed is no longer kept: look at all of it
    if (kind === "device") showDevice(data);
    if (kind === "alarm") announce(data);
    refreshKind(kind);
    const updated = document.getElementById("updated");
    if (updated) updated.textContent = timeOfDay(now());
  },
}, () => soundOn() && canSound());

// ---- what htmx tells

document.addEventListener("htmx:afterSettle", tick);
document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.successful && detail.elt.matches("form[data-reset]")) detail.elt.reset();
  if (detail.successful || detail.requestConfig.verb === "get") return; // a region's failure shows in the line's state
  const plain = detail.xhr.getResponseHeader("content-type")?.startsWith("text/plain");
  toast(word("live.failed", { reason: plain ? detail.xhr.responseText : detail.xhr.status || word("live.unsent") }));
});

setInterval(tick, 1000);
tick();
stream.open();
