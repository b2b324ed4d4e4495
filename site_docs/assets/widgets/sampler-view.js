// <sampler-view>: which rank reads which row in an epoch.
import * as sampler from "./sampler.model.js";
import { load, Widget } from "./frame.js";
import { allow, allowed, button, choose, svg, table, text, tick } from "./parts.js";

const START = { rows: 11, ranks: 3, epoch: 0, shuffle: true, told: true, way: "pad" };
const WAYS = [
  ["pad", "repeat rows (the default)"],
  ["drop", "drop rows (drop_last=True)"],
  ["exact", "neither: exact evaluation"],
];
const GAP = 4;

class SamplerView extends Widget {
  story = {
    heading: "Who reads which row",
    picture: "The rows of a data set, and those of each rank.",
    question: {
      ask: "11 rows, 3 ranks, DistributedSampler as it comes. How many rows do all ranks together read in an epoch?",
      options: ["9", "11", "12", "33"],
      right: 2,
      answer:
        "12: every rank must take equally many steps, so 11 is padded to 12. One row is read " +
        "twice. In training that does no harm; in an evaluation it counts a row twice.",
    },
    caption:
      "Rows are dealt like cards: rank 0, 1, 2, 0, 1, 2, ... A dashed box with a plus is " +
      "padding: that row is read a second time.",
    notice: [
      "Without set_epoch every epoch deals the same order: the ranks see the same rows in the " +
        "same company again and again. Nothing fails, nothing warns.",
      "Padding repeats the first rows of the epoch's order; drop_last leaves its last rows out. " +
        "With shuffling these are others in each epoch.",
      "An evaluation must count every row once: evaluation_batches gives ranks unequal numbers " +
        "of rows, which is fine because no collective stands in its loop.",
    ],
  };

  async prepare() {
    this.shuffles = await load("shuffles.json");
    this.epochs = Object.values(this.shuffles)[0].length;
    this.set = { ...START };
  }

  controls() {
    this.forth = button("Next epoch", () => this.#turn(1), { main: true });
    this.back = button("Back", () => this.#turn(-1));
    this.told = tick("call set_epoch", true, (told) => this.#change({ told }));
    this.shuffle = tick("shuffle", true, (shuffle) => this.#change({ shuffle }));
    const rows = Object.keys(this.shuffles).map((n) => [n, n]);
    this.rows = choose("Rows", rows, START.rows, (n) =>
      this.#change({ rows: Number(n) }),
    );
    const counts = [1, 2, 3, 4].map((n) => [n, n]);
    this.ranks = choose("Ranks", counts, START.ranks, (n) =>
      this.#change({ ranks: Number(n) }),
    );
    this.way = choose("Left-over rows", WAYS, START.way, (way) =>
      this.#change({ way }),
    );
    const reset = button("Reset", () => {
      this.told.control.checked = this.shuffle.control.checked = true;
      for (const name of ["rows", "ranks", "way"])
        this[name].control.value = START[name];
      this.#change(START);
    });
    return [
      this.forth,
      this.back,
      reset,
      this.told.node,
      this.shuffle.node,
      this.rows.node,
      this.ranks.node,
      this.way.node,
    ];
  }

  #turn(by) {
    if (!allowed(by > 0 ? this.forth : this.back)) return;
    this.#change({ epoch: this.set.epoch + by });
  }

  #change(what) {
    this.set = { ...this.set, ...what };
    allow(this.forth, this.set.epoch < this.epochs - 1);
    allow(this.back, this.set.epoch > 0);
    this.show();
  }

  show(options) {
    allow(this.back, this.set.epoch > 0);
    super.show(options);
  }

  // --- The model -------------------------------------------------------------------

  // What an epoch gives: [rank] -> places, and the rows that nobody reads.
  #dealt(epoch) {
    const { rows, ranks, shuffle, told, way } = this.set;
    if (way === "exact") {
      const byRank = sampler.exact(rows, ranks);
      return {
        byRank: byRank.map((mine) => mine.map((row) => ({ row, padding: false }))),
        dropped: [],
      };
    }
    const seen = told ? epoch : 0; // who forgets set_epoch stays at 0
    const order = sampler.orderOf(this.shuffles, { rows, shuffle, epoch: seen });
    return sampler.deal(order, { ranks, dropLast: way === "drop" });
  }

  // --- Saying ----------------------------------------------------------------------

  sentence() {
    const { rows, ranks, epoch, shuffle, told, way } = this.set;
    if (way === "exact") {
      const counts = this.#dealt(epoch).byRank.map((mine) => mine.length);
      return `Exact evaluation: ${counts.join(" + ")} = ${rows} rows, each once, no padding.`;
    }
    const { byRank, dropped } = this.#dealt(epoch);
    const padding = byRank.flat().filter((place) => place.padding);
    const order = this.#orderWords(epoch, shuffle, told);
    if (dropped.length)
      return `Epoch ${epoch}${order}: nobody reads ${rowWords(dropped)}.`;
    if (padding.length) {
      const again = rowWords(padding.map(({ row }) => row));
      return `Epoch ${epoch}${order}: ${again} ${padding.length > 1 ? "are" : "is"} read again, as padding.`;
    }
    return `Epoch ${epoch}${order}: ${rows} rows divide by ${ranks}, each is read once.`;
  }

  #orderWords(epoch, shuffle, told) {
    if (epoch === 0) return "";
    if (!shuffle) return ", not shuffled, the same order as before";
    return told
      ? ", another order"
      : ", set_epoch forgotten, the very same order as before";
  }

