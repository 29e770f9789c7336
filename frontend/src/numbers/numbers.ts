import type { ChannelEvent, Counts, MinuteCounts } from "../api";

export const MINUTE = 60_000;
export const MINUTES = 60;

/** A channel's events: ever, by type; and in each of the last {@link MINUTES} minutes, the present one last. */
export interface Numbers {
  readonly counts: Counts;
  readonly minutes: readonly number[];
  /** The beginning of the present minute, in ms since 1970. */
  readonly minute: number;
}

/** What the read routes say of a channel. */
interface Recorded {
  counts: Counts;
  minutes: readonly MinuteCounts[];
}

const minuteOf = (time: number): number => Math.floor(time / MINUTE) * MINUTE;

export function total(counts: Counts): number {
  return Object.values(counts).reduce((sum, n) => sum + n, 0);
}

export function emptyNumbers(now: number): Numbers {
  return { counts: {}, minutes: Array<number>(MINUTES).fill(0), minute: minuteOf(now) };
}

/** The same at a later time: minutes go by also when nothing happens. */
export function advanceTo(numbers: Numbers, now: number): Numbers {
  const passed = Math.max(0, (minuteOf(now) - numbers.minute) / MINUTE);
  if (passed === 0) return numbers;
  const minutes = [...numbers.minutes, ...Array<number>(Math.min(passed, MINUTES)).fill(0)].slice(-MINUTES);
  return { ...numbers, minutes, minute: minuteOf(now) };
}

/** Counts events that just arrived, each for the first time. */
export function addEvents(numbers: Numbers, events: readonly ChannelEvent[], now: number): Numbers {
  const { minute, minutes } = advanceTo(numbers, now);
  const counts: Record<string, number> = { ...numbers.counts };
  for (const { event_type } of events) counts[event_type] = (counts[event_type] ?? 0) + 1;
  return { counts, minute, minutes: [...minutes.slice(0, -1), (minutes.at(-1) ?? 0) + events.length] };
}

/**
 * Takes what was read from the record.
 *
 * The record is exact, but behind what arrives live. It is taken as it is only when it `isComplete`: when nothing has
 * arrived for longer than the record may be behind. Until then a number can only grow.
 */
export function reconcile(numbers: Numbers, recorded: Recorded, isComplete: boolean, now: number): Numbers {
  const ours = advanceTo(numbers, now);
  const theirs = emptyNumbers(now);
  const minutes = [...theirs.minutes];
  for (const { start, counts } of recorded.minutes) {
    const index = MINUTES - 1 + (minuteOf(Date.parse(start)) - theirs.minute) / MINUTE;
    if (index in minutes) minutes[index] = total(counts);
  }
  if (isComplete) return { ...ours, counts: recorded.counts, minutes };
  const types = new Set([...Object.keys(ours.counts), ...Object.keys(recorded.counts)]);
  return {
    minute: ours.minute,
    minutes: minutes.map((n, index) => Math.max(n, ours.minutes[index] ?? 0)),
    counts: Object.fromEntries(
      [...types].map((type) => [type, Math.max(ours.counts[type] ?? 0, recorded.counts[type] ?? 0)]),
    ),
  };
}
