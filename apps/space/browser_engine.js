// Where answers come from in a static Space: the int8 model, run by Transformers.js in the
// visitor's browser. It has the exports of the engine that asks the service.
//
// Each text runs alone: the ONNX graph has no mask for filled-up rows, and a text's answer
// then depends on no other text. Tokens, cut and scores are made as in
// distrinews/inference/classifier.py.

import { Refusal, UNREADABLE } from "./refusal.js";

const LIBRARY = "@huggingface/transformers"; // the page's import map says where it is
const CACHE = "transformers-cache"; // Transformers.js keeps what it loaded there
const MAX_CHARACTERS = 20000; // as the service's own default
const CHARACTERS_PER_TOKEN = 16;
const UNLOADED = "Load the model first: the button is above the text.";
const UNREACHABLE = "The model could not be loaded. Are you online, and does your browser let"
  + " this page load what it needs?";
const DIFFERENT = "This browser computes other scores than were recorded when the model was"
  + " made, so it gives no answers.";

const about = fetch("static/model.json").then((response) => response.json());
let running = null; // {model, tokenizer, Tensor} once they are loaded

export const place = "browser";

// What the page shows of the model: as the service's /version says it.
export function describe() {
  return about;
}

export const load = {
  // What loading will cost, and whether an earlier visit has paid it.
  async cost() {
    const { browser } = await about;
    const path = `${browser.folder}/onnx/${browser.model_file}.onnx`;
    const model = new URL(path, document.baseURI);
    // `caches` is missing where the page came without https.
    const isCached = Boolean(await globalThis.caches?.match(model.href));
    return { megabytes: Math.ceil(browser.bytes / 1e6), isCached };
  },

  // Load, and compare with the recorded scores; `tell` gets the share that is here.
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
      // WHY not `>`: a score that is no number is no agreement.
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
  // WHY a pause: the model runs in this thread, and the page must hear of the next key.
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
  // WHY by hand: Transformers.js would cut off the token that ends a text, too.
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
  // WHY not its cache of the runtime: it makes a script of a blob, which no integrity
  // covers and this page's policy forbids. The browser's own cache keeps these files.
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
