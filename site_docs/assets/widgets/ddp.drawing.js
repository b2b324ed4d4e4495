// What <live-ddp> draws: the ring of replicas, the loss, and who waits for whom.
// Each is made once for a width and a number of ranks; show() changes only what moves.
import * as model from "./ddp.model.js";
import { places } from "./ddp.places.js";
import { el, say, svg, text } from "./parts.js";

const CLASSES = [0, 1, 2];

function range(count) {
  return [...Array(count).keys()];
}

// --- Replicas in a ring ----------------------------------------------------------------

export class Ring {
  // data: inputs and classes of all rows; id: of the arrow's head, unique on the page.
  constructor(ranks, width, { data, id }) {
    this.plan = places(ranks, width);
    this.data = data;
    this.scale = Math.min(2, globalThis.devicePixelRatio || 1);
    this.size = Math.round(this.plan.side * this.scale);
    this.cards = this.plan.cards.map((place, rank) => this.#card(place, rank));
    this.dots = this.plan.links.map((_, rank) =>
      svg(
        "g",
        { class: `l-dot w-r${rank}` },
        svg("circle", { r: 9, class: "w-fill" }),
        svg("text", { y: 4, "text-anchor": "middle", class: "l-letter" }),
      ),
    );
    const head = { id, viewBox: "0 0 8 8", refX: 6, refY: 4, orient: "auto" };
    const size = { markerWidth: 11, markerHeight: 11, markerUnits: "userSpaceOnUse" };
    this.wires = svg(
      "svg",
      { class: "l-wires", width, height: this.plan.height, "aria-hidden": "true" },
      svg(
        "marker",
        { ...head, ...size },
        svg("path", { d: "M0 0 8 4 0 8z", class: "d-head" }),
      ),
      this.plan.links.map(({ x1, y1, x2, y2 }, rank) =>
        svg("path", {
          d: `M${x1} ${y1}L${x2} ${y2}`,
          class: `w-stroke w-r${rank}`,
          "marker-end": `url(#${id})`,
        }),
      ),
      this.dots,
    );
    const cards = this.cards.map(({ node }) => node);
    this.node = el("div", { class: "l-ring" }, this.wires, cards);
    this.node.style.height = `${this.plan.height}px`;
  }

  #card({ x, y }, rank) {
    const { side, card } = this.plan;
    const canvas = el("canvas", {
      width: this.size,
      height: this.size,
      "aria-hidden": "true",
    });
    canvas.style.width = canvas.style.height = `${side}px`;
    const print = el("code", { "data-rank": rank });
    const note = el("span", {});
    const head = el("div", { class: "l-head" }, `rank ${rank}`, note);
    const node = el(
      "div",
      { class: `l-card w-r${rank}` },
      head,
      canvas,
      el("div", { class: "l-foot" }, print),
    );
    node.style.cssText = `left:${x}px;top:${y}px;width:${card.width}px`;
    return { node, canvas, print, note };
  }

  show(looks, { dead, waits, isSilent }) {
    this.wires.classList.toggle("l-unused", isSilent);
    this.cards.forEach(({ node, canvas, print, note }, rank) => {
      const look = looks[rank];
      const isDead = dead === rank;
      node.classList.toggle("l-dead", isDead);
      note.textContent = isDead ? "killed" : waits.has(rank) ? "waits" : "";
      const differs = look && look.fingerprint !== looks[0].fingerprint;
      node.classList.toggle("l-other", Boolean(differs));
      print.textContent = look?.fingerprint ?? "";
      if (look) this.#picture(canvas.getContext("2d"), look);
    });
  }

  // After a change of the theme: a canvas holds pixels, which do not follow by themselves.
  forgetColours() {
    this.colours = null;
  }

