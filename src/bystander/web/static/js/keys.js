// Keyboard shortcuts of the view that is shown. Typing in a field is never taken for one.
import { $ } from "./dom.js";

const TYPED = new Set(["INPUT", "SELECT", "TEXTAREA"]);
let actions = {};

/** `found`: key -> function; returns nothing. Keys as in KeyboardEvent.key, lower case; "mod+z" for Ctrl or Cmd. */
export function useKeys(found) {
  actions = found;
}

const name = (event) => `${event.ctrlKey || event.metaKey ? "mod+" : ""}${event.shiftKey && event.key.length > 1 ? "shift+" : ""}${
  (event.ctrlKey || event.metaKey) && event.shiftKey && event.key.length === 1 ? "shift+" : ""}${event.key.toLowerCase()}`;

function typing(event) {
  const { target } = event;
  if (target.isContentEditable || (TYPED.has(target.tagName) && !["radio", "range", "checkbox"].includes(target.type))) return true;
  return event.key === " " && target.closest("button, a, summary, label, input");
}

export function wireKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || event.repeat || typing(event) || document.querySelector("dialog[open]")) return;
    if (event.key === "?") return openHelp();
    const action = actions[name(event)];
    if (!action) return;
    event.preventDefault();
    action();
  });
  $("help-open").addEventListener("click", openHelp);
}

function openHelp() {
  $("help").showModal();
}
