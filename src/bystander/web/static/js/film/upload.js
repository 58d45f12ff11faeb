// Sends a film in pieces. After a break the server says how much it has; a reload goes on when the same file is chosen.
import { request } from "../api.js";

const WAITS_MS = [500, 1000, 2000, 4000, 8000];
const KEY = "bystander-uploads"; // name, size, lastModified -> film id
const running = new Map(); // film id -> AbortController

export const fingerprint = (file) => JSON.stringify([file.name, file.size, file.lastModified]);

function remembered() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}");
  } catch {
    return {};
  }
}

function remember(change) {
  const all = remembered();
  change(all);
  try {
    localStorage.setItem(KEY, JSON.stringify(all));
  } catch {
    // storage is off: uploads do not outlive the page
  }
}

export const idOf = (file) => remembered()[fingerprint(file)];
export const rememberFile = (file, id) => remember((all) => (all[fingerprint(file)] = id));
export const forget = (id) =>
  remember((all) => {
    for (const [key, value] of Object.entries(all)) if (value === id) delete all[key];
  });

export const isRunning = (id) => running.has(id);
export const stop = (id) => running.get(id)?.abort();

async function offsetOf(id, signal) {
  const answer = await request(`/api/films/${id}/upload`, { method: "HEAD", signal });
  return Number(answer.headers.get("Upload-Offset"));
}

/** Send the rest of `file`. Resolves at the end; ApiError for what no waiting can mend. `told({offline})` on breaks. */
export async function send(file, id, chunk, told) {
  stop(id);
  const control = new AbortController();
  running.set(id, control);
  try {
    await pieces(file, id, chunk, told, control.signal);
    forget(id);
  } finally {
    if (running.get(id) === control) running.delete(id);
  }
}

async function pieces(file, id, chunk, told, signal) {
  let offset = null;
  let failures = 0;
  while (offset === null || offset < file.size) {
    try {
      offset ??= await offsetOf(id, signal);
      if (offset >= file.size) break;
      const answer = await request(`/api/films/${id}/upload`, {
        method: "PATCH",
        body: file.slice(offset, offset + chunk),
        headers: { "Upload-Offset": String(offset), "Content-Type": "application/offset+octet-stream" },
        signal,
      });
      offset = Number(answer.headers.get("Upload-Offset"));
      failures = 0;
      told({ offline: false, sent: offset });
    } catch (error) {
      if (!mendable(error)) throw error;
      offset = null; // ask again: the last piece may have arrived
      told({ offline: error.code === "network" });
      await pause(WAITS_MS[Math.min(failures++, WAITS_MS.length - 1)], signal);
    }
  }
}

const mendable = (error) => ["network", "wrong_offset", "fault", "busy"].includes(error.code);

const pause = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    });
  });
