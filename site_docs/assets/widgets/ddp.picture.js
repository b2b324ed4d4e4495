// The recorded picture of <live-ddp>: what readers see where no worker runs. Only
// site_docs/_tools/widget_pictures.py loads this: it trains in workers, as the page does.
import { Cluster } from "./ddp.cluster.js";
import { NUM_CLASSES } from "./ddp.model.js";
import { svg, text } from "./parts.js";

const STEPS = [0, 60, 300];
const RANKS = 4;
const SEED = 7;

// The three moments: step, looks of all ranks, and figures.
async function record() {
  let heard;
  const looked = () => new Promise((done) => (heard = done));
  let next = looked();
  const cluster = new Cluster({
    ranks: RANKS,
    fault: "none",
    seed: SEED,
    timeoutMs: 60_000,
    spawn: () =>
      new Worker(new URL("ddp.worker.js", import.meta.url), { type: "module" }),
    hear: (event) => event === "looked" && heard(),
  });
  await next;
  const moments = [];
  for (const step of STEPS) {
    while (cluster.step < step) {
      next = looked();
      cluster.go(step);
      await next;
    }
    const losses = cluster.losses[step - 1] ?? [];
    const loss = losses.reduce((a, b) => a + b, 0) / RANKS;
    moments.push({ step, looks: [...cluster.looks], loss, ...cluster.gap });
  }
  cluster.end();
  return moments;
}

export async function picture(width) {
  const moments = await record();
  const column = width / moments.length;
  const side = Math.floor((column - 34) / 2);
  const tall = side + 18;
  const height = 2 * tall + 104;
  const node = svg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    class: "w-svg l-recorded",
  });
  moments.forEach(({ step, looks, loss, apart, toOne }, i) => {
    const x = i * column + 6;
    const words = [
      step === 0 ? "equal weights, not yet trained" : `loss ${loss.toPrecision(2)}`,
      `between ranks: ${apart}`,
      `to one process: ${toOne === 0 ? 0 : toOne.toExponential(0)}`,
    ];
    node.append(
      svg(
        "g",
        { transform: `translate(${x} 0)` },
        text(0, 16, `step ${step}`, "d-strong", "start"),
        looks.map((look, rank) => {
          const first = looks.findIndex((one) => one.fingerprint === look.fingerprint);
          return replica(look, rank, { side, tall, isFirst: first === rank });
        }),
        words.map((one, line) =>
          text(0, 2 * tall + 46 + 18 * line, one, "d-small", "start"),
        ),
      ),
    );
  });
  return node;
}

// A replica's answers as areas, one colour for each class.
function replica(look, rank, { side, tall, isFirst }) {
  const cell = side / look.side;
  const [left, top] = [
    [0, 0],
    [1, 0],
    [1, 1],
    [0, 1],
  ][rank];
  // Equal weights, equal picture: it is drawn once.
  const id = `live-ddp-${look.fingerprint}`;
  const areas = isFirst
    ? svg("g", { id }, areasOf(look))
    : svg("use", { href: `#${id}` });
  return svg(
    "g",
    {
      class: `w-r${rank}`,
      transform: `translate(${left * (side + 12)} ${26 + top * (tall + 2)})`,
    },
    text(0, 10, `rank ${rank}`, "w-letter", "start"),
    svg("g", { transform: `translate(0 15) scale(${cell.toFixed(3)})` }, areas),
    svg("rect", { y: 15, width: side, height: side, class: "w-stroke" }),
  );
}

function areasOf(look) {
  const paths = Array(NUM_CLASSES).fill("");
  for (let line = 0; line < look.side; line += 1)
    for (let from = 0, to = 1; from < look.side; from = to) {
      const best = winner(look, line, from);
      for (to = from + 1; to < look.side && winner(look, line, to) === best;) to += 1;
      paths[best] += `M${from} ${line}h${to - from}v1h${from - to}z`;
    }
  return paths.map((d, k) => svg("path", { d, class: `w-area-${k}` }));
}

function winner({ picture: chances, side }, line, column) {
  const at = (line * side + column) * NUM_CLASSES;
  const all = [...chances.slice(at, at + NUM_CLASSES)];
  return all.indexOf(Math.max(...all));
}
