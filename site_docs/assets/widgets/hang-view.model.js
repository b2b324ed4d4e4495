// Which calls of the ranks meet, and what a trace says of the rest. Pure: no DOM.
// As distrinews.tracing.timeline.diagnose. Fixture: fixtures/calls.json.

// The calls that each rank makes: [name, site], its own numbers from 0.
export function program(calls, ranks, { rank, left_out }) {
  return Array.from({ length: ranks }, (_, one) =>
    calls.filter((_, number) => one !== rank || number !== left_out),
  );
}

// met: how many calls all ranks make with the same name; then who calls what next, and
// which ranks are not there. crossed: the numbers of calls that meet from other lines.
export function run(byRank) {
  const crossed = [];
  let met = 0;
  for (; byRank.every((calls) => calls.length > met); met += 1) {
    const [names, sites] = [0, 1].map((i) => byRank.map((calls) => calls[met][i]));
    if (new Set(names).size > 1) break;
    if (new Set(sites).size > 1) crossed.push(met);
  }
  const next = byRank.map((calls) => calls[met] ?? null);
  const isDone = next.every((call) => call === null);
  return { met, crossed, next, isDone, says: diagnose(byRank, met, next) };
}

function diagnose(byRank, met, next) {
  if (next.every((call) => call === null)) return "every call ended on every rank.";
  const missing = [...next.keys()].filter((rank) => next[rank] === null);
  if (missing.length === 0) {
    const calls = next.map(([name, site], rank) => `rank ${rank} called ${name} ${site}`);
    return `call ${met} differs: ${calls.join("; ")}`;
  }
  const waiting = next.findIndex((call) => call !== null);
  const [name, site] = next[waiting];
  const last = missing.map((rank) => {
    if (byRank[rank].length === 0) return `Rank ${rank} did nothing before.`;
    const [name, site] = byRank[rank].at(-1);
    return `Rank ${rank} ended ${name} ${site}.`;
  });
  return (
    `rank ${waiting} waits in call ${met}, ${name} ${site}, ` +
    `which ranks [${missing.join(", ")}] never joined. ${last.join("; ")}`
  );
}
