// Proofs for the model, the ranks and the coordinator of <live-ddp>; tests/test_live_ddp.py
// runs them. Each rank is a thread of its own, as in a browser.
import assert from "node:assert/strict";
import test from "node:test";
import { Worker } from "node:worker_threads";

const WIDGETS = new URL("../../site_docs/assets/widgets/", import.meta.url);
const load = (name) => import(new URL(name, WIDGETS));
const model = await load("ddp.model.js");
const { Cluster, diagnose } = await load("ddp.cluster.js");
const { CHECKPOINT_STEPS, SLOW_MS, TROUBLE_STEP } = await load("ddp.rank.js");
const { SWITCHES } = await load("ddp.switches.js");
const { places } = await load("ddp.places.js");

const SEED = 7;
const MANY = [2, 3, 4, 6, 8];
const ROUNDING = 1e-5; // of float32 weights up to about 5, after hundreds of sums

// What a browser's worker is: node's threads have the same ports, but other names.
const BODY = `
  const { parentPort } = require("node:worker_threads");
  globalThis.self = { postMessage: (message) => parentPort.postMessage(message) };
  const ready = import(${JSON.stringify(new URL("ddp.worker.js", WIDGETS).href)});
  parentPort.on("message", (data) => ready.then(() => self.onmessage({ data })));
`;

// A cluster that is heard until it says an event; log: every message of the coordinator.
function start({ ranks, fault = "none", timeoutMs = 20_000 }) {
  const log = { sent: [], got: [] };
  let heard = () => {};
  const spawn = () => {
    const thread = new Worker(BODY, { eval: true });
    const worker = {
      postMessage(message, transfer) {
        log.sent.push(message);
        thread.postMessage(message, transfer);
      },
      terminate: () => thread.terminate(),
    };
    thread.on("message", (data) => {
      log.got.push(data);
      worker.onmessage?.({ data });
    });
    thread.on("error", (problem) => {
      throw problem;
    });
    return worker;
  };
  const events = [];
  const hear = (event, said) => {
    events.push(event);
    heard(event, said);
  };
  const until = (...wanted) =>
    new Promise((done) => {
      heard = (event, said) => wanted.includes(event) && done({ event, said });
    });
  const begun = until("looked");
  const cluster = new Cluster({ ranks, fault, seed: SEED, timeoutMs, spawn, hear });
  const go = async (step) => {
    let end;
    while (cluster.step < step && !cluster.isStuck) {
      end = until("looked", "stuck");
      cluster.go(step);
      end = await end;
    }
    return end;
  };
  return { cluster, log, events, begun, go, until };
}

async function trained(options, step) {
  const run = start(options);
  await run.begun;
  run.end = await run.go(step);
  run.cluster.end();
  return run;
}

// One process, written out again without ranks: a batch of rows, a learning-rate factor.
function oneProcess(steps, { rows, factor = 1 }) {
  const data = model.spirals(SEED);
  const weights = model.initial(SEED);
  const momentum = new Float32Array(model.NUM_PARAMETERS);
  const gradient = new Float32Array(model.NUM_PARAMETERS);
  const losses = [];
  for (let step = 0; step < steps; step += 1) {
    losses.push(model.backward(weights, data, rows(step), gradient));
    model.optimizerStep(
      weights,
      momentum,
      gradient.map((one) => one * factor),
    );
  }
  return { weights, losses };
}

const wholeBatch = (step) => model.rowsOf(step, { seed: SEED, rank: 0, ranks: 1 });
const epochMean = (losses) => losses.slice(-12).reduce((a, b) => a + b, 0) / 12;
const meanLosses = ({ losses }) =>
  losses.map((all) => all.reduce((a, b) => a + b, 0) / all.length);
const prints = ({ cluster }) => new Set(cluster.looks.map((look) => look.fingerprint));

// --- The model ------------------------------------------------------------------------

test("backward gives the slope of the loss", () => {
  const data = model.spirals(SEED);
  const rows = wholeBatch(0);
  const weights = model.initial(SEED);
  const gradient = new Float32Array(model.NUM_PARAMETERS);
  const ignored = new Float32Array(model.NUM_PARAMETERS);
  model.backward(weights, data, rows, gradient);
  let largest = 0;
  for (let i = 0; i < model.NUM_PARAMETERS; i += 37) {
    const nudged = (by) => {
      const other = weights.slice();
      other[i] += by;
      return model.backward(other, data, rows, ignored);
    };
    const slope = (nudged(1e-2) - nudged(-1e-2)) / 2e-2;
    largest = Math.max(largest, Math.abs(slope));
    assert.ok(Math.abs(slope - gradient[i]) < 5e-3, `${i}: ${slope} ${gradient[i]}`);
  }
  assert.ok(largest > 0.05); // the guard: there was a slope to compare
});

