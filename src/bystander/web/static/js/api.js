// Requests to the server. Answers are JSON; a refusal becomes an ApiError whose sentence is in the user's language.
import { known, t } from "./words.js";

export class ApiError extends Error {
  constructor(code, message, status = 0) {
    super(message);
    this.code = code;
    this.status = status;
  }

  /** What to show: ours by code, which may quote the server; its own words for a code that we do not know. */
  get sentence() {
    const key = `error.${this.code}`;
    return known(key) ? t(key, { message: this.message }) : this.message || t("error.fault");
  }
}

const secret = () => document.querySelector('meta[name="csrf-token"]').content;

/** A fetch with the page's secret. ApiError("network") when nobody answers. */
export async function request(path, { method = "GET", json, body, headers = {}, signal } = {}) {
  const all = { Accept: "application/json", ...headers };
  if (method !== "GET" && method !== "HEAD") all["X-Bystander-CSRF"] = secret();
  if (json !== undefined) all["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers: all, body: json === undefined ? body : JSON.stringify(json), signal, redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("network", "");
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

async function refusal(answer) {
  let told = {};
  try {
    told = (await answer.json()).error ?? {};
  } catch {
    // no JSON: a proxy or a HEAD answered
  }
  const fallback = { 401: "no_token", 404: "not_found", 502: "network", 503: "network", 504: "network" }[answer.status] ?? "fault";
  return new ApiError(told.code ?? fallback, told.message ?? "", answer.status);
}

export async function get(path, options = {}) {
  return (await request(path, options)).json();
}

export async function post(path, json = {}, options = {}) {
  const answer = await request(path, { method: "POST", json, ...options });
  return answer.status === 204 ? null : answer.json();
}

export const remove = (path, options = {}) => request(path, { method: "DELETE", ...options });

let limits = null;

/** /api/limits, asked once. */
export function getLimits() {
  limits ??= get("/api/limits").catch((error) => {
    limits = null;
    throw error;
  });
  return limits;
}
