// <life-of-step>: one recorded training step of two ranks, beside the lines that ran it.
import { load, Widget } from "./frame.js";
import { allow, allowed, button, el, say, still, svg, table, text } from "./parts.js";

const MOVE_MS = 900; // from one stop to the next
const LANE = 42; // computing
const BUCKET = 32; // what travels
const GAP = 6;

class LifeOfStep extends Widget {
  story = {
    heading: "The life of one step",
    picture: "Two ranks over time: computing outside, their buckets in the middle.",
    question: {
      ask: "Two ranks train one step. In which of these calls does a rank wait for the other?",
      options: ["The forward", "backward()", "clip_grad_norm_()", "optimizer.step()"],
      right: 1,
      answer: "",
    },
    caption:
      "Recorded by chapter 06: minilm, 32 rows over two ranks that share two cores. The code " +
      "is act 3 of chapter 05, which makes the same calls. A dashed bucket is full and waits " +
      "for the other rank's; a pale end of backward waits for the last bucket.",
    notice: [
      "Gradients travel in one line only, backward(). Clipping and the optimizer step are " +
        "local; they come out equal because the gradients are equal.",
      "Who is early waits. The rank with the longer wait is not the slow one.",
      "The last bucket is full with the last gradient of backward, so nothing is left to hide " +
        "its way.",
    ],
  };

  async prepare() {
    this.data = await load("step.json");
    this.last = Math.max(...this.data.ranks.flat().map(({ end_ms }) => end_ms));
    this.stops = this.#stops();
    this.stop = 0;
    this.time = 0;
    const waits = this.data.ranks.map((_, rank) => this.#wait(rank));
    this.story.question.answer =
      "backward(): at its end each rank waits for the last bucket. Here " +
      `${waits.map((wait, rank) => `rank ${rank} waits ${ms(wait)}`).join(", ")}.`;
  }

  // --- The recording -----------------------------------------------------------------

  #event(rank, name) {
    return this.data.ranks[rank].find((event) => event.name === name);
  }

