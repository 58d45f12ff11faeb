// The faces on the shown picture as buttons. A click means the picture that was seen when the finger went down.
import { $, el, keyed, place } from "../dom.js";
import { t } from "../words.js";

const STILL_PX = 12; // a finger that moves farther scrolls
let shown = null; // the message of the picture on the screen
let down = null;
let on = null;

/** `given`: {tap(x, y, t), flip(face), select(id), selected()} */
export function startOverlay(given) {
  on = given;
  const stage = $("live-faces");
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !shown) return;
    const box = stage.getBoundingClientRect();
    const at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    down = { at, time: shown.t, x: event.clientX, y: event.clientY, face: faceAt(...at) };
  });
  stage.addEventListener("pointerup", (event) => {
    const begun = down;
    down = null;
    if (!begun || Math.hypot(event.clientX - begun.x, event.clientY - begun.y) > STILL_PX) return;
    if (begun.face) on.select(begun.face.id);
    if (begun.face) on.tap(...begun.at, begun.time);
  });
  stage.addEventListener("click", (event) => {
    const id = event.target.closest("button")?.dataset.key;
    if (event.detail !== 0 || id === undefined) return; // pointers were answered above; this is a keyboard
    const face = shown?.faces.find((one) => String(one.id) === id);
    if (face) on.flip(face);
  });
  stage.addEventListener("focusin", (event) => on.select(Number(event.target.closest("button")?.dataset.key)));
}

/** The smallest face at a point, as the server finds it too. */
function faceAt(x, y) {
  const hits = shown.faces.filter((f) => x >= f.x && x < f.x + f.w && y >= f.y && y < f.y + f.h);
  return hits.sort((a, b) => a.w * a.h - b.w * b.h)[0] ?? null;
}

export function label(face) {
  return t(face.kept ? "live.face.kept" : "live.face.covered", { n: face.id });
}

/** Draw the boxes of `message`; null takes them away. */
export function draw(message) {
  shown = message;
  const faces = message && !message.panic ? message.faces : [];
  keyed($("live-faces"), faces, (face) => face.id, makeFace, (box, face) => {
    place(box, { x: face.x, y: face.y, w: face.w, h: face.h });
    box.className = `face ${face.kept ? "kept" : "covered"} ${face.id === on.selected() ? "selected" : ""}`;
    const text = label(face);
    if (box.getAttribute("aria-label") === text) return;
    box.setAttribute("aria-label", text);
    box.setAttribute("aria-pressed", face.kept);
    box.firstChild.textContent = face.id;
  });
}

const makeFace = () => el("button", { type: "button" }, el("span", { class: "tag", "aria-hidden": "true" }));
