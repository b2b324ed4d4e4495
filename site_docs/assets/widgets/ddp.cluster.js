// Starts the ranks of <live-ddp>, says how far they may go, and collects what is drawn.
// Gradients never come here: they go from neighbour to neighbour. No DOM.
import { largestGap } from "./ddp.model.js";
import { TROUBLE_RANK, TROUBLE_STEP } from "./ddp.rank.js";

export class Cluster {
  // spawn(): a new worker. hear(event): started, looked, hop, waiting, stuck, failed.
  constructor({ ranks, fault, seed, timeoutMs, spawn, hear }) {
    Object.assign(this, { ranks, fault, seed, timeoutMs, spawn, hear });
    this.losses = []; // [step][rank]
    this.single = []; // [step], of one process that trains on the whole global batch
    this.looks = [];
    this.gap = { toOne: 0, apart: 0, step: 0 };
    this.received = null; // by rank 0 in its last steps: bytes and messages per step
    this.checkpoint = null;
    this.one = this.#worker(-1, { rank: 0, ranks: 1, fault: "none" });
    this.#start(fault);
  }

  get step() {
    return this.looks[0]?.step ?? 0;
  }

  get isBusy() {
    return this.pending > 0;
  }

  // Lets all ranks train up to a step, and the one process, unless it is there already.
  go(until, hopMs = 0) {
    if (this.isBusy || this.isStuck) return;
    const kills = this.fault === "kill" && this.workers[TROUBLE_RANK];
    if (kills && this.step === TROUBLE_STEP && !this.resumed) this.#kill();
    // Whole stretches only: at the trouble, at the one process' own step.
    for (const mark of [TROUBLE_STEP, this.oneStep])
      if (this.step < mark && mark < until) until = mark;
    // The rank that skips a call must get into the next one, to be seen ahead of the others.
    if (this.fault === "skip" && this.step === TROUBLE_STEP && !this.resumed)
      until = Math.max(until, TROUBLE_STEP + 2);
    const all = this.workers.filter(Boolean);
    this.pending = this.ranks;
    for (const worker of all) worker.postMessage({ kind: "go", until, hopMs });
    if (until > this.oneStep) {
      this.pending += 1;
      this.one.postMessage({ kind: "go", until });
    }
  }

  // After a hang: all ranks end, all start again from the last checkpoint.
  resume() {
    this.end({ alsoOne: false });
    this.losses.length = this.checkpoint?.step ?? 0;
    this.resumed = true;
    this.#start("none", this.checkpoint?.file);
  }

  end({ alsoOne = true } = {}) {
    for (const worker of [...this.workers, alsoOne && this.one].filter(Boolean)) {
      worker.onmessage = null; // what it said before may still be on its way
      worker.terminate();
    }
  }

  #start(fault, file) {
    const { ranks, seed, timeoutMs } = this;
    this.pending = ranks + (file || this.resumed ? 0 : 1);
    this.oneStep ??= 0;
    this.isStuck = false;
    this.timeouts = Array(ranks).fill(null);
    const wires = Array.from({ length: ranks }, () => new MessageChannel());
    this.workers = wires.map((wire, rank) => {
      const ports = {
        right: wire.port1,
        left: wires[(rank + ranks - 1) % ranks].port2,
      };
      return this.#worker(rank, { rank, ranks, fault, seed, timeoutMs, file }, ports);
    });
  }

  #worker(place, settings, ports = {}) {
    const worker = this.spawn();
    worker.onmessage = ({ data }) => this.#hears(place, data);
    worker.onerror = (problem) => this.hear("failed", problem);
    const { seed, timeoutMs } = this;
    worker.postMessage(
      { kind: "start", settings: { seed, timeoutMs, ...settings }, ...ports },
      Object.values(ports),
    );
    return worker;
  }

  #kill() {
    this.workers[TROUBLE_RANK].terminate();
    this.workers[TROUBLE_RANK] = null;
    this.hear("killed", TROUBLE_RANK);
  }

  #hears(place, said) {
    if (said.kind === "checkpoint") {
      if (place === 0) this.checkpoint = said;
    } else if (said.kind === "look") this.#looks(place, said);
    else if (said.kind === "timeout") {
      this.timeouts[place] = said;
      this.#settles();
    } else this.hear(said.kind, said);
  }

  #looks(place, look) {
    const first = look.step - look.steps.length;
    look.steps.forEach(({ loss }, i) => {
      if (place < 0) this.single[first + i] = loss;
      else (this.losses[first + i] ??= [])[place] = loss;
    });
    if (place < 0) {
      this.oneStep = look.step;
      this.oneLook = look;
    } else {
      const { bytes, messages } = this.looks[place] ?? {};
      const per = (now, before) => (now - before) / look.steps.length;
      if (place === 0 && look.steps.length > 0)
        this.received = {
          bytes: per(look.bytes, bytes),
          messages: per(look.messages, messages),
        };
      this.looks[place] = look;
    }
    this.#settles();
  }

  // Everybody has answered, or has given up waiting.
  #settles() {
    this.pending -= 1;
    const alive = this.workers.filter(Boolean).length;
    const gaveUp = this.timeouts.filter(Boolean).length;
    if (gaveUp > 0 && gaveUp === alive) {
      this.isStuck = true;
      this.pending = 0;
      this.hear("stuck", diagnose(this.timeouts));
    } else if (this.pending === 0) {
      this.#compare();
      this.hear("looked");
    }
  }

  #compare() {
    const replicas = this.looks.slice(0, this.ranks).map(({ weights }) => weights);
    const apart = Math.max(...replicas.map((one) => largestGap(replicas[0], one)));
    this.gap = { ...this.gap, apart };
    if (this.oneLook?.step !== this.step) return; // resumed, and not yet as far
    const toOne = replicas.map((one) => largestGap(this.oneLook.weights, one));
    this.gap = { apart, toOne: Math.max(...toOne), step: this.step };
  }
}

// Who is to blame, from what each rank waited for; a rank that says nothing has null.
export function diagnose(timeouts) {
  const ranks = [...timeouts.keys()];
  const silent = ranks.filter((rank) => !timeouts[rank]);
  const calls = timeouts.filter(Boolean).map(({ call }) => call);
  const late = Math.min(...calls);
  const waiting = ranks.filter((rank) => timeouts[rank]?.call === late);
  const ahead = ranks.filter((rank) => timeouts[rank]?.call > late);
  // People count calls from 1.
  const where = `${names(waiting)} ${waiting.length > 1 ? "wait" : "waits"} in call ${late + 1}`;
  if (silent.length > 0)
    return `${where}. ${names(silent)} ${silent.length > 1 ? "answer" : "answers"} nothing: look there.`;
  if (ahead.length > 0)
    return `${where}, ${names(ahead)} in call ${timeouts[ahead[0]].call + 1}: ${names(ahead)} skipped call ${late + 1}.`;
  return `${where}, and nobody is missing: was the machine asleep?`;
}

function names(ranks) {
  if (ranks.length === 1) return `rank ${ranks[0]}`;
  return `ranks ${ranks.slice(0, -1).join(", ")} and ${ranks.at(-1)}`;
}
