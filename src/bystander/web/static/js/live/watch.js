// A stream that `bystander live` is running: its covered preview, its faces, its panic button.
import { ApiError, get, getLimits, post, request } from "../api.js";
import { $, el } from "../dom.js";
import { alarm, tellError } from "../tell.js";
import { figure, say, t } from "../words.js";
import { showRows } from "./people.js";

const STATUS_MS = 1000;
const PICTURE_MS = 500;
const AWAY_MS = 5000; // between tries while it does not answer
let status = null;
let run = 0; // raised to end the loops
let url = null;

export function startWatch() {
  let visible = false;
  const panel = $("watch");
  const set = () => (visible && panel.open ? begin() : end());
  panel.addEventListener("toggle", set);
  $("watch-panic").addEventListener("click", () => send("panic", { on: !status?.panic }));
  return {
    enter: () => ((visible = true), set()),
    leave: () => ((visible = false), set()),
  };
}

function begin() {
  const mine = ++run;
  loop(mine, ask, STATUS_MS);
  loop(mine, picture, PICTURE_MS);
}

function end() {
  run++;
}

async function loop(mine, work, ms) {
  while (run === mine) {
    const good = await work();
    await new Promise((go) => setTimeout(go, good ? ms : AWAY_MS));
  }
}

async function ask() {
  try {
    if (!(await getLimits()).watch) throw new ApiError("no_watch", "", 404); // nothing is asked for that is known not to be there
    status = await get("/api/watch");
  } catch (error) {
    status = null;
    $("watch-body").hidden = true;
    say($("watch-text"), error.code === "no_watch" || error.status === 404 ? "watch.none" : "watch.gone");
    return false;
  }
  say($("watch-text"), "watch.text");
  $("watch-body").hidden = false;
  show();
  return true;
}

function show() {
  const delay = status.latency_ms?.total?.[0];
  const facts = [["watch.state", status.state], ["watch.fps", figure(status.fps_out ?? 0, 1)], ["watch.latency", delay ? `${figure(delay, 0)} ms` : "–"]];
  $("watch-figures").replaceChildren(...facts.map(([key, value]) => el("div", {}, el("dt", {}, t(key)), el("dd", {}, value))));
  showRows($("watch-people"), status.faces ?? [], null, flip);
  $("watch-panic").setAttribute("aria-pressed", status.panic);
  say($("watch-panic").querySelector("span"), status.panic ? "watch.goon" : "watch.panic");
}

async function picture() {
  if (!status) return true;
  try {
    const blob = await (await request("/api/watch/preview.jpg", { headers: { Accept: "image/jpeg, application/json" } })).blob();
    const old = url;
    url = URL.createObjectURL(blob);
    $("watch-picture").src = url;
    $("watch-picture").hidden = false;
    if (old) URL.revokeObjectURL(old);
    return true;
  } catch {
    $("watch-picture").hidden = true;
    return false;
  }
}

/** The control takes all choices at once. */
function flip(face) {
  const keep = new Set(status.choices?.keep ?? []);
  const cover = new Set(status.choices?.cover ?? []);
  (face.kept ? keep : cover).delete(face.id);
  (face.kept ? cover : keep).add(face.id);
  send("choices", { keep: [...keep], cover: [...cover], default: status.choices?.default ?? "cover" });
}

async function send(what, body) {
  if (what === "panic" && body.on) $("watch-picture").hidden = true; // what was seen last may show somebody
  try {
    status = { ...status, ...(await post(`/api/watch/${what}`, body)) };
    if (what === "panic") alarm(t(body.on ? "panic.said.on" : "panic.said.off"));
    show();
  } catch (error) {
    tellError(error);
  }
}
