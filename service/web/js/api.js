// Call the service. Every failure becomes an Error whose message is a sentence to show.

import { askForKey, currentKey, keyHeaders } from "./key.js";

const UNREACHABLE = "The service does not answer. Is it still running?";

async function call(path, options = {}) {
  const key = currentKey();
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { ...options.headers, ...keyHeaders() } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(UNREACHABLE, { cause: error });
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => null);
  if (answer.status === 401 && (await askForKey(key, sentence(problem?.detail ?? "")))) return call(path, options);
  throw new Error(problem?.detail ? sentence(problem.detail) : `The service answered ${answer.status}.`);
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

const query = (values) => {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `?${new URLSearchParams(given)}` : "";
};

const picture = (blob, signal) => {
  const body = new FormData();
  body.append("file", blob, "picture");
  return { method: "POST", body, signal };
};

export async function models() {
  return (await call("models")).json();
}

export async function filters() {
  return (await (await call("filters")).json()).filters;
}

export async function learnedFilters(model) {
  return (await call(`models/${encodeURIComponent(model)}/filters`)).json();
}

/** Classify: the answer, its stages in milliseconds, and how long it all took from here. */
export async function predict(blob, model, signal) {
  const started = performance.now();
  const answer = await call(`predict${query({ model })}`, picture(blob, signal));
  const body = await answer.json();
  const stages = {};
  for (const entry of (answer.headers.get("Server-Timing") ?? "").split(",")) {
    const [, name, spent] = entry.match(/([\w-]+);dur=([\d.]+)/) ?? [];
    if (name) stages[name] = Number(spent);
  }
  return { ...body, stages, elapsed: performance.now() - started };
}

export async function layers(blob, model, maps, signal) {
  return (await call(`layers${query({ model, maps })}`, picture(blob, signal))).json();
}

export async function cell(blob, model, layer, place, signal) {
  const path = `layers/${encodeURIComponent(layer)}${query({ model, ...place })}`;
  return (await call(path, picture(blob, signal))).json();
}

export async function explain(blob, model, method, label, signal) {
  return (await call(`explain${query({ model, method, label, format: "json" })}`, picture(blob, signal))).json();
}

const json = (body, signal) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
  signal,
});

export async function convolve(body, steps, signal) {
  return (await call(`convolve${query({ steps: steps || undefined })}`, json(body, signal))).json();
}

export async function pool(body, steps, signal) {
  return (await call(`pool${query({ steps: steps || undefined })}`, json(body, signal))).json();
}

/** Filter a picture: a PNG. */
export async function convolvePicture(blob, fields, signal) {
  const { body } = picture(blob);
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  return (await call("convolve/image", { method: "POST", body, signal })).blob();
}
