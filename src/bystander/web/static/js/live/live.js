// The live view: one state at a time, each with a sentence and a way on. The camera's own picture is never shown.
import { ApiError } from "../api.js";
import { $, el, place } from "../dom.js";
import { settingsForm } from "../settings.js";
import { alarm, toast } from "../tell.js";
import { figure, onLanguage, say, t } from "../words.js";
import { camera, cameras, reason, release, secure } from "./camera.js";
import { startAddresses } from "./addresses.js";
import * as overlay from "./overlay.js";
import { Peer } from "./peer.js";
import * as people from "./people.js";
import { everyPicture, Shown } from "./shown.js";
import { startStreams } from "./streams.js";
import { startWatch } from "./watch.js";

const ENDS = { idle: "ended", not_connected: "blocked" }; // why the server ended it -> our state
const view = () => $("view-live");
const video = () => $("live-video");
let form;
let peer = null;
let stream = null; // the camera's
let shown = new Shown();
let stopPictures = () => {};
let abort = new AbortController();
let selected = null;
let panic = false; // what the user asked for

const state = () => view().dataset.state;
const isLive = () => state() === "live";

export function startLive() {
  form = settingsForm($("live-settings"), "live", changed);
  $("live-start").addEventListener("click", start);
  $("live-cancel").addEventListener("click", () => stop("idle"));
  $("live-stop").addEventListener("click", () => stop("idle"));
  $("panic").addEventListener("click", () => setPanic(!panic));
  $("live-camera").addEventListener("change", () => change($("live-camera").value));
  $("live-pip").addEventListener("click", togglePip);
  $("live-pip").hidden = !document.pictureInPictureEnabled;
  video().addEventListener("resize", shape);
  window.addEventListener("pagehide", () => peer?.end("idle"));
  overlay.startOverlay({ tap, flip, select, selected: () => selected });
  startAddresses();
  const panels = [startWatch(), startStreams()];
  onLanguage(() => (form.show(), listCameras()));
  enter(secure() ? "idle" : "insecure");
  return { enter: () => panels.forEach((panel) => panel.enter()), leave: () => (panels.forEach((panel) => panel.leave()), true), keys, always };
}

const always = { p: () => isLive() && setPanic(!panic) }; // in every view, while a picture is sent
const keys = {
  k: () => selected && peer?.send({ kind: "keep", id: selected }),
  c: () => selected && peer?.send({ kind: "cover", id: selected }),
};

/** Show a state. `why`: the server's sentence, where it gave one. */
function enter(name, why = "") {
  view().dataset.state = name;
  document.body.toggleAttribute("data-live", name === "live");
  $("panic").disabled = name !== "live";
  if (name === "live") return alarmNot("live.on");
  say($("live-card-title"), `live.${name}.title`);
  if (why) {
    delete $("live-card-text").dataset.t;
    $("live-card-text").textContent = why;
  } else say($("live-card-text"), `live.${name}.text`);
  const busy = name === "asking" || name === "connecting";
  $("live-start").hidden = busy || name === "insecure";
  $("live-cancel").hidden = !busy;
  say($("live-start-text"), name === "idle" ? "live.start" : "live.again");
  if (!busy && name !== "idle") alarm(`${$("live-card-title").textContent}. ${$("live-card-text").textContent}`);
  return undefined;
}

const alarmNot = (key) => toast(t(key));

async function start() {
  if (!secure()) return enter("insecure");
  if (!window.RTCPeerConnection) return enter("blocked");
  abort.abort();
  abort = new AbortController();
  const { signal } = abort;
  enter("asking");
  try {
    const got = await camera($("live-camera").value);
    if (signal.aborted) return release(got);
    useCamera(got);
  } catch (error) {
    return signal.aborted ? undefined : enter(reason(error));
  }
  enter("connecting");
  listCameras();
  return connect(signal);
}

async function connect(signal) {
  shown = new Shown();
  people.clear();
  const made = new Peer({ stream: show, message: heard, end: (code) => peer === made && stop(code) });
  peer = made;
  try {
    const settings = { mode: form.keep, style: form.style, strength: form.strength, width: longSide(stream) };
    const { roles } = await made.open(stream, settings, signal);
    form.knowsRoles(roles !== false);
  } catch (error) {
    if (signal.aborted || peer !== made) return;
    const code = error instanceof ApiError ? (error.code === "network" ? "lost" : "refused") : "blocked";
    stop(code, code === "refused" ? error.sentence : "");
  }
}

/** In which size the server shall work, px: the camera's, within what a small machine manages. */
function longSide(camera) {
  const { width = 640, height = 0 } = camera.getVideoTracks()[0].getSettings();
  return Math.max(160, Math.min(960, Math.max(width, height)));
}

