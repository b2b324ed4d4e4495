// <live-ddp>: data-parallel training in the page, a web worker for each rank.
// With the attribute `full` it can be broken; without it runs and can be paused.
import { Cluster } from "./ddp.cluster.js";
import * as model from "./ddp.model.js";
import { places } from "./ddp.places.js";
import { WAITS_MS } from "./ddp.rank.js";
import { SWITCHES } from "./ddp.switches.js";
import { quiz, veil, Widget } from "./frame.js";
import { button, choose, el, fresh, say, still, svg, table, text } from "./parts.js";

const SEED = 7;
const RANKS = [1, 2, 3, 4, 6, 8];
const STILLS = [0, 60, 300]; // what is shown to who wants no motion
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
  story = {
    heading: "Distributed training, in this page",
    picture: "The loss over steps.",
  };

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
    // Colours of canvases are pixels: they do not follow the theme by themselves.
    new MutationObserver(() => this.redraw()).observe(document.body, {
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
    this.ring = el("div", { class: "l-ring" });
    this.side = el("div", { class: "l-side" });
    this.figure.classList.add("l-stage");
    this.figure.append(this.ring, this.side);
    this.facts = el("dl", { class: this.isFull ? "l-facts" : "l-facts l-two" });
    if (!this.isFull) this.side.append(this.facts);
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
    this.isAsking = false;
    this.cover.set(false);
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
    if (!this.isSeen || document.hidden || this.isAsking) return;
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
    this.isSeen = false;
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
      if (!still() && PACES[this.pace].hopMs === 0) this.#flyAll();
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
      return `Timeout. ${upper(this.diagnosis)} Start all ranks again from the checkpoint of step ${cluster.checkpoint.step}.`;
    const { step, gap } = cluster;
    if (this.waits.size > 0) {
      const left = Math.max(0, Math.min(...this.waits.values()) - performance.now());
      return `${this.waits.size} of ${ranks} ranks wait in call ${this.call + 1}. Timeout in ${say(left / 1000)} s.`;
    }
    const models = new Set(prints).size;
    const resumed = cluster.resumed
      ? ` Resumed from step ${cluster.checkpoint.step}.`
      : "";
    if (models > 1)
      return `Step ${step}: the ${ranks} ranks hold ${models} different models; two of them differ by up to ${tiny(gap.apart)} in a weight.${resumed}`;
    if (ranks === 1)
      return `Step ${step}: one process, which has nobody to average with.`;
    const near = gap.toOne < 1e-4;
    const one = near
      ? `One process gets them from the same batches, too, up to ${tiny(gap.toOne)}.`
      : `One process with the whole batch has others: they differ by up to ${tiny(gap.toOne)}.`;
    return `Step ${step}: all ${ranks} ranks hold the same weights. ${one}${resumed}`;
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
      ? `Resume from step ${this.cluster.checkpoint.step}`
      : step >= LAST
        ? "Run again"
        : still()
          ? `Go to step ${STILLS.find((one) => one > step)}`
          : this.wants
            ? "Pause"
            : "Run";
    this.figure.classList.toggle("l-wide", isWide);
    this.#layout(isWide ? Math.floor(this.width * 0.58) : this.width);
    this.#drawCards();
    this.#drawSide(isWide ? Math.floor(this.width * 0.42) - 26 : this.width);
    this.#drawFacts(step);
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

  // Cards and links, anew only if their number or the room for them has changed.
  #layout(width) {
    const key = `${this.ranks} ${width}`;
    if (key === this.laidOut) return;
    this.laidOut = key;
    const plan = places(this.ranks, width);
    this.plan = plan;
    const scale = Math.min(2, globalThis.devicePixelRatio || 1);
    this.cards = plan.cards.map(({ x, y }, rank) => {
      const size = Math.round(plan.side * scale);
      const canvas = el("canvas", { width: size, height: size, "aria-hidden": "true" });
      canvas.style.width = canvas.style.height = `${plan.side}px`;
      const print = el("code", { "data-rank": rank });
      const note = el("span", { class: "l-note" });
      const head = el("div", { class: "l-head" }, `rank ${rank}`, note);
      const foot = el("div", { class: "l-foot" }, print);
      const node = el("div", { class: `l-card w-r${rank}` }, head, canvas, foot);
      node.style.cssText = `left:${x}px;top:${y}px;width:${plan.card.width}px`;
      return { node, canvas, print, note, scale };
    });
    const id = `${this.name}-head`;
    const marker = { id, viewBox: "0 0 8 8", refX: 6, refY: 4, orient: "auto" };
    const size = { markerWidth: 11, markerHeight: 11, markerUnits: "userSpaceOnUse" };
    this.flights = plan.links.map((_, rank) =>
      svg(
        "g",
        { class: `l-dot w-r${rank}` },
        svg("circle", { r: 9, class: "w-fill" }),
        svg("text", { y: 4, "text-anchor": "middle", class: "l-letter" }),
      ),
    );
    this.sent = plan.links.map(({ x1, y1, x2, y2 }, rank) =>
      svg("path", {
        d: `M${x1} ${y1}L${x2} ${y2}`,
        class: `w-stroke w-r${rank}`,
        "marker-end": `url(#${id})`,
      }),
    );
    const wires = svg(
      "svg",
      { class: "l-wires", width, height: plan.height, "aria-hidden": "true" },
      svg(
        "marker",
        { ...marker, ...size },
        svg("path", { d: "M0 0 8 4 0 8z", class: "d-head" }),
      ),
      this.sent,
      this.flights,
    );
    this.ring.style.height = `${plan.height}px`;
    this.ring.replaceChildren(wires, ...this.cards.map(({ node }) => node));
  }

  #drawCards() {
    const colours = coloursOf(this);
    const looks = this.#looks();
    const silent = this.fault === "drift" || this.ranks === 1;
    for (const path of this.sent) path.classList.toggle("l-unused", silent);
    this.cards.forEach((card, rank) => {
      const look = looks[rank];
      const isDead = this.dead === rank;
      const isWaiting = this.waits.has(rank) && !isDead;
      card.node.classList.toggle("l-dead", isDead);
      card.note.textContent = isDead ? "killed" : isWaiting ? "waits" : "";
      const isOther = look && look.fingerprint !== looks[0].fingerprint;
      card.node.classList.toggle("l-other", Boolean(isOther));
      card.print.textContent = look?.fingerprint ?? "";
      if (look) this.#drawPicture(card, look, colours);
    });
  }

  // What the replica answers for every point, the data, and the rows of its last step.
  #drawPicture({ canvas, scale }, look, colours) {
    const context = canvas.getContext("2d");
    const size = canvas.width;
    this.small ??= document.createElement("canvas");
    this.small.width = this.small.height = look.side;
    const pixels = new ImageData(look.side, look.side);
    for (let i = 0; i < look.side ** 2; i += 1) {
      const at = i * model.NUM_CLASSES;
      for (let c = 0; c < 3; c += 1) {
        let mixed = 0;
        for (let k = 0; k < model.NUM_CLASSES; k += 1)
          mixed += look.picture[at + k] * colours.areas[k][c];
        pixels.data[4 * i + c] = mixed / 255;
      }
      pixels.data[4 * i + 3] = 255;
    }
    this.small.getContext("2d").putImageData(pixels, 0, 0);
    context.imageSmoothingQuality = "high";
    context.drawImage(this.small, 0, 0, size, size);
    this.data ??= model.spirals(SEED);
    const { inputs, classes } = this.data;
    const place = (one) => ((one / model.REACH + 1) / 2) * size;
    const dot = (row, radius) => {
      context.beginPath();
      context.arc(place(inputs[2 * row]), place(-inputs[2 * row + 1]), radius, 0, 7);
      context.fillStyle = colours.dots[classes[row]];
      context.fill();
    };
    const radius = Math.max(0.9, size / scale / 130) * scale;
    for (let row = 0; row < model.NUM_ROWS; row += 1) dot(row, radius);
    context.strokeStyle = colours.edge;
    context.lineWidth = 1.2 * scale;
    for (const row of look.rows) {
      dot(row, 2.2 * radius);
      context.stroke();
    }
  }

  #drawSide(width) {
    const now = performance.now();
    const key = `${width} ${this.ranks}`;
    const isDue =
      now - (this.lined ?? 0) > TIMELINE_MS || this.lineKey !== key || !this.wants;
    this.side.style.width = `${width}px`;
    this.loss = this.#lossPanel(width);
    if (isDue || !this.timeline) {
      this.timeline = this.isFull ? this.#timelinePanel(width) : "";
      this.lined = now;
      this.lineKey = key;
    }
    this.side.replaceChildren(this.loss, this.timeline || this.facts);
  }

  #panel(width, height, label, ...children) {
    const drawn = this.sheet(width, height, ...children);
    drawn.setAttribute("role", "img");
    drawn.setAttribute("aria-label", label);
    return drawn;
  }

  // Loss over steps, logarithmic: each rank, their mean, and one process.
  #lossPanel(width) {
    const [left, top, height] = [38, 26, this.isFull ? 200 : 230];
    const [low, high] = [0.003, 10];
    const x = (step) => left + (step / LAST) * (width - left - 14);
    const y = (loss) => {
      const inside = Math.min(high, Math.max(low, Number.isFinite(loss) ? loss : high));
      return top + (Math.log(high / inside) / Math.log(high / low)) * height;
    };
    const path = (losses) =>
      losses.length > 0 &&
      `M${overEpoch(losses)
        .map(
          (loss, step) => `${say(x(step + 1), 1).replace(",", "")} ${say(y(loss), 1)}`,
        )
        .join("L")}`;
    const all = this.cluster?.losses ?? [];
    const ofRank = (rank) => all.map((losses) => losses[rank]);
    const mean = all.map((losses) => losses.reduce((a, b) => a + b, 0) / losses.length);
    const ranks = [...Array(this.ranks).keys()];
    const legend = top + height + 42;
    const half = width / 2;
    return this.#panel(
      width,
      legend + 8,
      `${this.story.picture} ${this.sentence()}`,
      text(1, 14, "Loss, mean over the last 12 steps", "d-strong", "start"),
      [10, 1, 0.1, 0.01].map((at) => [
        svg("path", { d: `M${left} ${y(at)}H${width - 14}`, class: "w-grid" }),
        text(left - 6, y(at) + 4, at, "w-tag", "end"),
      ]),
      [0, 100, 200, 300].map((at) => text(x(at), top + height + 18, at, "w-tag")),
      this.ranks > 1 &&
        ranks.map((rank) =>
          svg("path", { d: path(ofRank(rank)), class: `l-thin w-r${rank}` }),
        ),
      svg("path", { d: path(mean), class: "l-mean" }),
      svg("path", { d: path(this.cluster?.single ?? []), class: "l-one" }),
      svg("path", { d: `M1 ${legend - 4}h24`, class: "l-mean" }),
      text(
        31,
        legend,
        this.ranks > 1 ? `mean of ${this.ranks} ranks` : "this process",
        "w-tag",
        "start",
      ),
      svg("path", { d: `M${half} ${legend - 4}h24`, class: "l-one" }),
      text(half + 30, legend, "one process", "w-tag", "start"),
    );
  }

  // What each rank did in the last step, and when.
  #timelinePanel(width) {
    const lane = this.ranks > 4 ? 18 : 26;
    const [left, top] = [20, 26];
    const spans = this.#looks().map(({ steps }) => steps.at(-1)?.spans ?? []);
    const every = spans.flat();
    const start = Math.min(...every.map(([, from]) => from));
    const end = Math.max(...every.map(([, , to]) => to));
    const took = every.length > 0 ? end - start : 0;
    const scale = (width - left - 4) / Math.max(took, 1e-9);
    const legend = top + this.ranks * lane + 16;
    const key = (x, cls, words) => [
      svg("rect", { x, y: legend - 10, width: 16, height: 12, class: cls }),
      text(x + 21, legend, words, "w-tag", "start"),
    ];
    const words =
      took > 0 ? `The last step: ${say(took, took < 10 ? 1 : 0)} ms` : "The last step";
    return this.#panel(
      width,
      legend + 6,
      `${words}; what each rank did in it.`,
      text(1, 14, words, "d-strong", "start"),
      [...Array(this.ranks).keys()].map((rank) =>
        svg(
          "g",
          { class: `w-r${rank}`, transform: `translate(0 ${top + rank * lane})` },
          text(left - 6, lane / 2 + 3, rank, "w-tag", "end"),
          svg("rect", {
            x: left,
            width: width - left - 4,
            height: lane - 5,
            class: "l-lane",
          }),
          (spans[rank] ?? []).map(([what, from, to]) =>
            svg("rect", {
              x: left + (from - start) * scale,
              width: Math.max(0.4, (to - from) * scale),
              height: lane - 5,
              class: { compute: "w-fill", send: "d-head", wait: "l-wait" }[what],
            }),
          ),
        ),
      ),
      key(left, "w-ink w-fill", "computes"),
      key(left + width * 0.3, "d-head", "sends"),
      key(left + width * 0.54, "w-ink l-wait", "waits"),
    );
  }

  #drawFacts(step) {
    const { cluster } = this;
    const looks = this.#looks();
    const losses = cluster?.losses[step - 1] ?? [];
    const loss = losses.reduce((a, b) => a + b, 0) / losses.length;
    const per = cluster?.received;
    const facts = [
      ["step", step, "data-step"],
      ["loss of the global batch", number(loss), "data-loss"],
      ["largest difference between ranks", tiny(cluster?.gap.apart ?? 0), "data-apart"],
      [
        cluster?.gap.step < step
          ? `to one process, at step ${cluster.gap.step}`
          : "largest difference to one process",
        tiny(cluster?.gap.toOne ?? 0),
        "data-gap",
      ],
      [
        "received per rank and step",
        per ? `${say(per.bytes)} bytes in ${count(per.messages, "message")}` : "-",
        "data-bytes",
      ],
      [
        "steps per second",
        this.rate ? say(this.rate, this.rate < 10 ? 1 : 0) : "-",
        "data-rate",
      ],
    ];
    if (this.fault === "order" || this.fault === "rows")
      facts[4] = [
        "rows that rank 0 has read",
        `${looks[0]?.seen ?? 0} of ${model.NUM_ROWS}`,
        "data-seen",
      ];
    this.facts.replaceChildren(
      ...facts.map(([words, value, name]) =>
        el("div", {}, el("dt", {}, words), el("dd", { [name]: true }, value)),
      ),
    );
  }

  // --- Messages on their way -------------------------------------------------------

  #flyAll() {
    if (this.fault === "drift") return;
    this.plan.links.forEach((_, rank) => this.#fly(rank, FLIGHT_MS));
  }

  #hop({ rank, chunk, adds, piece }) {
    if (this.dead === rank) return;
    this.#fly(rank, PACES.slow.hopMs, LETTERS[chunk]);
    if (rank !== 0) return;
    const all = 2 * (this.ranks - 1);
    const does = adds
      ? "adds what it receives to its own chunk"
      : "replaces its chunk by the finished one";
    this.seen.textContent = `Step ${this.cluster.step + 1}, message ${piece + 1} of ${all}: each rank sends one of ${this.ranks} chunks to its right neighbour, which ${does}.`;
  }

  #fly(rank, duration, letter = "") {
    const node = this.flights[rank];
    const { x1, y1, x2, y2 } = this.plan.links[rank];
    if (!node || (node.flight?.playState === "running" && !letter)) return;
    node.lastChild.textContent = letter;
    const at = (x, y, opacity) => ({ transform: `translate(${x}px, ${y}px)`, opacity });
    const way = [
      at(x1, y1, 0),
      { ...at(x1, y1, 1), offset: 0.1 },
      { ...at(x2, y2, 1), offset: 0.9 },
      at(x2, y2, 0),
    ];
    node.flight = node.animate(way, { duration, easing: "ease-in-out" });
  }
}

// Mean over the last epoch's steps, so that the rows are the same in every point.
function overEpoch(losses) {
  let sum = 0;
  return losses.map((loss, step) => {
    sum += loss - (losses[step - model.STEPS_PER_EPOCH] ?? 0);
    return sum / Math.min(step + 1, model.STEPS_PER_EPOCH);
  });
}

// The theme's colours as numbers: areas are mixed per pixel.
function coloursOf(node) {
  const style = getComputedStyle(node);
  const read = (name) => style.getPropertyValue(name).trim();
  const parse = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const all = [0, 1, 2];
  return {
    areas: all.map((k) => parse(read(`--area-${k}`))),
    dots: all.map((k) => read(`--dot-${k}`)),
    edge: read("--dot-edge"),
  };
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
