// The films as the server tells them: by events, and by asking where events do not come through.
import { get } from "../api.js";

const POLL_MS = 3000;
const SILENT_MS = 40000; // the server pings every 15 s
const films = new Map();
const listeners = new Set();
let stream = null;
let timer = 0;
let alive = true; // until proved wrong, so that no warning flashes at the start

export const all = () => [...films.values()];
export const one = (id) => films.get(id);

/** `then(film, old)`; a film that is gone comes as (null, old); (null, null) when only the connection changed. */
export const onFilm = (then) => listeners.add(then);
export const connected = () => alive;

const tell = (film, old) => {
  for (const then of listeners) then(film, old);
};

export function put(film) {
  const old = films.get(film.id);
  films.set(film.id, film);
  tell(film, old);
}

export function drop(id) {
  const old = films.get(id);
  if (films.delete(id)) tell(null, old);
}

function setAlive(value) {
  if (alive === value) return;
  alive = value;
  tell(null, null);
}

export async function refresh() {
  try {
    const { films: found } = await get("/api/films");
    const ids = new Set(found.map((film) => film.id));
    for (const id of [...films.keys()]) if (!ids.has(id)) drop(id);
    for (const film of found) put(film);
    setAlive(true);
  } catch (error) {
    if (error.code === "network") setAlive(false);
  }
}

/** Open the stream of events; ask every few seconds while it is silent. */
export function follow() {
  if (stream) return;
  let heard = 0;
  stream = new EventSource("/api/events");
  const hear = () => {
    heard = Date.now();
    setAlive(true);
  };
  stream.addEventListener("open", () => {
    hear();
    refresh();
  });
  stream.addEventListener("film", (event) => {
    hear();
    put(JSON.parse(event.data));
  });
  stream.addEventListener("gone", (event) => drop(JSON.parse(event.data).id));
  stream.addEventListener("error", () => {
    heard = 0;
    refresh();
    if (stream.readyState === EventSource.CLOSED) reopen();
  });
  timer = setInterval(() => Date.now() - heard > SILENT_MS && refresh(), POLL_MS);
}

function reopen() {
  clearInterval(timer);
  stream = null;
  setTimeout(() => {
    refresh();
    follow();
  }, POLL_MS);
}
