// What one rank of <live-ddp> computes: rows, model, gradient, optimizer step.
// Pure: no DOM, no messages. Everything random comes from a seed.

export const BATCH = 48; // rows per step over all ranks; divides by 1, 2, 3, 4, 6 and 8
export const NUM_ROWS = 576; // 12 global batches, so that no epoch needs padding
export const STEPS_PER_EPOCH = NUM_ROWS / BATCH;
export const NUM_CLASSES = 3;
const WIDTHS = [2, 23, 24, NUM_CLASSES]; // inputs, two hidden layers (ReLU), classes
// 720 parameters: equal chunks for every number of ranks.
export const NUM_PARAMETERS = WIDTHS.slice(1).reduce(
  (sum, width, i) => sum + width * (WIDTHS[i] + 1),
  0,
);
export const MODEL_BYTES = 4 * NUM_PARAMETERS;
const LEARNING_RATE = 0.1;
const MOMENTUM = 0.9;
export const REACH = 2.3; // the square that is drawn: -REACH to REACH in both inputs

// Uniform numbers in [0, 1), always the same ones for a seed (mulberry32).
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function normal(next) {
  return Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}

// Three spiral arms: inputs [NUM_ROWS * 2], one class for each row.
export function spirals(seed) {
  const next = random(seed);
  const inputs = new Float32Array(2 * NUM_ROWS);
  const classes = new Uint8Array(NUM_ROWS);
  for (let row = 0; row < NUM_ROWS; row += 1) {
    const arm = row % NUM_CLASSES;
    const along = (row + 0.5) / NUM_ROWS; // from the middle outwards
    const angle = (2 * Math.PI * arm) / NUM_CLASSES + 4.8 * along + 0.22 * normal(next);
    const radius = 0.18 + 1.85 * along;
    inputs[2 * row] = radius * Math.cos(angle);
    inputs[2 * row + 1] = radius * Math.sin(angle);
    classes[row] = arm;
  }
  return { inputs, classes };
}

// Start weights (He), biases 0.
export function initial(seed) {
  const next = random(seed);
  const weights = new Float32Array(NUM_PARAMETERS);
  let at = 0;
  for (let layer = 1; layer < WIDTHS.length; layer += 1) {
    const [fanIn, fanOut] = [WIDTHS[layer - 1], WIDTHS[layer]];
    for (let i = 0; i < fanIn * fanOut; i += 1)
      weights[at + i] = normal(next) * Math.sqrt(2 / fanIn);
    at += (fanIn + 1) * fanOut;
  }
  return weights;
}

// The epoch's order of all rows, the same on every rank.
export function orderOf(seed, epoch) {
  const next = random(seed + 1000 * (epoch + 1));
  const order = Uint16Array.from({ length: NUM_ROWS }, (_, row) => row);
  for (let last = NUM_ROWS - 1; last > 0; last -= 1) {
    const other = Math.floor(next() * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}

// The rows of one rank in one step: every ranks-th row of the global batch.
// sameRows: no sampler, so every rank walks through all rows in the same order.
// sameOrder: the epoch is never told to the sampler, which deals epoch 0 forever.
export function rowsOf(step, { seed, rank, ranks, sameRows, sameOrder }) {
  const each = BATCH / ranks;
  const stepsPerEpoch = sameRows ? NUM_ROWS / each : STEPS_PER_EPOCH;
  const epoch = sameOrder ? 0 : Math.floor(step / stepsPerEpoch);
  const order = orderOf(seed, epoch);
  const place = step % stepsPerEpoch;
  return Uint16Array.from({ length: each }, (_, i) =>
    sameRows ? order[place * each + i] : order[place * BATCH + i * ranks + rank],
  );
}

// Activations of every layer for one input; the last are logits.
function forward(weights, x, y) {
  const layers = [[x, y]];
  let at = 0;
  for (let layer = 1; layer < WIDTHS.length; layer += 1) {
    const [fanIn, fanOut] = [WIDTHS[layer - 1], WIDTHS[layer]];
    const before = layers[layer - 1];
    const after = new Float32Array(fanOut);
    const biases = at + fanIn * fanOut;
    for (let o = 0; o < fanOut; o += 1) {
      let sum = weights[biases + o];
      for (let i = 0; i < fanIn; i += 1) sum += weights[at + o * fanIn + i] * before[i];
      after[o] = layer < WIDTHS.length - 1 ? Math.max(0, sum) : sum;
    }
    layers.push(after);
    at = biases + fanOut;
  }
  return layers;
}

function softmax(logits) {
  const most = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

// Mean loss over rows (cross-entropy); its gradient is written into `gradient`.
export function backward(weights, { inputs, classes }, rows, gradient) {
  gradient.fill(0);
  let loss = 0;
  for (const row of rows) {
    const layers = forward(weights, inputs[2 * row], inputs[2 * row + 1]);
    const chances = softmax(layers.at(-1));
    loss -= Math.log(Math.max(chances[classes[row]], 1e-30)) / rows.length;
    let delta = chances.map(
      (chance, o) => (chance - (o === classes[row] ? 1 : 0)) / rows.length,
    );
    let at = NUM_PARAMETERS;
    for (let layer = WIDTHS.length - 1; layer > 0; layer -= 1) {
      const [fanIn, fanOut] = [WIDTHS[layer - 1], WIDTHS[layer]];
      const before = layers[layer - 1];
      at -= (fanIn + 1) * fanOut;
      const below = new Float32Array(fanIn);
      for (let o = 0; o < fanOut; o += 1) {
        gradient[at + fanIn * fanOut + o] += delta[o];
        for (let i = 0; i < fanIn; i += 1) {
          gradient[at + o * fanIn + i] += delta[o] * before[i];
          if (before[i] > 0) below[i] += delta[o] * weights[at + o * fanIn + i];
        }
      }
      delta = below;
    }
  }
  return loss;
}

// SGD with momentum, in place; local: every rank does it alone.
export function optimizerStep(weights, momentum, gradient) {
  for (let i = 0; i < weights.length; i += 1) {
    momentum[i] = MOMENTUM * momentum[i] + gradient[i];
    weights[i] -= LEARNING_RATE * momentum[i];
  }
}

// Eight hexadecimal digits that differ if one bit of the weights differs (FNV-1a).
export function fingerprint(weights) {
  let hash = 0x811c9dc5;
  for (const byte of new Uint8Array(
    weights.buffer,
    weights.byteOffset,
    4 * weights.length,
  ))
    hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, "0");
}

// The largest difference between two replicas, over all weights.
export function largestGap(one, other) {
  let gap = 0;
  for (let i = 0; i < one.length; i += 1) {
    const difference = Math.abs(one[i] - other[i]);
    if (!(difference <= gap)) gap = difference; // NaN, too, is a difference
  }
  return gap;
}

// What a replica answers on a grid: [side * side * classes] chances, 0 to 255.
export function picture(weights, side) {
  const chances = new Uint8ClampedArray(side * side * NUM_CLASSES);
  const at = (i) => REACH * ((2 * (i + 0.5)) / side - 1);
  for (let place = 0; place < side * side; place += 1) {
    const [x, y] = [at(place % side), -at(Math.floor(place / side))];
    const all = softmax(forward(weights, x, y).at(-1));
    all.forEach((chance, k) => (chances[place * NUM_CLASSES + k] = 255 * chance));
  }
  return chances;
}

// Bit 20 of a float32: the number changes by up to an eighth.
export function flipBit(weights, index) {
  new Uint32Array(weights.buffer, weights.byteOffset)[index] ^= 1 << 20;
}
