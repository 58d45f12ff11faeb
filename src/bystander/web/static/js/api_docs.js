// Shows the API's own document: every address with its parameters, body and answers.
import { get } from "./api.js";
import { $, el } from "./dom.js";
import { ready } from "./page.js";
import { onLanguage, say, t } from "./words.js";

const METHODS = ["get", "head", "post", "put", "patch", "delete"];

await ready;
let document_ = null;
try {
  document_ = await get("/api/openapi.json");
  draw();
  onLanguage(draw);
} catch {
  say($("api-state"), "api.failed");
}

function draw() {
  const found = Object.entries(document_.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => [path, method, item[method], item.parameters ?? []]));
  say($("api-state"), "api.count", { n: found.length });
  $("api-paths").replaceChildren(...found.map((one) => operation(...one)));
}

function resolve(part) {
  if (!part?.$ref) return part;
  return part.$ref.slice(2).split("/").reduce((at, key) => at?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], document_);
}

function operation(path, method, told, shared) {
  return el("details", { class: "operation" },
    el("summary", {}, el("b", { class: `method ${method}` }, method.toUpperCase()), el("code", {}, path), el("span", {}, told.summary ?? "")),
    told.description ? el("p", {}, told.description) : null,
    parameters([...shared, ...(told.parameters ?? [])].map(resolve)),
    body(resolve(told.requestBody)),
    answers(told.responses ?? {}));
}

function parameters(all) {
  if (!all.length) return null;
  const rows = all.map((p) => el("li", {}, el("code", {}, p.name), ` ${p.in}`, p.required ? `, ${t("api.required")}` : "", p.description ? `: ${p.description}` : ""));
  return el("div", {}, el("h3", {}, t("api.parameters")), el("ul", {}, ...rows));
}

function body(told) {
  if (!told) return null;
  const parts = Object.entries(told.content ?? {}).map(([kind, { schema }]) => el("div", {}, el("code", {}, kind), shape(schema)));
  return el("div", {}, el("h3", {}, t("api.body")), ...parts);
}

function answers(all) {
  const rows = Object.entries(all).map(([code, told]) => {
    const answer = resolve(told);
    const schema = Object.values(answer.content ?? {})[0]?.schema;
    return el("li", {}, el("b", { class: "figures" }, code), ` ${answer.description ?? ""}`, schema && code < "300" ? shape(schema) : null);
  });
  return el("div", {}, el("h3", {}, t("api.answers")), el("ul", { class: "plain" }, ...rows));
}

/** A schema as indented text, three levels deep. */
function shape(schema) {
  return schema ? el("pre", { tabindex: 0 }, words(schema, 0)) : null;
}

function words(given, depth) {
  const schema = resolve(given) ?? {};
  const pad = "  ".repeat(depth + 1);
  const options = schema.oneOf ?? schema.anyOf;
  if (options) return options.map((one) => words(one, depth)).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `[${words(schema.items ?? {}, depth)}]`;
  if (!schema.properties) return [schema.type ?? "any"].flat().join(" | ");
  if (depth > 2) return "{…}";
  const required = new Set(schema.required ?? []);
  const lines = Object.entries(schema.properties).map(([name, part]) => `${pad}${name}${required.has(name) ? "" : "?"}: ${words(part, depth + 1)}`);
  return `{\n${lines.join("\n")}\n${"  ".repeat(depth)}}`;
}
