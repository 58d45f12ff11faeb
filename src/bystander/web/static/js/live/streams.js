// Streams that OBS and others publish to this server: covered preview, faces, panic. Asked for while the panel is open.
import { get, post, request } from "../api.js";
import { $, el, icon, keyed } from "../dom.js";
import { alarm, tellError } from "../tell.js";
import { figure, say, t } from "../words.js";
import { showRows } from "./people.js";

const STATUS_MS = 1000;
const AWAY_MS = 5000; // between tries while the server does not answer
const pictures = new Map(); // stream id -> object URL of its newest preview
let run = 0; // raised to end the loop

export function startStreams() {
  let visible = false;
  const set = () => (visible && $("obs").open ? loop(++run) : run++);
  $("obs").addEventListener("toggle", set);
  return {
    enter: () => ((visible = true), set()),
    leave: () => ((visible = false), set()),
  };
}

async function loop(mine) {
  while (run === mine) {
    const good = await look();
    await new Promise((go) => setTimeout(go, good ? STATUS_MS : AWAY_MS));
  }
}

async function look() {
  try {
    const { live } = await get("/api/live");
    show(live.filter((stream) => stream.name));
    return true;
  } catch {
    show([]);
    return false;
  }
}

function show(streams) {
  $("streams-none").hidden = streams.length > 0;
  keyed($("streams"), streams, (stream) => stream.id, make, update);
  const ids = new Set(streams.map((stream) => stream.id));
  for (const id of pictures.keys()) if (!ids.has(id)) forget(id);
}

function make(stream) {
  const name = `stream-${stream.id}`;
  const panic = el("button", { type: "button", class: "danger wide", "aria-pressed": "false" }, icon("shield"), el("span"));
  const item = el("li", { class: "stream", "aria-labelledby": name },
    el("h3", { id: name }, stream.name), el("p", { class: "hint figures" }),
    el("img", { class: "watch-picture", alt: "", hidden: true }), el("ul", { class: "people-list" }), panic);
  panic.addEventListener("click", () => tell(item.stream, { kind: "panic", on: !item.stream.panic }));
  return item;
}

function update(item, stream) {
  item.stream = stream;
  const q = (selector) => item.querySelector(selector);
  q(".hint").textContent = [stream.state, `${figure(stream.fps ?? 0, 1)} fps`, `${figure(stream.latency_ms ?? 0, 0)} ms`].join(" · ");
  showRows(q(".people-list"), stream.panic ? [] : stream.faces, null, (face) => tell(stream, { kind: face.kept ? "cover" : "keep", id: face.id }));
  const button = item.querySelector(":scope > button");
  button.setAttribute("aria-pressed", stream.panic);
  say(button.querySelector("span"), stream.panic ? "watch.goon" : "watch.panic");
  q("img").alt = t("watch.picture");
  picture(q("img"), stream);
}

/** The newest covered picture; none while everything is covered. */
async function picture(image, stream) {
  const wanted = stream.state === "live" && stream.width > 0 && !stream.panic;
  if (!wanted) return forget(stream.id, image);
  try {
    const answer = await request(`/api/live/${stream.id}/preview.jpg`, { headers: { Accept: "image/jpeg, application/json" } });
    const url = URL.createObjectURL(await answer.blob());
    forget(stream.id);
    if (image.closest("li").stream.panic) return URL.revokeObjectURL(url); // pressed meanwhile
    pictures.set(stream.id, url);
    image.src = url;
    image.hidden = false;
  } catch {
    forget(stream.id, image);
  }
  return undefined;
}

function forget(id, image = null) {
  if (image) image.hidden = true;
  URL.revokeObjectURL(pictures.get(id));
  pictures.delete(id);
}

async function tell(stream, message) {
  const item = $("streams").querySelector(`[data-key="${CSS.escape(stream.id)}"]`);
  if (message.kind === "panic" && message.on) item.querySelector("img").hidden = true; // what was seen last may show somebody
  try {
    await post(`/api/live/${stream.id}/say`, message);
    if (message.kind === "panic") alarm(t(message.on ? "panic.said.on" : "panic.said.off"));
    await look();
  } catch (error) {
    tellError(error);
  }
}
