// Work in the field on a flaky line: what is typed is kept, what is sent goes out until the server has answered.
//
// Marks in the page:
//   form[data-draft="name"]      its fields are kept in the browser until they were sent
//   form[data-outbox="words"]    sent from here: kept until the server has answered, each with a key, so done once
//     data-label="field"         the field that names what is sent; data-go: follow to the page that answers
//     data-fresh="seconds"       not sent any more when it had to wait longer: what holds alarms must not begin unseen
//   input[data-keep]             keeps what is in it after sending, for the next one
//   [data-adopt]                 fills the adoption form
//   [data-unshown]               a result of a walk test that this page shows first: the server is told when
//
// Drafts and what waits belong to who is signed in: the next one at the same phone neither sees nor sends them.

const panel = document.getElementById("outbox");
const BOX = `patrol.outbox.${panel.dataset.user}`;
const DRAFT = `patrol.draft.${panel.dataset.user}.`;
const SOONEST_MS = 1000;
const LATEST_MS = 30000;
const TIMEOUT_MS = 20000;

const csrf = () => document.querySelector("input[name=csrf]")?.value ?? "";

// In a private window that keeps nothing the page still works while it is open.
const memory = new Map();
let keeps = true;

function stored(name) {
  try {
    return JSON.parse((keeps ? localStorage.getItem(name) : memory.get(name)) ?? "null");
  } catch {
    return null;
  }
}

function store(name, value) {
  memory.set(name, JSON.stringify(value));
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, JSON.stringify(value));
  } catch {
    keeps = false;
  }
}

// ---- drafts

const fieldsOf = (form) => Object.fromEntries([...new FormData(form)].filter(([name, value]) => typeof value === "string" && !["csrf", "back", "key"].includes(name)));
const draftMark = (form) => form.closest("section")?.querySelector("[data-draft-state]");

function keepDraft(form) {
  store(DRAFT + form.dataset.draft, fieldsOf(form));
  const mark = draftMark(form);
  if (mark) mark.textContent = panel.dataset.draft;
}

function fill(form, fields) {
  for (const [name, value] of Object.entries(fields)) {
    const field = form.elements[name];
    if (field && (field.tagName !== "SELECT" || [...field.options].some((option) => option.value === value))) field.value = value;
  }
}

function restoreDraft(form) {
  const draft = stored(DRAFT + form.dataset.draft);
  if (draft && !new URLSearchParams(location.search).has("address")) fill(form, draft);
}

// ---- the outbox, which every open page of this browser shares

let wait = SOONEST_MS;
let timer = 0;
let sending = "";

const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
const held = () => stored(BOX) ?? [];

function hold(items) {
  store(BOX, items);
  show();
}

const without = (item) => held().filter((each) => each.fields.key !== item.fields.key);
const formOf = (item) => [...document.querySelectorAll("form[data-outbox]")].find((form) => form.action === item.action && form.querySelector("input:not([type=hidden]), textarea, select"));

function button(words, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "button small quiet";
  made.textContent = words;
  made.addEventListener("click", act);
  return made;
}

function show() {
  const items = held();
  panel.querySelector("ul").replaceChildren(...items.map((item) => {
    const line = document.createElement("li");
    const what = document.createElement("b");
    what.textContent = item.label;
    const state = document.createElement("span");
    state.textContent = item.refused ? panel.dataset.refused.replace("{reason}", item.refused) : item.fields.key === sending ? panel.dataset.sending : panel.dataset.saved;
    line.append(what, state);
    if (item.refused) {
      if (formOf(item)) line.append(button(panel.dataset.correct, () => correct(item)));
      line.append(button(panel.dataset.drop, () => hold(without(item))));
    }
    return line;
  }));
  panel.hidden = !items.length;
}

