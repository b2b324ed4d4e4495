// Finds the entries whose words are nearest to a few typed words: the same as
// distrinews/doctor/nearest.py. Pure: no DOM. tests/test_nearest.py compares the answers.

const MAX_ENTRIES = 3;
const MAX_WORDS = 25;
const MIN_PERCENT = 55;
const [IN_TITLE, IN_SYMPTOM, IN_TEXT] = [3, 2, 1];
const SUFFIXES = ["ing", "ed", "es", "s"];
const MIN_STEM = 3;

function stem(form) {
  let word = form;
  const suffix = SUFFIXES.find(
    (one) => word.endsWith(one) && word.length - one.length >= MIN_STEM,
  );
  if (suffix) word = word.slice(0, -suffix.length);
  if (word.endsWith("e") && word.length > MIN_STEM) word = word.slice(0, -1);
  if (word.length > MIN_STEM && word.at(-1) === word.at(-2)) word = word.slice(0, -1);
  return word;
}

// The different words of a text that are not ignored, in order.
function stemmer({ ignored, same }) {
  const skipped = new Set(ignored.map(stem));
  const meant = new Map(Object.entries(same).map((pair) => pair.map(stem)));
  return (text) => {
    const found = (text.toLowerCase().match(/[a-z0-9]+/g) ?? []).map(stem);
    const kept = found.filter((one) => !skipped.has(one));
    return [...new Set(kept.map((one) => meant.get(one) ?? one))];
  };
}

// The texts of an entry by their weight, the lightest first.
function parts(entry) {
  if (!entry.patterns)
    return [
      [IN_TEXT, entry.about],
      [IN_TITLE, `${entry.slug} ${entry.title}`],
    ];
  return [
    [IN_TEXT, `${entry.cause} ${entry.cure} ${entry.prevention}`],
    [IN_SYMPTOM, entry.symptom],
    [IN_TITLE, [entry.slug, entry.title, ...entry.also].join(" ")],
  ];
}

// Reads the catalogue once; gives a function: text -> at most three entries.
export function finder(catalogue) {
  const stems = stemmer(catalogue.words);
  const entries = [...catalogue.troubles, ...catalogue.own];
  const places = entries.map(
    (entry) =>
      new Map(
        parts(entry).flatMap(([place, part]) => stems(part).map((one) => [one, place])),
      ),
  );
  const holding = new Map();
  for (const place of places)
    for (const one of place.keys()) holding.set(one, (holding.get(one) ?? 0) + 1);
  const rarity = (one) =>
    Math.floor(1000 * Math.sqrt(entries.length / (holding.get(one) ?? 1)));
  return (text) => {
    const asked = stems(text);
    if (asked.length === 0 || asked.length > MAX_WORDS) return [];
    const add = (words, weight) => words.reduce((sum, one) => sum + weight(one), 0);
    const least = MIN_PERCENT * add(asked, rarity);
    const scores = [];
    entries.forEach((entry, i) => {
      const held = asked.filter((one) => places[i].has(one));
      const enough = 100 * add(held, rarity) >= least;
      if (enough && held.some((one) => places[i].get(one) > IN_TEXT))
        scores.push([add(held, (one) => rarity(one) * places[i].get(one)), entry]);
    });
    scores.sort((a, b) => b[0] - a[0]); // stable: the catalogue's order decides
    return scores.slice(0, MAX_ENTRIES).map(([, entry]) => entry);
  };
}