  // What the replica answers for every point, all rows, and the rows of its last step.
  #picture(context, { picture, side, rows }) {
    this.colours ??= coloursOf(this.node);
    const { areas, edge } = this.colours;
    if (this.small?.width !== side) {
      this.small = el("canvas", { width: side, height: side });
      this.pixels = new ImageData(side, side);
      this.pixels.data.fill(255);
    }
    const pixels = this.pixels.data;
    for (let i = 0, at = 0; i < pixels.length; i += 4, at += 3) {
      const [a, b, c] = [
        picture[at] / 255,
        picture[at + 1] / 255,
        picture[at + 2] / 255,
      ];
      for (let k = 0; k < 3; k += 1)
        pixels[i + k] = a * areas[0][k] + b * areas[1][k] + c * areas[2][k];
    }
    this.small.getContext("2d").putImageData(this.pixels, 0, 0);
    context.drawImage(this.small, 0, 0, this.size, this.size);
    context.drawImage(this.#allRows(), 0, 0);
    context.strokeStyle = edge;
    context.lineWidth = 1.2 * this.scale;
    for (const row of rows) {
      this.#dot(context, row, 2.2);
      context.stroke();
    }
  }

  // The same in every picture, so drawn once.
  #allRows() {
    if (!this.colours.rows) {
      const layer = el("canvas", { width: this.size, height: this.size });
      const context = layer.getContext("2d");
      for (let row = 0; row < model.NUM_ROWS; row += 1) this.#dot(context, row, 1);
      this.colours.rows = layer;
    }
    return this.colours.rows;
  }

  #dot(context, row, times) {
    const { inputs, classes } = this.data;
    const place = (one) => ((one / model.REACH + 1) / 2) * this.size;
    const radius = times * Math.max(0.9, this.plan.side / 130) * this.scale;
    context.beginPath();
    context.arc(place(inputs[2 * row]), place(-inputs[2 * row + 1]), radius, 0, 7);
    context.fillStyle = this.colours.dots[classes[row]];
    context.fill();
  }

  flyAll(duration) {
    this.dots.forEach((_, rank) => this.fly(rank, duration));
  }

  // A message on its way to the right neighbour; letter: of its chunk.
  fly(rank, duration, letter = "") {
    const dot = this.dots[rank];
    if (!dot || (!letter && dot.flight?.playState === "running")) return;
    dot.lastChild.textContent = letter;
    const { x1, y1, x2, y2 } = this.plan.links[rank];
    const at = (x, y, opacity, offset) => ({
      transform: `translate(${x}px, ${y}px)`,
      opacity,
      offset,
    });
    dot.flight = dot.animate(
      [at(x1, y1, 0, 0), at(x1, y1, 1, 0.1), at(x2, y2, 1, 0.9), at(x2, y2, 0, 1)],
      { duration, easing: "ease-in-out" },
    );
  }
}

// The theme's colours: areas as numbers, because they are mixed per pixel.
function coloursOf(node) {
  const style = getComputedStyle(node);
  const read = (name) => style.getPropertyValue(name).trim();
  const parse = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return {
    areas: CLASSES.map((k) => parse(read(`--area-${k}`))),
    dots: CLASSES.map((k) => read(`--dot-${k}`)),
    edge: read("--dot-edge"),
  };
}

// --- The loss --------------------------------------------------------------------------

const [LOW, HIGH] = [0.003, 10];

// Over steps, logarithmic: each rank, their mean, and one process.
export class Curves {
  constructor(ranks, width, { height, steps }) {
    const [left, top, right] = [38, 26, 14];
    this.x = (step) => left + (step / steps) * (width - left - right);
    this.y = (loss) => {
      const inside = Math.min(HIGH, Math.max(LOW, Number.isFinite(loss) ? loss : HIGH));
      return top + (Math.log(HIGH / inside) / Math.log(HIGH / LOW)) * height;
    };
    const line = (cls) => svg("path", { class: cls });
    this.ofRanks =
      ranks > 1 ? range(ranks).map((rank) => line(`l-thin w-r${rank}`)) : [];
    this.mean = line("l-mean");
    this.one = line("l-one");
    const legend = top + height + 42;
    const key = (x, cls, words) => [
      svg("path", { d: `M${x} ${legend - 4}h24`, class: cls }),
      text(x + 30, legend, words, "w-tag", "start"),
    ];
    this.node = sheet(
      width,
      legend + 8,
      text(1, 14, "Loss, mean over the last 12 steps", "d-strong", "start"),
      [10, 1, 0.1, 0.01].map((at) => [
        svg("path", { d: `M${left} ${this.y(at)}H${width - right}`, class: "w-grid" }),
        text(left - 6, this.y(at) + 4, at, "w-tag", "end"),
      ]),
      [0, 1, 2, 3].map((third) => {
        const step = (third * steps) / 3;
        return text(this.x(step), top + height + 18, step, "w-tag");
      }),
      this.ofRanks,
      this.mean,
      this.one,
      key(1, "l-mean", ranks > 1 ? `mean of ${ranks} ranks` : "this process"),
      key(width / 2, "l-one", "one process"),
    );
  }

