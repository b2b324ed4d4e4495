// What one rank holds and sends in training, by what is sharded, in float32 with AdamW.
// Pure: no DOM. Counted as by site_docs/_tools/stage_memory.py, which gives the sources.
// Fixture: fixtures/memory.json.

export const PARTS = ["weights", "gradients", "optimizer", "activations"];
export const CARDS_GB = [16, 24, 40, 80];
const EACH = [4, 4, 8]; // bytes a parameter; AdamW keeps two averages
const STAGES = [
  { name: "DDP", sharded: [false, false, false], units: 2 },
  { name: "ZeRO-1", sharded: [false, false, true], units: 2 },
  { name: "ZeRO-2", sharded: [false, true, true], units: 2 },
  { name: "ZeRO-3", sharded: [true, true, true], units: 3 },
];
const WIDTH_PER_LAYER = 128; // of a model that only a number of parameters is known of

// [layers, dim, hidden]: a transformer of this size, not rounded.
export function assumedShape(parameters) {
  const layers = Math.cbrt(parameters / (12 * WIDTH_PER_LAYER ** 2));
  const dim = WIDTH_PER_LAYER * layers;
  return [layers, dim, 4 * dim];
}

export function activationBytes([layers, dim, hidden], { rows, tokens }) {
  return layers * rows * tokens * (8 * dim + 2 * hidden) * 4;
}

// For each stage: bytes of its PARTS on each rank, and bytes that a rank sends in a step.
export function stages({ parameters, shape }, { ranks, rows, tokens }) {
  const kept = activationBytes(shape ?? assumedShape(parameters), { rows, tokens });
  return STAGES.map(({ name, sharded, units }) => {
    const state = EACH.map((each, i) => (each * parameters) / (sharded[i] ? ranks : 1));
    const parts = [...state, kept].map(Math.round);
    const sent = Math.round((units * (ranks - 1) * 4 * parameters) / ranks);
    return { name, units, parts, sent, total: parts.reduce((a, b) => a + b, 0) };
  });
}

// The smallest card that holds so many bytes; undefined if none does.
export function smallestCard(bytes) {
  return CARDS_GB.find((gb) => bytes <= gb * 1e9);
}

// Up to how many GB the axis goes: to the first card that all fit into, or beyond all.
export function axisGb(all) {
  const card = smallestCard(Math.max(...all.map(({ total }) => total)));
  return card ? card * 1.08 : 100;
}
