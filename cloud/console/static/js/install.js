// Work in the field on a flaky line: what is typed is kept, what is sent goes out until the server has answered.
//
// Marks in the page:
//   form[data-draft="name"]      its fields are kept in the browser until they were sent
//   form[data-outbox="words"]    sent from here: kept until the server has answered, each with a key, so done once
//     data-label="field"         the field that names what is sent; data-go: follow to the page that answers
//   [data-adopt]                 fills the adoption form
//   [data-unshown]               a result of a walk test that this page shows first: the server is told when

const BOX = "patrol.outbox";
const SOONEST_MS = 1000;
const LATEST_MS = 30000;
const TIMEOUT_MS = 20000;

const panel = document.getElementById("outbox");
const csrf = () => document.querySelector("input[name=csrf]")?.value ?? "";

function stored(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function store(name, value) {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // a private window without storage: the page still works while it is open
  }
}

// ---- drafts

const fieldsOf = (form) => [...new FormData(form)].filter(([name, value]) => typeof value === "string" && !["csrf", "back", "key"].includes(name));

function keepDraft(form) {
  store(`patrol.draft.${form.dataset.draft}`, Object.fromEntries(fieldsOf(form)));
  const mark = form.closest("section")?.querySelector("[data-draft-state]");
  if (mark) mark.textContent = panel.dataset.draft;
}

function restoreDraft(form) {
  const draft = stored(`patrol.draft.${form.dataset.draft}`, null);
  if (!draft || new URLSearchParams(location.search).has("address")) return;
  for (const [name, value] of Object.entries(draft)) {
    const field = form.elements[name];
    if (field && (field.tagName !== "SELECT" || [...field.options].some((option) => option.value === value))) field.value = value;
  }
}

const dropDraft = (name) => name && store(`patrol.draft.${name}`, null);

// ---- the outbox

let waiting = stored(BOX, []);
let wait = SOONEST_MS;
let timer = 0;
let busy = false;

const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function keep() {
  store(BOX, waiting);
  show();
}

function show() {
  const list = panel.querySelector("ul");
  list.replaceChildren(...waiting.map((item) => {
    const line = document.createElement("li");
    const what = document.createElement("b");
    what.textContent = item.label;
    const state = document.createElement("span");
    state.textContent = item.refused ? panel.dataset.refused.replace("{reason}", item.refused) : item.sending ? panel.dataset.sending : panel.dataset.saved;
    line.append(what, state);
    if (item.refused) {
      const drop = document.createElement("button");
      drop.type = "button";
      drop.className = "button small quiet";
      drop.textContent = panel.dataset.drop;
      drop.addEventListener("click", () => {
        waiting = waiting.filter((each) => each !== item);
        keep();
      });
      line.append(drop);
    }
    return line;
  }));
  panel.hidden = !waiting.length;
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(send, wait);
  wait = Math.min(LATEST_MS, wait * 2);
}

function take(form) {
  const fields = Object.fromEntries([...new FormData(form)].filter(([, value]) => typeof value === "string"));
  const named = form.dataset.label ? ` ${fields[form.dataset.label] ?? ""}` : "";
  fields.key = newKey(); // by which the server knows it again, however often it comes
  waiting.push({ action: form.action, fields, label: `${form.dataset.outbox}${named}`, draft: form.dataset.draft ?? "", go: form.dataset.go !== undefined });
  keep();
  form.querySelectorAll("input:not([type=hidden]), textarea").forEach((field) => (field.value = ""));
  wait = SOONEST_MS;
  send();
}

// One after the other, in the order in which they were made.
async function send() {
  if (busy) return;
  busy = true;
  clearTimeout(timer);
  try {
    for (let item; (item = waiting.find((each) => !each.refused)); ) {
      item.sending = true;
      show();
      const answer = await post(item);
      item.sending = false;
      if (!answer) {
        keep();
        later();
        return;
      }
      if (answer.refused) item.refused = answer.refused;
      else waiting = waiting.filter((each) => each !== item);
      if (!answer.refused) dropDraft(item.draft);
      keep();
      if (answer.to && item.go) return location.assign(answer.to);
      document.querySelectorAll("[data-live]").forEach((region) => htmx.trigger(region, "live"));
    }
    wait = SOONEST_MS;
  } finally {
    busy = false;
  }
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
  form.elements.connector.value = link.dataset.connector;
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
if (waiting.length) send();
