// The demo page: it sends the typed text to an engine (`engine.js`) and shows the answer
// while the visitor types. Nothing is stored.

import * as engine from "./engine.js";
import { Games } from "./games.js";
import { showPicture, showRecord } from "./record.js";
import { FAILED, Refusal } from "./refusal.js";
import { Words } from "./words.js";

// The examples fit only a model with exactly these classes.
const NEWS = ["World", "Sports", "Business", "Sci/Tech"];
// Written for this page: one per class, and two that fit two classes.
const EXAMPLES = [
  "Peace talks resume as both sides agree to open the border crossing",
  "Striker scores twice as champions win the cup final in extra time",
  "Central bank raises interest rates as inflation and oil prices climb",
  "Space probe sends first pictures from an icy moon of Saturn",
  "Football club sells its stadium to a bank to pay back its loans",
  "Parliament votes on a law against spam and computer viruses",
];
const MAX_CLASSES = 20; // listed above the form; a model may have a thousand
const MAX_BARS = 10;
const MAX_TYPED = 100000; // far above any engine's limit, far below a slow upload
const MAX_SHARED = 2000; // characters; longer links break in mails and chats
const RETRY_MS = 2000;
const TYPING_PAUSE_MS = 150; // shorter pauses are part of typing a word
const WORDS_PAUSE_MS = 500; // every word costs one request
const SLOW_MS = 200; // a shorter wait needs no message
const EMPTY = "Type a text first: there is nothing to classify yet.";
const TOO_LONG = "This text is too long. A few sentences are enough.";

const find = (selector) => document.querySelector(selector);
const [form, text, note, bars, link] =
  ["#form", "#text", "#note", "#bars", "#link"].map(find);
const words = new Words(find("#words"), engine);
const games = new Games(find("#games"), () => { text.focus(); });
let asking = new AbortController();
let pause; // timer after a key press, or before the words are classified

// The page of a Hugging Face Space asks for its own theme.
const theme = new URLSearchParams(location.search).get("__theme");
if (theme) document.documentElement.dataset.theme = theme;
for (const place of ["api", "browser"]) {
  for (const part of document.querySelectorAll(`.only-${place}`)) {
    part.hidden = place !== engine.place;
  }
}

async function classify() {
  clearTimeout(pause);
  asking.abort(); // the answer to an earlier text would come too late
  const { signal } = (asking = new AbortController());
  const typed = text.value;
  words.fade();
  if (!typed.trim()) return show(EMPTY, {});
  if (typed.length > MAX_TYPED) return show(TOO_LONG, {});
  const slow = setTimeout(() => { note.textContent = "Reading …"; }, SLOW_MS);
  const began = performance.now();
  try {
    const answer = await engine.ask(typed, signal);
    if (signal.aborted) return;
    const waitedS = (performance.now() - began) / 1000;
    const seconds = waitedS.toFixed(waitedS < 0.1 ? 3 : 2);
    const cut = answer.truncated
      ? " Longer than the model can read: only its beginning counted." : "";
    show(`${answer.label}. Answered in ${seconds} seconds.${cut}`, answer.scores);
    games.follow(typed, answer);
    pause = setTimeout(() => words.show(typed, answer, signal), WORDS_PAUSE_MS);
  } catch (error) {
    if (!signal.aborted) tell(error);
  } finally {
    clearTimeout(slow);
  }
}

function show(sentence, scores) {
  note.textContent = sentence;
  if (!Object.keys(scores).length) words.hide();
  const rows = Object.entries(scores).sort(([, one], [, other]) => other - one);
  const shown = rows.slice(0, MAX_BARS);
  const names = [...bars.querySelectorAll("th")].map((cell) => cell.textContent);
  // Keep rows that stay in place, so that their bars glide to the new length.
  if (names.join("\n") !== shown.map(([label]) => label).join("\n")) {
    bars.replaceChildren(...shown.map(([label]) => newRow(label)));
    if (rows.length > MAX_BARS) {
      bars.insertRow().insertCell().append(`and ${rows.length - MAX_BARS} more classes`);
    }
  }
  shown.forEach(([, score], index) => {
    const [, bar, percent] = bars.rows[index].cells;
    bar.firstChild.style.setProperty("--share", score);
    percent.textContent = `${Math.round(100 * score)}%`;
  });
}

