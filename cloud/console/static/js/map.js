// The map: what /api/v1/map tells of the window, drawn by Leaflet. Everything from outside is text, never markup.

import { ago } from "./format.js";
import { lang, now } from "./page.js";

const WAIT_MS = 250;
const RELOAD_MS = 30000;
const WORST = ["alarm", "fault", "unknown", "offline", "normal"];

const box = document.getElementById("map");
const form = document.getElementById("map-layers");
const problem = document.getElementById("map-problem");
const words = JSON.parse(document.getElementById("map-words").textContent);

const word = (key, values = {}) =>
  (words[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
const named = (thing) => (lang === "en" ? thing.name_en : thing.name_zh);

function made(tag, text = "", kind = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

function link(text, path) {
  const element = made("a", text);
  element.href = path;
  return element;
}

function popup(...parts) {
  const element = made("div", "", "map-popup");
  element.append(...parts.filter(Boolean));
  return element;
}

// ---- the map itself

const map = L.map(box, { zoomSnap: 0.5, worldCopyJump: true, attributionControl: false });
L.control.scale({ imperial: false }).addTo(map);
if (box.dataset.tiles) {
  L.tileLayer(box.dataset.tiles, { maxZoom: 22, maxNativeZoom: Number(box.dataset.maxZoom) }).addTo(map);
  const attribution = L.control.attribution({ prefix: false }).addTo(map);
  const source = made("span", box.dataset.attribution);
  attribution.addAttribution(source.innerHTML);
} else {
  map.setMaxZoom(22);
}
map.createPane("nodes").style.zIndex = 390;

const layers = Object.fromEntries(["nodes", "shapes", "devices", "incidents", "members"].map((name) => [name, L.layerGroup().addTo(map)]));

function mark(lat, lon, size, kind, text, title) {
  const icon = L.divIcon({ html: made("span", text), iconSize: size, className: kind });
  return L.marker([lat, lon], { icon, title, alt: title });
}

// ---- what is drawn

const draw = {
  nodes(nodes) {
    for (const node of nodes) {
      const title = named(node);
      L.geoJSON(node.outline, { pane: "nodes", style: { className: "map-node" } })
        .bindTooltip(made("span", title), { sticky: true })
        .bindPopup(popup(made("strong", title), made("span", word(`kind_of_node.${node.kind}`), "muted"), link(word("map.open"), `/organisation/${node.id}`)))
        .addTo(layers.nodes);
    }
  },
  shapes(shapes) {
    for (const shape of shapes) {
      const title = named(shape);
      const state = word(`map.state_${shape.state}`);
      L.geoJSON(shape.geometry, { style: { className: `map-${shape.kind} map-${shape.state}` } })
        .bindTooltip(made("span", `${title} · ${state}`), { sticky: true })
        .bindPopup(popup(made("strong", title), made("span", `${word(`map.${shape.kind}`)} · ${state}`, "muted"), link(word("map.open"), "/presence")))
        .addTo(layers.shapes);
    }
  },
  devices(devices) {
    for (const group of devices) {
      const worst = WORST.find((state) => group.states[state]);
      const size = group.count === 1 ? 18 : Math.min(30 + 6 * Math.log10(group.count), 54);
      const title = group.device ?? word("map.devices", { n: group.count });
      const pills = made("div", "", "pills");
      for (const state of WORST) {
        if (group.states[state]) pills.append(made("span", `${word(`device_state.${state}`)} ${group.states[state]}`, `pill is-${state}`));
      }
      const way = group.device ? link(word("map.open"), `/devices/${group.gateway}/${group.device}`) : undefined;
      mark(group.lat, group.lon, [size, size], `map-mark is-${worst}`, group.count === 1 ? "" : String(group.count), title)
        .bindPopup(popup(made("strong", title), pills, way))
        .addTo(layers.devices);
    }
  },
  incidents(incidents) {
    for (const each of incidents) {
      const title = lang === "en" ? each.title_en : each.title_zh;
      mark(each.lat, each.lon, [30, 30], `map-incident is-${each.severity}${each.drill ? " drill" : ""}`, "!", title)
        .setZIndexOffset(1000)
        .bindPopup(popup(made("strong", title), made("span", word(`severity.${each.severity}`), `pill is-${each.severity}`), each.drill && made("span", word("map.drill"), "tag drill"), link(word("map.open"), `/incidents/${each.id}`)))
        .addTo(layers.incidents);
    }
  },
  members(members) {
    for (const member of members ?? []) {
      const age = ago((now() - Date.parse(member.at)) / 1000);
      L.circle([member.lat, member.lon], { radius: member.accuracy_m, className: "map-node", interactive: false }).addTo(layers.members);
      mark(member.lat, member.lon, [46, 24], "map-member", member.call_sign, member.call_sign)
        .setZIndexOffset(500)
        .bindPopup(popup(made("strong", member.call_sign), made("span", `${age} · ±${Math.round(member.accuracy_m)} m`, "muted")))
        .addTo(layers.members);
    }
  },
};

// ---- asking

let asked = 0;
let timer = 0;
let reading = false; // a popup is open

async function load() {
  const mine = (asked += 1);
  const window_ = map.getBounds();
  const edges = [window_.getWest(), window_.getSouth(), window_.getEast(), window_.getNorth()];
  const clamped = [edges[0], Math.max(edges[1], -85), edges[2], Math.min(edges[3], 85)];
  const query = new URLSearchParams({ bbox: clamped.map((edge) => edge.toFixed(6)).join(","), datum: box.dataset.datum });
  if (form.elements.members?.checked) query.set("members", "true");
  try {
    const answer = await fetch(`/api/v1/map?${query}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const told = await answer.json();
    if (mine !== asked) return; // a later window was asked for meanwhile
    for (const [name, paint] of Object.entries(draw)) {
      if (reading && name !== "members") continue; // what somebody reads stays under their eyes
      layers[name].clearLayers();
      if (form.elements[name]?.checked) paint(told[name]);
    }
    box.dataset.drawn = String(mine);
    problem.hidden = true;
  } catch (error) {
    if (mine !== asked) return;
    problem.textContent = word("map.failed", { reason: error.message });
    problem.hidden = false;
  }
}

function soon() {
  clearTimeout(timer);
  timer = setTimeout(load, WAIT_MS);
}

const extent = box.dataset.extent.split(",").map(Number);
if (extent.length === 4) {
  map.fitBounds([[extent[1], extent[0]], [extent[3], extent[2]]], { maxZoom: 17, padding: [24, 24] });
} else {
  map.setView([35, 105], 4);
}
map.on("moveend", soon);
map.on("popupopen", () => (reading = true));
map.on("popupclose", () => {
  reading = false;
  soon();
});
form.addEventListener("change", () => {
  map.closePopup();
  load();
});
form.addEventListener("submit", (event) => event.preventDefault());
box.addEventListener("live", soon);
setInterval(() => document.hidden || load(), RELOAD_MS);
load();
