// The form of who stays visible, look and margin, which the live and the film view share.
import { say } from "./words.js";

/** Read a form whose fields are named `NAME-keep` and so on; `changed(key)` is told of each change. */
export function settingsForm(form, name, changed = () => {}) {
  const picked = (key) => form.querySelector(`input[name="${name}-${key}"]:checked`).value;
  const strength = form.querySelector(`input[name="${name}-strength"]`);
  const hint = form.querySelector("[data-keep-hint]");
  const out = form.querySelector("[data-strength-out]");
  let roles = true;
  const show = () => {
    const keep = picked("keep");
    say(hint, keep === "auto" && !roles ? "keep.auto.noroles" : `keep.${keep}.hint`);
    out.textContent = `×${Number(strength.value).toFixed(1)}`;
  };
  form.addEventListener("input", (event) => {
    show();
    changed(event.target.name.slice(name.length + 1));
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
  return {
    show,
    /** A model without roles keeps nobody by itself. */
    knowsRoles(value) {
      roles = value;
      show();
    },
    get keep() {
      return picked("keep");
    },
    get style() {
      return picked("style");
    },
    get strength() {
      return Number(strength.value);
    },
    set(values) {
      for (const key of ["keep", "style"]) {
        const input = form.querySelector(`input[name="${name}-${key}"][value="${CSS.escape(values[key] ?? "")}"]`);
        if (input) input.checked = true;
      }
      if (values.strength && document.activeElement !== strength) strength.value = values.strength;
      show();
    },
  };
}
