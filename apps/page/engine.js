// Source of the answers: the service that sent this page. The page is an ordinary client,
// so limits, deadlines, metrics and logs are the same. A static Space replaces this file by
// one that computes in the browser; it exports the same names.

import { FAILED, Refusal, UNREADABLE } from "./refusal.js";

// Message by HTTP status; programs read the problem document instead.
const SENTENCES = {
  400: "This text contains characters that cannot be read.",
  413: "This text is too long. A few sentences are enough.",
  422: UNREADABLE,
  429: "Many people are asking right now. Please try again in a few seconds.",
  503: "The model is starting or busy. Please try again in a few seconds.",
  504: "This took too long, so the service gave up. Please try again.",
};
const ABSENT = "The service did not answer. Are you online? Please try again.";
const PATIENCE_MS = 60000; // above the service's own deadline
const BATCH = 16; // below the service's limit, and a small share of its queue

export const place = "api"; // the page shows the parts marked `only-api`
export const load = null; // nothing has to be loaded before the first answer

// The service's description of its model; `labels` is null while the model is loading.
export async function describe() {
  return (await fetch("version")).json();
}

// The answer to one text: {label, scores, truncated}.
export function ask(text, signal) {
  return post("predict", { text }, signal);
}

// The answers to many texts; null for a text on which the model failed.
export async function askAll(texts, signal) {
  const answers = [];
  for (let start = 0; start < texts.length; start += BATCH) {
    const body = { texts: texts.slice(start, start + BATCH) };
    const { results } = await post("predict/batch", body, signal);
    answers.push(...results.map((result) => (result.scores ? result : null)));
  }
  return answers;
}

async function post(path, body, signal) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]),
  }).catch(() => { throw new Refusal(ABSENT); });
  if (!response.ok) throw new Refusal(SENTENCES[response.status] ?? FAILED);
  return response.json();
}
