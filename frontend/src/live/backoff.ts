const BASE_MS = 1_000;
const CAP_MS = 30_000;

/**
 * Milliseconds to wait before the attempt after `failures` failures: "full jitter", a random time below an
 * exponential bound, so that viewers cut off together do not come back together.
 * https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export function backoff(failures: number, random: () => number): number {
  return random() * Math.min(CAP_MS, BASE_MS * 2 ** (failures - 1));
}
