// Proofs for the models of the site's widgets that need no browser;
// tests/test_site_widgets.py runs them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const SITE = new URL("../../site_docs/", import.meta.url);
const load = (name) => import(new URL(`assets/widgets/${name}`, SITE));
const read = (name) => readFileSync(new URL(name, SITE), "utf8");
const near = (got, want) => assert.ok(Math.abs(got - want) < 1e-9, `${got}, not ${want}`);

// --- first-run --------------------------------------------------------------------------

const { phases, play, written } = await load("first-run.model.js");
const SCREEN = read("learn/captured/05_ddp_training.txt");
const [, STEPS] = SCREEN.match(/^step (\d+):/m);
const COMMAND = "python chapters/05_ddp_training.py";

test("the phases are those that the captured run printed", () => {
  const took = phases(SCREEN);
  assert.deepEqual(
    Object.keys(took),
    "start data model train validation checkpoint test export predict".split(" "),
  );
  for (const [name, seconds] of Object.entries(took))
    assert.match(SCREEN, new RegExp(`[;,] ${name} ${seconds.toFixed(1)} s`));
  // Negative control: a screen without them is refused.
  assert.throws(() => phases(SCREEN.replace("start ", "begin ")), /does not say/);
});

test("every line appears when the run's own seconds say so", () => {
  const took = phases(SCREEN);
  const { lines, begins, ends } = play(COMMAND, SCREEN);
  const after = (beginning) =>
    lines.find(({ text }) => text.startsWith(beginning)).from - begins;
  const built = took.start + took.data + took.model;
  near(after("run "), built);
  near(after("train:"), built);
  near(after(`step ${STEPS}:`), built + took.train + took.validation);
  const all = Object.values(took).reduce((sum, one) => sum + one, 0);
  near(after("test:"), all - took.test - took.export - took.predict);
  near(after("Sports "), all);
  near(ends - begins, all);
  assert.deepEqual(
    lines.map(({ text }) => text),
    [COMMAND, ...SCREEN.trimEnd().split("\n")],
  );
});

test("a bar grows evenly, says only what is recorded, and ends as it was printed", () => {
  const { lines } = play(COMMAND, SCREEN);
  const bar = lines.find(({ name }) => name === "train");
  const width = /█+/.exec(bar.text)[0].length;
  assert.equal(written(bar, bar.from - 0.01), "");
  const half = written(bar, (bar.from + bar.to) / 2);
  const seconds = Math.floor(phases(SCREEN).train / 2);
  assert.ok(half.endsWith(`| ${STEPS / 2}/${STEPS} [00:${seconds}]`), half);
  assert.ok(half.startsWith("train:  50%|█"), half);
  assert.equal(half.match(/█/g).length, Math.floor(width / 2));
  assert.doesNotMatch(half, /loss|it\/s/);
  assert.equal(written(bar, bar.to), bar.text);
  // What is no bar stands there whole, or not at all.
  const line = lines.find(({ text }) => text.startsWith("model"));
  assert.equal(written(line, line.from - 0.01), "");
  assert.equal(written(line, line.from), line.text);
});

test("the sentences have the run's numbers, in the order of its moments", () => {
  const { stages } = play(COMMAND, SCREEN);
  const begins = stages.map(({ from }) => from);
  assert.deepEqual(begins, begins.toSorted((a, b) => a - b));
  const took = phases(SCREEN);
  const words = stages.map((one) => one.words).join(" ");
  for (const seconds of [took.start, took.data, took.model, took.train, took.test])
    assert.ok(words.includes(`${seconds.toFixed(1)} s`));
  const [, test_rows] = SCREEN.match(/, (\d+) to test$/m);
  for (const some of [`each of ${STEPS} steps`, `each of ${test_rows} rows`])
    assert.ok(words.includes(some), some);
});

// --- where-time -------------------------------------------------------------------------

const { waterfall } = await load("where-time.model.js");

