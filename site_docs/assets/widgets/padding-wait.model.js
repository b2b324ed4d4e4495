// What batches of unequal rows waste: padding within a rank, waiting between ranks.
// Pure: no DOM. Fixture: fixtures/padding.json.

// Deals each step's rows to the ranks like cards, as distrinews.sharding does; for each
// step its width, and for each rank its rows and its own width, in tokens.
export function deal(tokens, steps, ranks) {
  const longest = (rows) => Math.max(...rows.map((row) => tokens[row]));
  return steps.map((rows) => ({
    width: longest(rows),
    groups: [...Array(ranks).keys()].map((rank) => {
      const mine = rows.filter((_, place) => place % ranks === rank);
      return { rows: mine, width: longest(mine) };
    }),
  }));
}

// How many places hold text, padding, or nothing while a rank waits.
export function places(tokens, dealt) {
  const count = { text: 0, padding: 0, waiting: 0 };
  for (const { width, groups } of dealt)
    for (const group of groups)
      for (const row of group.rows) {
        count.text += tokens[row];
        count.padding += group.width - tokens[row];
        count.waiting += width - group.width;
      }
  return count;
}
