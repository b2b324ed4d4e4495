// A web worker that is one rank: memory and a thread of its own.
import { Rank } from "./ddp.rank.js";

let rank;
self.onmessage = ({ data }) => {
  if (data.kind === "start") {
    const report = (message) => self.postMessage(message);
    rank = new Rank(data.settings, { left: data.left, right: data.right, report });
    rank.begin();
  } else rank.go(data);
};
