// <padding-wait>: rows as bars, padding and waiting as areas, shuffled or by length.
import * as model from "./padding-wait.model.js";
import { load, Widget } from "./frame.js";
import { choose, say, still, svg, table, text, tick } from "./parts.js";

const START = { ranks: 4, kind: "shuffled" };
const GLIDE_MS = 900;
const SHARES = ["less than 40 %", "40 to 60 %", "60 to 80 %", "more than 80 %"];
const TALL = 120; // pixels of the longest row
const METER = 26;

class PaddingWait extends Widget {
  story = {
    heading: "Padding and waiting",
    picture: "Steps side by side: rows as bars, padding and waiting as areas above them.",
    question: {
      ask:
        "Four ranks, four rows each in a step, shuffled. A batch is as wide as its longest row, " +
        "and a step as long as its widest batch. How much of all these places is text?",
      options: SHARES,
      right: 0,
      answer: "",
    },
    caption:
      "64 rows as long as those of AG News (drawn from its measured quantiles), in four steps of " +
      "16 rows, planned and dealt by the library's samplers. Every place takes time.",
    notice: [
      "More ranks do not change what a step costs, for all wait for its longest row. They " +
        "change its name: less padding, more waiting.",
      "By length, long rows meet long rows, and neighbours in length go to different ranks of " +
        "the same step: both areas shrink.",
      "With four batches only, unlike rows still meet. Of many batches a few percent are left " +
        "to padding and waiting.",
    ],
  };

  async prepare() {
    this.data = await load("padding.json");
    this.set = { ...START };
    const text = this.#share("text");
    const bounds = [0.4, 0.6, 0.8].filter((bound) => text >= bound);
    this.story.question.right = bounds.length;
    this.set.kind = "length";
    const sorted = this.#share("text");
    this.set = { ...START };
    this.story.question.answer =
      `${percent(text)}. The rest is padding (${percent(this.#share("padding"))}) and waiting ` +
      `(${percent(this.#share("waiting"))}). Batches by length hold ${percent(sorted)} text.`;
  }

  controls() {
    const sort = tick("batches by length", false, (isSorted) =>
      this.#change({ kind: isSorted ? "length" : "shuffled" }),
    );
    const counts = this.data.ranks.map((n) => [n, n]);
    const ranks = choose("Ranks", counts, START.ranks, (n) =>
      this.#change({ ranks: Number(n) }),
    );
    return [sort.node, ranks.node];
  }