/** The covered picture has come: put it up with its first frame. */
function show(covered) {
  video().srcObject = covered;
  video().play().catch(() => {}); // muted: browsers allow it; a stop in between ends it
  let first = true;
  stopPictures();
  stopPictures = everyPicture(video(), (stamp) => {
    if (first) {
      first = false;
      shape();
      enter("live");
    }
    overlay.draw(shown.at(stamp));
  });
}

function shape() {
  const { videoWidth: width, videoHeight: height } = video();
  if (width) place($("stage"), { ratio: width / height });
}

function heard(message) {
  if (message.kind === "faces") return faces(message);
  if (message.kind === "end") return peer?.end(ENDS[message.code] ?? "lost");
  if (message.kind === "error") return toast(new ApiError(message.code, message.message).sentence, "danger");
  if (message.kind === "done") return done(message);
  return undefined;
}

function done({ of, id, kept }) {
  if (of === "keep" || (of === "tap" && kept)) toast(t("live.done.keep", { n: id }), "kept");
  if (of === "cover" || (of === "tap" && kept === false)) toast(t("live.done.cover", { n: id }), "covered");
}

function faces(message) {
  shown.add(message);
  people.update(message, selected, flip);
  $("live-fps").textContent = figure(message.fps, 0);
  $("live-latency").textContent = `${figure(message.latency_ms, 0)} ms`;
  $("live-slow").hidden = !message.slow;
  if (message.slow) say($("live-slow"), "live.slow");
  if (message.panic === panic) settle(message.panic);
  else if (message.panic && performance.now() > settleUntil) showPanic((panic = true)); // asked elsewhere
}

let settleUntil = 0; // until then the server may still speak of the time before

/** Cover at once what this page shows, whatever the network does; the server covers what it sends. */
function setPanic(on) {
  if (!isLive()) return;
  panic = on;
  settleUntil = performance.now() + 1500;
  if (on) showPanic(true);
  peer.send({ kind: "panic", on });
}

function settle(on) {
  if (!on && $("stage").dataset.panic) showPanic(false);
}

function showPanic(on) {
  if (on) $("stage").dataset.panic = "on";
  else delete $("stage").dataset.panic;
  peer?.show(!on);
  $("panic").setAttribute("aria-pressed", on);
  alarm(t(on ? "panic.said.on" : "panic.said.off"));
}

function stop(code, why = "") {
  const was = state();
  abort.abort();
  stopPictures();
  const old = peer;
  peer = null;
  old?.end(code);
  video().srcObject = null;
  overlay.draw(null);
  release(stream);
  stream = null;
  panic = false;
  delete $("stage").dataset.panic;
  $("panic").setAttribute("aria-pressed", false);
  $("live-slow").hidden = true;
  $("live-people").replaceChildren();
  $("live-count").textContent = "0";
  $("live-nobody").hidden = false;
  if (document.pictureInPictureElement) document.exitPictureInPicture();
  enter(code, why);
  if (code === "idle" && was === "live") toast(t("live.stopped"));
}

function useCamera(got) {
  release(stream);
  stream = got;
  const [track] = got.getVideoTracks();
  track.contentHint = "motion";
  track.addEventListener("ended", () => stream === got && stop("ended"));
}

/** Another camera, while live or before. */
async function change(id) {
  if (!peer) return;
  try {
    const got = await camera(id);
    await peer.replace(got.getVideoTracks()[0]);
    useCamera(got);
  } catch (error) {
    stop(reason(error));
  }
}

async function listCameras() {
  if (!secure()) return;
  const found = await cameras();
  const current = stream?.getVideoTracks()[0].getSettings().deviceId ?? $("live-camera").value;
  $("live-camera").replaceChildren(...found.map(([id, label], i) => el("option", { value: id }, label || t("live.camera.n", { n: i + 1 }))));
  if (found.some(([id]) => id === current)) $("live-camera").value = current;
}

async function togglePip() {
  if (document.pictureInPictureElement) return document.exitPictureInPicture();
  return video().requestPictureInPicture().catch(() => toast(t("error.no_pip"), "danger"));
}

function changed(key) {
  const kinds = { keep: ["mode", form.keep], style: ["style", form.style], strength: ["strength", form.strength] };
  const [kind, value] = kinds[key];
  if (isLive()) peer.send({ kind, value });
}

const tap = (x, y, time) => peer?.send({ kind: "tap", x, y, t: time });
const flip = (face) => {
  select(face.id);
  peer?.send({ kind: face.kept ? "cover" : "keep", id: face.id });
};

function select(id) {
  selected = id;
}
