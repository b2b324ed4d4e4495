// Which rank reads which row: index for index torch's DistributedSampler.
// Pure: no DOM. Fixture: fixtures/sampler.json.

// Deals an epoch's order to the ranks. places: of each place of the order its row, whether
// it is padding, and the rank that reads it. cut: each rank gets a block instead of every
// W-th place; no library does that, it is there to be compared.
export function deal(order, { ranks, dropLast, cut = false }) {
  const each = dropLast
    ? Math.floor(order.length / ranks)
    : Math.ceil(order.length / ranks);
  const total = each * ranks;
  const rows = [...order];
  while (rows.length < total) rows.push(...rows.slice(0, total - rows.length));
  const places = rows.slice(0, total).map((row, place) => ({
    row,
    place,
    padding: place >= order.length,
    rank: cut ? Math.floor(place / each) : place % ranks,
  }));
  const byRank = [...Array(ranks).keys()].map((rank) =>
    places.filter((one) => one.rank === rank),
  );
  return { places, byRank, dropped: order.slice(total) };
}

// The rows that all ranks together read in a step, one row a rank.
export function step(byRank, number) {
  return byRank.map((mine) => mine[number]?.row).filter((row) => row !== undefined);
}

// The order of an epoch. WHY from a file: torch's generator is not written anew here.
export function orderOf(shuffles, { rows, shuffle, epoch }) {
  return shuffle ? shuffles[rows][epoch] : [...Array(rows).keys()];
}

// distrinews.sharding.evaluation_batches, for rows of one length and batches of one row.
export function exact(rows, ranks) {
  const all = [...Array(rows).keys()];
  return all
    .slice(0, ranks)
    .map((_, rank) => all.filter((row) => row % ranks === rank));
}
