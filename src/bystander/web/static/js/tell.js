// Short news: a toast that is also read out, an alarm that interrupts, a question that waits for its answer.
import { $, el } from "./dom.js";
import { say } from "./words.js";

const TOAST_MS = 6000;

export function toast(text, kind = "") {
  const node = el("p", { class: `toast ${kind}` }, text);
  $("toasts").append(node);
  setTimeout(() => node.remove(), TOAST_MS);
}

export function alarm(text) {
  $("alert").textContent = "";
  requestAnimationFrame(() => ($("alert").textContent = text));
}

/** Show an error's sentence; anything that is no ApiError is a defect and goes to the console as well. */
export function tellError(error) {
  if (error.name === "AbortError") return;
  if (!error.sentence) console.error(error);
  toast(error.sentence ?? String(error.message), "danger");
}

/** Resolves true for yes. */
export function ask({ title, text, values = {}, yes }) {
  const dialog = $("ask");
  say($("ask-title"), title);
  say($("ask-text"), text, values);
  say($("ask-yes"), yes);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

export function wireDialogs() {
  for (const button of document.querySelectorAll("dialog [data-answer]")) {
    button.addEventListener("click", () => button.closest("dialog").close(button.dataset.answer));
  }
  for (const button of document.querySelectorAll("dialog [data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }
}
