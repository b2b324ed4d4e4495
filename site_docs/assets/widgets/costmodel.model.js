// The cost model of a training step: the same arithmetic as distrinews/bench/costmodel/step_model.py.
// Pure: no DOM. Fixture: fixtures/costmodel.json. Times in seconds, sizes in bytes.

export const MIB = 1024 * 1024;
export const DEFAULT_BUCKET_MIB = 25;
// One message between two machines: distrinews.bench.costmodel.predictions.MESSAGE_S.
export const MESSAGE_S = 50e-6;

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

export function ringS(bytes, ranks, link) {
  return 2 * (ranks - 1) * (link.alpha_s + bytes / ranks / link.bytes_per_s);
}

// Gradients in the order of the forward -> [part of backward that is over, bytes] each.
export function bucketsOf(gradientBytes, { firstBytes, bucketBytes, work }) {
  const total = sum(work);
  const buckets = [];
  let held = 0;
  let seen = 0;
  for (let i = gradientBytes.length - 1; i >= 0; i -= 1) {
    held += gradientBytes[i];
    seen += work[i];
    if (held >= (buckets.length ? bucketBytes : firstBytes)) {
      buckets.push([seen / total, held]);
      held = 0;
    }
  }
  if (held) buckets.push([1, held]);
  return buckets;
}

// As torch's DDP cuts them once it has seen a step: the first bucket is 1 MiB only where
// no size was asked for; the two embeddings cost bytes, but hardly any computing.
export function cut(gradientBytes, bucketMib) {
  const firstMib = bucketMib === DEFAULT_BUCKET_MIB ? 1 : bucketMib;
  return bucketsOf(gradientBytes, {
    firstBytes: firstMib * MIB,
    bucketBytes: bucketMib * MIB,
    work: gradientBytes.map((bytes, i) => (i < 2 ? 0 : bytes)),
  });
}

// When each bucket is full, starts and arrives, since backward began.
export function travels(buckets, { backwardS, ranks, link }) {
  let arrived = 0;
  return buckets.map(([part, bytes]) => {
    const ready = part * backwardS;
    const start = Math.max(arrived, ready);
    arrived = start + ringS(bytes, ranks, link);
    return { bytes, ready, start, end: arrived };
  });
}

export function computeS(compute, rows, tokens) {
  const places = rows * tokens;
  return (
    compute.fixed_s +
    compute.per_token_s * places +
    compute.per_pair_s * places * tokens
  );
}

export function predict(compute, link, { buckets, ranks, rows, tokens }) {
  const both = computeS(compute, rows, tokens);
  const backward = both * compute.backward_share;
  let arrived = 0;
  let travel = 0;
  if (ranks > 1 && buckets.length) {
    const way = travels(buckets, { backwardS: backward, ranks, link });
    arrived = way[way.length - 1].end;
    travel = sum(buckets.map(([, bytes]) => ringS(bytes, ranks, link)));
  }
  const exposed = Math.max(0, arrived - backward);
  const hidden = travel - exposed;
  const parts = {
    forward_s: both - backward,
    backward_s: backward,
    hidden_s: hidden,
    exposed_s: exposed,
    contention_s: (link.contention ?? 0) * hidden,
    meeting_s: ranks > 1 ? (link.meeting_s ?? 0) : 0,
    optimizer_s: compute.optimizer_s,
  };
  return { ...parts, step_s: sum(Object.values(parts)) - hidden };
}

// A network of so many Gbit/s whose cards take no time from computing.
export function network(gbit) {
  return {
    alpha_s: MESSAGE_S,
    bytes_per_s: (gbit * 1e9) / 8,
    contention: 0,
    meeting_s: 0,
  };
}
