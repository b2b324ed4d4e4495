// The demo page: a client like any other. It sends what is typed to /predict and nowhere
// else; limits, deadlines, metrics and logs are those of the service. Nothing is stored.
"use strict";

// Only a model of these classes knows news; for others there are no examples.
const NEWS = ["World", "Sports", "Business", "Sci/Tech"];
// Written for this page: one per class, and two that two classes could claim.
const EXAMPLES = [
  "Peace talks resume as both sides agree to open the border crossing",
  "Striker scores twice as champions win the cup final in extra time",
  "Central bank raises interest rates as inflation and oil prices climb",
  "Space probe sends first pictures from an icy moon of Saturn",
  "Football club sells its stadium to a bank to pay back its loans",
  "Parliament votes on a law against spam and computer viruses",
];
const MAX_CLASSES = 20; // named above the form; a model may have a thousand
const MAX_BARS = 10;
const TOO_LONG = "This text is too long. A few sentences are enough.";
// By the HTTP status of the answer: what its problem document tells programs.
const SENTENCES = {
  400: "This text holds characters that cannot be read.",
  413: TOO_LONG,
  422: "This text cannot be read: it has no letters, is too long, or holds broken characters.",
  429: "Many people are asking right now. Please try again in a few seconds.",
  503: "The model is starting or busy. Please try again in a few seconds.",
  504: "This took too long and was given up. Please try again.",
};
const FAILED = "Something went wrong on our side. Please try again.";
const MAX_TYPED = 100000; // far above the service's limit, far below a slow upload
const PATIENCE_MS = 60000; // above the service's own deadline
const RETRY_MS = 2000;

const [form, text, note, bars, classes, examples] =
  ["form", "text", "note", "bars", "classes", "examples"].map(
    (id) => document.getElementById(id));
let asking = new AbortController();

// The page of a Hugging Face Space asks for its own theme.
const theme = new URLSearchParams(location.search).get("__theme");
if (theme) document.documentElement.dataset.theme = theme;

async function ask(typed) {
  if (!typed.trim()) return ["Type a text first: there is nothing to classify yet.", {}];
  if (typed.length > MAX_TYPED) return [TOO_LONG, {}];
  const began = performance.now();
  const response = await fetch("predict", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ text: typed }),
    signal: AbortSignal.any([asking.signal, AbortSignal.timeout(PATIENCE_MS)]),
  });
  if (!response.ok) return [SENTENCES[response.status] ?? FAILED, {}];
  const answer = await response.json();
  const seconds = ((performance.now() - began) / 1000).toFixed(2);
  const cut = answer.truncated
    ? " Longer than what the model reads: only its beginning counted." : "";
  return [`Answered in ${seconds} seconds.${cut}`, answer.scores];
}

function show(sentence, scores) {
  note.textContent = sentence;
  const rows = Object.entries(scores).sort(([, one], [, other]) => other - one);
  bars.replaceChildren(...rows.slice(0, MAX_BARS).map(([label, score]) => {
    const row = document.createElement("tr");
    const meter = document.createElement("meter");
    meter.value = score;
    const cells = [label, meter, `${Math.round(100 * score)}%`];
    for (const cell of cells) row.insertCell().append(cell);
    return row;
  }));
  if (rows.length > MAX_BARS) {
    bars.insertRow().insertCell().append(`and ${rows.length - MAX_BARS} more classes`);
  }
}

// The classes are those of the model that is served; it may still be loading.
async function showClasses() {
  const labels = await fetch("version")
    .then((response) => response.json())
    .then((version) => version.labels, () => null);
  if (!labels) return setTimeout(showClasses, RETRY_MS);
  const more = labels.length - MAX_CLASSES;
  classes.textContent = labels.slice(0, MAX_CLASSES).join(", ")
    + (more > 0 ? ` and ${more} more` : "");
  examples.hidden = labels.join() !== NEWS.join();
}

async function classify() {
  asking.abort(); // the answer to an earlier text would come too late
  const mine = (asking = new AbortController());
  show("Reading …", {});
  const answer = await ask(text.value).catch(
    () => ["The service did not answer. Are you online? Please try again.", {}]);
  if (mine === asking) show(...answer);
}

form.addEventListener("submit", (event) => { event.preventDefault(); classify(); });
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});
for (const example of EXAMPLES) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = example;
  button.addEventListener("click", () => { text.value = example; classify(); });
  const item = document.createElement("li");
  item.append(button);
  examples.querySelector("ul").append(item);
}
showClasses();