  words() {
    const { byRank, dropped } = this.#dealt(this.set.epoch);
    const rows = byRank.map((mine, rank) => [
      `rank ${rank}`,
      mine.map(({ row, padding }) => (padding ? `${row} (padding)` : row)).join(", "),
    ]);
    if (dropped.length) rows.push(["nobody", dropped.join(", ")]);
    return table(`Epoch ${this.set.epoch}: rows in the order in which they are read.`, [
      ["rank", "rows"],
      ...rows,
    ]);
  }

  // --- Drawing ---------------------------------------------------------------------

  draw(width) {
    const { rows, epoch } = this.set;
    const now = this.#dealt(epoch);
    const columns = Math.min(rows, Math.floor((width + GAP) / (34 + GAP)));
    const tile = Math.min(44, (width - 2 + GAP) / Math.min(rows, columns) - GAP);
    const lines = Math.ceil(rows / columns);
    const top = 24 + lines * (tile + GAP) + 30;
    const when = this.set.way === "exact" ? "Evaluation" : `Epoch ${epoch}`;
    const lanes = this.#lanes(
      now,
      width,
      top,
      `${when}: what each rank reads, in order`,
    );
    const parts = [this.#data(now, columns, tile, width), lanes.node];
    let height = top + lanes.height;
    if (epoch > 0 && this.set.way !== "exact") {
      const title = `The epoch before, ${epoch - 1}`;
      const before = this.#lanes(this.#dealt(epoch - 1), width, height + 22, title, {
        small: true,
      });
      parts.push(before.node);
      height += 22 + before.height;
    }
    return this.sheet(width, height, ...parts);
  }

  // The data set: each row in the colour and with the number of the rank that reads it.
  #data({ byRank, dropped }, columns, tile, width) {
    const [owner, again] = [new Map(), new Map()];
    byRank.forEach((mine, rank) =>
      mine.forEach(({ row, padding }) => (padding ? again : owner).set(row, rank)),
    );
    const title = "Each row, and the rank that reads it";
    return svg(
      "g",
      {},
      text(
        1,
        14,
        width > 420 ? `The data set: ${title.toLowerCase()}` : title,
        "d-strong",
        "start",
      ),
      [...Array(this.set.rows).keys()].map((row) => {
        const x = 1 + (row % columns) * (tile + GAP);
        const y = 24 + Math.floor(row / columns) * (tile + GAP);
        const rank = owner.get(row);
        const lost = dropped.includes(row);
        const readers = again.has(row) ? `r${rank}+r${again.get(row)}` : `r${rank}`;
        return svg(
          "g",
          { transform: `translate(${x} ${y})`, class: lost ? "" : `w-r${rank}` },
          svg("rect", {
            width: tile,
            height: tile,
            rx: 4,
            class: lost ? "w-dropped" : "w-tint",
          }),
          text(tile / 2, tile * 0.48, row, "w-number"),
          text(tile / 2, tile * 0.86, lost ? "none" : readers, "w-tag"),
        );
      }),
    );
  }

  #lanes({ byRank }, width, top, title, { small = false } = {}) {
    const longest = Math.max(...byRank.map((mine) => mine.length), 1);
    const chip = 62;
    const high = small ? 24 : 36;
    const fits = (width - chip - 8 + GAP) / longest - GAP;
    const wide = Math.min(small ? 34 : 48, Math.max(fits, 24));
    const columns = Math.max(1, Math.floor((width - chip - 8 + GAP) / (wide + GAP)));
    const lines = Math.ceil(longest / columns);
    const lane = lines * (high + GAP) + 6;
    const node = svg(
      "g",
      { transform: `translate(0 ${top})` },
      text(1, 0, title, small ? "d-text" : "d-strong", "start"),
      byRank.map((mine, rank) => {
        const y = 10 + rank * lane;
        return svg(
          "g",
          { class: `w-r${rank}`, transform: `translate(0 ${y})` },
          svg("rect", { x: 1, width: chip - 2, height: high, rx: 4, class: "w-fill" }),
          text(chip / 2, high / 2 + 5, `rank ${rank}`, "w-chip"),
          mine.map(({ row, padding }, i) => {
            const x = chip + 6 + (i % columns) * (wide + GAP);
            const box = {
              x,
              y: Math.floor(i / columns) * (high + GAP),
              width: wide,
              height: high,
              rx: 4,
            };
            return svg(
              "g",
              {},
              svg("rect", { ...box, class: padding ? "w-padding" : "w-tint" }),
              text(
                x + wide / 2,
                box.y + high / 2 + 5,
                padding ? `+${row}` : row,
                "w-number",
              ),
            );
          }),
        );
      }),
    );
    return { node, height: 10 + byRank.length * lane };
  }
}

function rowWords(rows) {
  return rows.length === 1 ? `row ${rows[0]}` : `rows ${rows.join(", ")}`;
}

customElements.define("sampler-view", SamplerView);
