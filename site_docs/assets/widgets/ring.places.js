// Where the ring's cards stand and its tracks run, in pixels. Pure: no DOM.

export const HEAD = 24; // a card's coloured head
export const PAD = 7;

export function boxHeight(cell) {
  return Math.max(40, cell);
}

function cardSize(ranks, cell) {
  return { width: ranks * cell + 2 * PAD, height: HEAD + boxHeight(cell) + 2 * PAD };
}

// Two columns: down on the right, up on the left; an odd one stands below, in the middle.
export function ringPlan(ranks, width) {
  const cell = Math.min(50, Math.floor((width - 110 - 4 * PAD) / 2 / ranks));
  const card = cardSize(ranks, cell);
  const gap = boxHeight(cell) + 46;
  const sideRows = ranks % 2 ? (ranks - 1) / 2 : ranks / 2;
  const side = Math.min(width, 2 * card.width + 220);
  const left = (width - side) / 2 + 1;
  const right = (width + side) / 2 - card.width - 1;
  const at = (row) => row * (card.height + gap);
  const cards = [];
  for (let rank = 0; rank < ranks; rank += 1) {
    if (rank === 0) cards.push({ x: left, y: 0 });
    else if (rank <= sideRows) cards.push({ x: right, y: at(rank - 1) });
    else if (ranks % 2 && rank === sideRows + 1) {
      cards.push({ x: (width - card.width) / 2, y: at(sideRows) });
    } else cards.push({ x: left, y: at(ranks - rank) });
  }
  const tracks = cards.map((from, rank) =>
    ringTrack(from, cards[(rank + 1) % ranks], card, rank),
  );
  if (ranks === 2) {
    // Both ways between the same two cards: one above the other.
    tracks[0] = straight(cards[0].x + card.width, cards[1].x, card.height * 0.5 - 30);
    tracks[1] = straight(cards[1].x, cards[0].x + card.width, card.height * 0.5 + 30);
  }
  const height = Math.max(...cards.map((one) => one.y)) + card.height;
  return { ranks, cell, card, cards, tracks, height: height + 2 };
}

function straight(fromX, toX, y) {
  const way = Math.sign(toX - fromX);
  const path = `M${fromX + 4 * way} ${y}H${toX - 6 * way}`;
  return { path, middle: { x: (fromX + toX) / 2, y } };
}

function ringTrack(from, to, card) {
  const fromMiddle = { x: from.x + card.width / 2, y: from.y + card.height / 2 };
  const toMiddle = { x: to.x + card.width / 2, y: to.y + card.height / 2 };
  if (from.y === to.y) {
    const way = Math.sign(to.x - from.x);
    const startX = way > 0 ? from.x + card.width : from.x;
    const endX = way > 0 ? to.x : to.x + card.width;
    return straight(startX, endX, fromMiddle.y);
  }
  const down = to.y > from.y;
  if (from.x === to.x) {
    const start = down ? from.y + card.height + 3 : from.y - 3;
    const end = down ? to.y - 6 : to.y + card.height + 6;
    const path = `M${fromMiddle.x} ${start}V${end}`;
    return { path, middle: { x: fromMiddle.x, y: (start + end) / 2 } };
  }
  if (down) {
    // From the right column to the card below in the middle: down, then to the left.
    const x = Math.max(fromMiddle.x, to.x + card.width + 40);
    const y = toMiddle.y;
    const start = from.y + card.height + 3;
    const path = `M${x} ${start}V${y - 16}Q${x} ${y} ${x - 16} ${y}H${to.x + card.width + 6}`;
    return { path, middle: { x, y: start + (y - start) * 0.42 } };
  }
  // From the card in the middle to the left column: to the left, then up.
  const x = Math.min(toMiddle.x, from.x - 40);
  const y = fromMiddle.y;
  const end = to.y + card.height + 6;
  const path = `M${from.x - 3} ${y}H${x + 16}Q${x} ${y} ${x} ${y - 16}V${end}`;
  return { path, middle: { x, y: end + (y - end) * 0.42 } };
}

// Narrow: one below the other; the way back from the last runs on the left.
export function columnPlan(ranks, width) {
  const cell = Math.min(50, Math.floor((width - 2 * PAD - 62) / ranks));
  const card = cardSize(ranks, cell);
  const gap = boxHeight(cell) + 34;
  const x = Math.max(60, Math.floor((width - card.width + 46) / 2));
  const cards = [...Array(ranks).keys()].map((rank) => ({
    x,
    y: rank * (card.height + gap) + 1,
  }));
  const last = cards[ranks - 1];
  const tracks = cards.map((from, rank) => {
    if (rank < ranks - 1) {
      const middle = x + card.width / 2;
      const start = from.y + card.height + 3;
      const end = cards[rank + 1].y - 6;
      return {
        path: `M${middle} ${start}V${end}`,
        middle: { x: middle, y: (start + end) / 2 },
      };
    }
    const side = x - 34;
    const [low, high] = [last.y + card.height / 2, card.height / 2];
    const path =
      `M${x - 3} ${low}H${side + 12}Q${side} ${low} ${side} ${low - 12}` +
      `V${high + 12}Q${side} ${high} ${side + 12} ${high}H${x - 6}`;
    return { path, middle: { x: side, y: (low + high) / 2 } };
  });
  return { ranks, cell, card, cards, tracks, height: last.y + card.height + 2 };
}
