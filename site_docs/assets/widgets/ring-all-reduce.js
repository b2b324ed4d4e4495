// <ring-all-reduce>: a ring all-reduce, one step at a time.
import * as ring from "./ring.model.js";
import { boxHeight, columnPlan, HEAD, PAD, ringPlan } from "./ring.places.js";
import { load, Widget } from "./frame.js";
import {
  allow,
  allowed,
  button,
  choose,
  say,
  still,
  svg,
  table,
  text,
} from "./parts.js";

const FLIGHT_MS = 600; // from the track into the neighbour's card
const LEAVE_MS = 350; // from a card onto the track
const REST_MS = 600;
const LETTERS = "ABCDEF";

class RingAllReduce extends Widget {
  story = {
    heading: "A ring all-reduce, step by step",
    picture: "A ring of ranks, each with its chunks.",
    caption:
      "Each box is a chunk: its letter, its number, and a slot for each rank, filled once its " +
      "part is in. A chunk with all slots filled is finished (\u2713).",
    question: {
      ask:
        "Four ranks add up their tensors. In each step every rank sends one of its four " +
        "chunks to its right neighbour. After how many steps does every rank hold all sums?",
      options: ["3", "4", "6", "12"],
      right: 2,
      answer:
        "6 steps: 2 (N - 1). In 3 steps each rank gets one finished chunk, in 3 more these " +
        "go round. Step through it below.",
    },
    notice: [
      "In every step all ranks send and all receive: no wire is idle, nobody is in the middle.",
      "After the first half each rank holds one finished chunk, a different one each. That is " +
        "reduce-scatter; the second half, all-gather, only copies.",
      "Each rank sends 2 (N - 1) / N of the tensor: more ranks make more steps, but hardly more bytes.",
    ],
  };

  async prepare() {
    this.models = await load("models.json");
    this.state = ring.begin(4);
    // Where the next step's messages are: -1 in their card, 0 on the track, 1 arrived.
    this.flown = 0;
  }

  controls() {
    this.forth = button("Next step", () => this.#forward(), { main: true });
    this.back = button("Back", () => this.#go(this.state.step - 1));
    this.playing = button("Play", () => this.#play());
    const reset = button("Reset", () => this.#go(0));
    const counts = [2, 3, 4, 5, 6].map((n) => [n, n]);
    this.ranks = choose("Ranks", counts, 4, (n) => {
      this.#stop();
      this.state = ring.begin(Number(n));
      this.#settle();
    });
    return [this.forth, this.back, this.playing, reset, this.ranks.node];
  }

  // --- Moving ----------------------------------------------------------------------

  #settle(options) {
    this.flown = 0;
    allow(this.forth, !ring.isOver(this.state));
    allow(this.playing, !ring.isOver(this.state));
    allow(this.back, this.state.step > 0);
    this.show(options);
  }

  #stop() {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.timer);
    this.running = false;
    this.flying = false;
    this.playing.textContent = "Play";
  }

  #go(step) {
    this.#stop();
    if (step < 0) return;
    this.state = ring.at(this.state.ranks, step);
    this.#settle();
  }

  #forward() {
    if (this.flying) this.#land(); // a second press does not wait for the first
    this.#stop();
    if (!allowed(this.forth)) return;
    this.#fly(() => this.#land());
  }

