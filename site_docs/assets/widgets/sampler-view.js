// <sampler-view>: which rank reads which row in an epoch.
import * as sampler from "./sampler.model.js";
import { load, Widget } from "./frame.js";
import {
  allow,
  allowed,
  button,
  choose,
  still,
  svg,
  table,
  text,
  tick,
} from "./parts.js";

const START = {
  rows: 11,
  ranks: 3,
  epoch: 0,
  shuffle: false,
  told: true,
  cut: false,
  way: "pad",
};
const FLIGHT_MS = 450; // of a card from the order to its rank
const NEXT_CARD_MS = 160;
const WAYS = [
  ["pad", "repeat rows (the default)"],
  ["drop", "drop rows (drop_last=True)"],
  ["exact", "neither: exact evaluation"],
];
const GAP = 4;

class SamplerView extends Widget {
  story = {
    heading: "Who reads which row",
    picture: "The order of an epoch, and the rows of each rank.",
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
      "Dealt, the ranks' first cards are the first cards of the order, and so on: the very " +
        "batches of one process. In blocks each step holds other rows, and the training is " +
        "another one.",
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
    this.forth = button("Next epoch", () => this.#turn(1), { main: still() });
    this.back = button("Back", () => this.#turn(-1));
    this.told = tick("call set_epoch", true, (told) => this.#change({ told }));
    this.shuffle = tick("shuffle", START.shuffle, (shuffle) => this.#change({ shuffle }));
    this.cut = tick("blocks instead of dealing", START.cut, (cut) =>
      this.#change({ cut }),
    );
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
      for (const name of ["told", "shuffle", "cut"])
        this[name].control.checked = START[name];
      for (const name of ["rows", "ranks", "way"])
        this[name].control.value = START[name];
      this.#change(START);
    });
    return [
      !still() && button("Deal", () => this.#fly(), { main: true }),
      this.forth,
      this.back,
      reset,
      this.shuffle.node,
      this.told.node,
      this.cut.node,
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

  // Card by card from the order to the ranks.
  #fly() {
    for (const card of this.figure.querySelectorAll("[data-to]")) {
      const place = Number(card.dataset.to);
      const deck = this.figure.querySelector(`[data-from="${place}"]`);
      const [from, to] = [deck.getBoundingClientRect(), card.getBoundingClientRect()];
      const away = `translate(${from.x - to.x}px, ${from.y - to.y}px)`;
      card.animate(
        [
          { transform: away, opacity: 0, offset: 0 },
          { transform: away, opacity: 1, offset: 0.05 },
          { transform: "none", opacity: 1, offset: 1 },
        ],
        {
          duration: FLIGHT_MS,
          delay: place * NEXT_CARD_MS,
          fill: "backwards",
          easing: "ease-in-out",
        },
      );
    }
  }

  // --- The model -------------------------------------------------------------------

  // What an epoch gives: the places of its order, those of each rank, and lost rows.
  #dealt(epoch) {
    const { rows, ranks, shuffle, told, cut, way } = this.set;
    if (way === "exact") {
      // Every row once, whatever the ranks: no place is padding.
      const owners = sampler.exact(rows, ranks);
      const places = [...Array(rows).keys()].map((row) => ({
        row,
        place: row,
        padding: false,
        rank: owners.findIndex((mine) => mine.includes(row)),
      }));
      const byRank = owners.map((_, rank) => places.filter((one) => one.rank === rank));
      return { places, byRank, dropped: [] };
    }
    const seen = told ? epoch : 0; // who forgets set_epoch stays at 0
    const order = sampler.orderOf(this.shuffles, { rows, shuffle, epoch: seen });
    return sampler.deal(order, { ranks, dropLast: way === "drop", cut });
  }

  // --- Saying ----------------------------------------------------------------------

  sentence() {
    const { rows, ranks, epoch, shuffle, told, way } = this.set;
    if (way === "exact") {
      const counts = this.#dealt(epoch).byRank.map((mine) => mine.length);
      return `Exact evaluation: ${counts.join(" + ")} = ${rows} rows, each once, no padding.`;
    }
    const { places, byRank, dropped } = this.#dealt(epoch);
    const padding = byRank.flat().filter((place) => place.padding);
    const order = this.#orderWords(epoch, shuffle, told);
    const first = this.#firstStep(places, byRank);
    if (dropped.length)
      return `Epoch ${epoch}${order}: nobody reads ${rowWords(dropped)}.${first}`;
    if (padding.length) {
      const again = rowWords(padding.map(({ row }) => row));
      return `Epoch ${epoch}${order}: ${again} ${padding.length > 1 ? "are" : "is"} read again, as padding.${first}`;
    }
    return `Epoch ${epoch}${order}: ${rows} rows divide by ${ranks}, each is read once.${first}`;
  }

  // Which rows meet in the first step, and in that of one process with that batch.
  #firstStep(places, byRank) {
    const { ranks } = this.set;
    if (ranks === 1) return "";
    const ours = sampler.step(byRank, 0);
    const alone = places.slice(0, ranks).map(({ row }) => row);
    return ours.join() === alone.join()
      ? ` Step 0 reads ${rowWords(ours)}, as one process with a batch of ${ranks} would.`
      : ` Step 0 reads ${rowWords(ours)}; one process with a batch of ${ranks} would read ` +
          `${alone.join(", ")}.`;
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
    const { epoch } = this.set;
    const now = this.#dealt(epoch);
    const all = now.places.length + now.dropped.length;
    const columns = Math.min(all, Math.floor((width + GAP) / (34 + GAP)));
    const tile = Math.min(44, (width - 2 + GAP) / columns - GAP);
    const top = 24 + Math.ceil(all / columns) * (tile + GAP) + 30;
    const isExact = this.set.way === "exact";
    const when = isExact ? "Evaluation" : `Epoch ${epoch}`;
    const title = `${when}: the steps of each rank`;
    const lanes = this.#lanes(now, width, top, title);
    const order = `${when}: the order of the rows`;
    const parts = [this.#order(now, order, columns, tile), lanes.node];
    let height = top + lanes.height;
    if (epoch > 0 && !isExact) {
      const before = `The epoch before, ${epoch - 1}`;
      const small = this.#lanes(this.#dealt(epoch - 1), width, height + 22, before, {
        small: true,
      });
      parts.push(small.node);
      height += 22 + small.height;
    }
    return this.sheet(width, height, ...parts);
  }

  // The order in which the epoch goes through the rows, and the rank that gets each.
  #order({ places, dropped }, title, columns, tile) {
    const lost = dropped.map((row) => ({ row, rank: null }));
    return svg(
      "g",
      {},
      text(1, 14, title, "d-strong", "start"),
      [...places, ...lost].map(({ row, place, padding, rank }, i) => {
        const x = 1 + (i % columns) * (tile + GAP);
        const y = 24 + Math.floor(i / columns) * (tile + GAP);
        const cls = rank === null ? "w-dropped" : padding ? "w-padding" : "w-tint";
        return svg(
          "g",
          {
            transform: `translate(${x} ${y})`,
            class: rank === null ? "" : `w-r${rank}`,
            "data-from": place,
          },
          svg("rect", { width: tile, height: tile, rx: 4, class: cls }),
          text(tile / 2, tile * 0.48, padding ? `+${row}` : row, "w-number"),
          text(tile / 2, tile * 0.86, rank === null ? "none" : `r${rank}`, "w-tag"),
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
    const head = lines === 1 && !small ? 16 : 0; // for the numbers of the steps
    const left = (i) => chip + 6 + (i % columns) * (wide + GAP);
    const node = svg(
      "g",
      { transform: `translate(0 ${top})` },
      text(1, 0, title, small ? "d-text" : "d-strong", "start"),
      head > 0 &&
        [...Array(longest).keys()].map((i) =>
          text(left(i) + wide / 2, head + 2, longest > 7 ? i : `step ${i}`, "w-tag"),
        ),
      byRank.map((mine, rank) => {
        const y = 10 + head + rank * lane;
        return svg(
          "g",
          { class: `w-r${rank}`, transform: `translate(0 ${y})` },
          svg("rect", { x: 1, width: chip - 2, height: high, rx: 4, class: "w-fill" }),
          text(chip / 2, high / 2 + 5, `rank ${rank}`, "w-chip"),
          mine.map(({ row, place, padding }, i) => {
            const box = {
              x: left(i),
              y: Math.floor(i / columns) * (high + GAP),
              width: wide,
              height: high,
              rx: 4,
            };
            return svg(
              "g",
              { "data-to": small ? null : place },
              svg("rect", { ...box, class: padding ? "w-padding" : "w-tint" }),
              text(
                box.x + wide / 2,
                box.y + high / 2 + 5,
                padding ? `+${row}` : row,
                "w-number",
              ),
            );
          }),
        );
      }),
    );
    return { node, height: 10 + head + byRank.length * lane };
  }
}

function rowWords(rows) {
  return rows.length === 1 ? `row ${rows[0]}` : `rows ${rows.join(", ")}`;
}

customElements.define("sampler-view", SamplerView);
