// The ring all-reduce, step by step: the same steps as distrinews/sync/ring.py.
// Pure: no DOM. Fixture: fixtures/ring.json.

// What the figure adds up: rank r's element e is (r + 1) (e + 1).
export function own(rank, element) {
  return (rank + 1) * (element + 1);
}

export function numSteps(ranks) {
  return 2 * (ranks - 1);
}

// torch's tensor_split: chunks differ by one element at most. [start, end] of each.
export function chunks(elements, ranks) {
  const least = Math.floor(elements / ranks);
  const longer = elements % ranks;
  const bounds = [];
  let start = 0;
  for (let chunk = 0; chunk < ranks; chunk += 1) {
    const end = start + least + (chunk < longer ? 1 : 0);
    bounds.push([start, end]);
    start = end;
  }
  return bounds;
}

export function begin(ranks, elements = ranks) {
  const all = [...Array(ranks).keys()];
  return {
    step: 0,
    ranks,
    elements,
    values: all.map((rank) => [...Array(elements).keys()].map((e) => own(rank, e))),
    // Whose parts a chunk holds already: [rank][chunk] -> ranks.
    parts: all.map((rank) => all.map(() => [rank])),
    sentBytes: all.map(() => 0),
  };
}

export function isOver(state) {
  return state.step >= numSteps(state.ranks);
}

// "reduce-scatter" or "all-gather", and the step's number within it, from 1.
export function phase(ranks, step) {
  const half = ranks - 1;
  return step < half
    ? { name: "reduce-scatter", number: step + 1 }
    : { name: "all-gather", number: step - half + 1 };
}

// What leaves in the next step: one message of each rank to its right neighbour.
export function messages({ ranks, step }) {
  if (step >= numSteps(ranks)) return [];
  const adds = step < ranks - 1;
  const shift = adds ? -step : 1 - (step - (ranks - 1));
  return [...Array(ranks).keys()].map((from) => ({
    from,
    to: (from + 1) % ranks,
    chunk: (((from + shift) % ranks) + ranks) % ranks,
    adds,
  }));
}

export function next(state) {
  const bounds = chunks(state.elements, state.ranks);
  const values = state.values.map((row) => [...row]);
  const parts = state.parts.map((row) => [...row]);
  const sentBytes = [...state.sentBytes];
  for (const { from, to, chunk, adds } of messages(state)) {
    const [start, end] = bounds[chunk];
    for (let e = start; e < end; e += 1) {
      values[to][e] = (adds ? state.values[to][e] : 0) + state.values[from][e];
    }
    const theirs = state.parts[from][chunk];
    parts[to][chunk] = adds
      ? [...theirs, ...state.parts[to][chunk]].sort((a, b) => a - b)
      : [...theirs];
    sentBytes[from] += 4 * (end - start);
  }
  return { ...state, step: state.step + 1, values, parts, sentBytes };
}

export function at(ranks, step, elements = ranks) {
  let state = begin(ranks, elements);
  while (state.step < step) state = next(state);
  return state;
}

// What one rank has sent after so many steps, in tensors; and what one rank in the
// middle would send and receive: W - 1 tensors in, W - 1 out.
export function sentTensors(ranks, step) {
  return step / ranks;
}
export function hubTensors(ranks) {
  return 2 * (ranks - 1);
}
