// From one process's step to that of the ranks, part by part. Pure: no DOM.

// Bars from `from` to `to` in ms: the one process, what each part grew or shrank by, the ranks.
// What the parts' medians do not add up to is the part "rest", rows' reading included.
export function waterfall(parts, { one, ranks }) {
  const rest = ({ parts_ms, step_ms }) =>
    step_ms - parts_ms.reduce((sum, each) => sum + each, 0);
  const changes = parts.map((name, i) => [name, ranks.parts_ms[i] - one.parts_ms[i]]);
  changes.push(["rest", rest(ranks) - rest(one)]);
  const bars = [{ name: "one process", from: 0, to: one.step_ms, isWhole: true }];
  let now = one.step_ms;
  for (const [name, change] of changes) {
    bars.push({ name, from: now, to: now + change });
    now += change;
  }
  return [...bars, { name: "two ranks", from: 0, to: ranks.step_ms, isWhole: true }];
}
