// The audit report is made when somebody asks for it, then it downloads by itself.
import { post } from "../api.js";
import { $, el } from "../dom.js";
import { put } from "../film/store.js";
import { tellError, toast } from "../tell.js";
import { t } from "../words.js";

const LOOK_MS = 300;

export function wireTake(context) {
  $("take-report").addEventListener("click", async () => {
    $("take-report").setAttribute("aria-busy", "true");
    try {
      await report(context);
    } catch (error) {
      tellError(error);
    } finally {
      $("take-report").removeAttribute("aria-busy");
    }
  });
}

async function report(context) {
  const film = context.film();
  if (film.report !== "ready") {
    if (film.report !== "waiting") put(await post(`/api/films/${film.id}/audit`));
    toast(t("take.report.wait"));
    await settled(context, film.id);
  }
  if (context.film()?.id !== film.id) return; // somebody went elsewhere
  if (context.film().report !== "ready") return toast(t("take.report.failed"), "danger");
  const link = el("a", { href: `/api/films/${film.id}/download/report`, download: "" });
  document.body.append(link);
  link.click();
  link.remove();
}

/** Until the report is made or failed, or the film is left; events keep the film up to date. */
async function settled(context, id) {
  while (context.film()?.id === id && context.film().report === "waiting") await new Promise((go) => setTimeout(go, LOOK_MS));
}