test("in every epoch each row is read by exactly one rank, in another order", () => {
  for (const ranks of [1, ...MANY]) {
    const epochs = [0, 1].map((epoch) => {
      const rows = [];
      for (let i = 0; i < model.STEPS_PER_EPOCH; i += 1)
        for (let rank = 0; rank < ranks; rank += 1) {
          const step = epoch * model.STEPS_PER_EPOCH + i;
          rows.push(...model.rowsOf(step, { seed: SEED, rank, ranks }));
        }
      return rows;
    });
    for (const rows of epochs) assert.equal(new Set(rows).size, model.NUM_ROWS);
    assert.notDeepEqual(epochs[0], epochs[1]);
  }
});

test("a fingerprint changes with the last bit of any weight", () => {
  const weights = model.initial(SEED);
  const before = model.fingerprint(weights);
  for (const index of [0, 359, 719]) {
    const other = weights.slice();
    new Uint32Array(other.buffer)[index] ^= 1;
    assert.notEqual(model.fingerprint(other), before);
  }
  assert.equal(model.fingerprint(weights.slice()), before); // negative control
});

// --- Ranks --------------------------------------------------------------------------

for (const ranks of [1, ...MANY])
  test(`${ranks} rank(s) train the model of one process, with 2 (N - 1) / N of its bytes each`, async () => {
    const steps = 120;
    const { cluster } = await trained({ ranks }, steps);
    const { weights, losses } = oneProcess(steps, { rows: wholeBatch });
    for (const look of cluster.looks) {
      assert.ok(model.largestGap(look.weights, weights) < ROUNDING);
      assert.equal(look.messages, steps * 2 * (ranks - 1));
      assert.equal(look.bytes, (steps * 2 * (ranks - 1) * model.MODEL_BYTES) / ranks);
    }
    assert.equal(prints({ cluster }).size, 1);
    assert.equal(cluster.gap.apart, 0);
    assert.ok(cluster.gap.toOne < ROUNDING);
    assert.ok(
      ranks === 1 ||
        cluster.received.bytes === (2 * (ranks - 1) * model.MODEL_BYTES) / ranks,
    );
    meanLosses(cluster).forEach((loss, step) =>
      assert.ok(Math.abs(loss - losses[step]) < ROUNDING),
    );
    assert.ok(losses.at(-1) < losses[0] / 4); // it learns
    // Negative control: one step more is another model.
    const later = oneProcess(steps + 1, { rows: wholeBatch });
    assert.ok(
      model.largestGap(cluster.looks[0].weights, later.weights) > 100 * ROUNDING,
    );
  });

test("the coordinator carries no gradient: only ports, settings and how far to go", async () => {
  const { log } = await trained({ ranks: 4, fault: "none" }, 60);
  const buffers = [];
  const walk = (value, path) => {
    if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) buffers.push(path);
    else if (value && typeof value === "object" && !(value instanceof MessagePort))
      for (const [key, inner] of Object.entries(value)) walk(inner, `${path}.${key}`);
  };
  for (const message of log.sent) walk(message, message.kind);
  assert.deepEqual(buffers, []);
  assert.deepEqual(new Set(log.sent.map(({ kind }) => kind)), new Set(["start", "go"]));
  // What ranks tell it: weights, a picture and rows to draw.
  for (const message of log.got) walk(message, message.kind);
  const told = new Set(["look.weights", "look.picture", "look.rows"]);
  assert.deepEqual(new Set(buffers), told);
});

test("the file of a checkpoint is a handle: the coordinator never reads it", async () => {
  const { log } = await trained({ ranks: 2 }, CHECKPOINT_STEPS);
  const saved = log.got.filter(({ kind }) => kind === "checkpoint");
  assert.equal(saved.length, 1); // only rank 0 writes
  assert.ok(saved[0].file instanceof Blob);
  assert.equal(saved[0].file.size, 2 * model.MODEL_BYTES + 4);
});

// --- Switches -----------------------------------------------------------------------

