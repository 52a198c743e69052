// What the server told this page: language, zone, its clock, and the words that scripts need.

const given = JSON.parse(document.getElementById("page").textContent);

export const zone = given.zone;
export const lang = given.lang;

// The server's clock, since ages count from its times and the browser's clock may be wrong.
const ahead = given.now - Date.now();
export const now = () => Date.now() + ahead;

// A word with its {names} filled in; empty for an unknown key.
export function word(key, values = {}) {
  const text = given.words[key] ?? "";
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}
