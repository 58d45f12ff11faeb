// The start page: which view is shown, and what each of them needs.
import { $ } from "./dom.js";
import { ready } from "./page.js";
import { useKeys, wireKeys } from "./keys.js";
import { startFilms } from "./film/films.js";
import { startLive } from "./live/live.js";
import { startReview } from "./review/review.js";
import { wireDialogs } from "./tell.js";
import { say } from "./words.js";

await ready;
wireDialogs();
wireKeys();
const views = { live: startLive(), film: startFilms(), review: startReview() };
let shown = null;

/** "#film/ID" -> ["review", "ID"] */
function wanted() {
  const [tab, id] = location.hash.slice(1).split("/");
  if (tab === "film" && id) return ["review", id];
  return [tab === "film" ? "film" : "live", ""];
}

async function route(event) {
  const [name, id] = wanted();
  if (shown && !(await views[shown].leave?.(name, id))) {
    history.replaceState(null, "", new URL(event.oldURL).hash);
    return;
  }
  for (const key of Object.keys(views)) $(`view-${key}`).hidden = key !== name;
  for (const link of document.querySelectorAll("[data-tab]")) {
    const current = link.dataset.tab === (name === "review" ? "film" : name);
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  say($("page-title"), `title.${name}`);
  useKeys({ ...views.live.always, ...views[name].keys });
  if (shown !== null) $("content").focus({ preventScroll: true });
  shown = name;
  document.body.dataset.view = name;
  views[name].enter?.(id);
}

window.addEventListener("hashchange", route);
await route();
document.body.dataset.ready = "";
