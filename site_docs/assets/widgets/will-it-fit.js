// <will-it-fit>: what a rank holds with DDP and ZeRO, against the memory of cards.
import * as model from "./will-it-fit.model.js";
import { load, Widget } from "./frame.js";
import { button, choose, say, slide, svg, table, text } from "./parts.js";

const RANKS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
const ROWS = [1, 2, 4, 8, 16, 32, 64];
const TOKENS = [128, 512, 2048];
const START = { model: 5, ranks: 3, rows: 0, tokens: 128 };
const BAR = 26;
const LANE = BAR + 34;
const TOP = 30;
const ASSUMED = model.PARTS.indexOf("activations");

class WillItFit extends Widget {
  story = {
    heading: "Will it fit?",
    picture: "What one rank holds, in bars, with lines where cards end.",
    question: {
      ask:
        "Seven billion parameters in float32 with AdamW, 8 ranks, one row of 128 tokens each. " +
        "What is the least that must be sharded, so that a rank fits into 24 GB?",
      options: [
        "Nothing: DDP fits",
        "The optimizer (ZeRO-1)",
        "Gradients, too (ZeRO-2)",
        "Weights, too (ZeRO-3)",
      ],
      right: 3,
      answer: "",
    },
    caption:
      "Computed, not measured. State: 4 bytes a parameter for the weight, 4 for its gradient, 8 " +
      "for AdamW. Activations are assumed: what a transformer keeps for backward in float32, " +
      "without dropout and attention's matrix of scores. Of the models without a name the " +
      "width is assumed to be 128 times the layers. One GB is a billion bytes.",
    notice: [
      "More ranks make no bar of DDP shorter: it divides rows, never the model.",
      "ZeRO-1 and ZeRO-2 send as much as DDP. ZeRO-3 gathers the weights a second time: half as " +
        "much again.",
      "Activations grow with rows and tokens, and no stage shards them.",
      "No card is empty before you begin: libraries, buffers and the allocator take their part, " +
        "and ZeRO-3 holds one gathered layer on top.",
    ],
  };

  async prepare() {
    this.models = (await load("memory.json")).models;
    this.set = { ...START };
    const sizes = this.#stages()
      .map(({ name, total }) => `${name} ${gb(total)}`)
      .join(", ");
    this.story.question.answer = `ZeRO-3. A rank holds: ${sizes}.`;
  }

  controls() {
    const change = (name) => (value) => this.#change({ [name]: value });
    const many = (list, words) => ({ max: list.length - 1, words: (i) => words(list[i]) });
    this.inputs = {
      model: slide(
        "Model",
        { ...many(this.models, named), value: START.model },
        change("model"),
      ),
      ranks: slide(
        "Ranks",
        { ...many(RANKS, String), value: START.ranks },
        change("ranks"),
      ),
      rows: slide(
        "Rows per rank",
        { ...many(ROWS, String), value: START.rows },
        change("rows"),
      ),
    };
    const tokens = TOKENS.map((one) => [one, say(one)]);
    this.tokens = choose("Tokens per row", tokens, START.tokens, (one) =>
      this.#change({ tokens: Number(one) }),
    );
    const reset = button("Reset", () => {
      for (const [name, input] of Object.entries(this.inputs)) {
        input.control.value = START[name];
        input.show();
      }
      this.tokens.control.value = START.tokens;
      this.#change(START);
    });
    return [...Object.values(this.inputs).map(({ node }) => node), this.tokens.node, reset];
  }

