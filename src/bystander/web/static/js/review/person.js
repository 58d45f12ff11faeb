// The card of the selected person: what was decided, by whom, and what else can be done.
import { $, el } from "../dom.js";
import { clock, say, span, t } from "../words.js";
import { now } from "./player.js";
import { askWhy } from "./why.js";

let context = null; // {film, people, selected, edit(op), explain}

const person = () => context.people().find((one) => String(one.id) === String(context.selected()));
const total = (spans) => spans.reduce((sum, [from, to]) => sum + to - from, 0);

export function startPerson(given) {
  context = given;
  $("person-cover").addEventListener("click", () => decide("cover"));
  $("person-keep").addEventListener("click", () => decide("keep"));
  $("person-reset").addEventListener("click", () => decide("auto"));
  $("person-split").addEventListener("click", () => context.edit({ op: "split", person: person().id, at_s: now() }));
  $("person-why").addEventListener("click", () => askWhy(context.film(), person(), now()));
  $("person-merge").addEventListener("change", (event) => {
    const other = context.people().find((one) => String(one.id) === event.target.value);
    if (other) context.edit({ op: "merge", people: [person().id, other.id] });
  });
}

/** verdict: keep, cover or auto, for the selected person. */
export function decide(verdict) {
  const one = person();
  if (one && one.choice !== verdict) context.edit({ op: "choose", person: one.id, verdict });
}

/** Whether a split at `seconds` would leave something on both sides. */
export function splittable(one, seconds) {
  if (!one.spans.length) return false;
  return seconds > one.spans[0][0] + 0.02 && seconds < one.spans.at(-1)[1] - 0.02;
}

export function showTime(seconds) {
  const one = person();
  if (!one) return;
  const fits = splittable(one, seconds);
  $("person-split").disabled = !fits;
  $("person-split").title = fits ? "" : t("person.nosplit");
}

export function show() {
  const one = person();
  $("person").hidden = !one;
  $("person-none").hidden = Boolean(one) || !context.people().length;
  if (!one) return;
  say($("person-title"), "person.name", { n: one.name });
  $("person-face").hidden = !one.thumbnail;
  if (one.thumbnail) $("person-face").src = one.thumbnail;
  $("person-face").alt = t("person.thumb", { n: one.name });
  const facts = [t("person.facts", { time: span(total(one.spans)), first: clock(one.spans[0]?.[0] ?? 0) })];
  if (one.unsure.length) facts.push(t("person.unsure", { time: span(total(one.unsure)) }));
  $("person-facts").textContent = facts.join(". ").replace("..", ".");
  $("person-cover").setAttribute("aria-pressed", !one.kept);
  $("person-keep").setAttribute("aria-pressed", one.kept);
  $("person").classList.toggle("kept", one.kept);
  const auto = t(one.auto ? "person.auto.keep" : "person.auto.cover");
  $("person-auto").textContent = one.choice === "auto" ? auto : `${t("person.yours")} ${auto}`;
  $("person-reset").disabled = one.choice === "auto";
  merges(one);
  showTime(now());
}

function merges(one) {
  const others = context.people().filter((other) => other.id !== one.id);
  $("person-merge").replaceChildren(
    el("option", { value: "" }, t("person.merge.none")),
    ...others.map((other) => el("option", { value: other.id }, t("person.name", { n: other.name }))),
  );
  $("person-merge").closest("label").hidden = !others.length;
}