function tell(error) {
  if (!(error instanceof Refusal)) console.error(error);
  show(error instanceof Refusal ? error.message : FAILED, {});
}

function newRow(label) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = label;
  row.append(head);
  row.insertCell().append(document.createElement("div"));
  row.insertCell();
  return row;
}

// Show the classes of the model that answers; it may still be loading.
async function showModel() {
  const version = await engine.describe().catch(() => null);
  if (!version?.labels) return setTimeout(showModel, RETRY_MS);
  const { labels } = version;
  const more = labels.length - MAX_CLASSES;
  find("#classes").textContent = labels.slice(0, MAX_CLASSES).join(", ")
    + (more > 0 ? ` and ${more} more` : "");
  find("#examples").hidden = labels.join() !== NEWS.join();
  find("#games").hidden = labels.length < 2;
  showRecord(find("#record"), version);
}

// Load an engine that runs in the browser: at the visitor's click, or from the cache.
async function loadEngine() {
  const [button, progress] = find("#loader").children;
  const { megabytes, isCached } = await engine.load.cost();
  button.textContent = `Load the model (${megabytes} MB)`;
  for (let isFirst = true; ; isFirst = false) {
    if (!isFirst || !isCached) {
      await new Promise((pressed) => button.addEventListener("click", pressed, { once: true }));
    }
    button.disabled = true;
    progress.hidden = false;
    try {
      await engine.load.begin((share) => { progress.value = share; });
      find("#loader").hidden = true;
      return;
    } catch (error) {
      tell(error);
    }
    button.disabled = false;
    progress.hidden = true;
  }
}

function put(typed) {
  text.value = typed;
  form.scrollIntoView({ block: "nearest" }); // the answer is below it
  return classify();
}

// After "#", because browsers never send that part of an address to a server.
function share() {
  if (text.value.length > MAX_SHARED) {
    note.textContent = `Too long for a link: up to ${MAX_SHARED} characters.`;
    return;
  }
  const parts = new URLSearchParams({ text: text.value });
  if (games.fixed) parts.set("fixed", games.fixed.text);
  history.replaceState(null, "", `#${parts}`);
  link.hidden = false;
  const field = link.querySelector("input");
  field.value = location.href;
  field.focus();
  field.select();
  // Browsers refuse this without https or in a frame; then the visitor copies the field.
  navigator.clipboard?.writeText(location.href).catch(() => {});
}

const linked = () => new URLSearchParams(location.hash.slice(1));

async function openLink() {
  const fixed = linked().get("fixed");
  if (fixed) {
    await put(fixed);
    games.fix();
  }
  await put(linked().get("text"));
}

form.addEventListener("submit", (event) => { event.preventDefault(); classify(); });
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});
text.addEventListener("input", () => {
  clearTimeout(pause);
  link.hidden = true; // it contains the previous text
  pause = setTimeout(() => {
    if (text.value.trim()) return classify();
    asking.abort();
    show("", {});
  }, TYPING_PAUSE_MS);
});
find("#nonsense").addEventListener("click", (event) => put(event.target.textContent));
find("#share").addEventListener("click", share);
find("#step").addEventListener("toggle", (event) => showPicture(event.target));
addEventListener("hashchange", () => { if (linked().get("text")) openLink(); });
for (const example of EXAMPLES) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = example;
  button.addEventListener("click", () => put(example));
  const item = document.createElement("li");
  item.append(button);
  find("#examples ul").append(item);
}
showModel();
const first = linked().get("text") ?? text.value;
text.value = first;
if (engine.load) await loadEngine();
if (linked().get("text") && text.value === first) openLink();
else if (text.value.trim()) classify();
