// The page's sentences. Loads the language's JSON, fills every [data-t] in place, formats figures and times.

export const LANGUAGES = ["en", "de"];
const ATTRIBUTES = ["aria-label", "title", "alt"];
const changed = new Set();
let words = {};

export const language = () => document.documentElement.lang;

/** The sentence of `key` with {name}s replaced; the key itself where it is unknown, so that a gap is seen. */
export function t(key, values = {}) {
  const sentence = words[key] ?? key;
  return sentence.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export const known = (key) => key in words;

/** Translate `root` and all below it that carries data-t attributes. */
export function translate(root = document) {
  for (const node of root.querySelectorAll("[data-t]")) {
    node.textContent = t(node.dataset.t, JSON.parse(node.dataset.tValues ?? "{}"));
  }
  for (const name of ATTRIBUTES) {
    for (const node of root.querySelectorAll(`[data-t-${name}]`)) node.setAttribute(name, t(node.getAttribute(`data-t-${name}`)));
  }
}

/** Call `then` after every change of language, for what a script wrote itself. */
export const onLanguage = (then) => changed.add(then);

export async function useLanguage(code, { first = false } = {}) {
  const answer = await fetch(`/static/i18n/${code}.json`);
  if (!answer.ok) return;
  words = await answer.json();
  document.documentElement.lang = code;
  if (first) return;
  document.cookie = `bystander_lang=${code}; path=/; max-age=31536000; samesite=strict`;
  translate();
  for (const then of changed) then();
}

/** A sentence made of text now and again whenever the language changes. */
export function say(node, key, values = {}) {
  node.dataset.t = key;
  node.dataset.tValues = JSON.stringify(values);
  const sentence = t(key, values);
  if (node.textContent !== sentence) node.textContent = sentence;
}

const figure = (value, digits) => new Intl.NumberFormat(language(), { maximumFractionDigits: digits }).format(value);

export { figure };

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const step = Math.min(units.length - 1, count < 1 ? 0 : Math.floor(Math.log10(count) / 3));
  return `${figure(count / 1000 ** step, step < 2 ? 0 : 1)} ${units[step]}`;
}

/** A rough length for people: hours, minutes or seconds. */
export function span(seconds) {
  if (seconds >= 5400) return t("time.h", { n: figure(seconds / 3600, seconds < 36000 ? 1 : 0) });
  if (seconds >= 90) return t("time.min", { n: figure(seconds / 60, 0) });
  return t("time.s", { n: figure(seconds, seconds < 10 ? 1 : 0) });
}

/** 75.25 -> 1:15.2 */
export function clock(seconds) {
  const tenths = Math.floor(Math.max(0, seconds) * 10 + 1e-6);
  const minutes = Math.floor(tenths / 600);
  const rest = (tenths % 600) / 10;
  const [h, m] = [Math.floor(minutes / 60), minutes % 60];
  return `${h ? `${h}:${String(m).padStart(2, "0")}` : m}:${rest.toFixed(1).padStart(4, "0")}`;
}
