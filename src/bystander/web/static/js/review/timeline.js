// One strip a person: when visible, kept or covered, where the detector was unsure. And one a drawn box or zone.
import { $, el, icon, keyed, place } from "../dom.js";
import { clock, t } from "../words.js";
import { now, seek, step } from "./player.js";

const STEPS_S = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800];
const TICK_PX = 84; // room for a time
const THIN = 0.001; // spans nearer to each other than this share of the film are drawn as one
let length = 0;
let context = null; // {people, edits, selected, select(id), toggle(id), remove(id)}

export function startTimeline(given) {
  context = given;
  $("ruler").addEventListener("pointerdown", scrub);
  $("rows").addEventListener("pointerdown", (event) => event.target.closest(".lane") && scrub(event));
  $("rows").addEventListener("click", click);
  $("timeline").addEventListener("keydown", keys);
  $("zoom").addEventListener("input", () => zoom(Number($("zoom").value)));
  new ResizeObserver(() => ruler()).observe($("ruler"));
}

export function open(duration) {
  length = duration;
  $("zoom").value = 1;
  $("ruler").setAttribute("aria-valuemax", duration.toFixed(1));
  zoom(1);
}

function zoom(factor) {
  place($("lanes-inner"), { zoom: factor });
  ruler();
  show(now());
}

function scrub(event) {
  const lane = event.target.closest(".lane, .ruler");
  const to = (at) => {
    const box = lane.getBoundingClientRect();
    seek(((at.clientX - box.left) / box.width) * length);
  };
  to(event);
  lane.setPointerCapture(event.pointerId);
  const move = (at) => to(at);
  lane.addEventListener("pointermove", move);
  lane.addEventListener("lostpointercapture", () => lane.removeEventListener("pointermove", move), { once: true });
}

function click(event) {
  const button = event.target.closest("button[data-do]");
  const row = event.target.closest("li");
  if (!row) return;
  const { id } = row.dataset;
  const action = button?.dataset.do ?? (row.dataset.kind === "person" ? "select" : "");
  if (action) context[action](id);
}

function keys(event) {
  if (event.target.tagName === "INPUT") return;
  const moves = {
    ArrowLeft: () => (event.shiftKey ? seek(now() - 1) : step(-1)),
    ArrowRight: () => (event.shiftKey ? seek(now() + 1) : step(1)),
    PageUp: () => seek(now() - 10),
    PageDown: () => seek(now() + 10),
    Home: () => seek(0),
    End: () => seek(length),
    ArrowUp: () => neighbour(-1),
    ArrowDown: () => neighbour(1),
  };
  if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  moves[event.key]();
}

function neighbour(direction) {
  const people = context.people();
  if (!people.length) return;
  const at = people.findIndex((person) => String(person.id) === String(context.selected()));
  const next = at < 0 ? 0 : Math.min(people.length - 1, Math.max(0, at + direction));
  context.select(people[next].id);
  const row = document.querySelector(`#rows li[data-key="person-${CSS.escape(people[next].id)}"]`);
  if ($("rows").contains(document.activeElement)) row?.querySelector("button")?.focus();
  row?.scrollIntoView({ block: "nearest" });
}

/** The playhead at `seconds`. */
export function show(seconds) {
  if (!length) return;
  place($("lanes-inner"), { at: seconds / length });
  $("ruler").setAttribute("aria-valuenow", seconds.toFixed(1));
  $("ruler").setAttribute("aria-valuetext", clock(seconds));
}

function ruler() {
  const width = $("ruler").clientWidth;
  if (!width || !length) return;
  const every = STEPS_S.find((s) => (s / length) * width >= TICK_PX) ?? 3600;
  const ticks = [];
  for (let at = 0; at <= length - every / 3; at += every) {
    const tick = el("span", { class: "tick" }, every < 1 ? clock(at) : clock(at).replace(/\.\d$/, ""));
    place(tick, { from: at / length });
    ticks.push(tick);
  }
  $("ruler").replaceChildren(...ticks);
}

export function rows() {
  const { boxes = [], zones = [] } = context.edits() ?? {};
  const drawn = [...boxes.map((d, i) => ({ ...d, n: i + 1, verdict: "cover" })), ...zones.map((d, i) => ({ ...d, n: i + 1, verdict: "keep" }))];
  const items = [...context.people().map((p) => ({ kind: "person", ...p })), ...drawn.map((d) => ({ kind: "drawn", ...d }))];
  keyed($("rows"), items, (item) => `${item.kind}-${item.id}`, (item) => (item.kind === "person" ? personRow(item) : drawnRow(item)), updateRow);
  $("nobody").hidden = context.people().length > 0;
}

function personRow(person) {
  return el("li", { "data-kind": "person", "data-id": person.id },
    el("div", { class: "lane-head" },
      el("button", { type: "button", class: "who", "data-do": "select" }, person.thumbnail ? el("img", { src: person.thumbnail, alt: "", loading: "lazy" }) : icon("kept"), el("span")),
      el("button", { type: "button", class: "flip", "data-do": "toggle" })),
    el("div", { class: "lane" }));
}

function drawnRow(item) {
  return el("li", { "data-kind": "drawn", "data-id": item.id },
    el("div", { class: "lane-head" }, icon(item.verdict === "cover" ? "box" : "zone"), el("span", { class: "drawn-name" }),
      el("button", { type: "button", class: "quiet icon-only", "data-do": "remove" }, icon("trash"))),
    el("div", { class: "lane" }));
}

function updateRow(row, item) {
  const kept = item.kind === "person" ? item.kept : item.verdict === "keep";
  row.className = kept ? "kept" : "covered";
  if (item.kind === "person") updatePerson(row, item);
  else {
    const name = t(`draw.row.${item.verdict}`, { n: item.n });
    row.querySelector(".drawn-name").textContent = name;
    row.querySelector("button").setAttribute("aria-label", t("draw.remove", { name }));
  }
  const spans = item.kind === "person" ? item.spans : [[item.from_s, item.to_s]];
  const signature = JSON.stringify([spans, item.unsure]);
  if (row.dataset.spans === signature) return;
  row.dataset.spans = signature;
  row.querySelector(".lane").replaceChildren(...strips(spans, "strip"), ...strips(item.unsure ?? [], "strip unsure"));
}

function updatePerson(row, person) {
  const selected = String(context.selected()) === String(person.id);
  row.classList.toggle("selected", selected);
  const who = row.querySelector(".who");
  who.setAttribute("aria-pressed", selected);
  who.querySelector("span").textContent = t("person.name", { n: person.name });
  const flip = row.querySelector(".flip");
  const label = t(person.kept ? "person.toggle.cover" : "person.toggle.keep", { n: person.name });
  if (flip.getAttribute("aria-label") === label) return;
  flip.setAttribute("aria-label", label);
  flip.title = label;
  flip.replaceChildren(icon(person.kept ? "kept" : "covered"));
}

function strips(spans, kind) {
  const joined = [];
  for (const [from, to] of [...spans].sort((a, b) => a[0] - b[0])) {
    const last = joined.at(-1);
    if (last && from - last[1] <= length * THIN) last[1] = Math.max(last[1], to);
    else joined.push([from, to]);
  }
  return joined.map(([from, to]) => {
    const strip = el("i", { class: kind, title: `${clock(from)} – ${clock(to)}` });
    place(strip, { from: from / length, to: Math.min(1, to / length) });
    return strip;
  });
}
