// <ring-all-reduce>: a ring all-reduce, one step at a time.
import * as ring from "./ring.model.js";
import {
  allow,
  allowed,
  button,
  choose,
  load,
  say,
  still,
  svg,
  table,
  text,
  Widget,
} from "./frame.js";

const FLIGHT_MS = 600; // from the track into the neighbour's card
const LEAVE_MS = 350; // from a card onto the track
const REST_MS = 600;
const LETTERS = "ABCDEF";
const HEAD = 24; // a card's coloured head
const PAD = 7;

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
    const head = ["", ...[...Array(ranks).keys()].map((c) => `chunk ${LETTERS[c]}`), "sent"];
    const rows = this.state.values.map((row, rank) => [
      `rank ${rank}`,
      ...row.map((value, chunk) => {
        const parts = this.state.parts[rank][chunk];
        return parts.length === ranks ? `${value} (sum)` : `${value} (of ${parts.join(", ")})`;
      }),
      tensors(ring.sentTensors(ranks, step)),
    ]);
    return table(`After step ${step} of ${ring.numSteps(ranks)}.`, [head, ...rows]);
  }

  // --- Drawing ---------------------------------------------------------------------

  draw(width) {
    const wide = width >= 560;
    const plan = wide ? ringPlan(this.state.ranks, width) : columnPlan(this.state.ranks, width);
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
        moves.map((move) => this.#track(plan, move)),
        this.state.values.map((_, rank) => this.#card(plan, rank, moves)),
        moves.map((move) => this.#packet(plan, move)),
      ),
      bars.node,
    );
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
        return cellOf(place, { value, parts, letter: LETTERS[chunk], ranks: plan.ranks, mark });
      }),
    );
  }

  #track(plan, { from }) {
    return svg(
      "g",
      { class: `w-r${from}` },
      svg("path", { d: plan.tracks[from].path, class: "d-dash" }),
      svg("path", {
        d: plan.tracks[from].path,
        class: "w-stroke",
        "marker-end": `url(#${this.name}-head)`,
      }),
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
      cellOf({ ...at, cell }, {
        value: words,
        parts,
        letter: LETTERS[chunk],
        ranks: plan.ranks,
        mark: "flies",
      }),
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
      svg("rect", { x: 1, y: top, width: Math.max(0, length * scale), height: 16, class: cls });
    const node = svg(
      "g",
      { transform: `translate(0 ${y})` },
      text(1, 14, "Sent by each rank so far", "d-strong", "start"),
      bar(22, total, "w-empty"),
      bar(22, sent, "d-head"),
      text(
        1,
        56,
        `${say(sent, 2)} of ${say(total, 2)} tensors` + (width >= 480 ? `: ${model}` : ""),
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

// --- Places --------------------------------------------------------------------------

function boxHeight(cell) {
  return Math.max(40, cell);
}

function cardSize(ranks, cell) {
  return { width: ranks * cell + 2 * PAD, height: HEAD + boxHeight(cell) + 2 * PAD };
}

// Two columns: down on the right, up on the left; an odd one stands below, in the middle.
function ringPlan(ranks, width) {
  const cell = Math.min(50, Math.floor((width - 110 - 4 * PAD) / 2 / ranks));
  const card = cardSize(ranks, cell);
  const gap = boxHeight(cell) + 46;
  const sideRows = ranks % 2 ? (ranks - 1) / 2 : ranks / 2;
  const side = Math.min(width, 2 * card.width + 220);
  const left = (width - side) / 2 + 1;
  const right = (width + side) / 2 - card.width - 1;
  const at = (row) => row * (card.height + gap);
  const cards = [];
  for (let rank = 0; rank < ranks; rank += 1) {
    if (rank === 0) cards.push({ x: left, y: 0 });
    else if (rank <= sideRows) cards.push({ x: right, y: at(rank - 1) });
    else if (ranks % 2 && rank === sideRows + 1) {
      cards.push({ x: (width - card.width) / 2, y: at(sideRows) });
    } else cards.push({ x: left, y: at(ranks - rank) });
  }
  const tracks = cards.map((from, rank) => ringTrack(from, cards[(rank + 1) % ranks], card, rank));
  if (ranks === 2) {
    // Both ways between the same two cards: one above the other.
    tracks[0] = straight(cards[0].x + card.width, cards[1].x, card.height * 0.5 - 30);
    tracks[1] = straight(cards[1].x, cards[0].x + card.width, card.height * 0.5 + 30);
  }
  const height = Math.max(...cards.map((one) => one.y)) + card.height;
  return { ranks, cell, card, cards, tracks, height: height + 2 };
}

function straight(fromX, toX, y) {
  const way = Math.sign(toX - fromX);
  const path = `M${fromX + 4 * way} ${y}H${toX - 6 * way}`;
  return { path, middle: { x: (fromX + toX) / 2, y } };
}

function ringTrack(from, to, card) {
  const fromMiddle = { x: from.x + card.width / 2, y: from.y + card.height / 2 };
  const toMiddle = { x: to.x + card.width / 2, y: to.y + card.height / 2 };
  if (from.y === to.y) {
    const way = Math.sign(to.x - from.x);
    const startX = way > 0 ? from.x + card.width : from.x;
    const endX = way > 0 ? to.x : to.x + card.width;
    return straight(startX, endX, fromMiddle.y);
  }
  const down = to.y > from.y;
  if (from.x === to.x) {
    const start = down ? from.y + card.height + 3 : from.y - 3;
    const end = down ? to.y - 6 : to.y + card.height + 6;
    const path = `M${fromMiddle.x} ${start}V${end}`;
    return { path, middle: { x: fromMiddle.x, y: (start + end) / 2 } };
  }
  if (down) {
    // From the right column to the card below in the middle: down, then to the left.
    const x = Math.max(fromMiddle.x, to.x + card.width + 40);
    const y = toMiddle.y;
    const start = from.y + card.height + 3;
    const path = `M${x} ${start}V${y - 16}Q${x} ${y} ${x - 16} ${y}H${to.x + card.width + 6}`;
    return { path, middle: { x, y: start + (y - start) * 0.42 } };
  }
  // From the card in the middle to the left column: to the left, then up.
  const x = Math.min(toMiddle.x, from.x - 40);
  const y = fromMiddle.y;
  const end = to.y + card.height + 6;
  const path = `M${from.x - 3} ${y}H${x + 16}Q${x} ${y} ${x} ${y - 16}V${end}`;
  return { path, middle: { x, y: end + (y - end) * 0.42 } };
}

// Narrow: one below the other; the way back from the last runs on the left.
function columnPlan(ranks, width) {
  const cell = Math.min(50, Math.floor((width - 2 * PAD - 62) / ranks));
  const card = cardSize(ranks, cell);
  const gap = boxHeight(cell) + 34;
  const x = Math.max(60, Math.floor((width - card.width + 46) / 2));
  const cards = [...Array(ranks).keys()].map((rank) => ({ x, y: rank * (card.height + gap) + 1 }));
  const last = cards[ranks - 1];
  const tracks = cards.map((from, rank) => {
    if (rank < ranks - 1) {
      const middle = x + card.width / 2;
      const start = from.y + card.height + 3;
      const end = cards[rank + 1].y - 6;
      return { path: `M${middle} ${start}V${end}`, middle: { x: middle, y: (start + end) / 2 } };
    }
    const side = x - 34;
    const [low, high] = [last.y + card.height / 2, card.height / 2];
    const path =
      `M${x - 3} ${low}H${side + 12}Q${side} ${low} ${side} ${low - 12}` +
      `V${high + 12}Q${side} ${high} ${side + 12} ${high}H${x - 6}`;
    return { path, middle: { x: side, y: (low + high) / 2 } };
  });
  return { ranks, cell, card, cards, tracks, height: last.y + card.height + 2 };
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