  #land(options) {
    this.flying = false;
    this.state = ring.next(this.state);
    this.#settle(options);
    if (!still()) this.#move(-1, 0, LEAVE_MS, () => this.redraw());
  }

  #fly(then) {
    if (still()) return then();
    this.flying = true;
    this.#move(0, 1, FLIGHT_MS, then);
  }

  #move(from, to, ms, then) {
    cancelAnimationFrame(this.frame);
    const began = performance.now();
    const tick = (now) => {
      const part = Math.min(1, Math.max(0, (now - began) / ms));
      this.flown = from + (to - from) * part;
      if (part === 1) return then();
      this.redraw();
      this.frame = requestAnimationFrame(tick);
    };
    tick(began);
  }

  #play() {
    if (this.running) {
      if (this.flying) this.#land({ aloud: false });
      this.#stop();
      this.show();
      return;
    }
    if (!allowed(this.playing)) return;
    this.#stop();
    this.running = true;
    this.playing.textContent = "Pause";
    const round = () => {
      const last = this.state.step + 1 === ring.numSteps(this.state.ranks);
      this.#fly(() => {
        this.#land({ aloud: last });
        if (last) this.#stop();
        else this.timer = setTimeout(round, still() ? FLIGHT_MS + REST_MS : REST_MS);
      });
    };
    round();
  }

  // --- Saying ----------------------------------------------------------------------

  sentence() {
    const { ranks, step, values } = this.state;
    const all = ring.numSteps(ranks);
    if (step === 0) {
      return `Start: ${ranks} ranks, each with its own ${ranks} chunks. Nothing was sent yet.`;
    }
    const sent = tensors(ring.sentTensors(ranks, step));
    if (step === all) {
      const sums = values[0].map((value) => say(value)).join(", ");
      return `Done after ${all} steps: every rank holds ${sums}; each sent ${sent}.`;
    }
    const before = ring.at(ranks, step - 1);
    const { to, chunk, adds } = ring.messages(before).find((one) => one.to === 1);
    const letter = LETTERS[chunk];
    const now = values[to][chunk];
    const done = adds
      ? `rank 1 added chunk ${letter}: ${before.values[0][chunk]} + ${before.values[1][chunk]} = ${now}`
      : `rank 1 got the finished chunk ${letter}: ${now}`;
    const { name } = ring.phase(ranks, step - 1);
    return `Step ${step} of ${all}, ${name}: ${done}. Each rank sent ${sent} so far.`;
  }

  words() {
    const { ranks, step } = this.state;
    const head = [
      "rank",
      ...[...Array(ranks).keys()].map((c) => `chunk ${LETTERS[c]}`),
      "sent",
    ];
    const rows = this.state.values.map((row, rank) => [
      `rank ${rank}`,
      ...row.map((value, chunk) => {
        const parts = this.state.parts[rank][chunk];
        return parts.length === ranks
          ? `${value} (sum)`
          : `${value} (of ${parts.join(", ")})`;
      }),
      tensors(ring.sentTensors(ranks, step)),
    ]);
    return table(`After step ${step} of ${ring.numSteps(ranks)}.`, [head, ...rows]);
  }

  // --- Drawing ---------------------------------------------------------------------

  draw(width) {
    const wide = width >= 560;
    const plan = wide
      ? ringPlan(this.state.ranks, width)
      : columnPlan(this.state.ranks, width);
    const top = 46;
    const bars = this.#bytes(width, top + plan.height + 18);
    const defs = svg("defs", {}, this.#head());
    const moves = ring.messages(this.state);
    return this.sheet(
      width,
      top + plan.height + 18 + bars.height,
      defs,
      this.#progress(width),
      svg(
        "g",
        { transform: `translate(0 ${top})` },
        this.state.values.map((_, rank) => this.#track(plan, rank, moves.length > 0)),
        wide && moves.length === 0 && this.#end(plan, width),
        this.state.values.map((_, rank) => this.#card(plan, rank, moves)),
        moves.map((move) => this.#packet(plan, move)),
      ),
      bars.node,
    );
  }

  // WHY not the start: the middle shows both halves, finished chunks and their next way.
  picture(width) {
    this.state = ring.at(4, 3);
    const drawn = this.draw(width);
    this.state = ring.begin(4);
    return drawn;
  }

  #head() {
    const shape = { id: `${this.name}-head`, viewBox: "0 0 8 8", refX: 6, refY: 4 };
    const size = { markerWidth: 12, markerHeight: 12, orient: "auto" };
    return svg(
      "marker",
      { ...shape, ...size, markerUnits: "userSpaceOnUse" },
      svg("path", { d: "M0 0 8 4 0 8z", class: "d-head" }),
    );
  }

  // The two phases with a mark a step; the next one is open, those done are filled.
  #progress(width) {
    const { ranks, step } = this.state;
    const half = ranks - 1;
    const middle = width / 2;
    const parts = [
      ["1. reduce-scatter: add", 0, 0],
      ["2. all-gather: copy", middle, half],
    ];
    return svg(
      "g",
      {},
      parts.map(([words, x, first]) => {
        const active = step >= first && step < first + half;
        const length = middle - 10;
        const each = length / half;
        return svg(
          "g",
          { transform: `translate(${x} 0)` },
          svg(
            "text",
            { x: 1, y: 14, class: active ? "d-strong" : "d-text" },
            width < 420 ? words.split(":")[0] : words,
          ),
          [...Array(half).keys()].map((i) =>
            svg("rect", {
              x: i * each + 1,
              y: 21,
              width: each - 5,
              height: 10,
              rx: 3,
              class: first + i < step ? "d-head" : "w-empty",
            }),
          ),
        );
      }),
    );
  }

  #card(plan, rank, moves) {
    const { x, y } = plan.cards[rank];
    const { cell, card } = plan;
    const leaving = moves.find((one) => one.from === rank);
    const coming = moves.find((one) => one.to === rank);
    return svg(
      "g",
      { class: `w-r${rank}`, transform: `translate(${x} ${y})` },
      svg("rect", { width: card.width, height: card.height, rx: 6, class: "w-card" }),
      svg("path", {
        d: `M0 ${HEAD}V6a6 6 0 0 1 6-6h${card.width - 12}a6 6 0 0 1 6 6v${HEAD - 6}z`,
        class: "w-fill",
      }),
      text(card.width / 2, 17, `rank ${rank}`, "w-chip"),
      this.state.values[rank].map((value, chunk) => {
        const place = { x: PAD + chunk * cell, y: HEAD + PAD, cell };
        const parts = this.state.parts[rank][chunk];
        const mark =
          leaving?.chunk === chunk ? "leaves" : coming?.chunk === chunk ? "lands" : "";
        return cellOf(place, {
          value,
          parts,
          letter: LETTERS[chunk],
          ranks: plan.ranks,
          mark,
        });
      }),
    );
  }

  // The way to the right neighbour; at the end it is there still, but idle.
  #track(plan, rank, busy) {
    const d = plan.tracks[rank].path;
    const head = `url(#${this.name}-head)`;
    return svg(
      "g",
      { class: `w-r${rank}` },
      svg("path", {
        d,
        class: busy ? "w-stroke" : "w-idle",
        "marker-end": busy && head,
      }),
    );
  }

  #end(plan, width) {
    const y = plan.ranks === 2 ? plan.height * 0.5 - 4 : plan.height * 0.5;
    const words = ["Every rank", "holds all sums"];
    return words.map((one, i) =>
      text(width / 2, y - 4 + i * 20, one, "d-strong w-halo"),
    );
  }

  // The chunk on its way: it waits on the track, flies from its cell to the neighbour's.
  #packet(plan, { from, to, chunk, adds }) {
    const { cell } = plan;
    const place = (rank) => ({
      x: plan.cards[rank].x + PAD + chunk * cell,
      y: plan.cards[rank].y + HEAD + PAD,
    });
    const rest = plan.tracks[from].middle;
    const middle = { x: rest.x - cell / 2, y: rest.y - boxHeight(cell) / 2 };
    const at =
      this.flown < 0
        ? between(place(from), middle, this.flown + 1)
        : between(middle, place(to), this.flown);
    const value = this.state.values[from][chunk];
    const parts = this.state.parts[from][chunk];
    const words = `${adds ? "+" : "="}${value}`;
    return svg(
      "g",
      { class: `w-r${from}` },
      cellOf(
        { ...at, cell },
        {
          value: words,
          parts,
          letter: LETTERS[chunk],
          ranks: plan.ranks,
          mark: "flies",
        },
      ),
    );
  }

  // What a rank sends, beside what a rank in the middle would have to carry.
  #bytes(width, y) {
    const { ranks, step } = this.state;
    const hub = ring.hubTensors(ranks);
    const sent = ring.sentTensors(ranks, step);
    const total = ring.sentTensors(ranks, ring.numSteps(ranks));
    const scale = (width - 2) / hub;
    const bytes = this.models.minilm.reduce((a, b) => a + b, 0);
    const model = `${say((sent * bytes) / 1e6)} MB of minilm's gradients`;
    const bar = (top, length, cls) =>
      svg("rect", {
        x: 1,
        y: top,
        width: Math.max(0, length * scale),
        height: 16,
        class: cls,
      });
    const node = svg(
      "g",
      { transform: `translate(0 ${y})` },
      text(1, 14, "Sent by each rank so far", "d-strong", "start"),
      bar(22, total, "w-empty"),
      bar(22, sent, "d-head"),
      text(
        1,
        56,
        `${say(sent, 2)} of ${say(total, 2)} tensors` +
          (width >= 480 ? `: ${model}` : ""),
        "d-text",
        "start",
      ),
      text(1, 84, "If all went through rank 0: carried by rank 0", "d-text", "start"),
      bar(92, hub, "d-box"),
      text(1, 126, `${hub} tensors`, "d-text", "start"),
    );
    return { node, height: 134 };
  }
}

