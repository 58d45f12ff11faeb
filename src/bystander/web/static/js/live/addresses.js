// The addresses for OBS and other programs, to copy.
import { $ } from "../dom.js";
import { toast } from "../tell.js";
import { t } from "../words.js";

export function startAddresses() {
  const show = () => {
    const name = encodeURIComponent($("obs-name").value.trim() || "studio");
    for (const kind of ["whip", "whep"]) $(`obs-${kind}`).textContent = `${location.origin}/${kind}/${name}`;
  };
  $("obs-name").addEventListener("input", show);
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => copy($(button.dataset.copy).textContent));
  }
  show();
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast(t("obs.copied"));
  } catch {
    toast(t("obs.nocopy"), "danger");
  }
}
