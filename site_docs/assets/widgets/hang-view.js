// <hang-view>: numbered calls of three ranks; leave one out, and see who waits for whom.
import * as model from "./hang-view.model.js";
import { load, Widget } from "./frame.js";
import { button, choose, still, svg, table, text } from "./parts.js";

const START = { rank: 1, left_out: 2 };
const CALL_MS = 700;
const TIMEOUT_S = 4; // as in the labs
const LEFT = 54;
const HIGH = 40;
const LANE = 54;
const TOP = 34;

class HangView extends Widget {
  story = {
    heading: "A call that is left out",
    picture: "Three ranks side by side, their calls downwards by number.",
    question: {
      ask:
        "Six calls, numbered 0 to 5. Rank 1 leaves out call 2, a barrier, and goes on with its " +
        "program. In which call do the other ranks hang?",
      options: [
        "In none: they skip it, too",
        "In call 2",
        "In call 3",
        "In the last call, for rank 1 has one less",
      ],
      right: 1,
      answer:
        "In call 2. Nobody knows that a call was left out: rank 1's next call gets the number 2, " +
        "and meets the others' barrier.",
    },
    caption:
      "The program is invented: two steps, each with an all-reduce of gradients, one of the loss, " +
      "and a barrier. The sentence at the end is what the library's timeline says of such a " +
      "trace. The timeout is that of the labs, 4 s; torch's default is 30 minutes with gloo.",
    notice: [
      "Calls are matched by their order, not by their line in the program. After the gap all of " +
        "rank 1's calls are one number early.",
      "Two all-reduces from different lines do meet. With equal sizes they add up the wrong " +
        "numbers, and nothing raises; with other sizes gloo aborts.",
      "The ranks that wait are healthy. The rank to look at is the one that is elsewhere.",
    ],
  };

  async prepare() {
    this.data = await load("calls.json");
    this.set = { ...START };
    this.#reset();
  }