  #change(what) {
    this.set = { ...this.set, ...what };
    const before = this.#spots();
    this.show();
    if (!still()) this.#glide(before);
  }

  // Where each row's bar stands.
  #spots() {
    const bars = [...this.figure.querySelectorAll("[data-row]")];
    return new Map(bars.map((bar) => [bar.dataset.row, bar.getBoundingClientRect()]));
  }

  #glide(before) {
    for (const bar of this.figure.querySelectorAll("[data-row]")) {
      const [from, to] = [before.get(bar.dataset.row), bar.getBoundingClientRect()];
      const move = `translate(${from.x - to.x}px, ${from.bottom - to.bottom}px)`;
      const frames = [{ transform: move }, { transform: "none" }];
      bar.animate(frames, { duration: GLIDE_MS, easing: "ease-in-out" });
    }
    for (const area of this.figure.querySelectorAll(".p-area"))
      area.animate([{ opacity: 0 }, { opacity: 0 }, { opacity: 1 }], GLIDE_MS * 1.4);
  }

  // --- The model -------------------------------------------------------------------

  #dealt() {
    const { ranks, kind } = this.set;
    return model.deal(this.data.tokens, this.data.steps[kind], ranks);
  }

  #places() {
    return model.places(this.data.tokens, this.#dealt());
  }

  #share(name) {
    const count = this.#places();
    return count[name] / (count.text + count.padding + count.waiting);
  }

  // --- Saying ----------------------------------------------------------------------

  sentence() {
    const { ranks, kind } = this.set;
    const how = kind === "length" ? "By length" : "Shuffled";
    const [words, padding, waiting] = ["text", "padding", "waiting"].map((name) =>
      percent(this.#share(name)),
    );
    const many = ranks === 1 ? "1 rank" : `${ranks} ranks`;
    const waits = ranks === 1 ? "nobody to wait for" : `${waiting} waiting`;
    return `${how}, ${many}: ${words} of all places are text, ${padding} padding, ${waits}.`;
  }

  words() {
    const rows = this.#dealt().flatMap(({ width, groups }, step) =>
      groups.map((group, rank) => [
        `step ${step}, rank ${rank}`,
        group.rows.map((row) => this.data.tokens[row]).join(", "),
        String(group.width),
        String(width),
      ]),
    );
    const head = ["step and rank", "tokens of its rows", "padded to", "step waits for"];
    return table("Tokens.", [head, ...rows]);
  }

  // --- Drawing ---------------------------------------------------------------------

  draw(width) {
    const dealt = this.#dealt();
    const columns = width > 560 ? dealt.length : 2;
    const gap = 14;
    const each = (width - (columns - 1) * gap) / columns;
    const high = 24 + TALL + 30;
    const top = METER + 36;
    const steps = dealt.map((step, i) => {
      const x = (i % columns) * (each + gap);
      const y = top + Math.floor(i / columns) * high;
      return this.#step(step, i, { x, y, width: each });
    });
    const height = top + Math.ceil(dealt.length / columns) * high - 6;
    return this.sheet(width, height, this.#meter(width), steps);
  }

  #step({ width: longest, groups }, number, { x, y, width }) {
    const rows = groups.flatMap((group) => group.rows).length;
    const between = groups.length > 1 ? 3 : 0;
    const bar = (width - (groups.length - 1) * between) / rows;
    const scale = TALL / Math.max(...this.data.tokens);
    const bottom = y + 24 + TALL;
    let left = x;
    const drawn = groups.map((group, rank) => {
      const wide = bar * group.rows.length;
      const [own, all] = [group.width * scale, longest * scale];
      const area = (from, to, cls) =>
        svg("rect", {
          x: left,
          y: bottom - to,
          width: wide,
          height: Math.max(0, to - from),
          class: `p-area ${cls}`,
        });
      const node = svg(
        "g",
        { class: `w-r${rank}` },
        area(0, own, "p-padding"),
        all > own && area(own, all, "p-waiting"),
        group.rows.map((row, i) => {
          const tall = this.data.tokens[row] * scale;
          return svg("rect", {
            x: left + i * bar + 0.5,
            y: bottom - tall,
            width: bar - 1,
            height: tall,
            class: "w-fill",
            "data-row": row,
          });
        }),
        text(left + wide / 2, bottom + 15, rank, "w-tag"),
      );
      left += wide + between;
      return node;
    });
    const title = `step ${number}: ${longest} tokens wide`;
    return [text(x, y + 14, width > 130 ? title : `step ${number}`, "w-tag", "start"), drawn];
  }

  // All places in one bar.
  #meter(width) {
    const kinds = { text: "w-ink w-fill", padding: "p-padding w-ink", waiting: "p-waiting" };
    let left = 0;
    return Object.entries(kinds).map(([name, cls]) => {
      const wide = this.#share(name) * width;
      const middle = left + wide / 2;
      left += wide;
      const share = percent(this.#share(name));
      const fits = [`${name} ${share}`, name].find((words) => wide > 7.4 * words.length);
      return svg(
        "g",
        {},
        svg("rect", {
          x: left - wide,
          y: 0,
          width: wide,
          height: METER,
          class: cls,
        }),
        fits &&
          text(middle, METER / 2 + 5, fits, name === "text" ? "w-chip" : "w-tag w-bold"),
      );
    });
  }
}

function percent(share) {
  return `${say(100 * share)} %`;
}

customElements.define("padding-wait", PaddingWait);
