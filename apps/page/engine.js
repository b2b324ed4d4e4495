// Where answers come from. Here: the service that sent this page, asked like any client,
// so that limits, deadlines, metrics and logs are the same. A static Space has another
// file in this place, which computes in the browser; it exports the same names.

import { FAILED, Refusal, UNREADABLE } from "./refusal.js";

// By the HTTP status of the answer: what its problem document tells programs.
const SENTENCES = {
  400: "This text holds characters that cannot be read.",
  413: "This text is too long. A few sentences are enough.",
  422: UNREADABLE,
  429: "Many people are asking right now. Please try again in a few seconds.",
  503: "The model is starting or busy. Please try again in a few seconds.",
  504: "This took too long and was given up. Please try again.",
};
const ABSENT = "The service did not answer. Are you online? Please try again.";
const PATIENCE_MS = 60000; // above the service's own deadline
const BATCH = 16; // below the service's limit, and a small share of its queue

export const place = "api"; // the page shows what is marked `only-api`
export const load = null; // nothing has to be loaded before the first answer

// What the service says of its model; `labels` is null while it is being loaded.
export async function describe() {
  return (await fetch("version")).json();
}

// The answer to one text: {label, scores, truncated}.
export function ask(text, signal) {
  return post("predict", { text }, signal);
}

// The answers to many texts, null where the model failed.
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
