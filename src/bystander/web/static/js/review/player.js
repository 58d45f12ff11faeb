// Two films as one: the covered copy leads, the original follows; a divider shows one or the other.
import { $, place } from "../dom.js";
import { clock } from "../words.js";

const FAR_S = 0.12; // beyond it the follower jumps, below it only runs a little faster or slower
const listeners = new Set();
let film = null;
let asked = null; // a time asked for before the films could be moved

const lead = () => $("covered");
const follower = () => $("original");

/** `then(seconds)` on every shown moment. */
export const onTime = (then) => listeners.add(then);
export const now = () => asked ?? lead().currentTime;
export const playing = () => !lead().paused;
const frameS = () => 1 / (film?.info?.fps || 25);

export function startPlayer() {
  $("play").addEventListener("click", toggle);
  $("compare").addEventListener("dblclick", (event) => event.target.tagName === "VIDEO" && toggle());
  for (const name of ["seeked", "timeupdate", "loadeddata"]) lead().addEventListener(name, tell);
  for (const name of ["play", "pause", "ended"]) lead().addEventListener(name, state);
  lead().addEventListener("loadedmetadata", () => asked !== null && seek(asked));
  lead().addEventListener("error", () => lead().src && $("player").classList.add("unplayable"));
  wireDivider();
}

export function open(found) {
  const same = film?.id === found.id;
  const at = same ? now() : 0;
  const base = `/api/films/${found.id}/media`;
  if (!same) {
    follower().src = `${base}/original.mp4`;
    cut(50);
  }
  if (!same || film.rendered_version !== found.rendered_version) {
    lead().pause();
    lead().src = `${base}/covered.mp4?version=${found.rendered_version}`;
    asked = at;
  }
  film = found;
  $("player").classList.remove("unplayable");
  if (found.info) {
    place($("compare"), { ratio: found.info.width / found.info.height });
    $("compare").classList.toggle("upright", found.info.height > found.info.width);
  }
  tell();
}

export function close() {
  lead().pause();
  for (const video of [lead(), follower()]) {
    video.removeAttribute("src");
    video.load();
  }
  film = null;
}

export function toggle() {
  if (playing()) {
    lead().pause();
    follower().pause();
    return;
  }
  lead().play().catch(() => state());
}

export function pause() {
  if (playing()) toggle();
}

export function seek(seconds) {
  const end = film?.info?.duration_s ?? lead().duration ?? 0;
  const at = Math.min(Math.max(0, seconds), Math.max(0, end - frameS() / 2));
  if (lead().readyState === 0) {
    asked = at;
  } else {
    asked = null;
    lead().currentTime = at;
    if (follower().readyState > 0) follower().currentTime = at;
  }
  tell();
}

export const step = (frames) => {
  pause();
  seek(now() + frames * frameS());
};

function state() {
  $("play").dataset.playing = playing();
  if (playing()) requestAnimationFrame(run);
  else {
    follower().pause();
    if (follower().readyState > 0) follower().currentTime = lead().currentTime;
  }
}

/** One picture while it plays: pull the follower along. */
function run() {
  if (!playing()) return;
  const [a, b] = [lead(), follower()];
  if (b.paused && b.readyState > 1) b.play().catch(() => {});
  const late = a.currentTime - b.currentTime;
  if (Math.abs(late) > FAR_S) b.currentTime = a.currentTime;
  else b.playbackRate = Math.min(1.1, Math.max(0.9, 1 + late));
  tell();
  requestAnimationFrame(run);
}

function tell() {
  const end = film?.info?.duration_s ?? 0;
  $("clock").textContent = `${clock(now())} / ${clock(end)}`;
  for (const then of listeners) then(now());
}

function wireDivider() {
  const divider = $("divider");
  divider.addEventListener("pointerdown", (event) => {
    divider.setPointerCapture(event.pointerId);
    event.preventDefault();
    divider.focus();
  });
  divider.addEventListener("pointermove", (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    const box = $("compare").getBoundingClientRect();
    cut(((event.clientX - box.left) / box.width) * 100);
  });
  divider.addEventListener("keydown", (event) => {
    const value = Number(divider.getAttribute("aria-valuenow"));
    const moves = { ArrowLeft: value - 2, ArrowRight: value + 2, PageDown: value - 20, PageUp: value + 20, Home: 0, End: 100 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    cut(moves[event.key]);
  });
}

function cut(percent) {
  const value = Math.round(Math.min(100, Math.max(0, percent)) * 10) / 10;
  $("divider").setAttribute("aria-valuenow", value);
  place($("compare"), { cut: `${value}%` });
}
