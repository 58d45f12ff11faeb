// Downloads. The audit report is made when somebody asks for it.
import { post, request } from "../api.js";
import { $, el } from "../dom.js";
import { tellError, toast } from "../tell.js";
import { t } from "../words.js";

const ASK_MS = 1500;
const LONGEST_MS = 30 * 60 * 1000;

export function wireTake(context) {
  const base = () => `/api/films/${context.film().id}`;
  $("take-report").addEventListener("click", async () => {
    $("take-report").setAttribute("aria-busy", "true");
    try {
      await report(base());
    } catch (error) {
      tellError(error);
    } finally {
      $("take-report").removeAttribute("aria-busy");
    }
  });
}

async function report(base) {
  if (!(await there(base))) {
    await post(`${base}/audit`);
    toast(t("take.report.wait"));
    const end = Date.now() + LONGEST_MS;
    while (!(await there(base)) && Date.now() < end) await new Promise((go) => setTimeout(go, ASK_MS));
  }
  const link = el("a", { href: `${base}/download/report`, download: "" });
  document.body.append(link);
  link.click();
  link.remove();
}

async function there(base) {
  try {
    await request(`${base}/download/report`, { method: "HEAD" });
    return true;
  } catch (error) {
    if (error.status === 404 || error.status === 409) return false;
    throw error;
  }
}
