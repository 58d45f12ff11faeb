// What is refused before a byte travels: size, length, number. The server checks all of it again.
import { bytes, span } from "../words.js";

const PROBE_MS = 4000;

/** Seconds a film runs as far as this browser can tell; NaN where it cannot read it (the server can). */
export function lengthOf(file) {
  const video = document.createElement("video");
  const url = URL.createObjectURL(file);
  return new Promise((resolve) => {
    const done = () => {
      URL.revokeObjectURL(url);
      resolve(Number.isFinite(video.duration) ? video.duration : NaN);
    };
    video.addEventListener("loadedmetadata", done, { once: true });
    video.addEventListener("error", done, { once: true });
    setTimeout(done, PROBE_MS);
    video.preload = "metadata";
    video.src = url;
  });
}

/** [key, values] of the sentence that refuses `file`; null where it fits. */
export async function refusal(file, limits, count) {
  const name = file.name;
  if (count >= limits.max_films) return ["film.refuse.many", { n: count }];
  if (file.size === 0) return ["film.refuse.empty", { name }];
  if (file.size > limits.max_bytes) return ["film.refuse.large", { name, size: bytes(file.size), limit: bytes(limits.max_bytes) }];
  const seconds = await lengthOf(file);
  if (seconds > limits.max_seconds) return ["film.refuse.long", { name, length: span(seconds), limit: span(limits.max_seconds) }];
  return null;
}