test("the waterfall's bars lead from one step to the other, whatever the record", () => {
  const { parts, cases } = JSON.parse(read("assets/widgets/data/parts.json"));
  assert.equal(cases.length, 4);
  for (const one of cases) {
    const bars = waterfall(parts, one);
    assert.deepEqual(
      bars.map(({ name }) => name),
      ["one process", ...parts, "rest", "two ranks"],
    );
    near(bars[0].to, one.one.step_ms);
    near(bars.at(-1).to, one.ranks.step_ms);
    near(bars.at(-2).to, one.ranks.step_ms);
    bars.slice(1, -2).forEach(({ from, to }, i) => {
      near(from, bars[i].to);
      near(to - from, one.ranks.parts_ms[i] - one.one.parts_ms[i]);
    });
    // What the parts do not explain is small: 1 % of the step.
    const rest = bars.at(-2);
    assert.ok(Math.abs(rest.to - rest.from) < 0.01 * one.one.step_ms);
  }
  // Negative control: a part that is forgotten makes the rest large.
  const [first] = cases;
  const without = (row) => ({ ...row, parts_ms: row.parts_ms.with(2, 0) });
  const rest = waterfall(parts, { one: first.one, ranks: without(first.ranks) }).at(-2);
  assert.ok(rest.to - rest.from > 0.1 * first.one.step_ms);
});

test("only what was measured is called so, and its numbers are the record's", () => {
  const { cases } = JSON.parse(read("assets/widgets/data/parts.json"));
  assert.deepEqual(
    cases.map(({ predicted }) => predicted),
    [false, true, true, true],
  );
  const results = (name) => JSON.parse(read(`benchmarks/results/${name}.json`)).figures;
  const { one_process, strong } = results("scaling");
  assert.equal(cases[0].one.step_ms, one_process.median_ms);
  assert.equal(cases[0].ranks.step_ms, strong.median_ms);
  assert.equal(cases[0].ranks.parts_ms[2], strong.phases_ms.communication);
  assert.equal(cases[1].ranks.step_ms, strong.predicted.step_ms);
  // Two T4: from the most to the least of the published prediction.
  const [least, most] = results("prediction").t4.distilbert.two.speedup;
  const speedUp = ({ one, ranks }) => one.step_ms / ranks.step_ms;
  assert.ok(Math.abs(speedUp(cases[2]) - most) < 0.006);
  assert.ok(Math.abs(speedUp(cases[3]) - least) < 0.006);
});

// --- will-it-fit ------------------------------------------------------------------------

const memory = await load("will-it-fit.model.js");
const BILLION = { parameters: 1e9, shape: null };

test("DDP holds 16 bytes a parameter on any number of ranks, ZeRO divides its parts", () => {
  const state = (set) =>
    memory
      .stages(BILLION, { rows: 1, tokens: 128, ...set })
      .map(({ parts }) => parts.slice(0, 3).map((bytes) => bytes / 1e9));
  const alone = state({ ranks: 1 });
  for (const parts of alone) assert.deepEqual(parts, [4, 4, 8]);
  assert.deepEqual(state({ ranks: 8 }), [
    [4, 4, 8],
    [4, 4, 1],
    [4, 0.5, 1],
    [0.5, 0.5, 1],
  ]);
  assert.deepEqual(state({ ranks: 64 })[0], alone[0]);
});

test("activations grow with rows and tokens, and are not sharded", () => {
  const kept = (set) =>
    memory.stages(BILLION, { ranks: 8, rows: 1, tokens: 128, ...set })[0].parts[3];
  const times = (set) => kept(set) / kept({});
  assert.ok(Math.abs(times({ rows: 4 }) - 4) < 1e-6);
  assert.ok(Math.abs(times({ tokens: 512 }) - 4) < 1e-6);
  assert.equal(times({ ranks: 64 }), 1);
});

test("what is sent is 2 or 3 units of (N - 1) / N of the parameters' bytes", () => {
  const sent = (ranks) =>
    memory
      .stages(BILLION, { ranks, rows: 1, tokens: 128 })
      .map(({ sent: bytes, units }) => [units, bytes / 4e9]);
  assert.deepEqual(sent(1).map(([, bytes]) => bytes), [0, 0, 0, 0]);
  assert.deepEqual(sent(2), [[2, 1], [2, 1], [2, 1], [3, 1.5]]);
});

test("a card is the smallest that holds it all, and the axis shows where it ends", () => {
  assert.equal(memory.smallestCard(16e9), 16);
  assert.equal(memory.smallestCard(16e9 + 1), 24);
  assert.equal(memory.smallestCard(80e9 + 1), undefined);
  assert.ok(memory.axisGb([{ total: 3e9 }]) > 16);
  assert.ok(memory.axisGb([{ total: 30e9 }, { total: 3e9 }]) > 40);
  assert.ok(memory.axisGb([{ total: 300e9 }]) > 80);
});