  #change(what) {
    this.set = { ...this.set, ...what };
    this.show();
  }

  #stages() {
    const { ranks, rows, tokens } = this.set;
    const set = { ranks: RANKS[ranks], rows: ROWS[rows], tokens };
    return model.stages(this.models[this.set.model], set);
  }

  // --- Saying ----------------------------------------------------------------------

  sentence() {
    const parts = this.#stages().map(({ name, total }) => {
      const card = model.smallestCard(total);
      return `${name} ${gb(total)} (${card ? `fits into ${card} GB` : "no card here"})`;
    });
    const ranks = RANKS[this.set.ranks];
    const many = ranks === 1 ? "1 rank" : `each of ${say(ranks)} ranks`;
    return `${named(this.models[this.set.model])}: ${many} holds ${parts.join(", ")}.`;
  }

  words() {
    const rows = this.#stages().map(({ name, parts, total, units, sent }) => [
      name,
      ...parts.map(gb),
      gb(total),
      RANKS[this.set.ranks] === 1 ? "nothing" : `${units} units, ${gb(sent)}`,
    ]);
    const head = ["what is sharded", ...model.PARTS, "together", "sent in a step"];
    return table("Bytes on each rank, computed.", [head, ...rows]);
  }

  // --- Drawing ---------------------------------------------------------------------

  draw(width) {
    const all = this.#stages();
    const axis = model.axisGb(all);
    const x = (bytes) => (Math.min(bytes / 1e9, axis) / axis) * (width - 2) + 1;
    const bottom = TOP + all.length * LANE;
    const legend = this.#legend(width, bottom + 26);
    const place = (i) => ({ x, axis, width, y: TOP + i * LANE });
    return this.sheet(
      width,
      bottom + 26 + legend.height,
      all.map((stage, i) => this.#bar(stage, place(i))),
      this.#cards(x, axis, bottom),
      all.map((stage, i) => this.#labels(stage, place(i))),
      legend.node,
    );
  }

  // Where cards end: over the bars, under the words.
  #cards(x, axis, bottom) {
    const cards = model.CARDS_GB.filter((one) => one <= axis);
    return cards.map((one, i) => {
      const at = x(one * 1e9);
      const isTight = i > 0 && at - x(cards[i - 1] * 1e9) < 44; // its name goes below
      return [
        svg("path", { d: `M${at} 18V${bottom - 8}`, class: "d-dash" }),
        text(at, isTight ? bottom + 3 : 13, `${one} GB`, "w-tag w-bold"),
      ];
    });
  }

  #bar({ parts, total }, { x, axis, width, y }) {
    const isCut = total > axis * 1e9;
    return [
      segments(parts, x).map(({ left, right }, i) =>
        svg("rect", {
          x: left,
          y: y + 20,
          width: right - left,
          height: BAR,
          class: `w-r${i} ${i === ASSUMED ? "w-tint" : "w-fill"}`,
        }),
      ),
      isCut &&
        svg("path", {
          d: `M${width - 14} ${y + 19}l7 7-7 7 7 7-7 8`,
          class: "w-stroke w-torn",
        }),
    ];
  }

  #labels({ name, parts, total, units, sent }, { x, width, y }) {
    const isAlone = RANKS[this.set.ranks] === 1;
    const bytes = width > 460 ? `, ${gb(sent)}` : "";
    const way = isAlone ? "sends nothing" : `sends ${units} units${bytes}`;
    return [
      text(1, y + 14, `${name}: ${gb(total)}`, "d-strong w-halo", "start"),
      text(width - 1, y + 14, way, "w-tag w-halo", "end"),
      segments(parts, x).map(
        ({ left, right }, i) =>
          right - left > 62 &&
          text(
            (left + right) / 2,
            y + 20 + BAR / 2 + 5,
            gb(parts[i]),
            i === ASSUMED ? "w-tag" : "w-chip",
          ),
      ),
    ];
  }

  #legend(width, y) {
    const columns = width > 460 ? 4 : 2;
    const each = width / columns;
    const node = model.PARTS.map((name, i) => {
      const [left, top] = [(i % columns) * each + 1, y + Math.floor(i / columns) * 24];
      const box = { x: left, y: top - 12, width: 15, height: 15, rx: 3 };
      return svg(
        "g",
        { class: `w-r${i}` },
        svg("rect", { ...box, class: i === ASSUMED ? "w-tint" : "w-fill" }),
        text(left + 22, top, name, "d-text", "start"),
      );
    });
    return { node, height: (model.PARTS.length / columns - 1) * 24 + 12 };
  }
}

// Where each part of a bar begins and ends.
function segments(parts, x) {
  let from = 0;
  return parts.map((bytes) => {
    const left = x(from);
    from += bytes;
    return { left, right: x(from) };
  });
}

// A name, or a number of parameters in words.
function named({ name, parameters }) {
  const many =
    parameters < 1e9
      ? `${say(parameters / 1e6)} million`
      : `${say(parameters / 1e9)} billion`;
  return name ? `${name}, ${many} parameters` : `${many} parameters`;
}

function gb(bytes) {
  const gb = bytes / 1e9;
  return `${say(gb, gb < 1 ? 3 : gb < 100 ? 1 : 0)} GB`;
}

customElements.define("will-it-fit", WillItFit);
