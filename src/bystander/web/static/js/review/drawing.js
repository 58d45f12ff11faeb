// A box to cover or a zone to keep, drawn on the picture or typed, over a span of time.
import { $, place } from "../dom.js";
import { say, t } from "../words.js";
import { now, pause } from "./player.js";

const SPAN_S = 2; // a new box lasts so long unless told otherwise
const KINDS = { box: "tool-box", zone: "tool-zone" };
let film = null;
let kind = null;
let start = null; // where the pointer went down, px of the film
let edit = null;

const form = () => $("draw-form");
const field = (name) => form().elements.namedItem(name);

/** `apply(operation)` sends one edit and resolves true when it was taken. */
export function startDrawing(apply) {
  edit = apply;
  for (const [name, id] of Object.entries(KINDS)) $(id).addEventListener("click", () => choose(kind === name ? null : name));
  $("draw-cancel").addEventListener("click", () => choose(null));
  form().addEventListener("input", show);
  form().addEventListener("submit", submit);
  form().addEventListener("keydown", (event) => event.key === "Escape" && choose(null));
  const area = $("drawing");
  area.addEventListener("pointerdown", (event) => {
    area.setPointerCapture(event.pointerId);
    start = point(event);
    event.preventDefault();
  });
  area.addEventListener("pointermove", (event) => start && drag(point(event)));
  area.addEventListener("pointerup", () => (start = null));
  area.addEventListener("pointercancel", () => (start = null));
}

export function open(found) {
  film = found;
  choose(null);
}

/** Take up a tool, or put it down with null. */
export function choose(name) {
  if (kind && !name) $(KINDS[kind]).focus();
  kind = name;
  for (const [key, id] of Object.entries(KINDS)) $(id).setAttribute("aria-pressed", key === name);
  form().hidden = !name;
  $("compare").dataset.tool = name ?? "";
  if (!name) return;
  pause();
  say($("draw-text"), `draw.${name}.text`);
  const { width, height, duration_s: end } = film.info;
  const from = Math.min(now(), Math.max(0, end - 0.1));
  fill({ from_s: from.toFixed(1), to_s: Math.min(end, from + SPAN_S).toFixed(1) });
  fill({ x: Math.round(width * 0.4), y: Math.round(height * 0.35), w: Math.round(width * 0.2), h: Math.round(height * 0.3) });
  field("to_s").max = Math.ceil(end * 10) / 10;
  for (const [key, most] of [["x", width], ["w", width], ["y", height], ["h", height]]) field(key).max = most;
  show();
  field("from_s").focus({ preventScroll: true });
}

function fill(values) {
  for (const [name, value] of Object.entries(values)) field(name).value = value;
}

function point(event) {
  const box = $("compare").getBoundingClientRect();
  const inside = (value) => Math.min(1, Math.max(0, value));
  return [inside((event.clientX - box.left) / box.width) * film.info.width, inside((event.clientY - box.top) / box.height) * film.info.height];
}

function drag([x, y]) {
  const [x1, x2] = [Math.min(x, start[0]), Math.max(x, start[0])];
  const [y1, y2] = [Math.min(y, start[1]), Math.max(y, start[1])];
  fill({ x: Math.floor(x1), y: Math.floor(y1), w: Math.max(2, Math.ceil(x2 - Math.floor(x1))), h: Math.max(2, Math.ceil(y2 - Math.floor(y1))) });
  show();
}

function show() {
  const { width, height } = film.info;
  const v = (name) => Number(field(name).value) || 0;
  place($("drawing"), { x: v("x") / width, y: v("y") / height, w: v("w") / width, h: v("h") / height });
  field("to_s").setCustomValidity(v("to_s") > v("from_s") ? "" : t("draw.order"));
}

async function submit(event) {
  event.preventDefault();
  const value = Object.fromEntries([...new FormData(form())].map(([key, text]) => [key, Number(text)]));
  if (await edit({ op: kind === "box" ? "add_box" : "add_zone", ...value })) choose(null);
}
