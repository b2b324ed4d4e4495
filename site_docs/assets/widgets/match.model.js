// Finds the trouble behind a pasted text: the same rules, in the same order, as
// distrinews/doctor/matching.py. Pure: no DOM. tests/test_matching.py compares the answers.

const MAX_CHARACTERS = 200_000; // the beginning and the end of a log
export const SHOWN_CHARACTERS = 120;

// WHY a cache: a pattern is compiled once, not once a text.
const compiled = new Map();
function pattern(source, flags) {
  const key = `${flags} ${source}`;
  if (!compiled.has(key)) compiled.set(key, new RegExp(source, flags));
  return compiled.get(key);
}
const has = (source, text) => pattern(source, "i").test(text);

// The part of the text that fulfils a rule, or an empty string.
function holds(rule, text) {
  if ((rule.none ?? []).some((one) => has(one, text))) return "";
  const [first, ...others] = rule.all;
  for (const start of text.matchAll(pattern(first, "gi"))) {
    let near = text;
    if (rule.within) {
      const end = start.index + start[0].length + rule.within;
      near = text.slice(Math.max(0, start.index - rule.within), end);
    }
    if (others.every((one) => has(one, near))) {
      return text.slice(start.index, start.index + SHOWN_CHARACTERS).trim();
    }
    if (!rule.within) break; // the whole text was looked at
  }
  return "";
}

export function sure(weight) {
  if (weight >= 85) return "sure";
  return weight >= 60 ? "likely" : "a guess";
}

// [{ entry, weight, reason }], the surest first; empty if nothing is known of this text.
export function match(pasted, catalogue) {
  const half = MAX_CHARACTERS / 2;
  let text = pasted;
  if (text.length > MAX_CHARACTERS)
    text = `${text.slice(0, half)}\n${text.slice(-half)}`;
  for (const [from, to] of catalogue.tidy) text = text.replace(pattern(from, "g"), to);
  const found = [];
  for (const entry of catalogue.troubles) {
    for (const rule of entry.patterns) {
      const reason = holds(rule, text);
      if (!reason) continue;
      found.push({ entry, weight: rule.weight, reason });
      break;
    }
  }
  const named = new Set(
    [...text.matchAll(/troubleshooting\/#([a-z0-9-]+)/g)].map((one) => one[1]),
  );
  for (const entry of catalogue.own) {
    if (!named.has(entry.slug)) continue;
    found.push({
      entry,
      weight: entry.weight,
      reason: `troubleshooting/#${entry.slug}`,
    });
  }
  return found.sort((a, b) => b.weight - a.weight); // stable: the catalogue's order decides
}
