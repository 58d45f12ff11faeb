// The review of one film: loads it, holds what is selected, sends edits one by one, and renders again.
import { get, post } from "../api.js";
import { $ } from "../dom.js";
import { expiry, isBusy, peopleText, problem, reviewable, shareOf, stateText } from "../film/card.js";
import { removeFilm } from "../film/films.js";
import { onFilm, one, put } from "../film/store.js";
import { ask, tellError, toast } from "../tell.js";
import { clock, onLanguage, say, t } from "../words.js";
import * as drawing from "./drawing.js";
import * as faces from "./faces.js";
import * as person from "./person.js";
import * as player from "./player.js";
import { wireTake } from "./take.js";
import * as timeline from "./timeline.js";

const state = { id: null, film: null, people: [], edits: null, selected: null, loaded: false };
let queue = Promise.resolve(); // edits go one after the other

export function startReview() {
  const context = {
    film: () => state.film,
    people: () => state.people,
    edits: () => state.edits,
    selected: () => state.selected,
    select,
    toggle,
    edit,
    remove: (id) => edit({ op: "remove", id }),
    redraw: () => faces.draw(player.now()),
  };
  player.startPlayer();
  faces.startFaces(context);
  person.startPerson(context);
  timeline.startTimeline(context);
  drawing.startDrawing(edit);
  wireTake(context);
  wireButtons();
  player.onTime((seconds) => {
    faces.draw(seconds);
    timeline.show(seconds);
    person.showTime(seconds);
  });
  onFilm(filmChanged);
  onLanguage(() => state.film && show());
  window.addEventListener("beforeunload", (event) => dirty() && event.preventDefault());
  return { enter, leave, keys };
}

const keys = {
  " ": () => player.toggle(),
  k: () => person.decide("keep"),
  c: () => person.decide("cover"),
  "mod+z": () => state.edits?.can_undo && edit({ op: "undo" }),
  "mod+shift+z": () => state.edits?.can_redo && edit({ op: "redo" }),
  "mod+y": () => state.edits?.can_redo && edit({ op: "redo" }),
};

function wireButtons() {
  $("undo").addEventListener("click", () => edit({ op: "undo" }));
  $("redo").addEventListener("click", () => edit({ op: "redo" }));
  $("render").addEventListener("click", render);
  $("review-remove").addEventListener("click", async () => {
    if (await removeFilm(state.film).catch(tellError)) location.hash = "#film";
  });
}

/** Whether edits wait that are not in the film, and nobody renders them. */
const dirty = () => Boolean(state.loaded && state.edits && !isBusy(state.film) && state.edits.version !== state.film.rendered_version);

async function enter(id) {
  Object.assign(state, { id, film: null, people: [], edits: null, selected: null, loaded: false });
  $("view-review").dataset.loading = "";
  $("review-error").hidden = true;
  try {
    filmChanged(await get(`/api/films/${id}`));
  } catch (error) {
    fail(error);
  }
}

async function leave(name, id) {
  if (name === "review" && id === state.id) return true;
  if (dirty() && !(await ask({ title: "leave.title", text: "leave.text", yes: "leave.yes" }))) return false;
  state.id = null;
  state.loaded = false;
  drawing.choose(null);
  player.close();
  return true;
}

function fail(error) {
  $("review-error").hidden = false;
  if (error.status === 404) say($("review-error"), "review.gone");
  else {
    delete $("review-error").dataset.t;
    $("review-error").textContent = error.sentence ?? String(error);
  }
}

function filmChanged(film, old) {
  if (!film) return old?.id && old.id === state.id && fail({ status: 404 });
  if (film.id !== state.id) return undefined;
  const before = state.film;
  state.film = film;
  if (reviewable(film) && !state.loaded) load();
  else if (state.loaded && film.rendered_version !== before?.rendered_version) {
    // undone to what the film holds: both versions moved, the film did not
    if (film.edits_version === film.rendered_version && film.edits_version !== before?.edits_version) return showHead();
    player.open(film);
    toast(t("review.done"));
  }
  showHead();
  return undefined;
}

async function load() {
  const { id } = state;
  state.loaded = true;
  try {
    await Promise.all([loadPeople(), get(`/api/films/${id}/edits`).then((edits) => (state.edits = edits))]);
    if (state.id !== id) return;
    delete $("view-review").dataset.loading;
    faces.open(state.film);
    drawing.open(state.film);
    timeline.open(state.film.info.duration_s);
    player.open(state.film);
    select(state.people[0]?.id ?? null);
  } catch (error) {
    state.loaded = false;
    fail(error);
  }
}

async function loadPeople() {
  state.people = (await get(`/api/films/${state.id}/people`)).people;
  if (!state.people.some((one) => String(one.id) === String(state.selected))) state.selected = state.people[0]?.id ?? null;
}

function select(id) {
  state.selected = id;
  show();
}

function toggle(id) {
  const found = state.people.find((one) => String(one.id) === String(id));
  if (!found) return;
  state.selected = found.id;
  edit({ op: "choose", person: found.id, verdict: found.kept ? "cover" : "keep" });
}

/** Send one operation; resolves true when it was taken. */
function edit(operation) {
  const { id } = state;
  const done = queue.then(async () => {
    try {
      state.edits = await post(`/api/films/${id}/edits`, operation);
      await loadPeople();
      if (operation.op !== "choose") faces.forgetBoxes();
      const film = one(id);
      if (film) put({ ...film, edits_version: state.edits.version, rendered_version: state.edits.rendered_version });
      show();
      return true;
    } catch (error) {
      const together = operation.op === "merge" && error.code === "bad_edit";
      if (together) toast(t("person.merge.together"), "danger");
      else tellError(error);
      show(); // a choice that was not taken goes back
      return false;
    }
  });
  queue = done;
  return done;
}

async function render() {
  try {
    put(await post(`/api/films/${state.id}/render`));
  } catch (error) {
    tellError(error);
  }
}

function show() {
  if (!state.film) return;
  showHead();
  person.show();
  timeline.rows();
  timeline.show(player.now());
  faces.draw(player.now());
}

function showHead() {
  const { film, edits } = state;
  $("review-title").textContent = film.name;
  const { info } = film;
  $("review-facts").textContent = info ? [`${info.width}×${info.height}`, clock(info.duration_s), peopleText(film)].join(" · ") : "";
  $("undo").disabled = !edits?.can_undo;
  $("redo").disabled = !edits?.can_redo;
  $("render").disabled = !dirty();
  $("render").classList.toggle("waiting", dirty());
  $("review-expiry").textContent = expiry(film);
  for (const kind of ["film", "tracks"]) $(`take-${kind}`).setAttribute("href", `/api/films/${film.id}/download/${kind}`);
  $("take-old").hidden = !dirty();
  showState(film);
}

function showState(film) {
  const busy = isBusy(film);
  $("review-state").hidden = !busy && !dirty() && state.loaded;
  $("review-state").className = `notice ${dirty() ? "warn" : ""}`;
  $("review-progress").hidden = !busy;
  $("review-progress").value = shareOf(film);
  if (busy && state.loaded) say($("review-state-text"), "review.rendering");
  else if (dirty()) say($("review-state-text"), "review.dirty");
  else if (!state.loaded) say($("review-state-text"), "review.notready", { state: problem(film) || stateText(film) });
}
