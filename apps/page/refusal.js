// What a visitor is told where there is no answer; any other error is a fault of ours.

export class Refusal extends Error {}

export const UNREADABLE =
  "This text cannot be read: it has no letters, is too long, or holds broken characters.";
export const FAILED = "Something went wrong on our side. Please try again.";
