// Loads a widget's module and the widgets' style sheets where an element needs them;
// any other page pays for these lines only.
const NAMES = [
  "bucket-timeline",
  "life-of-step",
  "live-ddp",
  "match-box",
  "ring-all-reduce",
  "sampler-view",
  "speed-up",
];
const found = NAMES.filter((name) => document.querySelector(name));

if (found.length > 0) {
  const sheets = ["figures.css", "widgets.css"];
  if (found.includes("live-ddp")) sheets.push("live-ddp.css");
  for (const name of sheets) {
    const sheet = document.createElement("link");
    sheet.rel = "stylesheet";
    sheet.href = new URL(name, import.meta.url).href;
    document.head.append(sheet);
  }
  for (const name of found) import(`./${name}.js`);
}
