// Forms are sent from here: once, with the button saying so; what is wrong is said beside them, and what was typed stays.
//
// Marks in the page:
//   form[method=post]        is sent by this module: it leads to where the server says, or its answer takes the page's
//                            place; what is refused is said in the form
//   form[data-plain]         is left to the browser
//   form[data-confirm="…"]   is sent only after somebody has said yes to the question
//
// Forms of htmx (hx-post) and of the field's outbox (data-outbox) are sent by those.

import { word } from "./page.js";

const TIMEOUT_MS = 20000;
const DONE = "patrol.done";

let fading;

export function toast(text, ms = 8000) {
  const box = document.getElementById("toast");
  box.textContent = text;
  box.hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => (box.hidden = true), ms);
}

function say(form, text) {
  const box = form.querySelector(".form-fault") ?? document.createElement("p");
  box.className = "notice form-fault";
  box.setAttribute("role", "alert");
  box.textContent = text;
  form.append(box);
  box.scrollIntoView({ block: "nearest" });
}

// On to a page; the one that is open is loaded again where it stands.
function go(to) {
  sessionStorage.setItem(DONE, "1");
  const target = new URL(to, location.href);
  const same = target.pathname === location.pathname && target.search === location.search;
  if (same && target.hash) history.replaceState(null, "", target);
  if (same) location.reload();
  else location.assign(target);
}

// The page that answers, in the place of this one's content.
function show(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  for (const sheet of page.head.querySelectorAll("link[rel=stylesheet]")) {
    if (!document.head.querySelector(`link[href="${CSS.escape(sheet.getAttribute("href"))}"]`)) document.head.append(sheet);
  }
  const main = document.getElementById("content");
  main.replaceChildren(...page.getElementById("content").childNodes);
  document.title = page.title;
  document.querySelector(".top h1").textContent = page.querySelector(".top h1").textContent;
  htmx.process(main);
  scrollTo(0, 0);
  main.focus({ preventScroll: true });
}

async function reason(answer) {
  if (answer.headers.get("content-type")?.startsWith("text/plain")) return (await answer.text()).slice(0, 500);
  return String(answer.status);
}

// A field may be called `action`, and stand before the form's own property.
const address = (form, button) => button?.getAttribute("formaction") ?? form.getAttribute("action");

async function send(form, button) {
  const stop = new AbortController();
  const limit = setTimeout(() => stop.abort(), TIMEOUT_MS);
  form.dataset.sending = "";
  button?.setAttribute("aria-busy", "true");
  form.querySelector(".form-fault")?.remove();
  try {
    const answer = await fetch(address(form, button), {
      method: "POST", signal: stop.signal, body: new URLSearchParams(new FormData(form, button)),
      headers: { "HX-Request": "true", "HX-Current-URL": location.href, "Patrol-Form": "1" },
    });
    const to = answer.headers.get("Patrol-To") ?? answer.headers.get("HX-Redirect");
    if (to) return go(to);
    if (answer.headers.get("content-type")?.startsWith("text/html")) show(await answer.text());
    else say(form, await reason(answer));
  } catch {
    say(form, word("live.unsent"));
  } finally {
    clearTimeout(limit);
    delete form.dataset.sending;
    button?.removeAttribute("aria-busy");
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.getAttribute("method") !== "post") return;
  const twice = form.dataset.sending !== undefined;
  if (twice || (form.dataset.confirm && !confirm(form.dataset.confirm))) {
    event.preventDefault();
    event.stopImmediatePropagation();
    return;
  }
  if (form.matches("[hx-post], [data-outbox]")) return;
  if (form.dataset.plain !== undefined) return void event.submitter?.setAttribute("aria-busy", "true");
  event.preventDefault();
  send(form, event.submitter);
}, true);

addEventListener("pageshow", () => document.querySelectorAll("[data-plain] [aria-busy]").forEach((button) => button.removeAttribute("aria-busy")));

if (sessionStorage.getItem(DONE)) {
  sessionStorage.removeItem(DONE);
  toast(word("live.done"), 2500);
}
