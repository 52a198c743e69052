// Response clocks that count. The server says when each is due; this counts down to it and on beyond.
//
// Marks in the page: [data-due] milliseconds UTC, data-target seconds, data-left and data-over the words for what is left
// and for what is over; within it [data-count] shows the figure and [data-word] the word. What the server rendered is
// right already, so a browser without scripts shows the clock as it stood.

import { now } from "./page.js";

const SOON = 0.25;

// 4:07, 1:02:03. Halves of a second never show: a clock is over from its first moment.
export function figure(seconds) {
  const whole = Math.floor(Math.abs(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

export function mood(left, target) {
  if (left <= 0) return "over";
  return left < target * SOON ? "soon" : "calm";
}

function show(clock) {
  const left = (Number(clock.dataset.due) - now()) / 1000;
  const state = mood(left, Number(clock.dataset.target));
  clock.querySelector("[data-count]").textContent = figure(left);
  clock.querySelector("[data-word]").textContent = state === "over" ? clock.dataset.over : clock.dataset.left;
  for (const each of ["calm", "soon", "over"]) clock.classList.toggle(`is-${each}`, each === state);
}

const tick = () => document.querySelectorAll("[data-due]").forEach(show);

document.addEventListener("htmx:afterSettle", tick);
setInterval(tick, 1000);
tick();
