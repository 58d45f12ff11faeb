// The boxes over the shown picture, fetched in pieces of ten seconds. A click chooses the person and toggles.
import { get } from "../api.js";
import { $, el, keyed, place } from "../dom.js";
import { t } from "../words.js";

const PIECE_S = 10;
const NEAR_S = 0.12; // a picture farther away than this is not the shown one
let film = null;
let pieces = new Map();
let context = null; // {people, selected, drawn, toggle(id), select(id)}

export function startFaces(given) {
  context = given;
  $("review-faces").addEventListener("click", (event) => {
    const id = event.target.closest("button")?.dataset.key;
    if (id !== undefined) context.toggle(id);
  });
}

export function open(found) {
  film = found;
  forgetBoxes();
}

/** After a split or merge the numbers on the boxes are others. */
export function forgetBoxes() {
  pieces = new Map();
}

function piece(number) {
  if (!pieces.has(number)) {
    const made = { frames: null };
    pieces.set(number, made);
    get(`/api/films/${film.id}/boxes?from=${number * PIECE_S}&to=${(number + 1) * PIECE_S}`)
      .then(({ frames }) => {
        made.frames = frames;
        context.redraw();
      })
      .catch(() => pieces.delete(number));
  }
  return pieces.get(number);
}

/** The picture whose time is nearest to `seconds`; null where there is none near. */
function frameAt(frames, seconds) {
  let [low, high] = [0, frames.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (frames[middle].t <= seconds + 0.002) low = middle;
    else high = middle - 1;
  }
  const found = frames[low];
  return found && Math.abs(found.t - seconds) <= NEAR_S ? found : null;
}

export function draw(seconds) {
  if (!film?.info) return;
  const number = Math.floor(seconds / PIECE_S);
  const { frames } = piece(number);
  if (seconds % PIECE_S > PIECE_S * 0.7 && (number + 1) * PIECE_S < film.info.duration_s) piece(number + 1);
  const faces = frames ? (frameAt(frames, seconds)?.faces ?? []) : [];
  const { width, height } = film.info;
  const known = new Map(context.people().map((person) => [String(person.id), person]));
  keyed($("review-faces"), faces, (face) => face.id, makeBox, (box, face) => {
    const person = known.get(String(face.id));
    const kept = person ? person.kept : face.kept;
    const [x1, y1, x2, y2] = face.xyxy;
    place(box, { x: x1 / width, y: y1 / height, w: (x2 - x1) / width, h: (y2 - y1) / height });
    box.className = `face ${kept ? "kept" : "covered"} ${String(context.selected()) === String(face.id) ? "selected" : ""}`;
    const name = person?.name ?? face.id;
    box.firstChild.textContent = name;
    const label = t("person.select", { n: name, verdict: t(kept ? "verdict.kept" : "verdict.covered") });
    if (box.getAttribute("aria-label") !== label) box.setAttribute("aria-label", label);
  });
}

const makeBox = () => el("button", { type: "button" }, el("span", { class: "tag", "aria-hidden": "true" }));