// Name -> what is true of four ranks (or others) after some steps; `good` are four healthy ones.
const EFFECTS = {
  async drift(good) {
    const { cluster } = await trained({ ranks: 4, fault: "drift" }, 120);
    assert.equal(prints({ cluster }).size, 4);
    assert.ok(cluster.gap.apart > 0.5);
    assert.equal(cluster.looks[0].messages, 0);
    assert.ok(epochMean(meanLosses(cluster)) > 2 * epochMean(meanLosses(good.cluster)));
  },
  async sum() {
    for (const ranks of [2, 8]) {
      const { cluster } = await trained({ ranks, fault: "sum" }, 20);
      const faster = oneProcess(20, { rows: wholeBatch, factor: ranks });
      // The same as a learning rate N times larger; it amplifies rounding, too.
      assert.ok(model.largestGap(cluster.looks[0].weights, faster.weights) < 1e-3);
      assert.equal(prints({ cluster }).size, 1);
    }
    const loss = async (ranks) => {
      const { cluster } = await trained({ ranks, fault: "sum" }, 300);
      return epochMean(meanLosses(cluster));
    };
    assert.ok((await loss(2)) < 0.05);
    for (const ranks of [3, 4, 6, 8]) assert.ok((await loss(ranks)) > 0.2, ranks);
  },
  async start() {
    const run = start({ ranks: 4, fault: "start" });
    await run.begun;
    const before = run.cluster.gap.apart;
    await run.go(120);
    run.cluster.end();
    assert.ok(before > 1);
    assert.ok(Math.abs(run.cluster.gap.apart - before) < ROUNDING);
    assert.equal(prints(run).size, 4);
  },
  async weights(good) {
    const { cluster } = await trained({ ranks: 4, fault: "weights" }, 120);
    assert.equal(prints({ cluster }).size, 4);
    // Pulled together again in every call, and near the healthy loss.
    assert.ok(cluster.gap.apart > 1e-4 && cluster.gap.apart < 0.3);
    assert.equal(cluster.looks[0].messages, good.cluster.looks[0].messages);
  },
  async rows() {
    const ranks = 4;
    const { cluster } = await trained({ ranks, fault: "rows" }, 60);
    const same = (step) =>
      model.rowsOf(step, { seed: SEED, rank: 0, ranks, sameRows: true });
    const small = oneProcess(60, { rows: same });
    assert.equal(same(0).length, model.BATCH / ranks);
    assert.equal(prints({ cluster }).size, 1);
    assert.ok(model.largestGap(cluster.looks[0].weights, small.weights) < 1e-3);
    assert.ok(cluster.gap.toOne > 0.1);
  },
  async order(good) {
    const { cluster } = await trained({ ranks: 4, fault: "order" }, 120);
    assert.equal(cluster.looks[0].seen, model.NUM_ROWS / 4);
    assert.ok(good.cluster.looks[0].seen > 0.9 * model.NUM_ROWS);
    assert.equal(prints({ cluster }).size, 1);
  },
  async slow() {
    const { cluster } = await trained({ ranks: 4, fault: "slow" }, 5);
    const spent = (rank, wanted) => {
      const { spans } = cluster.looks[rank].steps.at(-1);
      const mine = spans.filter(([what]) => what === wanted);
      return mine.reduce((sum, [, from, to]) => sum + to - from, 0);
    };
    assert.ok(spent(1, "compute") >= SLOW_MS - 5);
    for (const rank of [0, 2, 3]) assert.ok(spent(rank, "wait") > SLOW_MS / 2);
    assert.ok(spent(1, "wait") < SLOW_MS / 2);
    const healthy = await trained({ ranks: 4 }, 5);
    const weights = healthy.cluster.looks[0].weights;
    assert.equal(model.largestGap(cluster.looks[0].weights, weights), 0);
  },
  async skip() {
    const run = await trained({ ranks: 4, fault: "skip", timeoutMs: 1500 }, 120);
    assert.deepEqual(run.end, {
      event: "stuck",
      said: "ranks 0, 2 and 3 wait in call 61, rank 1 in call 62: rank 1 skipped call 61.",
    });
    assert.equal(run.cluster.step, TROUBLE_STEP);
  },
  async kill(good) {
    const run = start({ ranks: 4, fault: "kill", timeoutMs: 1500 });
    await run.begun;
    const { said } = await run.go(120);
    assert.equal(
      said,
      "ranks 0, 2 and 3 wait in call 61. rank 1 answers nothing: look there.",
    );
    // From the last checkpoint to the same bits as if nothing had happened.
    const again = run.until("looked");
    run.cluster.resume();
    await again;
    assert.equal(run.cluster.step, CHECKPOINT_STEPS);
    await run.go(120);
    run.cluster.end();
    const weights = good.cluster.looks[0].weights;
    for (const look of run.cluster.looks)
      assert.equal(model.largestGap(look.weights, weights), 0);
    assert.ok(run.cluster.gap.toOne < ROUNDING);
    assert.equal(run.cluster.gap.step, 120);
  },
  async flip(good) {
    const run = start({ ranks: 4, fault: "flip" });
    await run.begun;
    await run.go(TROUBLE_STEP);
    assert.equal(prints(run).size, 1);
    await run.go(120);
    run.cluster.end();
    const all = run.cluster.looks.map((look) => look.fingerprint);
    assert.equal(prints(run).size, 2);
    assert.equal(all.filter((one) => one === all[1]).length, 1); // rank 1 alone differs
    const [bad, fine] = [run, good].map((one) => epochMean(meanLosses(one.cluster)));
    assert.ok(Math.abs(bad - fine) < 0.3 * fine, `${bad} ${fine}`);
  },
};

