// <live-ddp>: data-parallel training in the page, a web worker for each rank.
// With the attribute `full` it can be broken; without it runs and can be paused.
import { Cluster } from "./ddp.cluster.js";
import * as model from "./ddp.model.js";
import { Curves, Ring, Timeline } from "./ddp.drawing.js";
import { WAITS_MS } from "./ddp.rank.js";
import { SWITCHES } from "./ddp.switches.js";
import { quiz, veil, Widget } from "./frame.js";
import { button, choose, el, fresh, say, still, table } from "./parts.js";

const SEED = 7;
const RANKS = [1, 2, 3, 4, 6, 8];
const STILLS = [0, 60, 300]; // the steps that are shown to readers who want no motion
const LAST = STILLS.at(-1);
const TIMEOUT_MS = 6000;
// Steps per turn, the shortest turn, how long a message is held back on its way.
const PACES = {
  slow: { words: "one message at a time", steps: 1, turnMs: 700, hopMs: 650 },
  calm: { words: "about 15 steps per second", steps: 2, turnMs: 130, hopMs: 0 },
  fast: { words: "as fast as this machine can", steps: 12, turnMs: 0, hopMs: 0 },
};
const FLIGHT_MS = 420;
const TIMELINE_MS = 400; // between two drawings of it: each step's differs a little
const LETTERS = "ABCDEFGH";

class LiveDdp extends Widget {
  story = { heading: "Distributed training, in this page" };

  async prepare() {
    if (!globalThis.Worker) throw new Error("this browser has no web workers");
    this.kept = [...this.childNodes]; // shown again if workers turn out to be blocked
    this.isFull = this.hasAttribute("full");
    const told = new URLSearchParams(this.isFull ? location.hash.slice(1) : "");
    const ranks = Number(told.get("ranks"));
    this.ranks = RANKS.includes(ranks) ? ranks : 4;
    this.fault = "none";
    this.asked = told.get("break"); // a switch that a link names; its question comes first
    this.pace = "calm";
    this.rate = 0;
    this.lined = 0; // when the timeline was drawn
    this.waits = new Map(); // rank -> when its wait becomes an error
    this.wants = !still(); // to go on, as soon as it can be seen
  }

  async connectedCallback() {
    if (this.begun) return;
    await super.connectedCallback();
    if (!this.kept || !this.figure) return;
    this.setAttribute("data-live-ddp", "");
    if (this.isFull && Object.hasOwn(SWITCHES, this.asked ?? "")) this.#ask(this.asked);
    const look = ([entry]) => {
      this.isSeen = entry.isIntersecting;
      this.#next();
    };
    new IntersectionObserver(look, { threshold: 0.05 }).observe(this);
    document.addEventListener("visibilitychange", () => this.#next());
    const follow = () => {
      this.ring.forgetColours();
      this.redraw();
    };
    new MutationObserver(follow).observe(document.body, {
      attributeFilter: ["data-md-color-scheme"],
    });
  }

  // --- The frame -------------------------------------------------------------------

  frame(head) {
    const details = this.parts();
    this.main = button("Run", () => this.#press(), { main: true });
    const counts = RANKS.map((n) => [n, n]);
    this.choice = choose("Ranks", counts, this.ranks, (n) =>
      this.#restart({ ranks: Number(n) }),
    );
    const paces = Object.entries(PACES).map(([name, { words }]) => [name, words]);
    const pace = choose("Speed", paces, this.pace, (name) => (this.pace = name));
    const again = button("Start again", () => this.#restart({}));
    const controls = { class: "w-controls", role: "group", "aria-label": "Controls" };
    this.side = el("div", { class: "l-side" });
    this.figure.classList.add("l-stage");
    this.facts = el("dl", { class: this.isFull ? "l-facts" : "l-facts l-two" });
    this.cover = veil(this.seen, this.figure, this.isFull && this.facts, details);
    this.cover.set(false);
    return [
      head,
      el(
        "p",
        { class: "l-lead" },
        "Each rank is a web worker with memory of its own: a whole replica of a small model, " +
          "and its share of every batch (the points with a ring). Gradients go to the right " +
          "neighbour only; this page starts the ranks and draws what they report.",
      ),
      this.isFull && this.#switches(),
      el("div", controls, this.main, this.choice.node, !still() && pace.node, again),
      this.live,
      this.cover.node,
    ];
  }

  #switches() {
    const group = fresh();
    const option = (name, label) =>
      el(
        "label",
        { class: "l-switch" },
        el("input", {
          type: "radio",
          name: group,
          value: name,
          checked: name === this.fault,
          onchange: () => this.#ask(name),
        }),
        el("span", {}, label),
      );
    this.question = el("div", { class: "l-question" });
    const labels = Object.entries(SWITCHES).map(([name, { label }]) =>
      option(name, label),
    );
    return el(
      "div",
      {},
      el(
        "fieldset",
        { class: "l-switches" },
        el("legend", {}, el("strong", {}, "Break it. "), "One thing at a time:"),
        option("none", "Nothing broken"),
        labels,
      ),
      this.question,
    );
  }

  // Before a switch acts, the page asks; until then the figure is veiled.
  #ask(name) {
    this.question.replaceChildren();
    this.cover.set(false);
    this.isAsking = false;
    if (name === "none") return this.#restart({ fault: name });
    this.querySelector(`.l-switch input[value=${name}]`).checked = true;
    if (this.ranks === 1) this.#setRanks(4); // one process alone has nothing to break
    this.isAsking = true;
    this.cover.set(true);
    this.#pause();
    const { interview, ...question } = SWITCHES[name];
    const form = quiz(question, () => {
      if (!this.isAsking) return;
      this.isAsking = false;
      this.cover.set(false);
      const words = el("strong", {}, "In an interview: ");
      form.append(el("p", { class: "l-interview" }, words, interview));
      this.#restart({ fault: name });
    });
    this.question.replaceChildren(form);
  }

  #setRanks(ranks) {
    this.ranks = ranks;
    this.choice.control.value = String(ranks);
  }

