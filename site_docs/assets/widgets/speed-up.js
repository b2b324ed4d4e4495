// <speed-up>: predicted speed-up over the number of ranks, our measured points beside it.
import * as model from "./speed-up.model.js";
import { load, Widget } from "./frame.js";
import { button, choose, say, slide, svg, table, text } from "./parts.js";

const START = { network: 3, hardware: "cpu", kind: "strong" };
const HARDWARE = [
  ["cpu", "one of our CPU cores, minilm"],
  ["t4", "a T4 GPU, DistilBERT"],
];
const KINDS = [
  ["strong", "the same batch, divided (strong)"],
  ["weak", "as many rows as one rank (weak)"],
];
const LEFT = 40;
const TALLEST = 32; // times as fast, at the top

class SpeedUp extends Widget {
  story = {
    heading: "Speed-up, predicted and measured",
    picture: "Speed-up over the number of ranks.",
    question: {
      ask: "",
      options: [
        "8 times as fast",
        "About 6 times",
        "A bit more than twice",
        "Slower than one",
      ],
      right: 2,
      answer: "",
    },
    caption: "",
    notice: [
      "What does not divide sets the limit: the optimizer's step, the fixed part of a step, and " +
        "the gradients, which are as many bytes however few rows a rank has.",
      "The same network looks worse to a faster rank: a T4 computes sooner and then waits. " +
        "Choose it and keep the network.",
      "Weak scaling looks better, because each rank brings its own rows. It is another " +
        "training: the global batch grows with the ranks.",
    ],
  };

  async prepare() {
    [this.models, this.known] = await Promise.all([
      load("models.json"),
      load("measured.json"),
    ]);
    this.set = { ...START };
    const gbit = this.known.networks_gbit[START.network];
    const told = this.#curve(START).find(({ ranks }) => ranks === 8);
    Object.assign(this.story.question, {
      ask:
        `Eight machines, each as fast as the one, a network of ${gbit} Gbit/s, and the same ` +
        `${this.known.rows} rows a step divided among them. How many times as fast is a step of minilm?`,
      answer:
        `The cost model predicts ${times(told.high)}: an efficiency of ` +
        `${say((100 * told.high) / 8)} %. Move the network and see what would help.`,
    });
    const { date, cpu } = this.known.origin;
    this.story.caption =
      "Curve and band are predicted by the cost model; a band is as wide as what is known of " +
      `the hardware. Diamonds are measured (${date}, ${cpu}): ranks that share the two cores of ` +
      "one machine, so what to expect there, and no test of the curve, in which each rank has a " +
      "machine of its own. No T4 was measured.";
  }

  controls() {
    const speeds = this.known.networks_gbit;
    this.network = slide(
      "Network between the ranks",
      {
        max: speeds.length - 1,
        value: START.network,
        words: (i) => `${speeds[i]} Gbit/s`,
      },
      (i) => this.#change({ network: i }),
    );
    this.hardware = choose("A rank is", HARDWARE, START.hardware, (v) =>
      this.#change({ hardware: v }),
    );
    this.kind = choose("Rows", KINDS, START.kind, (v) => this.#change({ kind: v }));
    const reset = button("Reset", () => {
      this.network.control.value = START.network;
      this.network.show();
      this.hardware.control.value = START.hardware;
      this.kind.control.value = START.kind;
      this.#change(START);
    });
    return [this.network.node, this.hardware.node, this.kind.node, reset];
  }

  #change(what) {
    this.set = { ...this.set, ...what };
    this.show();
  }