const good = trained({ ranks: 4 }, 120);
test("every switch has a proof of its effect", () =>
  assert.deepEqual(Object.keys(EFFECTS), Object.keys(SWITCHES)));
for (const [name, prove] of Object.entries(EFFECTS))
  test(`switch ${name} does what its text says`, async () => prove(await good));

test("weights averaged after the step are those of averaged gradients with SGD, not with Adam", () => {
  // What the switch's sentence claims; two ranks, a few steps, written out.
  const data = model.spirals(SEED);
  const steps = {
    sgd: (w, state, g) => model.optimizerStep(w, (state.m ??= g.map(() => 0)), g),
    adam: (w, state, g) => {
      state.m ??= g.map(() => 0);
      state.v ??= g.map(() => 0);
      state.t = (state.t ?? 0) + 1;
      for (let i = 0; i < w.length; i += 1) {
        state.m[i] = 0.9 * state.m[i] + 0.1 * g[i];
        state.v[i] = 0.999 * state.v[i] + 0.001 * g[i] * g[i];
        const [m, v] = [
          state.m[i] / (1 - 0.9 ** state.t),
          state.v[i] / (1 - 0.999 ** state.t),
        ];
        w[i] -= (0.01 * m) / (Math.sqrt(v) + 1e-8);
      }
    },
  };
  const average = (a, b) => a.forEach((_, i) => (a[i] = b[i] = (a[i] + b[i]) / 2));
  const gap = (take) => {
    const ends = ["gradients", "weights"].map((what) => {
      const ranks = [0, 1].map(() => ({ w: model.initial(SEED), state: {} }));
      for (let step = 0; step < 10; step += 1) {
        const all = ranks.map(({ w }, rank) => {
          const gradient = new Float32Array(model.NUM_PARAMETERS);
          const rows = model.rowsOf(step, { seed: SEED, rank, ranks: 2 });
          model.backward(w, data, rows, gradient);
          return gradient;
        });
        if (what === "gradients") average(...all);
        ranks.forEach(({ w, state }, rank) => take(w, state, all[rank]));
        if (what === "weights") average(ranks[0].w, ranks[1].w);
      }
      return ranks[0].w;
    });
    return model.largestGap(...ends);
  };
  assert.ok(gap(steps.sgd) < ROUNDING);
  assert.ok(gap(steps.adam) > 100 * ROUNDING);
});

// --- Words and places -----------------------------------------------------------------

test("a diagnosis names who is missing, who is ahead, or nobody", () => {
  const at = (call) => ({ call });
  assert.equal(
    diagnose([at(4), null, null, at(4)]),
    "ranks 0 and 3 wait in call 5. ranks 1 and 2 answer nothing: look there.",
  );
  assert.equal(
    diagnose([at(6), at(4)]),
    "rank 1 waits in call 5, rank 0 in call 7: rank 0 skipped call 5.",
  );
  assert.match(diagnose([at(4), at(4)]), /nobody is missing/);
});

test("every switch asks, has one right answer, and ends in one sentence for an interview", () => {
  for (const [name, one] of Object.entries(SWITCHES)) {
    assert.ok(one.ask.endsWith("?"), name);
    assert.ok(one.options.length >= 3 && one.options[one.right], name);
    assert.ok(one.answer.length > 40 && one.interview.length > 40, name);
  }
});

test("ranks stand within their room and apart, on a telephone, too", () => {
  for (const ranks of [1, ...MANY])
    for (const width of [300, 340, 520, 560, 700]) {
      const { cards, card, height, links } = places(ranks, width);
      assert.equal(cards.length, ranks);
      assert.equal(links.length, ranks === 1 ? 0 : ranks);
      for (const { x, y } of cards) {
        assert.ok(x >= 0 && x + card.width <= width, `${ranks} ${width}`);
        assert.ok(y >= 0 && y + card.height <= height);
      }
      for (const [i, a] of cards.entries())
        for (const b of cards.slice(i + 1)) {
          const beside = Math.abs(a.x - b.x) >= card.width + 20;
          assert.ok(beside || Math.abs(a.y - b.y) >= card.height + 20);
        }
    }
});
