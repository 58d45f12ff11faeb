// The film view: takes files in, shows every film of this user, does what its buttons say.
import { getLimits, post, remove } from "../api.js";
import { $, keyed } from "../dom.js";
import { settingsForm } from "../settings.js";
import { ask, toast, tellError } from "../tell.js";
import { bytes, onLanguage, say, span, t } from "../words.js";
import { makeCard, problem, updateCard } from "./card.js";
import { refusal } from "./limits.js";
import { all, connected, drop, follow, one, onFilm, put, refresh } from "./store.js";
import { forget, idOf, isRunning, rememberFile, send, stop } from "./upload.js";

let form;
let wantedFile = null; // id of the film for which a file is being chosen

export function startFilms() {
  form = settingsForm($("film-settings"), "film");
  wireIntake();
  $("film-list").addEventListener("click", (event) => {
    const action = event.target.closest("[data-do]")?.dataset.do;
    if (action) act(action, event.target.closest("li").dataset.key).catch(tellError);
  });
  onFilm(changed);
  onLanguage(() => {
    form.show();
    showLimits();
    show();
  });
  follow();
  setInterval(show, 30000); // the time left
  return { enter: () => (refresh(), showLimits()), leave: () => true };
}

function wireIntake() {
  const drop = $("drop");
  $("film-file").addEventListener("change", (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    take(files, wantedFile);
    wantedFile = null;
  });
  const over = (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    drop.classList.add("over");
  };
  const view = $("view-film");
  view.addEventListener("dragenter", over);
  view.addEventListener("dragover", over);
  view.addEventListener("dragleave", (event) => !view.contains(event.relatedTarget) && drop.classList.remove("over"));
  view.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take([...event.dataTransfer.files]);
  });
}

async function take(files, id = null) {
  refuse(null);
  for (const file of files) {
    try {
      await takeOne(file, id);
    } catch (error) {
      if (error.name !== "AbortError") refuse(error.sentence ?? String(error));
    }
  }
}

async function takeOne(file, id) {
  const limits = await getLimits();
  const known = all().find((film) => film.state === "uploading" && film.id === (id ?? idOf(file)) && film.size === file.size);
  if (known) return upload(file, known.id, limits); // goes on where it stopped
  const no = await refusal(file, limits, all().length);
  if (no) return refuse(t(...no));
  const settings = { keep: form.keep, style: form.style, strength: form.strength };
  const film = await post("/api/films", { name: file.name, size: file.size, settings });
  rememberFile(file, film.id);
  put(film);
  say($("film-news"), "film.news.added", { name: film.name });
  upload(file, film.id, limits);
}

function upload(file, id, limits) {
  const told = ({ offline, sent }) => {
    $("film-offline").hidden = !offline;
    const film = one(id);
    if (film && sent) put({ ...film, received: Math.max(film.received, sent) });
  };
  send(file, id, limits.chunk_bytes, told).catch((error) => {
    if (error.name !== "AbortError") refuse(`${file.name}: ${error.sentence ?? error}`);
    refresh();
  });
  show();
}

function refuse(sentence) {
  $("film-refused").hidden = !sentence;
  $("film-refused").textContent = sentence ?? "";
}

async function act(action, id) {
  const film = one(id);
  if (action === "resume") {
    wantedFile = id;
    $("film-file").click();
  } else if (action === "remove") {
    await removeFilm(film);
  } else {
    stop(id);
    put(await post(`/api/films/${id}/${action}`));
  }
}

/** Ask, then remove. Resolves true when the film is gone. */
export async function removeFilm(film) {
  const yes = await ask({ title: "film.ask.remove.title", text: "film.ask.remove.text", values: { name: film.name }, yes: "film.remove" });
  if (!yes) return false;
  stop(film.id);
  await remove(`/api/films/${film.id}`);
  forget(film.id);
  drop(film.id);
  toast(t("film.news.removed"));
  return true;
}

function changed(film, old) {
  if (film && old && film.state !== old.state) {
    if (film.state === "ready") say($("film-news"), "film.news.ready", { name: film.name });
    if (film.state === "failed") say($("film-news"), "film.news.failed", { name: film.name, why: problem(film) });
  }
  show();
}

function show() {
  const films = all();
  keyed($("film-list"), films, (film) => film.id, makeCard, (card, film) => updateCard(card, film, isRunning(film.id)));
  $("film-empty").hidden = films.length > 0;
  $("film-offline").hidden = connected();
}

async function showLimits() {
  try {
    const limits = await getLimits();
    const values = { size: bytes(limits.max_bytes), length: span(limits.max_seconds), hours: span(limits.keep_hours * 3600) };
    say($("film-limits"), "film.limits", values);
  } catch (error) {
    if (error.code !== "network") tellError(error);
  }
}

