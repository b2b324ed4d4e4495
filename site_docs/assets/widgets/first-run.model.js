// What <first-run> shows at which moment. Pure: no DOM.
// The captured screen is the only source: its lines appear when the seconds that the run
// printed about itself say so. Between its ends a bar is drawn evenly, without the rate and
// the loss, which only its last state records.

const KEY_S = 0.02; // the player's own typing
const INSTALL_S = 1.5; // the player's own pause while pip works: its time is not recorded
const BAR = /^(\w+): 100%\|(█+)\| (\d+)\/\3 \[/;
const AFTER = { train: ["validation"], test: ["export", "predict"] };

// "start 2.1 s, data 1.6 s, ..." -> { start: 2.1, data: 1.6, ... }
export function phases(screen) {
  const line = screen.split("\n").find((one) => /\bstart [\d.]+ s, /.test(one));
  if (!line) throw new Error("the screen does not say how long its phases took");
  const found = line.matchAll(/(\w+) ([\d.]+) s(?=,|$)/g);
  return Object.fromEntries([...found].map(([, name, s]) => [name, Number(s)]));
}

// lines: text and the seconds in which it is written; stages: from when on which sentence
// is true; begins: where the run's own clock begins; ends.
export function play(command, screen) {
  const took = phases(screen);
  const sum = (...names) => names.reduce((all, name) => all + took[name], 0);
  const typed = command.length * KEY_S;
  const begins = typed + INSTALL_S;
  const lines = [{ text: command, from: 0, to: typed }];
  const bars = {};
  let now = begins + sum("start", "data", "model");
  for (const text of screen.trimEnd().split("\n")) {
    const [, name, blocks, total] = BAR.exec(text) ?? [];
    if (name === "test") now += took.checkpoint;
    const line = { text, from: now, to: now };
    if (name) {
      now += took[name];
      Object.assign(line, { to: now, name, width: blocks.length, total: Number(total) });
      bars[name] = line;
      now += sum(...AFTER[name]);
    }
    lines.push(line);
  }
  const stages = told(screen, took, { typed, begins, ends: now, ...bars });
  return { lines, stages, begins, ends: now };
}

function told(screen, took, { typed, begins, train, test, ends }) {
  const number = (pattern) => pattern.exec(screen)[1];
  const ranks = number(/^ranks +(\d+) on/m);
  const seconds = (name) => `${took[name].toFixed(1)} s`;
  return [
    [0, "Command one: it makes an environment, installs the course and starts chapter 05."],
    [
      typed,
      "pip installs and prints nothing. How long it takes depends on your connection; here it " +
        "is skipped.",
    ],
    [
      begins,
      `${ranks} processes import torch and find each other (${seconds("start")}), read the data ` +
        `(${seconds("data")}) and build their models (${seconds("model")}).`,
    ],
    [
      train.from,
      `Training, ${seconds("train")}: in each of ${train.total} steps every rank computes the ` +
        "gradient of its own rows, and all take the mean.",
    ],
    [
      train.to,
      `The ranks share ${number(/on (\d+) validation rows/)} validation rows ` +
        `(${seconds("validation")}). Then rank 0 saves a checkpoint (${seconds("checkpoint")}).`,
    ],
    [
      test.from,
      `Testing, ${seconds("test")}: each of ${number(/on (\d+) test rows/)} rows is counted once ` +
        "over all ranks.",
    ],
    [
      test.to,
      `Rank 0 exports the model (${seconds("export")}) and opens it again, to classify three ` +
        "headlines.",
    ],
    [
      ends,
      `Done after ${(ends - begins).toFixed(1)} s by the run's own clock: the model is saved, ` +
        "tested, and has answered three headlines.",
    ],
  ].map(([from, words]) => ({ from, words }));
}

// What stands of a line after so many seconds.
export function written(line, time) {
  if (time < line.from) return "";
  if (time >= line.to) return line.text;
  const part = (time - line.from) / (line.to - line.from);
  if (!line.name) return line.text.slice(0, Math.floor(part * line.text.length));
  const steps = Math.floor(part * line.total);
  const share = steps / line.total;
  const percent = String(Math.floor(100 * share)).padStart(3);
  const blocks = "█".repeat(Math.floor(share * line.width)).padEnd(line.width);
  const clock = [Math.floor((time - line.from) / 60), Math.floor((time - line.from) % 60)]
    .map((one) => String(one).padStart(2, "0"))
    .join(":");
  return `${line.name}: ${percent}%|${blocks}| ${steps}/${line.total} [${clock}]`;
}
