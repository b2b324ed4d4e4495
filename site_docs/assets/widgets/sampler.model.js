// Which rank reads which row: index for index torch's DistributedSampler.
// Pure: no DOM. Fixture: fixtures/sampler.json.

// Deals an epoch's order to the ranks. Of each place: the row, and whether it is padding.
export function deal(order, { ranks, dropLast }) {
  const each = dropLast
    ? Math.floor(order.length / ranks)
    : Math.ceil(order.length / ranks);
  const total = each * ranks;
  const places = order.map((row) => ({ row, padding: false }));
  while (places.length < total) {
    const more = places.slice(0, total - places.length);
    places.push(...more.map(({ row }) => ({ row, padding: true })));
  }
  const dealt = places.slice(0, total);
  const byRank = [...Array(ranks).keys()].map((rank) =>
    dealt.filter((_, place) => place % ranks === rank),
  );
  return { byRank, dropped: places.slice(total).map(({ row }) => row) };
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
