// <where-time>: a waterfall from one process's step to that of two ranks.
import { waterfall } from "./where-time.model.js";
import { load, Widget } from "./frame.js";
import { choose, say, svg, table, text } from "./parts.js";

const RANKS = 2;
const LEFT = 118;
const RIGHT = 66;
const BAR = 24;
const LANE = 36;
const TOP = 26;

class WhereTime extends Widget {
  story = {
    heading: "Where did the time go?",
    picture: "One process's step above, that of two ranks below, between them the changes.",
    question: {
      ask:
        "The same 32 rows a step: one process with both cores, then two ranks with a core each. " +
        "Which part of the step grows most?",
      options: ["Forward", "Backward", "Communication", "The optimizer's step"],
      right: 2,
      answer: "",
    },
    caption: "",
    notice: [
      "On shared cores forward and backward stay as long as they were: one process used both " +
        "cores already. Communication is added, and the optimizer takes longer: each rank updates " +
        "the whole model, with one core.",
      "Where each rank has a processor of its own, forward and backward take about half. Then " +
        "communication decides how much of it is left.",
      "The optimizer's step never shrinks: every rank updates the whole model.",
    ],
  };

  async prepare() {
    this.data = await load("parts.json");
    this.index = 0;
    const { date, cpu } = this.data.origin;
    const { one, ranks } = this.data.cases[0];
    const grown = this.#bars().filter(({ isWhole }) => !isWhole);
    const told = grown.map((bar) => `${bar.name} ${signed(bar)}`).join(", ");
    this.story.question.answer =
      `Communication. A step of ${say(one.step_ms)} ms becomes one of ${say(ranks.step_ms)} ms: ` +
      `${told}.`;
    this.story.caption =
      `Shared cores: measured (${date}, ${cpu}, medians, chapter 06). The other three are ` +
      "predicted: a machine each by that record, two T4 by the cost model, with the published " +
      "figures by which they gain most and least. Communication is its exposed part; waiting " +
      "for the slower rank is in it. Rest: reading rows, and what medians do not add up to.";
  }

  controls() {
    const cases = this.data.cases.map(({ title, predicted }, index) => [
      index,
      predicted ? `predicted: ${title}` : `measured: ${title}`,
    ]);
    const change = (index) => {
      this.index = Number(index);
      this.show();
    };
    return [choose("Two ranks are", cases, this.index, change).node];
  }

  #bars() {
    return waterfall(this.data.parts, this.data.cases[this.index]);
  }

  // --- Saying ----------------------------------------------------------------------

  sentence() {
    const { one, ranks, predicted } = this.data.cases[this.index];
    const changes = this.#bars()
      .filter(({ isWhole, name }) => !isWhole && name !== "rest")
      .map((bar) => `${bar.name} ${signed(bar)}`);
    return (
      `${predicted ? "Predicted" : "Measured"}: from ${say(one.step_ms)} ms to ` +
      `${say(ranks.step_ms)} ms, ${say(one.step_ms / ranks.step_ms, 2)} times as fast: ` +
      `${changes.join(", ")}.`
    );
  }

  words() {
    const { one, ranks, title, predicted } = this.data.cases[this.index];
    const rows = this.data.parts.map((name, i) => [
      name,
      ms(one.parts_ms[i]),
      ms(ranks.parts_ms[i]),
      signed({ from: one.parts_ms[i], to: ranks.parts_ms[i] }),
    ]);
    rows.push([
      "whole step",
      ms(one.step_ms),
      ms(ranks.step_ms),
      signed({ from: one.step_ms, to: ranks.step_ms }),
    ]);
    const head = ["part", "one process", "two ranks", "difference"];
    const caption = `${predicted ? "Predicted" : "Measured"}: ${title}.`;
    return table(caption, [head, ...rows]);
  }

  // --- Drawing ---------------------------------------------------------------------

  draw(width) {
    const bars = this.#bars();
    const most = Math.max(...bars.flatMap(({ from, to }) => [from, to]));
    const x = (time) => LEFT + (time / most) * (width - LEFT - RIGHT);
    const { one } = this.data.cases[this.index];
    const bottom = TOP + bars.length * LANE;
    const ideal = x(one.step_ms / RANKS);
    return this.sheet(
      width,
      bottom + 6,
      svg("path", { d: `M${ideal} 18V${bottom}`, class: "d-dash" }),
      text(ideal, 13, `ideal: half, ${ms(one.step_ms / RANKS)}`, "w-tag"),
      bars.map((bar, i) => this.#bar(bar, bars[i + 1], x, TOP + i * LANE)),
    );
  }

  #bar(bar, next, x, y) {
    const { name, from, to, isWhole } = bar;
    const [left, right] = [x(Math.min(from, to)), x(Math.max(from, to))];
    const cls = isWhole ? "w-ink w-fill" : to > from ? "w-other" : "w-hidden";
    return svg(
      "g",
      {},
      text(1, y + BAR / 2 + 5, name, isWhole ? "d-strong" : "d-text", "start"),
      svg("rect", {
        x: left,
        y,
        width: Math.max(1.5, right - left),
        height: BAR,
        class: cls,
      }),
      next && svg("path", { d: `M${x(to)} ${y + BAR}V${y + LANE}`, class: "w-axis" }),
      text(
        right + 7,
        y + BAR / 2 + 5,
        isWhole ? ms(to) : signed(bar),
        "w-tag w-bold w-halo",
        "start",
      ),
    );
  }
}

function ms(time) {
  return `${say(time, time < 10 ? 1 : 0)} ms`;
}

// A change with its sign; less than half of what is shown is none.
function signed({ from, to }) {
  const change = to - from;
  const words = ms(Math.abs(change));
  if (words === "0.0 ms") return "0 ms";
  return `${change < 0 ? "\u2212" : "+"}${words}`;
}

customElements.define("where-time", WhereTime);
