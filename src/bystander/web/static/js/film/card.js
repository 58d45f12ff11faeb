// One film in the list: its state, its progress and what can be done with it now.
import { el, icon } from "../dom.js";
import { bytes, clock, figure, span, t } from "../words.js";
import { ApiError } from "../api.js";

// the one warning that every film has with a detector without roles; others come in the server's words
const NO_ROLES = "The detector tells no roles apart, so everybody is covered until you choose whom to keep.";
const BUSY = new Set(["uploading", "checking", "queued", "analysing", "rendering"]);

/** Once it was covered it can be looked through, whatever is done with it now. */
export const reviewable = (film) => film.rendered_version > 0;
export const isBusy = (film) => BUSY.has(film.state);
export const problem = (film) => (film.error ? new ApiError(film.error.code, film.error.message).sentence : "");

export function stateText(film, sending = true) {
  if (film.state === "uploading" && !sending) return t("film.state.paused");
  return t(`film.state.${film.state}`, { n: film.queue_place ?? 1 });
}

export function shareOf(film) {
  return film.state === "uploading" ? film.received / Math.max(1, film.size) : (film.progress ?? 0);
}

export function expiry(film) {
  const left = (new Date(film.expires_at) - Date.now()) / 1000;
  return left > 0 ? t("film.expires", { time: span(left) }) : t("film.expired");
}

export const peopleText = (film) => (film.people === 1 ? t("film.person") : t("film.people", { n: film.people }));

function facts(film) {
  const found = [bytes(film.size)];
  if (film.info) found.push(`${film.info.width}×${film.info.height}`, clock(film.info.duration_s).replace(/\.\d$/, ""));
  if (film.state === "ready") found.push(peopleText(film));
  if (film.state === "ready" && film.edits_version !== film.rendered_version) found.push(t("film.edited"));
  return found.join(" · ");
}

function progressFacts(film) {
  const found = [`${figure(shareOf(film) * 100, 0)} %`];
  if (film.fps > 0 && film.state !== "uploading") found.push(t("film.speed", { fps: figure(film.fps, 1) }));
  if (film.left_s > 0) found.push(t("film.left", { time: span(film.left_s) }));
  return found.join(" · ");
}

const button = (name, key, action, kind = "quiet") =>
  el("button", { type: "button", class: kind, "data-do": action }, icon(name), el("span", { "data-t": key }, t(key)));

const link = (name, key, href, kind) => el("a", { class: `button ${kind}`, href }, icon(name), el("span", { "data-t": key }, t(key)));

function actions(film, sending) {
  const found = [];
  if (reviewable(film)) found.push(link("kept", "film.review", `#film/${film.id}`, "primary"));
  if (film.state === "ready") {
    const download = link("download", "film.download", `/api/films/${film.id}/download/film`, "");
    download.setAttribute("download", "");
    found.push(download);
  }
  if (film.state === "uploading" && !sending) found.push(button("upload", "film.resume", "resume", ""));
  if (film.state === "failed" || film.state === "cancelled") found.push(button("retry", "film.retry", "retry", ""));
  if (isBusy(film)) found.push(button("close", "film.cancel", "cancel"));
  return found;
}

export function makeCard(film) {
  const name = `film-name-${film.id}`;
  return el("li", { class: "card film", "aria-labelledby": name },
    el("div", { class: "film-top" },
      el("div", { class: "film-thumb" }, icon("film")),
      el("div", { class: "film-words" }, el("h3", { id: name }), el("p", { class: "hint figures facts" })),
      el("p", { class: "pill" })),
    el("p", { class: "notice danger wrong", hidden: true }),
    el("div", { class: "film-progress" }, el("progress", { max: 1 }), el("span", { class: "hint figures" })),
    el("ul", { class: "warnings" }),
    el("div", { class: "film-foot" }, el("div", { class: "row wrap film-actions" }), el("p", { class: "hint expiry" }, icon("clock"), el("span")),
      button("trash", "film.remove", "remove", "quiet danger-text")));
}

export function updateCard(card, film, sending) {
  const q = (selector) => card.querySelector(selector);
  card.dataset.state = film.state === "uploading" && !sending ? "paused" : film.state;
  q("h3").textContent = film.name;
  q(".facts").textContent = facts(film);
  q(".pill").textContent = stateText(film, sending);
  q(".wrong").hidden = !film.error;
  q(".wrong").textContent = problem(film);
  q(".film-progress").hidden = !isBusy(film);
  q("progress").setAttribute("aria-label", t("film.progress", { name: film.name }));
  if (film.state === "checking" || film.state === "queued") q("progress").removeAttribute("value");
  else q("progress").value = shareOf(film);
  q(".film-progress span").textContent = film.state === "checking" || film.state === "queued" ? "" : progressFacts(film);
  q(".warnings").replaceChildren(...(film.warnings ?? []).map((text) => el("li", {}, text === NO_ROLES ? t("film.noroles") : text)));
  q(".expiry span").textContent = expiry(film);
  thumbnail(q(".film-thumb"), film);
  const key = [card.dataset.state, film.rendered_version > 0, document.documentElement.lang].join();
  if (card.dataset.actions === key) return; // the focus stays where it is
  card.dataset.actions = key;
  q(".film-actions").replaceChildren(...actions(film, sending));
}

/** A picture of the covered copy, once there is one. */
function thumbnail(frame, film) {
  const wanted = reviewable(film) ? `/api/films/${film.id}/media/covered.mp4?version=${film.rendered_version}#t=0.5` : "";
  if (frame.dataset.src === wanted || !wanted) return;
  frame.dataset.src = wanted;
  const video = el("video", { src: wanted, muted: true, preload: "metadata", tabindex: -1, "aria-hidden": "true" });
  video.addEventListener("loadeddata", () => frame.replaceChildren(video), { once: true });
  video.load();
}
