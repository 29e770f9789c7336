import { tally } from "../events/eventTypes";
import { nameIn, written, type Sentence } from "../events/sentences";
import { formatNumber } from "../format";
import type { Row } from "./bursts";

const NAMES = 3;

/** What a burst came to beside how many events it had: the field of each event, and what it counts. */
const SUMS: Record<string, readonly [field: string, unit: string]> = {
  "channel.cheer": ["bits", "bits"],
  "channel.bits.use": ["bits", "bits"],
  "channel.subscription.gift": ["total", "subscriptions"],
};

/** "12 new followers", "8 cheers, 1,200 bits": the sum only while every event of the burst is held. */
export function burstTitle({ count: n, eventType, events }: Row): string {
  const title = tally(n, eventType);
  const sum = SUMS[eventType];
  if (sum === undefined || events.length < n) return title;
  const [field, unit] = sum;
  const all = events.reduce((so_far, { payload }) => so_far + (Number(payload[field]) || 0), 0);
  return `${title}, ${formatNumber(all)} ${unit}`;
}

/** Who they were, the newest first: "Ada, Ben, Cleo and 9 more". Nobody, if none of them is named. */
export function burstNames({ count: n, events }: Row): Sentence {
  const names = new Set(events.flatMap(({ payload }) => (payload.is_anonymous === true ? [] : [nameIn(payload)])));
  // Last, since a name says more.
  const unnamed = names.delete("");
  if (names.size === 0) return [];
  if (unnamed) names.add("");
  const shown = [...names].slice(0, NAMES);
  const others = Math.max(n - events.length, 0) + names.size - shown.length;
  return shown.flatMap((name, index) => [
    index === 0 ? "" : index === shown.length - 1 && others === 0 ? " and " : ", ",
    name === "" ? "somebody" : written(name, "user"),
    index === shown.length - 1 && others > 0 ? ` and ${formatNumber(others)} more` : "",
  ]);
}