  // --- Running ---------------------------------------------------------------------

  #press() {
    if (this.isAsking) return;
    if (this.cluster?.isStuck) {
      this.waits.clear();
      this.cluster.resume();
      this.wants = true;
    } else if (this.cluster?.step >= LAST) return this.#restart({});
    else this.wants = still() || !this.wants;
    this.#next();
    this.show();
  }

  #pause() {
    this.wants = false;
    clearTimeout(this.timer);
    this.show({ aloud: false });
  }

  #restart({ ranks = this.ranks, fault = this.fault }) {
    if (this.isAsking && fault === this.fault) {
      // The question still waits for its answer.
      this.#setRanks(ranks > 1 ? ranks : this.ranks);
      return this.show({ aloud: false });
    }
    this.isAsking = false;
    if (ranks === 1 && fault !== "none") {
      this.question.replaceChildren();
      this.querySelector(".l-switch input[value=none]").checked = true;
      fault = "none";
    }
    this.ranks = ranks;
    this.fault = fault;
    this.#end();
    this.wants = !still();
    if (this.isFull) this.#note();
    this.show();
    this.#next();
  }

  // So that a link can say: look at this run.
  #note() {
    const words = `ranks=${this.ranks}${this.fault === "none" ? "" : `&break=${this.fault}`}`;
    history.replaceState(null, "", `#${words}`);
  }

  #end() {
    clearTimeout(this.timer);
    clearInterval(this.clock);
    this.cluster?.end();
    this.cluster = null;
    this.waits.clear();
    this.rate = 0;
    this.dead = null;
  }

  #next() {
    clearTimeout(this.timer);
    if (!this.isSeen || this.isBlocked || document.hidden || this.isAsking) return;
    if (!this.cluster) return this.#begin(); // the start is shown, too, if nothing moves
    const { cluster } = this;
    if (!this.wants || cluster.isBusy || cluster.isStuck || cluster.step >= LAST)
      return;
    const { steps, turnMs, hopMs } = PACES[this.pace];
    const until = still()
      ? STILLS.find((one) => one > cluster.step)
      : Math.min(LAST, cluster.step + steps);
    const wait = Math.max(0, (this.turned ?? 0) + turnMs - performance.now());
    this.timer = setTimeout(() => {
      this.turned = performance.now();
      this.turnedAt = cluster.step;
      cluster.go(until, still() ? 0 : hopMs);
    }, wait);
  }

  #begin() {
    const place = new URL("ddp.worker.js", import.meta.url);
    const hear = (event, said) => cluster === this.cluster && this.#hears(event, said);
    let cluster;
    try {
      cluster = new Cluster({
        ranks: this.ranks,
        fault: this.fault,
        seed: SEED,
        timeoutMs: TIMEOUT_MS,
        spawn: () => new Worker(place, { type: "module" }),
        hear,
      });
    } catch (problem) {
      return this.#giveUp(problem);
    }
    this.cluster = cluster;
  }

  #giveUp(problem) {
    console.warn("live-ddp stays a picture:", problem.message ?? problem);
    this.#end();
    this.isBlocked = true;
    this.replaceChildren(...this.kept);
    this.setAttribute("blocked", "");
  }

  #hears(event, said) {
    if (event === "failed") return this.#giveUp(said);
    if (event === "hop") return this.#hop(said);
    if (event === "killed") this.dead = said;
    if (event === "waiting") this.#wait(said);
    if (event === "stuck") {
      this.diagnosis = said;
      this.wants = false;
      clearInterval(this.clock);
      this.show();
    }
    if (event !== "looked") return;
    const { cluster } = this;
    if (cluster.step > (this.turnedAt ?? 0)) {
      const took = (performance.now() - this.turned) / 1000;
      const now =
        (cluster.step - this.turnedAt) / Math.max(took, PACES[this.pace].turnMs / 1000);
      this.rate = this.rate ? 0.8 * this.rate + 0.2 * now : now;
      if (!still() && PACES[this.pace].hopMs === 0 && this.fault !== "drift")
        this.ring.flyAll(FLIGHT_MS);
    }
    this.waits.clear();
    clearInterval(this.clock);
    this.dead = null;
    const arrived =
      cluster.step >= LAST || (still() && STILLS.includes(cluster.step, 1)); // not at the start
    if (arrived) this.wants = false;
    if (arrived || cluster.step === 0) this.show();
    else if (!still()) this.show({ aloud: false });
    this.#next();
  }

  // Somebody has waited longer than usual: count down to its timeout.
  #wait({ rank, call }) {
    this.call = call;
    this.waits.set(rank, performance.now() + TIMEOUT_MS - WAITS_MS);
    clearInterval(this.clock);
    this.clock = setInterval(() => this.show({ aloud: false }), 250);
    this.show({ aloud: this.waits.size === 1 });
  }

  // --- Saying ----------------------------------------------------------------------

  sentence() {
    const { cluster, ranks } = this;
    const prints = this.#looks().map(({ fingerprint }) => fingerprint);
    if (prints.length < ranks)
      return `${count(ranks, "rank")} start${ranks === 1 ? "s" : ""}.`;
    if (cluster.isStuck)
      return `Timeout. ${upper(this.diagnosis)} Start all ranks again from step ${this.#saved()}, the last checkpoint.`;
    const { step, gap } = cluster;
    if (this.waits.size > 0) {
      const left = Math.max(0, Math.min(...this.waits.values()) - performance.now());
      return `${this.waits.size} of ${ranks} ranks wait in call ${this.call + 1}. Timeout in ${say(left / 1000)} s.`;
    }
    const models = new Set(prints).size;
    const resumed = cluster.resumed ? ` Resumed from step ${this.#saved()}.` : "";
    if (models > 1)
      return `Step ${step}: the ${ranks} ranks hold ${models} different models; two of them differ by up to ${tiny(gap.apart)} in a weight.${resumed}`;
    if (ranks === 1)
      return `Step ${step}: one process, which has nobody to average with.`;
    const near = gap.toOne < 1e-4;
    const one = near
      ? `One process gets them from the same batches, too, up to ${tiny(gap.toOne)}.`
      : `One undisturbed process has other weights: they differ by up to ${tiny(gap.toOne)}.`;
    return `Step ${step}: all ${ranks} ranks hold the same weights. ${one}${resumed}`;
  }

  // Without a checkpoint a run starts from the beginning.
  #saved() {
    return this.cluster.checkpoint?.step ?? 0;
  }

  words() {
    const rows = this.#looks().map((look, rank) => [
      `rank ${rank}`,
      look.fingerprint,
      number(this.cluster.losses[look.step - 1]?.[rank]),
      `${look.seen} of ${model.NUM_ROWS}`,
      say(look.messages),
      say(look.bytes),
    ]);
    const head = [
      "rank",
      "fingerprint of its weights",
      "loss of its rows",
      "rows read",
    ];
    return table(`After step ${this.cluster?.step ?? 0}.`, [
      [...head, "messages received", "bytes received"],
      ...rows,
    ]);
  }

  #looks() {
    return this.cluster?.looks.filter(Boolean) ?? [];
  }

  // --- Drawing ---------------------------------------------------------------------

  redraw() {
    if (!this.figure) return;
    const isWide = this.width >= 740;
    const stuck = this.cluster?.isStuck;
    const step = this.cluster?.step ?? 0;
    this.main.textContent = stuck
      ? `Resume from step ${this.#saved()}`
      : step >= LAST
        ? "Run again"
        : still()
          ? `Go to step ${STILLS.find((one) => one > step)}`
          : this.wants
            ? "Pause"
            : "Run";
    this.figure.classList.toggle("l-wide", isWide);
    const isAnew = this.#layout(isWide);
    const { cluster, dead, waits } = this;
    const looks = this.#looks();
    const isSilent = this.fault === "drift" || this.ranks === 1;
    this.ring.show(looks, { dead, waits, isSilent });
    this.curves.show(cluster?.losses ?? [], cluster?.single ?? [], this.sentence());
    const now = performance.now();
    if (isAnew || !this.wants || now - this.lined > TIMELINE_MS) {
      this.timeline.show(looks);
      this.lined = now;
    }
    this.#showFacts(step);
    this.setAttribute("data-state", this.#state());
  }

  #state() {
    if (this.isAsking) return "asking";
    if (!this.cluster || this.#looks().length < this.ranks) return "starting";
    if (this.cluster.isStuck) return "stuck";
    if (this.waits.size > 0) return "waiting";
    if (this.cluster.step >= LAST) return "done";
    return this.wants ? "running" : "paused";
  }

  // Makes the drawings, if their number or the room for them has changed.
  #layout(isWide) {
    const key = `${this.ranks} ${this.width}`;
    if (key === this.laidOut) return false;
    this.laidOut = key;
    const left = isWide ? Math.floor(this.width * 0.58) : this.width;
    const right = isWide ? this.width - left - 26 : this.width;
    this.data ??= model.spirals(SEED);
    const options = { data: this.data, id: `${this.name}-head` };
    this.ring = new Ring(this.ranks, left, options);
    const height = this.isFull ? 200 : 230;
    this.curves = new Curves(this.ranks, right, { height, steps: LAST });
    this.timeline = new Timeline(this.ranks, right);
    this.side.style.width = `${right}px`;
    this.side.replaceChildren(
      this.curves.node,
      this.isFull ? this.timeline.node : this.facts,
    );
    this.figure.replaceChildren(this.ring.node, this.side);
    return true;
  }

  #showFacts(step) {
    const { cluster, rate } = this;
    const losses = cluster?.losses[step - 1] ?? [];
    const loss = losses.reduce((a, b) => a + b, 0) / losses.length;
    const { apart, toOne, step: compared } = cluster?.gap ?? { apart: 0, toOne: 0 };
    const per = cluster?.received;
    const readsFew = this.fault === "order" || this.fault === "rows";
    const facts = {
      step: ["step", step],
      loss: ["loss of the global batch", number(loss)],
      apart: ["largest difference between ranks", tiny(apart)],
      gap: [
        compared < step
          ? `to one process, at step ${compared}`
          : "largest difference to one process",
        tiny(toOne),
      ],
      ...(readsFew
        ? {
            seen: [
              "rows that rank 0 has read",
              `${this.#looks()[0]?.seen ?? 0} of ${model.NUM_ROWS}`,
            ],
          }
        : {
            bytes: [
              "received per rank and step",
              per
                ? `${say(per.bytes)} bytes in ${count(per.messages, "message")}`
                : "-",
            ],
          }),
      rate: ["steps per second", rate ? say(rate, rate < 10 ? 1 : 0) : "-"],
    };
    const key = Object.keys(facts).join();
    if (this.factsKey !== key) {
      this.factsKey = key;
      const pair = (name) =>
        el("div", {}, el("dt"), el("dd", { [`data-${name}`]: true }));
      this.facts.replaceChildren(...Object.keys(facts).map(pair));
    }
    Object.values(facts).forEach((words, i) => {
      const place = this.facts.children[i].children;
      words.forEach((one, k) => (place[k].textContent = one));
    });
  }

  // --- Messages on their way -------------------------------------------------------

  #hop({ rank, chunk, adds, piece }) {
    if (this.dead === rank) return;
    this.ring.fly(rank, PACES.slow.hopMs, LETTERS[chunk]);
    if (rank !== 0) return;
    const all = 2 * (this.ranks - 1);
    const does = adds
      ? "adds what it receives to its own chunk"
      : "replaces its chunk by the finished one";
    this.seen.textContent = `Step ${this.cluster.step + 1}, message ${piece + 1} of ${all}: each rank sends one of ${this.ranks} chunks to its right neighbour, which ${does}.`;
  }
}

function tiny(number) {
  if (Number.isNaN(number)) return "not a number";
  if (number === 0) return "0";
  return number < 1e-3 ? number.toExponential(0) : number.toPrecision(2);
}

function number(loss) {
  return Number.isFinite(loss) ? loss.toPrecision(2) : "-";
}

function count(many, what) {
  return `${say(many)} ${what}${many === 1 ? "" : "s"}`;
}

function upper(words) {
  return words.replace(
    /(^|\. )([a-z])/g,
    (_, before, letter) => before + letter.toUpperCase(),
  );
}

customElements.define("live-ddp", LiveDdp);
