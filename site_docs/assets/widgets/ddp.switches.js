// What can be broken in <live-ddp>: what is asked first, and what an interviewer wants to hear.
import { BATCH, NUM_ROWS } from "./ddp.model.js";
import { SLOW_MS, TROUBLE_STEP } from "./ddp.rank.js";

const CALL = TROUBLE_STEP + 1; // people count calls and steps from 1

// [name]: label; ask, options, right, answer: the question; interview: the one sentence.
export const SWITCHES = {
  drift: {
    label: "No averaging",
    ask: "The ranks start with equal weights, but nobody averages the gradients. What do the replicas do?",
    options: [
      "They stay equal: it is the same model",
      "They drift apart from the first step",
      "They differ, and meet again in the end",
    ],
    right: 1,
    answer:
      "Each rank follows the gradient of its own rows. N ranks train N models, each with a smaller batch.",
    interview:
      "Replicas stay equal for two reasons: they start equal, and every optimizer step uses the same averaged gradient.",
  },
  sum: {
    label: "Sum, not mean",
    ask: "The ring adds the gradients, and nobody divides the sum by N. What is that like?",
    options: [
      "A learning rate N times larger",
      "A learning rate N times smaller",
      "The same run: only the direction counts",
    ],
    right: 0,
    answer:
      "SGD takes steps that are N times too large. Two ranks still learn here; with more, the loss jumps about and stays high.",
    interview:
      "all_reduce sums; DDP divides by the world size. With SGD, forgetting to divide is a learning rate N times larger; Adam nearly hides it, because it divides the scale out.",
  },
  start: {
    label: "Other start weights",
    ask: "Each rank starts with weights of its own. Then all use the same averaged gradients. Do the replicas become equal?",
    options: [
      "Yes, within some steps",
      "No, they stay as far apart as they were",
      "No, they drift further apart",
    ],
    right: 1,
    answer:
      "Every rank adds the same step to other weights, so the difference between two ranks stays what it was.",
    interview:
      "Averaging gradients keeps equal replicas equal; it never makes them equal. That is why DDP broadcasts rank 0's weights when it is built.",
  },
  weights: {
    label: "Average weights",
    ask: "After backward the ring averages the weights and leaves the gradients alone. Then each rank takes its step. What do you see?",
    options: [
      "The same run as before",
      "Replicas that differ again after each step",
      "A loss that explodes",
    ],
    right: 1,
    answer:
      "Each step uses the rank's own gradient and its own momentum, so the ranks agree only until the next step. They stay near each other, because each call pulls them together.",
    interview:
      "DDP averages gradients, so that weights and optimizer state stay equal on all ranks. Averaging weights after each step would give the same model with SGD, but not with Adam.",
  },
  rows: {
    label: "Same rows",
    ask: "No DistributedSampler: every rank reads the same rows in the same order. What do N ranks give you?",
    options: [
      "N times as many rows per step",
      "The run of one process with a batch N times smaller",
      "Replicas that differ",
    ],
    right: 1,
    answer: `All ranks compute the same gradient, and its mean is the gradient of one rank: a batch of ${BATCH} / N rows. The replicas stay equal, and nothing fails.`,
    interview:
      "Without a DistributedSampler all ranks do the same work: no error, equal replicas, but a global batch N times smaller than you think.",
  },
  order: {
    label: "No new order",
    ask: `The rows are shuffled once, and set_epoch is never called. After many epochs, how many of the ${NUM_ROWS} rows has rank 0 read?`,
    options: [
      "All of them",
      `Only ${NUM_ROWS} / N: the same again and again`,
      "One half",
    ],
    right: 1,
    answer:
      "The sampler deals the same order in every epoch, so each rank gets the same rows in the same batches. The curve hardly shows it here.",
    interview:
      "Without set_epoch(epoch), DistributedSampler deals every epoch alike: each rank sees the same rows forever. Nothing fails and nothing warns.",
  },
  slow: {
    label: "A slow rank",
    ask: `Rank 1 needs ${SLOW_MS} ms longer for its rows. How fast are the ranks together?`,
    options: [
      "Nearly as fast as before: the others take over",
      "As slow as rank 1: all wait for it in the all-reduce",
      "As fast as the average of the ranks",
    ],
    right: 1,
    answer:
      "The others are finished early and wait for rank 1's message in every step. The timeline shows where. The model stays the same.",
    interview:
      "A synchronous step is as slow as its slowest rank. In a profile, the ranks with the longest all-reduce are the fast ones: they came early and waited.",
  },
  skip: {
    label: "A skipped call",
    ask: `In step ${CALL} rank 1 skips the all-reduce, as after a \u201ccontinue\u201d on that rank only. What do the others do?`,
    options: [
      "They fail at once",
      "They average without rank 1",
      "They wait, until a timeout ends them",
    ],
    right: 2,
    answer: `A ring needs every rank: without rank 1's messages of call ${CALL} nobody can finish it. Here each message carries the number of its call, so that the ranks can tell. torch pairs calls by their order only: rank 1's next call would be taken for this one.`,
    interview:
      "All ranks must call the same collectives in the same order. In a hang, look for the rank that does not wait in the same call as the others.",
  },
  kill: {
    label: "A killed rank",
    ask: `Rank 1 is killed after step ${TROUBLE_STEP}. What do the others do?`,
    options: [
      "They go on with N - 1 ranks",
      "They take over its rows",
      "They wait, until a timeout ends them",
    ],
    right: 2,
    answer:
      "The page really ends rank 1's worker. The others wait in the next all-reduce. After the timeout you can start all ranks again from the last checkpoint.",
    interview:
      "DDP does not go on with fewer ranks. The others wait or fail in their next collective, and the launcher ends all of them and starts all again from the last checkpoint.",
  },
  flip: {
    label: "A flipped bit",
    ask: `In step ${CALL} one bit of one weight of rank 1 flips in memory. What shows it?`,
    options: [
      "The loss jumps",
      "Nothing: the next all-reduce repairs it",
      "Only a comparison of the replicas",
    ],
    right: 2,
    answer:
      "The weights of rank 1 differ from now on: its fingerprint says so, the curve does not.",
    interview:
      "An all-reduce of gradients never repairs a weight. Compare a checksum of the weights over ranks now and then, and before each checkpoint.",
  },
};
