// Loads a widget's module and the widgets' style sheets where an element needs them;
// any other page pays for these lines only.
const NAMES = [
  "bucket-timeline",
  "first-run",
  "hang-view",
  "life-of-step",
  "live-ddp",
  "match-box",
  "padding-wait",
  "ring-all-reduce",
  "sampler-view",
  "speed-up",
  "where-time",
  "will-it-fit",
];
const OWN_SHEETS = ["first-run", "live-ddp"];
const found = NAMES.filter((name) => document.querySelector(name));

if (found.length > 0) {
  const own = found.filter((name) => OWN_SHEETS.includes(name));
  for (const name of ["figures", "widgets", ...own]) {
    const sheet = document.createElement("link");
    sheet.rel = "stylesheet";
    sheet.href = new URL(`${name}.css`, import.meta.url).href;
    document.head.append(sheet);
  }
  for (const name of found) import(`./${name}.js`);
}
