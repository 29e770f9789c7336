/** Answers differ by this much (ms) from the server's time at once: they travel, and the shared cache may hold them. */
const NOISE = 15_000;

/** How far the server's clock is ahead of this device's, in ms. */
let ahead = 0;

/**
 * Takes the server's time from an answer of the API: events are dated by it, and a device's clock may be hours off.
 * Where a cache sent the answer, `Age` is how long it had it (RFC 9111, 5.1).
 */
export function takeServerTime({ headers }: Response): void {
  const time = Date.parse(headers.get("Date") ?? "") + Number(headers.get("Age")) * 1_000;
  const found = time - Date.now();
  if (Math.abs(found - ahead) > NOISE) ahead = found;
}

/** The server's time, in ms since 1970; the device's, until the server has answered. */
export function serverNow(): number {
  return Date.now() + ahead;
}