  // From the rank's own last gradient to the end of its backward.
  #wait(rank) {
    return (
      this.#event(rank, "backward").end_ms - this.#event(rank, "bucket 2").start_ms
    );
  }

  #stops() {
    const both = (name) => [0, 1].map((rank) => this.#event(rank, name));
    const [slow, fast] = [0, 1];
    const forward = both("forward").map((one) => one.end_ms - one.start_ms);
    const optimizer = both("optimizer").map((one) => one.end_ms - one.start_ms);
    const buckets = [0, 1, 2].map((number) => {
      const all = both(`bucket ${number}`);
      const meet = Math.max(...all.map(({ start_ms }) => start_ms));
      const done = Math.min(...all.map(({ end_ms }) => end_ms));
      return { all, meet, done, middle: (meet + done) / 2, bytes: all[0].bytes };
    });
    const whole = buckets.reduce((sum, { bytes }) => sum + bytes, 0);
    const mb = ({ bytes }) => `${say(bytes / 1e6, 1)} MB`;
    const [first, second, third] = buckets;
    return [
      [
        "rows",
        0,
        "each rank takes its own rows of the global batch. The sampler has dealt them; nothing is sent.",
      ],
      [
        "forward",
        Math.min(...both("forward").map(({ end_ms }) => end_ms)) - 1,
        `each rank computes the loss of its own rows, rank 0 in ${ms(forward[slow])}, rank 1 in ${ms(forward[fast])}. No gradient exists yet.`,
      ],
      [
        "backward",
        Math.min(...first.all.map(({ start_ms }) => start_ms)) - 1,
        "gradients come from the last layer to the first. Rank 1 is there already, rank 0 still computes its forward.",
      ],
      [
        "full",
        first.meet,
        `the first bucket (${mb(first)}) is full on rank 1 after ${ms(first.all[fast].start_ms)} and waits; on rank 0 after ${ms(first.meet)}. Now they can be added up.`,
      ],
      [
        "travel",
        second.middle,
        `the second bucket (${mb(second)}) travels for ${ms(second.done - second.meet)}, and both ranks go on with backward meanwhile.`,
      ],
      [
        "wait",
        third.middle,
        `all gradients are computed, on rank 1 after ${ms(third.all[fast].start_ms)}, on rank 0 after ${ms(third.meet)}. The last bucket (${mb(third)}, ${say((100 * third.bytes) / whole)} % of all bytes) travels, and nothing hides it.`,
      ],
      [
        "step",
        this.last,
        `both hold the same mean, and each takes its optimizer step alone, in ${ms(optimizer[0])} and ${ms(optimizer[1])}. The replicas stay equal.`,
      ],
    ].map(([name, time, words]) => ({
      name,
      time,
      words,
      lines: this.data.lines[name],
    }));
  }

  // --- Moving ------------------------------------------------------------------------

  controls() {
    this.forth = button("Next stop", () => this.#go(1), { main: true });
    this.back = button("Back", () => this.#go(-1));
    const places = this.stops.map(({ name }) => el("li", {}, name));
    this.names = el("ol", { class: "s-stops" }, places);
    for (const control of [this.forth, this.back])
      control.addEventListener("keydown", ({ key }) => {
        if (key === "ArrowRight") this.#go(1);
        if (key === "ArrowLeft") this.#go(-1);
      });
    this.code = el(
      "pre",
      { class: "s-code", tabindex: 0, role: "region", "aria-label": "Code of a step" },
      el(
        "code",
        {},
        this.data.code.map((line) => el("span", { class: "s-line" }, `${line}\n`)),
      ),
    );
    return [
      this.forth,
      this.back,
      el("span", { class: "s-hint" }, "or the arrow keys"),
      this.names,
    ];
  }

  #go(by) {
    if (!allowed(by > 0 ? this.forth : this.back)) return;
    this.stop += by;
    this.show();
    const { time } = this.stops[this.stop];
    const [from, began] = [this.time, performance.now()];
    cancelAnimationFrame(this.frameId);
    const tick = (now) => {
      const part = still() ? 1 : Math.min(1, Math.max(0, (now - began) / MOVE_MS));
      this.time = from + (time - from) * part;
      this.#paint();
      if (part < 1) this.frameId = requestAnimationFrame(tick);
    };
    tick(began);
  }

  show(options) {
    allow(this.back, this.stop > 0);
    allow(this.forth, this.stop < this.stops.length - 1);
    super.show(options);
  }

  // --- Saying ------------------------------------------------------------------------

  sentence() {
    const { name, words } = this.stops[this.stop];
    return `Stop ${this.stop + 1} of ${this.stops.length}, ${name}: ${words}`;
  }

  words() {
    const rows = this.data.ranks.flatMap((events, rank) =>
      events.map(({ name, start_ms, end_ms, bytes }) => [
        `rank ${rank}`,
        name,
        ms(start_ms),
        ms(end_ms),
        bytes > 0 ? `${say(bytes / 1e6, 1)} MB` : "",
      ]),
    );
    const head = ["rank", "what", "begins", "ends", "size"];
    return table("The recorded step, in ms since it began.", [head, ...rows]);
  }

  // --- Drawing -----------------------------------------------------------------------

  redraw() {
    const isWide = this.width >= 880;
    this.figure.classList.toggle("s-wide", isWide);
    const { lines } = this.stops[this.stop];
    [...this.code.querySelectorAll(".s-line")].forEach((line, number) =>
      line.classList.toggle("s-on", lines.includes(number)),
    );
    [...this.names.children].forEach((place, number) => {
      if (number === this.stop) place.setAttribute("aria-current", "step");
      else place.removeAttribute("aria-current");
    });
    const drawn = this.draw(isWide ? this.width - 560 : this.width);
    drawn.setAttribute("role", "img");
    drawn.setAttribute("aria-label", `${this.story.picture} ${this.sentence()}`);
    this.figure.replaceChildren(this.code, drawn);
  }

  // The step up to now in full, what is still to come as a shadow.
  draw(width) {
    const left = 4;
    this.x = (time) => left + (time / this.last) * (width - 2 * left);
    const [top, second] = [26, 26 + LANE + BUCKET + GAP];
    const height = second + BUCKET + LANE + 46;
    const id = `${this.name}-now`;
    this.past = svg("rect", { x: 0, y: 0, width: 0, height });
    this.hand = svg("path", { class: "s-hand" });
    const ranks = () => [
      this.#rank(0, top, top + LANE + 3),
      this.#rank(1, second + BUCKET + 3, second),
    ];
    const ticks = [0, 200, 400, 600].filter((one) => one < this.last);
    const drawn = this.sheet(
      width,
      height,
      svg("clipPath", { id }, this.past),
      text(left, 16, "rank 0", "d-strong", "start"),
      text(left, height - 26, "rank 1", "d-strong", "start"),
      svg("g", { class: "s-later" }, ranks()),
      svg("g", { "clip-path": `url(#${id})` }, ranks()),
      ticks.map((one) =>
        text(
          Math.min(Math.max(16, this.x(one)), width - 26),
          height - 6,
          `${one} ms`,
          "w-tag",
        ),
      ),
      this.hand,
    );
    this.tall = height - 42;
    this.#paint();
    return drawn;
  }

  picture(width) {
    this.time = this.last;
    return this.draw(width);
  }

  #paint() {
    const x = this.x(this.time);
    this.past.setAttribute("width", x);
    this.hand.setAttribute("d", `M${x} 22V${this.tall}`);
  }

  #rank(rank, y, below) {
    const box = (from, to, top, height, cls) =>
      svg("rect", {
        x: this.x(from),
        y: top,
        width: Math.max(0.5, this.x(to) - this.x(from)),
        height,
        class: cls,
      });
    const name = (from, to, top, words, cls) =>
      this.x(to) - this.x(from) > 7 * words.length &&
      text((this.x(from) + this.x(to)) / 2, top, words, cls);
    const [forward, backward, optimizer] = ["forward", "backward", "optimizer"].map(
      (one) => this.#event(rank, one),
    );
    const ready = this.#event(rank, "bucket 2").start_ms;
    const middle = y + LANE / 2 + 5;
    const buckets = [0, 1, 2].map((number) => {
      const all = [0, 1].map((one) => this.#event(one, `bucket ${number}`));
      const { start_ms, end_ms } = all[rank];
      const meet = Math.max(...all.map((one) => one.start_ms));
      return [
        meet > start_ms && box(start_ms, meet, below, BUCKET, "w-padding"),
        box(meet, end_ms, below, BUCKET, "w-hidden"),
        name(meet, end_ms, below + BUCKET / 2 + 5, String(number), "w-number"),
      ];
    });
    return svg(
      "g",
      { class: `w-r${rank}` },
      box(forward.start_ms, forward.end_ms, y, LANE, "w-tint"),
      name(forward.start_ms, forward.end_ms, middle, "forward", "d-text"),
      box(backward.start_ms, ready, y, LANE, "w-fill"),
      name(backward.start_ms, ready, middle, "backward", "d-on"),
      box(ready, backward.end_ms, y, LANE, "w-tint"),
      name(ready, backward.end_ms, middle, "wait", "d-text"),
      box(optimizer.start_ms, optimizer.end_ms, y, LANE, "w-optimizer"),
      name(optimizer.start_ms, optimizer.end_ms, middle, "step", "d-text"),
      buckets,
    );
  }
}

function ms(number) {
  return `${say(number)} ms`;
}

customElements.define("life-of-step", LifeOfStep);
