// Where the ranks of <live-ddp> stand and their links run, in pixels. Pure: no DOM.
const HEAD = 24; // rank
const FOOT = 28; // fingerprint
const PAD = 6;
const GAP = { x: 60, y: 46 };
const LARGEST = 190;

// A ring on a grid: to the right on top, down, to the left below, up.
export function places(ranks, width) {
  const columns = ranks <= 4 ? Math.min(ranks, 2) : width < 500 ? 2 : ranks / 2;
  const lines = Math.ceil(ranks / columns);
  const gap = columns > 2 ? 36 : width < 500 ? 40 : GAP.x;
  const room = Math.floor((width - (columns - 1) * gap) / columns) - 2 * PAD - 2;
  const side = Math.min(LARGEST, room);
  const card = { width: side + 2 * PAD, height: side + HEAD + PAD + FOOT };
  const left = (width - columns * card.width - (columns - 1) * gap) / 2;
  const cards = walk(columns, lines, ranks).map(([column, line]) => ({
    x: Math.round(left + column * (card.width + gap)),
    y: line * (card.height + GAP.y) + 2,
  }));
  const height = lines * card.height + (lines - 1) * GAP.y + 4;
  return { side, card, cards, height, links: links(cards, card) };
}

function walk(columns, lines, ranks) {
  if (ranks === 3)
    return [
      [0, 0],
      [1, 0],
      [0.5, 1],
    ];
  const right = Array.from({ length: columns }, (_, c) => [c, 0]);
  if (lines === 1) return right;
  const down = Array.from({ length: lines - 2 }, (_, l) => [columns - 1, l + 1]);
  const back = Array.from({ length: columns }, (_, c) => [columns - 1 - c, lines - 1]);
  const up = Array.from({ length: lines - 2 }, (_, l) => [0, lines - 2 - l]);
  return [...right, ...down, ...back, ...up];
}

// From each card's edge to its right neighbour's, a little apart from both.
function links(cards, card) {
  if (cards.length === 1) return [];
  return cards.map((from, rank) => {
    const to = cards[(rank + 1) % cards.length];
    const [dx, dy] = [Math.sign(to.x - from.x), Math.sign(to.y - from.y)];
    const both = cards.length === 2 ? 26 * dx : 0; // there and back beside each other
    const middle = (one) => ({ x: one.x + card.width / 2, y: one.y + card.height / 2 });
    const [a, b] = [middle(from), middle(to)];
    if (dy === 0) {
      const y = a.y - both;
      return {
        x1: a.x + dx * (card.width / 2 + 4),
        x2: b.x - dx * (card.width / 2 + 7),
        y1: y,
        y2: y,
      };
    }
    // Three ranks: a leg of the triangle begins and ends halfway between both middles.
    const x =
      dx === 0
        ? [a.x, b.x]
        : [a.x + dx * card.width * 0.12, b.x - dx * card.width * 0.12];
    return {
      x1: x[0],
      x2: x[1],
      y1: a.y + dy * (card.height / 2 + 4),
      y2: b.y - dy * (card.height / 2 + 7),
    };
  });
}