  #reset() {
    clearTimeout(this.clock);
    this.clock = null;
    this.byRank = model.program(this.data.calls, this.data.ranks, this.set);
    this.run = model.run(this.byRank);
    this.shown = 0; // calls that have met, or one more: somebody waits
    this.waited_s = 0;
  }

  controls() {
    this.main = button("Play", () => this.#play(), { main: true });
    const ranks = Array.from({ length: this.data.ranks }, (_, rank) => [rank, rank]);
    this.rank = choose("Rank", ranks, START.rank, (rank) =>
      this.#change({ rank: Number(rank) }),
    );
    const calls = this.data.calls.map(([name, site], number) => [
      number,
      `call ${number}: ${name}, ${site}`,
    ]);
    const none = [["none", "nothing"]];
    this.call = choose("leaves out", [...none, ...calls], START.left_out, (number) =>
      this.#change({ left_out: number === "none" ? null : Number(number) }),
    );
    return [this.main, this.rank.node, this.call.node];
  }

  #change(what) {
    this.set = { ...this.set, ...what };
    this.#reset();
    this.show();
  }

  // --- Playing ---------------------------------------------------------------------

  get #isOver() {
    const { met, isDone } = this.run;
    return isDone ? this.shown >= met : this.shown > met && this.waited_s >= TIMEOUT_S;
  }

  #play() {
    if (this.clock || this.#isOver) {
      this.#reset();
      return this.show();
    }
    if (still()) {
      this.shown = this.run.met + (this.run.isDone ? 0 : 1);
      this.waited_s = TIMEOUT_S;
      return this.show();
    }
    const turn = () => {
      if (!this.isConnected) return;
      if (this.shown <= this.run.met) this.shown += 1;
      else this.waited_s += 1;
      const waits = this.shown > this.run.met;
      this.clock = this.#isOver ? null : setTimeout(turn, waits ? 1000 : CALL_MS);
      this.show({ aloud: this.#isOver });
    };
    this.clock = setTimeout(turn, CALL_MS);
    this.show();
  }

  // --- Saying ----------------------------------------------------------------------

  sentence() {
    const { met, crossed, isDone, says, next } = this.run;
    const { rank, left_out } = this.set;
    if (this.shown === 0) {
      const gap =
        left_out === null
          ? "No rank leaves out a call."
          : `Rank ${rank} leaves out call ${left_out}.`;
      return `${gap} ${this.clock ? "The ranks begin." : "Press Play."}`;
    }
    if (this.#isOver) return `${isDone ? "" : "Timeout. "}The trace says: ${says}`;
    const number = this.shown - 1;
    if (number < met) {
      const [name] = this.byRank[0][number];
      return crossed.includes(number)
        ? `Call ${number}: all ranks meet in ${name}, but rank ${rank} is at another line.`
        : `Call ${number}: all ranks meet in ${name}.`;
    }
    const others = [...next.keys()].filter((one) => one !== rank);
    const [name] = next[others[0]];
    const ours = next[rank] ? `rank ${rank} is in ${next[rank][0]}` : `rank ${rank} is not there`;
    const left = TIMEOUT_S - this.waited_s;
    return (
      `In call ${met} ranks ${others.join(" and ")} wait in ${name}; ${ours}. ` +
      `Timeout in ${left} s.`
    );
  }

  words() {
    const { met, crossed, next } = this.run;
    const count = Math.max(...this.byRank.map((calls) => calls.length));
    const rows = Array.from({ length: count }, (_, number) => [
      `call ${number}`,
      ...this.byRank.map((calls) => calls[number]?.join(", ") ?? "none"),
      number < met
        ? crossed.includes(number)
          ? "meets, from other lines"
          : "meets"
        : number === met && next.some(Boolean)
          ? "never ends"
          : "never begins",
    ]);
    const ranks = this.byRank.map((_, rank) => `rank ${rank}`);
    return table("What each rank calls, by its own numbers.", [
      ["number", ...ranks, "what comes of it"],
      ...rows,
    ]);
  }

  // --- Drawing ---------------------------------------------------------------------

  redraw() {
    if (this.main)
      this.main.textContent = this.clock ? "Stop" : this.#isOver ? "Again" : "Play";
    super.redraw();
  }

  // The end, for readers without JavaScript.
  picture(width) {
    this.shown = this.run.met + 1;
    this.waited_s = TIMEOUT_S;
    return this.draw(width);
  }

  draw(width) {
    const count = this.data.calls.length;
    const gap = width > 460 ? 26 : 10;
    const ranks = this.byRank.length;
    const wide = (width - LEFT - (ranks - 1) * gap - 2) / ranks;
    const x = (rank) => LEFT + rank * (wide + gap);
    const y = (number) => TOP + number * LANE;
    const numbers = [...Array(count).keys()];
    return this.sheet(
      width,
      y(count) - 8,
      this.byRank.map((_, rank) =>
        text(x(rank) + wide / 2, 16, `rank ${rank}`, "d-strong"),
      ),
      numbers.map((number) => [
        text(1, y(number) + HIGH / 2 + 5, `call ${number}`, "w-tag", "start"),
        this.#meeting(number, x, y(number) + HIGH / 2, wide),
      ]),
      this.byRank.map((calls, rank) =>
        numbers.map((number) =>
          this.#call(calls[number], { rank, number, x: x(rank), y: y(number), wide }),
        ),
      ),
    );
  }

  // A line through all ranks where they met.
  #meeting(number, x, y, wide) {
    const { met, crossed } = this.run;
    if (number >= Math.min(this.shown, met)) return null;
    const cls = crossed.includes(number) ? "w-exposed" : "h-met";
    return svg("path", { d: `M${x(0)} ${y}H${x(this.byRank.length - 1) + wide}`, class: cls });
  }

  #call(call, { rank, number, x, y, wide }) {
    const box = { x, y, width: wide, height: HIGH, rx: 5 };
    const { met } = this.run;
    const isGap = number === met && this.shown > met && !call;
    if (!call)
      return isGap && [
        svg("rect", { ...box, class: "w-dropped" }),
        text(x + wide / 2, y + HIGH / 2 + 5, "not there", "w-tag"),
      ];
    const isMade = number < this.shown && number <= met;
    const waits = number === met && this.shown > met;
    const cls = waits ? "w-padding" : isMade ? "w-tint" : "w-cell";
    const [name, site] = call;
    return svg(
      "g",
      { class: `w-r${rank} ${isMade || waits ? "" : "h-later"}` },
      svg("rect", { ...box, class: cls }),
      text(x + wide / 2, y + 17, name, "w-tag w-bold"),
      text(x + wide / 2, y + 32, waits ? "waits" : site, "w-tag"),
    );
  }
}

customElements.define("hang-view", HangView);
