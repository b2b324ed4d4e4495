// Predicted speed-ups: distrinews.bench.costmodel.step_model with the figures of distrinews.bench.costmodel.published.
// Pure: no DOM. Fixture: fixtures/speed.json.
import { cut, DEFAULT_BUCKET_MIB, network, predict } from "./costmodel.model.js";

// Every choice of lowest and highest values: what follows need not grow with each figure.
export function corners(figures) {
  return Object.entries(figures).reduce(
    (chosen, [name, [low, high]]) =>
      chosen.flatMap((one) => [
        { ...one, [name]: low },
        { ...one, [name]: high },
      ]),
    [{}],
  );
}

// distrinews.bench.costmodel.predictions.gpu_compute, for rows of the one length that the data names.
export function computing(chosen, gradientBytes) {
  const weights = gradientBytes.reduce((a, b) => a + b, 0) / 4;
  return {
    fixed_s: chosen.fixed_s,
    per_token_s: chosen.flops_per_token / (chosen.tflops * 1e12 * chosen.part),
    per_pair_s: 0,
    backward_share: chosen.backward_share,
    optimizer_s: (40 * weights) / (chosen.memory_gb_per_s * 1e9),
  };
}

// The ranks' speeds and links that are reckoned with: one for what was measured here,
// every corner of the published figures for a T4.
export function cases(hardware, gbit, known, models) {
  if (hardware === "cpu") return [{ compute: known.compute, link: network(gbit) }];
  const { link_gb_per_s: _, ...figures } = known.t4;
  return corners(figures).map((chosen) => ({
    compute: computing(chosen, models.distilbert),
    link: {
      ...network(gbit),
      alpha_s: chosen.message_s,
      contention: chosen.contention,
    },
  }));
}

// [lowest, highest] speed-up for each number of ranks. Strong: all ranks together take
// the rows of one; weak: each takes as many as the one.
export function speedUps({ hardware, kind, gbit }, known, models) {
  const gradients = models[hardware === "cpu" ? "minilm" : "distilbert"];
  const buckets = cut(gradients, DEFAULT_BUCKET_MIB);
  const all = cases(hardware, gbit, known, models);
  const { rows, tokens } = known;
  return known.ranks.map((ranks) => {
    const found = all.map(({ compute, link }) => {
      const step = (count, part) =>
        predict(compute, link, { buckets, ranks: count, rows: part, tokens }).step_s;
      const one = step(1, rows);
      return kind === "strong"
        ? one / step(ranks, Math.floor(rows / ranks))
        : (ranks * one) / step(ranks, rows);
    });
    return { ranks, low: Math.min(...found), high: Math.max(...found) };
  });
}