  // losses: [step][rank]; single: [step].
  show(losses, single, label) {
    this.node.setAttribute("aria-label", `The loss over steps. ${label}`);
    this.ofRanks.forEach((line, rank) =>
      this.#draw(
        line,
        losses.map((all) => all[rank]),
      ),
    );
    const sums = losses.map((all) => all.reduce((a, b) => a + b, 0) / all.length);
    this.#draw(this.mean, sums);
    this.#draw(this.one, single);
  }

  #draw(line, losses) {
    const round = (one) => Math.round(10 * one) / 10; // pixels
    const points = overEpoch(losses).map(
      (loss, step) => `${round(this.x(step + 1))} ${round(this.y(loss))}`,
    );
    line.setAttribute("d", points.length > 0 ? `M${points.join("L")}` : "");
  }
}

// Mean over the last epoch's steps, so that every point is of the same rows.
function overEpoch(losses) {
  let sum = 0;
  return losses.map((loss, step) => {
    sum += loss - (losses[step - model.STEPS_PER_EPOCH] ?? 0);
    return sum / Math.min(step + 1, model.STEPS_PER_EPOCH);
  });
}

// --- The last step, over time ----------------------------------------------------------

const KINDS = { compute: "w-fill", send: "d-head", wait: "l-wait" };

export class Timeline {
  constructor(ranks, width) {
    const [left, top, lane] = [20, 26, ranks > 4 ? 18 : 26];
    this.left = left;
    this.room = width - left - 4;
    this.tall = lane - 5;
    this.title = text(1, 14, "", "d-strong", "start");
    this.lanes = range(ranks).map(() =>
      Object.fromEntries(
        Object.entries(KINDS).map(([kind, cls]) => [kind, svg("path", { class: cls })]),
      ),
    );
    const legend = top + ranks * lane + 16;
    const key = (x, cls, words) => [
      svg("rect", { x, y: legend - 10, width: 16, height: 12, class: cls }),
      text(x + 21, legend, words, "w-tag", "start"),
    ];
    this.node = sheet(
      width,
      legend + 6,
      this.title,
      this.lanes.map((paths, rank) =>
        svg(
          "g",
          { class: `w-r${rank}`, transform: `translate(0 ${top + rank * lane})` },
          text(left - 6, lane / 2 + 3, rank, "w-tag", "end"),
          svg("rect", {
            x: left,
            width: this.room,
            height: this.tall,
            class: "l-lane",
          }),
          Object.values(paths),
        ),
      ),
      key(left, "w-ink w-fill", "computes"),
      key(left + width * 0.3, "d-head", "sends"),
      key(left + width * 0.54, "w-ink l-wait", "waits"),
    );
  }

  show(looks) {
    const spans = looks.map(({ steps }) => steps.at(-1)?.spans ?? []);
    const every = spans.flat();
    const start = Math.min(...every.map(([, from]) => from));
    const took =
      every.length > 0 ? Math.max(...every.map(([, , to]) => to)) - start : 0;
    const scale = this.room / Math.max(took, 1e-9);
    const ms = took > 0 ? `: ${say(took, took < 10 ? 1 : 0)} ms` : "";
    this.title.textContent = `The last step${ms}`;
    const words = `${this.title.textContent}; when each rank computed, sent and waited.`;
    this.node.setAttribute("aria-label", words);
    this.lanes.forEach((paths, rank) => {
      for (const [kind, path] of Object.entries(paths)) {
        const boxes = (spans[rank] ?? []).map(([what, from, to]) => {
          if (what !== kind) return "";
          const wide = Math.max(0.4, (to - from) * scale);
          const x = this.left + (from - start) * scale;
          return `M${x.toFixed(1)} 0h${wide.toFixed(1)}v${this.tall}h-${wide.toFixed(1)}z`;
        });
        path.setAttribute("d", boxes.join(""));
      }
    });
  }
}

function sheet(width, height, ...children) {
  const size = { width, height, viewBox: `0 0 ${width} ${height}`, class: "w-svg" };
  return svg("svg", { ...size, role: "img" }, ...children);
}
