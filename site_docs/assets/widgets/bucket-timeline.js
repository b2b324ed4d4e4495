// <bucket-timeline>: when DDP's buckets travel, and what part of it backward hides.
import * as model from "./costmodel.model.js";
import { load, Widget } from "./frame.js";
import { button, choose, say, slide, svg, table, text } from "./parts.js";

const START = { bucket: 4, gbit: 5, mode: "later" };
const MODES = [
  ["later", "DDP, second step and later"],
  ["first", "DDP, its first step"],
  ["none", "no overlap"],
];
const LANE = 34;

class BucketTimeline extends Widget {
  story = {
    heading: "Buckets and overlap on a time line",
    picture: "Two lanes over time: backward computes, gradients travel.",
    question: {
      ask: "",
      options: [
        "Nothing: backward takes longer than the way",
        "About two thirds of it",
        "All of it",
      ],
      right: 1,
      answer: "",
    },
    caption: "",
    notice: [
      "The last bucket can never hide: it is full only when backward is over. Here it holds the " +
        "word embedding, half of all bytes, and a tensor is never split over two buckets.",
      "Small buckets start early, but each costs messages of its own; one huge bucket starts when " +
        "nothing is left to compute.",
      "In its first step DDP has one bucket: it must see once in which order the gradients " +
        "become ready (torch 2.13, unless find_unused_parameters is on). Then it rebuilds.",
    ],
  };

  async prepare() {
    [this.models, this.known] = await Promise.all([
      load("models.json"),
      load("measured.json"),
    ]);
    this.set = { ...START };
    this.backwardS = this.known.phases_ms.backward / 1000;
    const way = this.#way(START);
    const [travel, exposed] = [this.#travelS(way), this.#exposedS(way)];
    Object.assign(this.story.question, {
      ask:
        `Backward takes ${ms(this.backwardS)}, and the gradients are on their way for ` +
        `${ms(travel)}. DDP sends each bucket while backward goes on. For how much of its way ` +
        "does a step still have to wait?",
      answer:
        `The model says ${ms(exposed)} of ${ms(travel)}. The last bucket is full only when ` +
        "backward is over, and it is the largest.",
    });
    const { date, cpu } = this.known.origin;
    this.story.caption =
      `Backward of minilm, 32 rows over ${this.known.phases_ranks} ranks: measured on ${date} ` +
      `(${cpu}). The way of the gradients is predicted by the cost model: network cards that ` +
      "take no time from computing, 50 microseconds a message.";
  }

  controls() {
    const sizes = this.known.buckets_mib;
    this.bucket = slide(
      "Bucket size",
      { max: sizes.length - 1, value: START.bucket, words: (i) => sizeWords(sizes[i]) },
      (i) => this.#change({ bucket: i }),
    );
    const speeds = [1, 2.5, 5, 10, 25, 100].map((gbit) => [gbit, `${gbit} Gbit/s`]);
    this.gbit = choose("Network", speeds, START.gbit, (v) =>
      this.#change({ gbit: Number(v) }),
    );
    this.mode = choose("When", MODES, START.mode, (mode) => this.#change({ mode }));
    const reset = button("Reset", () => {
      this.bucket.control.value = START.bucket;
      this.bucket.show();
      this.gbit.control.value = START.gbit;
      this.mode.control.value = START.mode;
      this.#change(START);
    });
    return [this.bucket.node, this.gbit.node, this.mode.node, reset];
  }

  #change(what) {
    this.set = { ...this.set, ...what };
    this.show();
  }

  // --- The model -------------------------------------------------------------------

  #way({ bucket, gbit, mode }) {
    const gradients = this.models.minilm;
    let buckets = model.cut(gradients, this.known.buckets_mib[bucket]);
    if (mode === "first") buckets = [[1, gradients.reduce((a, b) => a + b, 0)]];
    if (mode === "none") buckets = buckets.map(([, bytes]) => [1, bytes]);
    const link = model.network(gbit);
    return model.travels(buckets, {
      backwardS: this.backwardS,
      ranks: this.known.phases_ranks,
      link,
    });
  }

