// What spoke for a decision, as a heat map; where the lab is missing, what to install.
import { getLimits, request } from "../api.js";
import { $ } from "../dom.js";
import { say } from "../words.js";

let url = null;
let asking = null;

export async function askWhy(film, person, seconds) {
  const picture = $("why-picture");
  say($("why-title"), "why.title", { n: person.name });
  say($("why-text"), "why.loading");
  picture.hidden = $("why-hint").hidden = true;
  asking?.abort();
  asking = new AbortController();
  $("why").showModal();
  $("why").addEventListener("close", stop, { once: true });
  try {
    const limits = await getLimits();
    if (limits.explain === false) return say($("why-text"), "why.install");
    const json = { person: person.id, at_s: seconds };
    const answer = await request(`/api/films/${film.id}/why`, { method: "POST", json, signal: asking.signal, headers: { Accept: "image/png, application/json" } });
    url = URL.createObjectURL(await answer.blob());
    picture.src = url;
    picture.hidden = $("why-hint").hidden = false;
    $("why-text").textContent = "";
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.code === "lab_missing") say($("why-text"), "why.install");
    else $("why-text").textContent = error.sentence ?? String(error);
  }
}

function stop() {
  asking?.abort();
  if (url) URL.revokeObjectURL(url);
  url = null;
  $("why-picture").removeAttribute("src");
}
