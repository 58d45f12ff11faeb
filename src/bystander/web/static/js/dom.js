// Small helpers to make and find elements. Text is always text, never markup.

export const $ = (id) => document.getElementById(id);

/** el("p", {class: "hint", onclick: f, hidden: true}, "text", node) */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** CSS custom properties through the object model, which a strict policy allows. */
export function place(node, values) {
  for (const [name, value] of Object.entries(values)) node.style.setProperty(`--${name}`, value);
}

/** Bring `parent`'s children in line with `items`: keeps nodes (and the focus in them) by key. */
export function keyed(parent, items, keyOf, make, update) {
  const old = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  let after = null;
  for (const item of items) {
    const key = String(keyOf(item));
    let node = old.get(key);
    if (node) old.delete(key);
    else {
      node = make(item);
      node.dataset.key = key;
    }
    update(node, item);
    const wanted = after ? after.nextSibling : parent.firstChild;
    if (node !== wanted) parent.insertBefore(node, wanted);
    after = node;
  }
  for (const node of old.values()) node.remove();
}
