// Messages for visitors when there is no answer; any other error is our fault.

export class Refusal extends Error {}

export const UNREADABLE =
  "This text cannot be read: it has no letters, is too long, or contains broken characters.";
export const FAILED = "Something went wrong on our side. Please try again.";
