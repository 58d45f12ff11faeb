// What every page has: its language and its light.
import { $ } from "./dom.js";
import { LANGUAGES, language, useLanguage } from "./words.js";

export const ready = useLanguage(language(), { first: true });

$("language").addEventListener("click", async () => {
  await ready;
  await useLanguage(LANGUAGES.find((code) => code !== language()));
});

$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("bystander-theme", root.dataset.theme);
  } catch {
    // storage is off: it holds for this visit
  }
});
