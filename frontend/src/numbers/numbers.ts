import type { ChannelEvent, Counts, DayCounts, MinuteCounts } from "../api";

export const MINUTE = 60_000;
export const MINUTES = 60;
const DAY = 24 * 60 * MINUTE;

/**
 * A channel's events: ever, by type; in each of the last {@link MINUTES} minutes; and on each of the last UTC days, unless
 * these could not be read. The present minute and day come last.
 */
export interface Numbers {
  readonly counts: Counts;
  readonly minutes: readonly number[];
  readonly days: readonly DayCounts[] | null;
  /** The beginning of the present minute, in ms since 1970. */
  readonly minute: number;
}

/** What the read routes say of a channel. */
interface Recorded {
  counts: Counts;
  minutes: readonly MinuteCounts[];
  days: readonly DayCounts[] | null;
}

const minuteOf = (time: number): number => Math.floor(time / MINUTE) * MINUTE;

export function total(counts: Counts): number {
  return Object.values(counts).reduce((sum, n) => sum + n, 0);
}

export function emptyNumbers(now: number): Numbers {
  return { counts: {}, minutes: Array<number>(MINUTES).fill(0), days: null, minute: minuteOf(now) };
}

/** The same at a later time: minutes and days go by also when nothing happens. The clock may have been put back. */
export function advanceTo(numbers: Numbers, now: number): Numbers {
  const minute = minuteOf(now);
  const passed = Math.max(0, (minute - numbers.minute) / MINUTE);
  if (minute === numbers.minute) return numbers;
  const minutes = [...numbers.minutes, ...Array<number>(Math.min(passed, MINUTES)).fill(0)].slice(-MINUTES);
  return { ...numbers, minutes, minute, days: numbers.days && daysUntil(numbers.days, now) };
}

/** As many days, the last of which is the present one. */
function daysUntil(days: readonly DayCounts[], now: number): readonly DayCounts[] {
  const today = Math.floor(now / DAY) * DAY;
  if (days.at(-1)?.date === dateOf(today)) return days;
  const known = new Map(days.map((day) => [day.date, day]));
  return days.map((_, index) => {
    const date = dateOf(today - (days.length - 1 - index) * DAY);
    return known.get(date) ?? { date, counts: {} };
  });
}

const dateOf = (time: number): string => new Date(time).toISOString().slice(0, 10);

/** Counts events that just arrived, each for the first time. */
export function addEvents(numbers: Numbers, events: readonly ChannelEvent[], now: number): Numbers {
  const { minute, minutes, days } = advanceTo(numbers, now);
  const counts: Record<string, number> = {};
  for (const { event_type } of events) counts[event_type] = (counts[event_type] ?? 0) + 1;
  return {
    counts: sum(numbers.counts, counts),
    minute,
    minutes: [...minutes.slice(0, -1), (minutes.at(-1) ?? 0) + events.length],
    days: days?.map((day, index) => (index < days.length - 1 ? day : { ...day, counts: sum(day.counts, counts) })) ?? null,
  };
}

const sum = (some: Counts, others: Counts): Counts => combine(some, others, (a, b) => a + b);
const greatest = (some: Counts, others: Counts): Counts => combine(some, others, Math.max);

function combine(some: Counts, others: Counts, how: (a: number, b: number) => number): Counts {
  const types = new Set([...Object.keys(some), ...Object.keys(others)]);
  return Object.fromEntries([...types].map((type) => [type, how(some[type] ?? 0, others[type] ?? 0)]));
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
  const days = recorded.days && daysUntil(recorded.days, now);
  // The routes' answers may have been held by the shared cache for different times.
  const counts = greatest(recorded.counts, (days ?? []).map((day) => day.counts).reduce(sum, {}));
  if (isComplete) return { ...ours, counts, minutes, days };
  return {
    minute: ours.minute,
    minutes: minutes.map((n, index) => Math.max(n, ours.minutes[index] ?? 0)),
    counts: greatest(ours.counts, counts),
    days:
      days?.map((day) => ({
        ...day,
        counts: greatest(day.counts, ours.days?.find(({ date }) => date === day.date)?.counts ?? {}),
      })) ?? ours.days,
  };
}