// Put what was refused back into its form, to be put right and sent again.
function correct(item) {
  const form = formOf(item);
  hold(without(item));
  for (let fold = form.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  fill(form, item.fields);
  if (form.dataset.draft) keepDraft(form);
  form.scrollIntoView({ block: "start" });
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(send, wait);
  wait = Math.min(LATEST_MS, wait * 2);
}

function take(form) {
  const fields = fieldsOf(form);
  const same = (item) => !item.refused && item.action === form.action && JSON.stringify({ ...item.fields, key: "" }) === JSON.stringify({ ...fields, key: "" });
  if (held().some(same)) return; // pressed twice
  const named = form.dataset.label ? ` ${fields[form.dataset.label] ?? ""}` : "";
  const until = form.dataset.fresh ? Date.now() + 1000 * form.dataset.fresh : 0;
  // By its key the server knows it again, however often it comes.
  hold([...held(), { action: form.action, fields: { ...fields, key: newKey() }, label: `${form.dataset.outbox}${named}`, go: form.dataset.go !== undefined, until }]);
  form.querySelectorAll("input:not([type=hidden], [data-keep]), textarea").forEach((field) => (field.value = ""));
  if (form.dataset.draft) store(DRAFT + form.dataset.draft, null);
  const mark = draftMark(form);
  if (mark) mark.textContent = "";
  wait = SOONEST_MS;
  send();
}

// One after the other, in the order in which they were made.
async function send() {
  if (sending) return;
  clearTimeout(timer);
  for (let item; (item = held().find((each) => !each.refused)); ) {
    sending = item.fields.key;
    show();
    const answer = item.until && Date.now() > item.until ? { refused: panel.dataset.old } : await post(item);
    sending = "";
    if (!answer) {
      show();
      return later();
    }
    hold(answer.refused ? held().map((each) => (each.fields.key === item.fields.key ? { ...each, refused: answer.refused } : each)) : without(item));
    if (answer.to && item.go) return location.assign(answer.to);
    document.querySelectorAll("[data-live]").forEach((region) => htmx.trigger(region, "live"));
  }
  wait = SOONEST_MS;
}

// What came of it; nothing when it has to be tried again.
async function post(item) {
  const stop = new AbortController();
  const limit = setTimeout(() => stop.abort(), TIMEOUT_MS);
  try {
    const answer = await fetch(item.action, {
      method: "POST", headers: { "HX-Request": "true" }, body: new URLSearchParams({ ...item.fields, csrf: csrf() }), signal: stop.signal,
    });
    if (answer.ok) return { to: answer.url };
    if (answer.status === 401) {
      const to = answer.headers.get("HX-Redirect");
      if (to) location.assign(`/sign-in?ended=1&next=${encodeURIComponent(location.pathname)}`);
      return null;
    }
    if (answer.status >= 500 || answer.status === 429 || answer.status === 408) return null;
    return { refused: (await answer.text()).slice(0, 300) || String(answer.status) };
  } catch {
    return null; // the line is away; what was sent may have arrived, and its key makes it done once
  } finally {
    clearTimeout(limit);
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("form[data-outbox]")) return;
  event.preventDefault();
  take(form);
});

document.addEventListener("input", (event) => {
  const form = event.target.closest?.("form[data-draft]");
  if (form) keepDraft(form);
});

window.addEventListener("storage", (event) => event.key === BOX && show());

window.addEventListener("online", () => {
  wait = SOONEST_MS;
  send();
});

// ---- adoption

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("[data-adopt]");
  const form = document.querySelector("#adopt form");
  if (!link || !form) return;
  event.preventDefault();
  form.elements.address.value = link.dataset.address;
  const connectors = form.elements.connector;
  const named = link.dataset.connector;
  if (![...connectors.options].some((option) => option.value === named)) connectors.add(new Option(named, named)); // it came up since the page was opened
  connectors.value = named;
  if (link.dataset.profile) form.elements.profile.value = link.dataset.profile;
  const last = link.dataset.address.split(/[/;=]/).pop();
  if (!form.elements.device.value && /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(last)) form.elements.device.value = last;
  form.scrollIntoView({ block: "start" });
  form.elements.device.focus({ preventScroll: true });
  keepDraft(form);
});

// ---- when a result of a walk test is on screen

const told = new Map();

async function tellShown() {
  const box = document.getElementById("walk-devices");
  if (!box) return;
  const fresh = {};
  for (const row of box.querySelectorAll("[data-unshown]")) {
    const device = row.dataset.deviceId;
    if (!told.has(device)) told.set(device, performance.now());
    fresh[device] = Math.round(performance.now() - told.get(device));
  }
  if (!Object.keys(fresh).length) return;
  try {
    await fetch(`/api/v1/walk-tests/${box.dataset.walk}/shown`, {
      method: "POST", headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf() }, body: JSON.stringify({ devices: fresh }),
    });
  } catch {
    // the next look at the page tells it again, with how long ago it was
  }
}

document.addEventListener("htmx:afterSettle", tellShown);

// ---- the camera, where the browser can read a code by itself

function offerScan() {
  const button = document.getElementById("scan");
  const view = document.getElementById("scan-view");
  if (!button || !("BarcodeDetector" in window) || !navigator.mediaDevices) return;
  button.hidden = false;
  const word = button.textContent;
  let stream = null;
  const end = () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    view.hidden = true;
    button.textContent = word;
  };
  button.addEventListener("click", async () => {
    if (stream) return end();
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch {
      return (button.hidden = true); // not allowed: the label is typed
    }
    view.srcObject = stream;
    view.hidden = false;
    button.textContent = button.dataset.stop;
    await view.play();
    const detector = new BarcodeDetector({ formats: ["qr_code"] });
    const look = async () => {
      if (!stream) return;
      const codes = await detector.detect(view).catch(() => []);
      if (!codes.length) return requestAnimationFrame(look);
      const field = document.getElementById(button.dataset.into);
      field.value = codes[0].rawValue.slice(0, 500);
      end();
      field.form.requestSubmit();
    };
    look();
  });
}

document.querySelectorAll("form[data-draft]").forEach(restoreDraft);
offerScan();
show();
tellShown();
send();
