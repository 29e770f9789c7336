import { displayOf, tally } from "../events/eventTypes";
import type { ToldEvent } from "../events/told";

/** Events of a type that follow the first of them within this time belong to one burst. */
const WINDOW = 60_000;

/** The least number that is shown as one row: two names say more than "2 new followers". */
const SHOWN_TOGETHER = 3;

/** Events of one type that came close together. Types that do not come in bursts have one event in each. */
export interface Burst {
  /** The id of its first event: it stays the same while the burst grows. */
  readonly key: string;
  readonly startedAt: number;
  /** How many of its events are no longer held, the oldest. */
  readonly gone: number;
  /** Newest first, at least one. */
  readonly events: readonly [ToldEvent, ...ToldEvent[]];
}

/**
 * Sorts events (newest first) into bursts (the one that began last first): the same for the same events, in whatever
 * order they came. `before` are the bursts while more of the oldest events were held; a burst that has lost some keeps
 * its name, its beginning and its number.
 */
export function sortIntoBursts(events: readonly ToldEvent[], before: readonly Burst[] = []): Burst[] {
  const bursts = new Map<string, Omit<Burst, "events"> & { events: ToldEvent[] }>();
  const newest = new Map<string, string>();
  for (const burst of shortened(events, before)) {
    bursts.set(burst.key, { ...burst, events: [] });
    newest.set(burst.events[0].event_type, burst.key);
  }
  for (const event of [...events].reverse()) {
    const open = bursts.get(newest.get(event.event_type) ?? "");
    if (open && displayOf(event.event_type).bursts && timeOf(event) - open.startedAt < WINDOW) {
      open.events.unshift(event);
    } else {
      bursts.set(event.id, { key: event.id, startedAt: timeOf(event), gone: 0, events: [event] });
      newest.set(event.event_type, event.id);
    }
  }
  return [...bursts.values()]
    .flatMap(({ events: [first, ...others], ...burst }): Burst[] => (first ? [{ ...burst, events: [first, ...others] }] : []))
    .reverse()
    .sort((a, b) => b.startedAt - a.startedAt);
}

/** Those of some earlier bursts whose oldest events are no longer held, the one that began first first. */
function shortened(events: readonly ToldEvent[], before: readonly Burst[]): Burst[] {
  const oldest = timeOf(events.at(-1));
  // Where older events than before have been read from the record, nothing is missing.
  if (before.every((burst) => timeOf(burst.events.at(-1)) > oldest)) return [];
  const held = new Set(events.map(({ id }) => id));
  return [...before].reverse().flatMap((burst) => {
    const gone = burst.events.filter((event) => timeOf(event) <= oldest && !held.has(event.id)).length;
    return burst.gone + gone > 0 ? [{ ...burst, gone: burst.gone + gone }] : [];
  });
}

function timeOf(event: ToldEvent | undefined): number {
  return Date.parse(event?.occurred_at ?? "");
}

/** What the feed shows as one line: an event, or a burst of them. */
export interface Row {
  readonly key: string;
  readonly eventType: string;
  /** How many events it has had: more than `events` once the oldest are no longer held. */
  readonly count: number;
  /** Newest first, at least one. */
  readonly events: readonly [ToldEvent, ...ToldEvent[]];
}

/** The rows of some bursts, newest first; a burst that is too small for a row of its own has one for each event. */
export function rowsOf(bursts: readonly Burst[]): Row[] {
  return bursts.flatMap(({ key, gone, events }): Row[] => {
    const [{ event_type: eventType }] = events;
    const count = gone + events.length;
    if (count >= SHOWN_TOGETHER) return [{ key, eventType, count, events }];
    return events.map((event) => ({ key: event.id, eventType, count: 1, events: [event] }));
  });
}

/** What happened, for screen readers, from the number of each type: "12 new followers, 1 raid". */
export function summarise(counts: ReadonlyMap<string, number>): string {
  return [...counts].map(([eventType, n]) => tally(n, eventType)).join(", ");
}
