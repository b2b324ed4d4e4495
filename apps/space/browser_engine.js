// Source of the answers in a static Space: the int8 model, run by Transformers.js in the
// visitor's browser. It exports the same names as apps/page/engine.js.
//
// Each text runs alone, because the ONNX graph has no mask for padded rows; so its answer
// depends on no other text. Tokens, truncation and scores are computed as in
// distrinews/inference/classifier.py.

import { Refusal, UNREADABLE } from "./refusal.js";

const LIBRARY = "@huggingface/transformers"; // its address is in the page's import map
const CACHE = "transformers-cache"; // where Transformers.js keeps downloads
const MAX_CHARACTERS = 20000; // as the service's own default
const CHARACTERS_PER_TOKEN = 16;
const UNLOADED = "Load the model first: the button is above the text.";
const UNREACHABLE = "The model could not be loaded. Are you online, and does your browser allow"
  + " this page to load it?";
const DIFFERENT = "This browser computes other scores than those recorded with the model,"
  + " so it gives no answers.";

const about = fetch("static/model.json").then((response) => response.json());
let running = null; // {model, tokenizer, Tensor} once they are loaded

export const place = "browser";

// The model's description, in the form of the service's /version.
export function describe() {
  return about;
}

export const load = {
  // The size to load, and whether an earlier visit has loaded it already.
  async cost() {
    const { browser } = await about;
    const path = `${browser.folder}/onnx/${browser.model_file}.onnx`;
    const model = new URL(path, document.baseURI);
    // `caches` does not exist if the page was loaded without https.
    const isCached = Boolean(await globalThis.caches?.match(model.href));
    return { megabytes: Math.ceil(browser.bytes / 1e6), isCached };
  },

  // Load, and compare with the recorded scores; `tell` gets the share loaded so far.
  async begin(tell) {
    const parts = await about;
    const loaded = await loadParts(parts.browser, tell).catch((error) => {
      console.error(error);
      throw new Refusal(UNREACHABLE);
    });
    const { golden, tolerance } = parts.browser;
    for (const row of golden) {
      const { scores } = await answer(row.text, loaded);
      const gap = Math.max(...row.scores.map(
        (score, index) => Math.abs(score - scores[parts.labels[index]])));
      // Not `>`: that would accept a score that is not a number.
      if (!(gap <= tolerance)) throw new Refusal(DIFFERENT);
    }
    running = loaded;
  },
};

// The answer to one text: {label, scores, truncated}.
export async function ask(text, signal) {
  if (!running) throw new Refusal(UNLOADED);
  const letter = new RegExp((await about).browser.letter, "u");
  if (!letter.test(text) || text.length > MAX_CHARACTERS || text.isWellFormed?.() === false) {
    throw new Refusal(UNREADABLE);
  }
  // Yield first: the model blocks this thread, and the page must notice the next key.
  await new Promise((go) => setTimeout(go));
  signal.throwIfAborted();
  return answer(text, running);
}

// The answers to many texts, one after the other.
export async function askAll(texts, signal) {
  const answers = [];
  for (const text of texts) answers.push(await ask(text, signal));
  return answers;
}

async function answer(text, { model, tokenizer, Tensor }) {
  const { labels, browser: { max_length: longest } } = await about;
  const characters = [...text];
  const limit = longest * CHARACTERS_PER_TOKEN;
  const all = tokenizer.encode(characters.slice(0, limit).join(""));
  // By hand, because Transformers.js would also cut off the end token.
  const ids = all.length > longest ? [...all.slice(0, longest - 1), all.at(-1)] : all;
  const input = new Tensor("int32", Int32Array.from(ids), [1, ids.length]);
  const { logits } = await model({ input_ids: input });
  const values = [...logits.data];
  const highest = Math.max(...values);
  const exponentials = values.map((value) => Math.exp(value - highest));
  const sum = exponentials.reduce((one, other) => one + other, 0);
  const scores = Object.fromEntries(
    labels.map((label, index) => [label, exponentials[index] / sum]));
  const truncated =
    all.length > longest || characters.slice(limit).join("").trim() !== "";
  return { label: labels[values.indexOf(highest)], scores, truncated };
}

async function loadParts({ folder, model_file: file, runtime, bytes }, tell) {
  const base = new URL(".", document.baseURI).href;
  const address = (path) => new URL(path, base).href;
  await forgetOtherModels(base, folder);
  const { AutoModelForSequenceClassification, AutoTokenizer, Tensor, env } =
    await import(LIBRARY);
  env.remoteHost = base; // "remote" for it: files that it keeps in its cache
  env.remotePathTemplate = "{model}/";
  // Without its cache of the runtime: it would load a script from a blob, which integrity
  // does not cover and this page's policy forbids. The browser's cache keeps these files.
  env.useWasmCache = false;
  const { wasm } = env.backends.onnx;
  wasm.numThreads = 1; // more need headers that a static host does not send
  wasm.wasmPaths = { mjs: address(runtime.mjs), wasm: address(runtime.wasm) };
  const binary = await fetch(address(runtime.wasm), { integrity: runtime.wasm_integrity });
  wasm.wasmBinary = await binary.arrayBuffer();
  const here = { runtime: runtime.bytes };
  const progress_callback = ({ status, file: name, loaded }) => {
    if (status !== "progress") return;
    here[name] = loaded;
    tell(Object.values(here).reduce((one, other) => one + other, 0) / bytes);
  };
  const [tokenizer, model] = await Promise.all([
    AutoTokenizer.from_pretrained(folder, { progress_callback }),
    AutoModelForSequenceClassification.from_pretrained(folder, {
      progress_callback,
      device: "wasm",
      dtype: "fp32", // adds nothing to the file's name; its matrices are int8
      model_file_name: file,
    }),
  ]);
  return { model, tokenizer, Tensor };
}

// An older model of this page would stay on the visitor's disk forever.
async function forgetOtherModels(base, folder) {
  const cache = await globalThis.caches?.open(CACHE);
  for (const { url } of (await cache?.keys()) ?? []) {
    const path = url.startsWith(base) ? url.slice(base.length) : "";
    if (path.startsWith("model-") && !path.startsWith(`${folder}/`)) await cache.delete(url);
  }
}
