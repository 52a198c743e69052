// Switches that need no server: dark or light, sound, filters that apply when chosen. Works on the sign-in page too.

import { setSound, soundOn, unlock } from "./sound.js";

const root = document.documentElement;
const year = 365 * 86400;

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

const theme = document.getElementById("theme");
for (const button of document.querySelectorAll("#theme, [data-theme-switch]")) {
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    document.cookie = `patrol_theme=${root.dataset.theme}; path=/; max-age=${year}; samesite=lax`;
    theme?.setAttribute("aria-pressed", String(isDark()));
    dispatchEvent(new Event("themechange"));
  });
}
theme?.setAttribute("aria-pressed", String(isDark()));

const sound = document.getElementById("sound");
sound?.addEventListener("click", () => {
  setSound(!soundOn());
  sound.setAttribute("aria-pressed", String(soundOn()));
});
sound?.setAttribute("aria-pressed", String(soundOn()));
addEventListener("pointerdown", unlock, { once: true });
addEventListener("keydown", unlock, { once: true });

for (const toggle of document.querySelectorAll("form.filters .more-toggle")) {
  toggle.addEventListener("click", () => {
    toggle.setAttribute("aria-expanded", String(toggle.form.classList.toggle("open")));
  });
}

for (const field of document.querySelectorAll("form.filters:not([method=post]) select")) {
  field.addEventListener("change", () => field.form.requestSubmit());
}
