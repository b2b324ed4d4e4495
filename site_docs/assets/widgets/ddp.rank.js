// One rank of <live-ddp>: its replica, its rows, and a ring all-reduce by messages to its
// right neighbour. It runs in a worker of its own, and in node's tests. No DOM.
import * as model from "./ddp.model.js";
import { chunks, messages, numSteps } from "./ring.model.js";

export const TROUBLE_RANK = 1; // which rank is slow, skips a call, is killed, has the flipped bit
export const TROUBLE_STEP = 60; // and in which step, counted from 0
export const CHECKPOINT_STEPS = 48; // rank 0 writes a file every so many steps
export const SLOW_MS = 150; // what the slow rank needs longer for its rows
const SIDE = 36; // points of a picture in each direction
export const WAITS_MS = 1200; // a longer wait is reported to the page
const FLIPPED = 500; // index of the weight whose bit flips

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
// Comparable between workers: each has a clock that began at another moment.
const now = () => performance.timeOrigin + performance.now();

export class Rank {
  // settings: rank, ranks, fault, seed, timeoutMs, and after a restart the checkpoint's file.
  // left, right: MessagePorts of the neighbours. report(message): tells the page.
  constructor(settings, { left, right, report }) {
    Object.assign(this, settings);
    this.right = right;
    this.report = (message) => report({ rank: this.rank, ...message });
    this.data = model.spirals(this.seed);
    this.momentum = new Float32Array(model.NUM_PARAMETERS);
    this.gradient = new Float32Array(model.NUM_PARAMETERS);
    // The same start on every rank: averaging keeps equal replicas equal, no more.
    this.weights = model.initial(this.seed + (this.fault === "start" ? this.rank : 0));
    this.step = 0;
    this.bytes = 0; // received from the left neighbour
    this.messages = 0;
    this.seen = new Set(); // rows
    this.rows = [];
    this.mail = new Map();
    if (left) left.onmessage = ({ data }) => this.#arrives(data);
  }

  async begin() {
    if (this.file) {
      const saved = new Float32Array(await this.file.arrayBuffer());
      this.weights.set(saved.subarray(0, model.NUM_PARAMETERS));
      this.momentum.set(saved.subarray(model.NUM_PARAMETERS, 2 * model.NUM_PARAMETERS));
      this.step = saved.at(-1);
    }
    this.#look([]);
  }

  // Trains up to a step. hopMs: how long a message is held back, so that one can watch it.
  async go({ until, hopMs = 0 }) {
    const steps = [];
    try {
      while (this.step < until) steps.push(await this.#train(hopMs));
      this.#look(steps);
    } catch (problem) {
      if (!(problem instanceof Timeout)) throw problem;
      this.report({ kind: "timeout", ...problem.wait });
    }
  }

  // --8<-- [start:step]
  async #train(hopMs) {
    const { rank, ranks, fault, step } = this;
    const isTrouble = rank === TROUBLE_RANK && ranks > 1;
    this.spans = [];
    let start = now();
    const spend = (what) => {
      const end = now();
      this.spans.push([what, start, end]);
      start = end;
    };
    const sampler = { sameRows: fault === "rows", sameOrder: fault === "order" };
    this.rows = model.rowsOf(step, { seed: this.seed, rank, ranks, ...sampler });
    for (const row of this.rows) this.seen.add(row);
    const loss = model.backward(this.weights, this.data, this.rows, this.gradient);
    if (fault === "slow" && isTrouble) await sleep(SLOW_MS);
    if (fault === "flip" && isTrouble && step === TROUBLE_STEP)
      model.flipBit(this.weights, FLIPPED);
    spend("compute");
    const skips = fault === "skip" && isTrouble && step === TROUBLE_STEP;
    if (ranks > 1 && fault !== "drift" && !skips) {
      const vector = fault === "weights" ? this.weights : this.gradient;
      await this.#allReduce(vector, { hopMs, spend });
      if (fault !== "sum")
        for (let i = 0; i < vector.length; i += 1) vector[i] /= ranks;
    }
    model.optimizerStep(this.weights, this.momentum, this.gradient);
    spend("compute");
    this.step += 1;
    if (rank === 0 && ranks > 1 && this.step % CHECKPOINT_STEPS === 0) this.#save();
    return { loss, spans: this.spans };
  }
  // --8<-- [end:step]

  // --8<-- [start:ring]
  // 2 (ranks - 1) messages: first chunks are added, then finished ones are passed on.
  async #allReduce(vector, { hopMs, spend }) {
    const { rank, ranks } = this;
    const bounds = chunks(vector.length, ranks);
    const left = (rank + ranks - 1) % ranks;
    for (let piece = 0; piece < numSteps(ranks); piece += 1) {
      const plan = messages({ ranks, step: piece });
      const sent = vector.slice(...bounds[plan[rank].chunk]);
      if (hopMs > 0) {
        this.report({ kind: "hop", step: this.step, piece, ...plan[rank] });
        await sleep(hopMs);
      }
      this.right.postMessage({ call: this.step, piece, values: sent }, [sent.buffer]);
      spend("send");
      const values = await this.#receive({ call: this.step, piece, from: left });
      spend("wait");
      const [first] = bounds[plan[left].chunk];
      for (let i = 0; i < values.length; i += 1)
        vector[first + i] = plan[left].adds ? vector[first + i] + values[i] : values[i];
    }
  }
  // --8<-- [end:ring]

  #arrives({ call, piece, values }) {
    this.bytes += values.byteLength;
    this.messages += 1;
    const key = `${call}/${piece}`;
    const waiting = this.waiting;
    if (waiting?.key === key) waiting.arrived(values);
    else this.mail.set(key, values); // early, or of another call: it is not what we wait for
  }

  async #receive(wait) {
    const key = `${wait.call}/${wait.piece}`;
    if (this.mail.has(key)) {
      const values = this.mail.get(key);
      this.mail.delete(key);
      return values;
    }
    let timers = [];
    try {
      return await new Promise((arrived, failed) => {
        this.waiting = { key, arrived };
        timers = [
          setTimeout(() => this.report({ kind: "waiting", ...wait }), WAITS_MS),
          setTimeout(() => failed(new Timeout(wait)), this.timeoutMs),
        ];
      });
    } finally {
      this.waiting = null;
      timers.forEach(clearTimeout);
    }
  }

  // The page gets a handle to the file; what is in it, only ranks read.
  #save() {
    const file = new Blob([this.weights, this.momentum, new Float32Array([this.step])]);
    this.report({ kind: "checkpoint", step: this.step, file });
  }

  #look(steps) {
    this.report({
      kind: "look",
      step: this.step,
      steps,
      fingerprint: model.fingerprint(this.weights),
      weights: this.weights.slice(),
      picture: model.picture(this.weights, SIDE),
      side: SIDE,
      rows: this.rows,
      seen: this.seen.size,
      bytes: this.bytes,
      messages: this.messages,
    });
  }
}

class Timeout extends Error {
  constructor(wait) {
    super("nothing arrived");
    this.wait = wait;
  }
}
