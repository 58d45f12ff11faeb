// The faces of the last moments as a list, which holds stiller while the boxes move.
import { $, el, icon, keyed } from "../dom.js";
import { say, t } from "../words.js";

const REMEMBER_MS = 1200; // a row that blinks cannot be pressed
const seen = new Map(); // id -> {face, at}

/** One row for a list of faces; `flip(face)` when its button is pressed. */
export function showRows(list, faces, selected, flip) {
  keyed(list, faces, (face) => face.id, () => makeRow(flip), (row, face) => {
    row.face = face;
    row.className = `${face.kept ? "kept" : "covered"} ${face.id === selected ? "selected" : ""}`;
    say(row.querySelector(".name"), "live.person", { n: face.id });
    say(row.querySelector(".state"), face.kept ? "verdict.kept" : "verdict.covered");
    const button = row.querySelector("button");
    const key = `${face.kept} ${document.documentElement.lang}`;
    if (button.dataset.shown === key) return;
    button.dataset.shown = key;
    button.setAttribute("aria-label", t(face.kept ? "live.face.kept" : "live.face.covered", { n: face.id }));
    button.replaceChildren(icon(face.kept ? "covered" : "kept"), el("span", {}, t(face.kept ? "verdict.cover" : "verdict.keep")));
  });
}

function makeRow(flip) {
  const row = el("li", {}, el("span", { class: "bead", "aria-hidden": "true" }), el("span", { class: "name" }), el("span", { class: "state" }),
    el("button", { type: "button", class: "quiet" }));
  row.querySelector("button").addEventListener("click", () => flip(row.face));
  return row;
}

export function clear() {
  seen.clear();
}

/** Take in the newest message and show whom it and the last seconds had. */
export function update(message, selected, flip) {
  const now = performance.now();
  for (const face of message.faces) seen.set(face.id, { face, at: now });
  for (const [id, { at }] of seen) if (now - at > REMEMBER_MS) seen.delete(id);
  const faces = [...seen.values()].map(({ face }) => face).sort((a, b) => a.id - b.id);
  showRows($("live-people"), faces, selected, flip);
  $("live-count").textContent = String(message.faces.length);
  $("live-nobody").hidden = faces.length > 0;
}