// A chunk: its letter, its number, and a slot for each rank whose part it holds.
function cellOf({ x, y, cell }, { value, parts, letter, ranks, mark }) {
  const height = boxHeight(cell);
  const done = parts.length === ranks;
  const slot = (cell - 8) / ranks;
  const size = String(value).length * 9 > cell - 6 ? 11 : 15;
  const frames = { leaves: "w-leaves", lands: "w-lands", flies: "w-flies" };
  return svg(
    "g",
    { transform: `translate(${x} ${y})`, class: frames[mark] ?? "" },
    svg("rect", {
      x: 1,
      y: 0,
      width: cell - 2,
      height,
      rx: 3,
      class: done ? "w-cell w-done" : "w-cell",
    }),
    svg("text", { x: 4, y: 11, class: "w-letter" }, letter),
    done && svg("path", { d: `M${cell - 11} 7l2.5 3 4-6`, class: "w-check" }),
    numberAt(cell / 2, height / 2 + 7, value, size),
    [...Array(ranks).keys()].map((rank) =>
      svg("rect", {
        x: 4 + rank * slot,
        y: height - 10,
        width: slot - 1.5,
        height: 7,
        class: parts.includes(rank) ? `w-r${rank} w-fill` : "w-empty",
      }),
    ),
  );
}

function numberAt(x, y, value, size) {
  const node = text(x, y, value, "w-number");
  node.setAttribute("font-size", size);
  return node;
}

// A place on the way from one to the other, slow at both ends.
function between(from, to, part) {
  const eased = part < 0.5 ? 2 * part * part : 1 - 2 * (1 - part) ** 2;
  const mix = (key) => from[key] + (to[key] - from[key]) * eased;
  return { x: mix("x"), y: mix("y") };
}

function tensors(number) {
  return `${say(number, 2)} tensor${number === 1 ? "" : "s"}`;
}

customElements.define("ring-all-reduce", RingAllReduce);