  #curve({ network, hardware, kind }) {
    const gbit = this.known.networks_gbit[network];
    return model.speedUps({ hardware, kind, gbit }, this.known, this.models);
  }

  // --- Saying ----------------------------------------------------------------------

  sentence() {
    const told = this.#curve(this.set).filter(({ ranks }) =>
      [2, 8, 32].includes(ranks),
    );
    const parts = told.map(
      ({ ranks, low, high }) => `${ranks} ranks ${between(low, high)}`,
    );
    const gbit = this.known.networks_gbit[this.set.network];
    return `Predicted at ${gbit} Gbit/s: ${parts.join(", ")}.`;
  }

  words() {
    const rows = this.#curve(this.set).map(({ ranks, low, high }) => {
      const share = (one) => `${say((100 * one) / ranks)} %`;
      const efficiency =
        high - low < 1e-9 ? share(high) : `${share(low)} to ${share(high)}`;
      const points = this.set.hardware === "cpu" ? this.known[this.set.kind] : [];
      const measured = points.filter((one) => one.ranks === ranks);
      const ours =
        measured.map(({ speedup }) => times(speedup)).join(", ") || "not measured";
      return [String(ranks), `${ranks}x`, between(low, high), efficiency, ours];
    });
    const head = [
      "ranks",
      "ideal",
      "predicted",
      "efficiency",
      "measured, shared cores",
    ];
    return table("Speed-up: predicted, and measured on one machine with two cores.", [
      head,
      ...rows,
    ]);
  }

  // --- Drawing ---------------------------------------------------------------------

  draw(width) {
    const curve = this.#curve(this.set);
    const plot = { width, top: 30, height: Math.min(330, Math.max(250, width * 0.55)) };
    const bottom = Math.min(0.5, ...curve.map(({ low }) => low));
    plot.floor = 2 ** Math.floor(Math.log2(bottom));
    const span = (width - LEFT - 26) / Math.log2(TALLEST);
    plot.x = (ranks) => LEFT + 8 + Math.log2(ranks) * span;
    const rise = plot.height / Math.log2(TALLEST / plot.floor);
    plot.y = (speedup) => plot.top + Math.log2(TALLEST / speedup) * rise;
    return this.sheet(
      width,
      plot.top + plot.height + (width > 460 ? 72 : 94),
      this.#grid(plot),
      this.#ideal(plot),
      this.#predicted(plot, curve),
      this.set.hardware === "cpu" ? this.#measured(plot) : this.#pair(plot),
      this.#legend(plot),
    );
  }

  #grid({ width, top, height, floor, x, y }) {
    const steps = [];
    for (let at = floor; at <= TALLEST; at *= 2) steps.push(at);
    const crowded = steps.length > 9;
    return svg(
      "g",
      {},
      text(1, 14, "speed-up", "d-strong", "start"),
      steps.map((at, i) =>
        svg(
          "g",
          {},
          svg("path", {
            d: `M${LEFT} ${y(at)}H${width}`,
            class: at === 1 ? "w-axis" : "w-grid",
          }),
          (!crowded || i % 2 === steps.indexOf(1) % 2) &&
            text(
              LEFT - 5,
              y(at) + 4,
              `${at < 1 ? `1/${1 / at}` : at}x`,
              "w-tag",
              "end",
            ),
        ),
      ),
      text(
        LEFT + 4,
        y(floor) - 5,
        "below 1x: slower than one",
        "w-tag w-halo",
        "start",
      ),
      this.known.ranks.map((ranks) =>
        text(x(ranks), top + height + 18, ranks, "d-text"),
      ),
      text((LEFT + width) / 2, top + height + 36, "ranks", "d-text"),
    );
  }

  #ideal({ x, y }) {
    const last = this.known.ranks.at(-1);
    return svg(
      "g",
      {},
      svg("path", { d: `M${x(1)} ${y(1)}L${x(last)} ${y(last)}`, class: "d-dash" }),
      text(x(12) - 8, y(12) - 6, "ideal", "d-text w-halo", "end"),
    );
  }

  #predicted({ x, y }, curve) {
    const line = (key) => curve.map((one) => `${x(one.ranks)} ${y(one[key])}`);
    const wide = curve.some(({ low, high }) => high - low > 1e-9);
    const area = `M${line("high").join("L")}L${line("low").reverse().join("L")}Z`;
    return svg(
      "g",
      { class: "w-ink" },
      wide && svg("path", { d: area, class: "w-band" }),
      svg("path", { d: `M${line("high").join("L")}`, class: "w-stroke" }),
      wide && svg("path", { d: `M${line("low").join("L")}`, class: "w-stroke" }),
      curve.map(({ ranks, low, high }, i) => [
        svg("circle", { cx: x(ranks), cy: y(high), r: 4.5, class: "w-fill" }),
        wide && svg("circle", { cx: x(ranks), cy: y(low), r: 4.5, class: "w-fill" }),
        (wide ? [3, 5] : [1, 3, 5]).includes(i) &&
          text(
            x(ranks),
            y(high) + (wide ? -11 : 20),
            times(high),
            "w-tag w-bold w-halo",
          ),
      ]),
    );
  }

  #measured({ x, y }) {
    const points = this.known[this.set.kind];
    return svg(
      "g",
      {},
      points.map(({ ranks, speedup }) => [
        diamond(x(ranks), y(speedup)),
        text(
          x(ranks) + 12,
          y(speedup) + 5,
          times(speedup),
          "w-tag w-bold w-halo",
          "start",
        ),
      ]),
    );
  }

  // Two T4 in one machine: the interval of predictions.two_t4.
  #pair({ x, y }) {
    const [low, high] = this.known.two_t4[this.set.kind].map(y);
    const at = x(2) + 12;
    return svg("path", {
      d: `M${at - 5} ${low}h10M${at} ${low}V${high}M${at - 5} ${high}h10`,
      class: "d-line",
    });
  }

  #legend({ width, top, height }) {
    const y = top + height + 62;
    const [x2, y2] = width > 460 ? [width / 2, y] : [1, y + 22];
    const cpu = this.set.hardware === "cpu";
    const bar = { d: `M${x2 + 12} ${y2 - 13}v16m-5 0h10m-10 -16h10`, class: "d-line" };
    return svg(
      "g",
      {},
      svg("path", { d: `M1 ${y - 5}H25`, class: "w-ink w-stroke" }),
      svg("circle", { cx: 13, cy: y - 5, r: 4.5, class: "w-ink w-fill" }),
      text(32, y, "predicted, a machine a rank", "d-text", "start"),
      cpu ? diamond(x2 + 12, y2 - 5) : svg("path", bar),
      text(
        x2 + 31,
        y2,
        cpu ? "measured, one machine's two cores" : "predicted, two T4 in one machine",
        "d-text",
        "start",
      ),
    );
  }
}

function diamond(x, y) {
  return svg("path", { d: `M${x} ${y - 7}l7 7-7 7-7-7z`, class: "w-diamond" });
}

function times(number) {
  return `${say(number, number < 10 ? 2 : 1)}x`;
}

function between(low, high) {
  return high - low < 1e-9 ? times(high) : `${times(low)} to ${times(high)}`;
}

customElements.define("speed-up", SpeedUp);
