const BASE_MS = 1_250;
const CAP_MS = 80_000;

/**
 * How many failures the loss of an open connection counts for. A browser cannot tell its own trouble from an outage
 * that cut everybody off, and API Gateway takes 500 new connections a second: forty seconds let ten thousand viewers
 * in, even when second attempts come on top. https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
 */
export const LOSS = 6;

/**
 * Milliseconds to wait before the attempt after `failures` failures: "full jitter", a random time below an
 * exponential bound, so that viewers cut off together do not come back together.
 * https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export function backoff(failures: number, random: () => number): number {
  return random() * Math.min(CAP_MS, BASE_MS * 2 ** (failures - 1));
}