  #travelS(way) {
    return way.reduce((all, { start, end }) => all + end - start, 0);
  }

  #exposedS(way) {
    return Math.max(0, way.at(-1).end - this.backwardS);
  }

  // --- Saying ----------------------------------------------------------------------

  sentence() {
    const way = this.#way(this.set);
    const [travel, exposed] = [this.#travelS(way), this.#exposedS(way)];
    const buckets =
      way.length === 1 ? "1 bucket travels" : `${way.length} buckets travel`;
    return (
      `${buckets} for ${ms(travel)}: backward hides ${ms(travel - exposed)}, ` +
      `${ms(exposed)} are exposed.`
    );
  }

  words() {
    const rows = this.#way(this.set).map(({ bytes, ready, start, end }, i) => [
      String(i + 1),
      `${say(bytes / 1e6, 1)} MB`,
      ms(ready),
      ms(start),
      ms(end),
      ms(Math.max(0, end - Math.max(start, this.backwardS))),
    ]);
    const caption = `Buckets, in order. Backward is over after ${ms(this.backwardS)}.`;
    return table(caption, [
      ["bucket", "size", "full", "starts", "arrives", "exposed"],
      ...rows,
    ]);
  }

  // --- Drawing ---------------------------------------------------------------------

  draw(width) {
    const way = this.#way(this.set);
    const bars = this.#bars(width, 238);
    // WHY the slowest of all sizes: so that bars of two sizes can be compared.
    const slowest = this.known.buckets_mib.map(
      (_, bucket) => this.#way({ ...this.set, bucket, mode: "none" }).at(-1).end,
    );
    const optimizerS = this.known.phases_ms.optimizer / 1000;
    const scale = (width - 4) / (Math.max(...slowest) + optimizerS);
    const x = (seconds) => 2 + seconds * scale;
    return this.sheet(
      width,
      238 + bars.height,
      this.#hatch(),
      this.#lanes(way, x),
      this.#marks(way, x, optimizerS, width),
      bars.node,
    );
  }

  #hatch() {
    const id = `${this.name}-hatch`;
    const pattern = { id, width: 8, height: 8, patternUnits: "userSpaceOnUse" };
    return svg(
      "defs",
      {},
      svg(
        "pattern",
        { ...pattern, patternTransform: "rotate(45)" },
        svg("rect", { width: 8, height: 8, class: "w-hatch-back" }),
        svg("rect", { width: 3, height: 8, class: "d-lost" }),
      ),
    );
  }

  #lanes(way, x) {
    const full = [0, ...way.map(({ ready }) => ready)];
    const end = x(this.backwardS);
    return svg(
      "g",
      {},
      text(2, 14, "backward computes gradients", "d-strong", "start"),
      svg("rect", { x: 2, y: 22, width: end - 2, height: LANE, class: "w-compute" }),
      way.map((one, i) => {
        const number = String(i + 1);
        const [from, to] = [x(full[i]), x(one.ready)];
        const [start, arrives] = [x(one.start), x(one.end)];
        const shown = Math.min(arrives, Math.max(start, end));
        return svg(
          "g",
          {},
          to > from &&
            svg("rect", {
              x: from,
              y: 22,
              width: to - from,
              height: LANE,
              class: "w-compute",
            }),
          to - from > 18 &&
            this.set.mode !== "none" &&
            text((from + to) / 2, 44, number, "w-number"),
          svg("path", {
            d: `M${to} ${22 + LANE}V${90}L${start} ${116}`,
            class: "w-lead",
          }),
          shown > start &&
            svg("rect", {
              x: start,
              y: 116,
              width: shown - start,
              height: LANE,
              class: "w-hidden",
            }),
          arrives > shown &&
            svg("rect", {
              x: shown,
              y: 116,
              width: arrives - shown,
              height: LANE,
              class: "w-exposed",
              fill: `url(#${this.name}-hatch)`,
            }),
          arrives - start > 18 && badge((start + arrives) / 2, 116 + LANE / 2, number),
        );
      }),
      text(2, 108, "gradients travel", "d-strong w-halo", "start"),
    );
  }

  // Where backward ends, what is exposed, and when the optimizer can start.
  #marks(way, x, optimizerS, width) {
    const [end, last] = [
      x(this.backwardS),
      x(Math.max(this.backwardS, way.at(-1).end)),
    ];
    const exposed = this.#exposedS(way);
    const wordsX = Math.min(Math.max((end + last) / 2, 60), width - 80);
    return svg(
      "g",
      {},
      svg("path", { d: `M${end} 16V162`, class: "d-dash" }),
      text(end - 5, 74, ms(this.backwardS), "d-text w-halo", "end"),
      svg("path", { d: `M${end} 160v7H${last}v-7`, class: "d-lost-line" }),
      text(wordsX, 184, `exposed: ${ms(exposed)}`, "d-strong"),
      svg("rect", {
        x: last,
        y: 22,
        width: x(optimizerS) - 2,
        height: LANE,
        class: "w-optimizer",
      }),
      text(
        Math.min(last + (x(optimizerS) - 2) / 2, width - 34),
        74,
        "optimizer",
        "d-text",
      ),
    );
  }

  // Exposed time for each bucket size, the chosen one filled.
  #bars(width, y) {
    const sizes = this.known.buckets_mib;
    const all = sizes.map((_, bucket) =>
      this.#exposedS(this.#way({ ...this.set, bucket })),
    );
    const most = Math.max(...all, 1e-9);
    const each = (width - 4) / sizes.length;
    const tall = 64;
    const node = svg(
      "g",
      { transform: `translate(0 ${y})` },
      text(2, 0, "Exposed time by bucket size", "d-strong", "start"),
      svg("path", { d: `M2 ${26 + tall}H${width - 2}`, class: "w-axis" }),
      all.map((one, i) => {
        const height = (one / most) * tall;
        const middle = 2 + each * (i + 0.5);
        const chosen = i === this.set.bucket;
        return svg(
          "g",
          {},
          svg("rect", {
            x: middle - each * 0.3,
            y: 26 + tall - height,
            width: each * 0.6,
            height,
            class: chosen ? "d-lost" : "w-other",
          }),
          text(
            middle,
            21 + tall - height,
            say(one * 1000),
            chosen ? "w-tag w-bold" : "w-tag",
          ),
          text(
            middle,
            42 + tall,
            sizes[i] + (width > 420 ? " MiB" : ""),
            chosen ? "w-tag w-bold" : "w-tag",
          ),
          chosen &&
            svg("rect", {
              x: middle - each * 0.3,
              y: 48 + tall,
              width: each * 0.6,
              height: 4,
              class: "d-head",
            }),
        );
      }),
    );
    return { node, height: tall + 56 };
  }
}

function badge(x, y, number) {
  return svg(
    "g",
    {},
    svg("circle", { cx: x, cy: y, r: 10, class: "w-badge" }),
    text(x, y + 5, number, "w-number"),
  );
}

function sizeWords(mib) {
  return mib === model.DEFAULT_BUCKET_MIB ? `${mib} MiB (default)` : `${mib} MiB`;
}

function ms(seconds) {
  return `${say(Math.abs(seconds) < 1e-9 ? 0 : seconds * 1000)} ms`;
}

customElements.define("bucket-timeline", BucketTimeline);
